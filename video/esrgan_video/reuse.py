"""Frames that show what another one showed a moment ago are not computed again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from esrgan_video.colour import PixelLayout
from esrgan_video.container import Frame

_MOST_PICTURES = 8
_MEMORY = 256 << 20
"""Bytes of output that are kept for later, unless a single picture has more."""


@dataclass(eq=False)
class Picture:
    """What one frame or several show, and what it becomes."""

    source: Frame
    """The first frame that showed it."""
    planes: tuple[Tensor, ...] | None = None
    """Of the result, as in `UpscaledGroup`; `None` until it was computed."""

    @property
    def result(self) -> tuple[Tensor, ...]:
        """`planes`, which must have been computed.

        Raises:
            RuntimeError: they have not been.
        """
        if self.planes is None:
            raise RuntimeError("a picture was asked for before the group that computes it")
        return self.planes


@dataclass(eq=False)
class FrameGroup:
    """Consecutive frames of equal size, layout and colour, with the picture that each of them shows."""

    frames: list[Frame] = field(default_factory=list)
    """As they were decoded."""
    pictures: list[Picture] = field(default_factory=list)
    """One per frame; frames that show the same share one."""
    new: list[Picture] = field(default_factory=list)
    """Those that must be computed."""

    def __len__(self) -> int:
        return len(self.frames)

    def add(self, frame: Frame, picture: Picture) -> None:
        """Append `frame`, which shows `picture`."""
        self.frames.append(frame)
        self.pictures.append(picture)
        if picture.source is frame:
            self.new.append(picture)


class RecentPictures:
    """The last few different pictures of a video.

    Animation holds each drawing for two or three frames and comes back to earlier ones; screens stand still while a
    cursor blinks. Pictures are equal if all code values are, alpha included, and mean the same colours.

    Args:
        depth: pictures that are remembered, at least 1.
    """

    def __init__(self, depth: int) -> None:
        self._pictures: deque[Picture] = deque(maxlen=depth)

    def of(self, frame: Frame) -> Picture:
        """The picture that `frame` shows; it is the most recent one from now on."""
        picture = next((known for known in self._pictures if shows_the_same(known.source, frame)), None)
        if picture is None:
            picture = Picture(frame)
        else:
            self._pictures.remove(picture)
        self._pictures.appendleft(picture)
        return picture


def picture_finder(*, reuse: bool, layout: PixelLayout, height: int, width: int) -> Callable[[Frame], Picture]:
    """What finds the picture that a frame shows; without `reuse` every frame shows one of its own.

    As many are remembered as fit a fixed share of memory with outputs of this layout and size.
    """
    if not reuse:
        return Picture
    size = np.dtype(layout.dtype).itemsize * sum(rows * columns for rows, columns in layout.plane_shapes(height, width))
    return RecentPictures(max(1, min(_MOST_PICTURES, _MEMORY // size))).of


def shows_the_same(one: Frame, other: Frame) -> bool:
    """Whether two frames have the same code values with the same meaning."""
    return (
        one.layout == other.layout
        and one.colour == other.colour
        and all(np.array_equal(a, b) for a, b in zip(one.planes, other.planes, strict=True))
    )
