"""The compiled way from RGB to code values: `codes.cpp`, and `codes.py`, which calls it."""
