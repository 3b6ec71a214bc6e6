"""Frames that show what another one showed a moment ago are not computed again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from esrgan_video.colour import PixelLayout
from esrgan_video.container import Frame

_MOST_PICTURES = 8
_PROBED_ROWS = 16
_MEMORY = 256 << 20
"""Bytes of output that are kept for later, unless a single picture has more."""


@dataclass(frozen=True, eq=False)
class Result:
    """What a picture becomes."""

    planes: tuple[Tensor, ...]
    """`(1, h, w)` each."""
    good: Tensor | None = None
    """`(1, 1)` bool: whether it may stay as it is; `None` where that is known."""


@dataclass(eq=False)
class Picture[S]:
    """What one frame or several show, and what it becomes."""

    source: S
    """The first frame that showed it."""
    computed: Result | None = None
    """`None` until it was computed."""
    faces: tuple[Hashable, ...] = ()
    """What is to be restored in it: the same picture with other faces has another result."""

    @property
    def result(self) -> Result:
        """`computed`, which must be there.

        Raises:
            RuntimeError: it is not.
        """
        if self.computed is None:
            raise RuntimeError("a picture was asked for before the group that computes it")
        return self.computed


@dataclass(eq=False)
class FrameGroup:
    """Consecutive frames of equal size, layout and colour, with the picture that each of them shows."""

    frames: list[Frame] = field(default_factory=list)
    """As they were decoded."""
    pictures: list[Picture[Frame]] = field(default_factory=list)
    """One per frame; frames that show the same share one."""
    new: list[Picture[Frame]] = field(default_factory=list)
    """Those that must be computed."""

    def __len__(self) -> int:
        return len(self.frames)

    def add(self, frame: Frame, picture: Picture[Frame]) -> None:
        """Append `frame`, which shows `picture`."""
        self.frames.append(frame)
        self.pictures.append(picture)
        if picture.source is frame:
            self.new.append(picture)


class RecentPictures[S]:
    """The last few different pictures of a video.

    Animation holds each drawing for two or three frames and comes back to earlier ones; screens stand still while a
    cursor blinks.

    Args:
        same: whether two frames must have the same result.
        result_bytes: of one picture's result: as many are remembered as fit a fixed share of memory.
    """

    def __init__(self, same: Callable[[S, S], bool], *, result_bytes: int) -> None:
        self._same = same
        self._pictures: deque[Picture[S]] = deque(maxlen=max(1, min(_MOST_PICTURES, _MEMORY // result_bytes)))

    def of(self, frame: S, faces: tuple[Hashable, ...] = ()) -> Picture[S]:
        """The picture that `frame` shows, in which `faces` are restored; it is the most recent one from now on."""
        picture = next(
            (known for known in self._pictures if known.faces == faces and self._same(known.source, frame)), None
        )
        if picture is None:
            picture = Picture(frame, faces=faces)
        else:
            self._pictures.remove(picture)
        self._pictures.appendleft(picture)
        return picture


def picture_finder(
    *, reuse: bool, layout: PixelLayout, height: int, width: int
) -> Callable[[Frame, tuple[Hashable, ...]], Picture[Frame]]:
    """What finds the picture that a frame with its faces shows, for results of this layout and size.

    Without `reuse`, every frame shows a picture of its own.
    """
    if not reuse:
        return lambda frame, faces: Picture(frame, faces=faces)
    samples = sum(rows * columns for rows, columns in layout.plane_shapes(height, width))
    return RecentPictures(shows_the_same, result_bytes=samples * np.dtype(layout.dtype).itemsize).of


def shows_the_same(one: Frame, other: Frame) -> bool:
    """Whether two frames have the same code values, alpha included, with the same meaning."""
    return one.layout == other.layout and one.colour == other.colour and equal_planes(one.planes, other.planes)


def equal_planes(one: Sequence[NDArray[np.generic]], other: Sequence[NDArray[np.generic]]) -> bool:
    """Whether all samples are equal, bit for bit."""
    pairs = [(_bits(a), _bits(b)) for a, b in zip(one, other, strict=True)]
    # Most pictures differ nearly everywhere: a few rows tell, at a fraction of the time.
    return all(np.array_equal(a[::_PROBED_ROWS], b[::_PROBED_ROWS]) for a, b in pairs) and all(
        np.array_equal(a, b) for a, b in pairs
    )


def _bits(plane: NDArray[np.generic]) -> NDArray[np.generic]:
    # As numbers, 0 and -0 would be equal, and NaN not equal to itself.
    return plane.view(f"u{plane.itemsize}") if plane.dtype.kind == "f" else plane
