"""How many frames a segment has."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice

_SHORTEST, _LONGEST = 48, 250
"""Frames. Each segment begins with a keyframe and costs the encoder its memory of what came before, hence the first;
250 is the distance of keyframes that encoders choose themselves."""
_PIXELS_A_MINUTE = {"cuda": 2_400_000_000, "mps": 240_000_000}
"""Pixels of the output that a usual network makes in a minute ..."""
_PIXELS_A_MINUTE_CPU = 30_000_000
"""... also where there is no accelerator."""


def usual_segment_frames(device_type: str, width: int, height: int) -> int:
    """Frames that make about a minute of computing.

    An estimate from sizes alone and not a measurement: the same command always cuts at the same frames, and so gives
    the same file.

    Args:
        device_type: where the network runs, by torch's name.
        width: columns of the output.
        height: rows of the output.
    """
    frames = _PIXELS_A_MINUTE.get(device_type, _PIXELS_A_MINUTE_CPU) // (width * height)
    return min(max(frames, _SHORTEST), _LONGEST)


def cut[T](items: Iterator[T], length: int | None) -> Iterator[Iterator[T]]:
    """Parts of `length` items, the last one shorter; all in one where that is `None`.

    Each must be used up before the next is asked for.
    """
    for first in items:
        yield chain([first], islice(items, None if length is None else length - 1))
