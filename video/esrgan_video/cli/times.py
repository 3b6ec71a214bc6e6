"""Times as users write them."""

from __future__ import annotations

import argparse
from fractions import Fraction


def parse_time(text: str) -> Fraction:
    """`90`, `1:30` or `0:01:30.5` in seconds, exactly."""
    parts = text.split(":")
    try:
        if len(parts) > 3:
            raise ValueError
        seconds = Fraction(0)
        for part in parts:
            seconds = seconds * 60 + Fraction(part)
    except (ValueError, ZeroDivisionError):
        raise argparse.ArgumentTypeError(f"{text!r} is not a time: use seconds or [HH:]MM:SS[.fraction]") from None
    if seconds < 0 or any(part.startswith("-") for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is before the start")
    return seconds
