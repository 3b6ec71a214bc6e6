"""`Detection` and `Face`: what the detector sees, and what is restored."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from esrgan_video.faces.geometry import Points

Landmarks = tuple[tuple[float, float], ...]
"""Left and right eye as seen, nose, left and right corner of the mouth: (x, y) in pixels of the input."""


@dataclass(frozen=True)
class Detection:
    """A face as the detector sees it in one frame, in pixels of the input."""

    box: tuple[float, float, float, float]
    """Left, top, right, bottom; it may reach beyond the picture."""
    score: float
    """Certainty, 0 to 1."""
    landmarks: Landmarks

    @property
    def size(self) -> float:
        """The shorter side of the box."""
        return min(self.box[2] - self.box[0], self.box[3] - self.box[1])

    @property
    def center(self) -> tuple[float, float]:
        """Of the box."""
        return (self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2


@dataclass(frozen=True)
class Face:
    """A face that is restored in one frame."""

    landmarks: Landmarks
    """In pixels of the input."""
    strength: float = 1.0
    """How far the face has come in: less than 1 where it has just appeared, or is lost."""

    @property
    def points(self) -> Points:
        """`(5, 2)`."""
        return np.array(self.landmarks, dtype=np.float64)
