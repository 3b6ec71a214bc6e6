"""Animated GIF, APNG and WebP, in the place of a video file."""
