"""Measuring a network: metrics, and the validations of a run."""
