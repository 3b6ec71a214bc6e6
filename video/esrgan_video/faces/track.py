"""`FaceTracker`: the faces of a video from frame to frame, without jitter and without blinking."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from esrgan_video.faces.face import Detection, Face
from esrgan_video.faces.geometry import Points

_CUTOFF = 0.03
"""Of the low-pass for a face that rests, in cycles a frame ..."""
_CUTOFF_RISE = 2.0
"""... and how much that grows with the distance between where the face was and is, in face sizes."""
_SPEED_CUTOFF = 0.05
"""Of the low-pass for that distance, in cycles a frame."""
_FADE = 0.2
"""Strength that a face gains or loses in one frame."""
_SAME = 0.2
"""Least intersection over union of two boxes of one face in consecutive frames."""
_SLOWING = 0.5
"""What is left of the speed after each frame in which a face was not found."""
_GRAIN = 64
"""Positions are multiples of 1/64 pixel, so that a resting face is the same in each frame."""


@dataclass(eq=False)
class _Track:
    box: tuple[float, float, float, float]
    points: Points
    distance: Points
    """From `points` to what is seen, low-passed: how far a moving face is ahead."""
    motion: Points
    """Of `points` in the last frame."""
    size: float
    strength: float

    @classmethod
    def begin(cls, seen: Detection, strength: float) -> _Track:
        points = np.array(seen.landmarks)
        return cls(seen.box, points, np.zeros_like(points), np.zeros_like(points), seen.size, strength)

    def follow(self, seen: Detection) -> None:
        """The one-euro filter (Casiez et al. 2012), with one cut-off for all coordinates of the face."""
        step = np.array(seen.landmarks) - self.points
        self.distance = self.distance + _weight(_SPEED_CUTOFF) * (step - self.distance)
        rate = math.sqrt(float((self.distance**2).sum(1).mean())) / max(seen.size, 1.0)
        self.motion = _weight(_CUTOFF + _CUTOFF_RISE * rate) * step
        self.points = self.points + self.motion
        self.box, self.size = seen.box, seen.size
        self.strength = min(1.0, self.strength + _FADE)

    def lose(self) -> None:
        """Go on where it was going, and fade."""
        self.points = self.points + self.motion
        shift_x, shift_y = self.motion.mean(0).tolist()
        left, top, right, bottom = self.box
        self.box = (left + shift_x, top + shift_y, right + shift_x, bottom + shift_y)
        self.motion = self.motion * _SLOWING
        self.strength -= _FADE

    def face(self) -> Face:
        rounded = np.round(self.points * _GRAIN) / _GRAIN
        return Face(tuple((float(x), float(y)) for x, y in rounded), round(self.strength, 6))


class FaceTracker:
    """Follows faces through the frames of one scene after the other.

    Landmarks go through a low-pass that gives way where a face moves fast. A face that appears within a scene comes in
    over some frames; one that is not found is kept for as many, where it was going, and fades: if it is missed once, it
    stays. Faces of the first frame, and of the first after a cut, are there at once.
    """

    def __init__(self) -> None:
        self._tracks: list[_Track] | None = None

    def cut(self) -> None:
        """A new scene begins with the next frame."""
        self._tracks = None

    def advance(self, found: Sequence[Detection]) -> tuple[Face, ...]:
        """The faces of the next frame.

        Args:
            found: what the detector sees in it.
        """
        if self._tracks is None:
            self._tracks = [_Track.begin(seen, 1.0) for seen in found]
        else:
            pairs = _matched([track.box for track in self._tracks], [seen.box for seen in found])
            for index, track in enumerate(self._tracks):
                if index in pairs:
                    track.follow(found[pairs[index]])
                else:
                    track.lose()
            known = set(pairs.values())
            new = [_Track.begin(seen, _FADE) for index, seen in enumerate(found) if index not in known]
            self._tracks = [track for track in self._tracks if track.strength > _FADE / 2] + new
        return tuple(track.face() for track in self._tracks)


def _weight(cutoff: float) -> float:
    """Of a new value in a first-order low-pass with this cut-off in cycles a frame."""
    return 1 / (1 + 1 / (2 * math.pi * cutoff))


def _matched(
    tracks: Sequence[tuple[float, float, float, float]], found: Sequence[tuple[float, float, float, float]]
) -> dict[int, int]:
    """Which box goes on in which, the closest pairs first."""
    pairs = [(overlap(a, b), i, j) for i, a in enumerate(tracks) for j, b in enumerate(found)]
    result: dict[int, int] = {}
    taken: set[int] = set()
    for share, i, j in sorted(pairs, key=lambda pair: (-pair[0], pair[1], pair[2])):
        if share >= _SAME and i not in result and j not in taken:
            result[i] = j
            taken.add(j)
    return result


def overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> float:
    """Intersection over union of two boxes."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = ((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return width * height / (sum(areas) - width * height)
