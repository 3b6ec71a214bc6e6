"""`FaceOptions`: what a caller may choose about faces."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from esrgan.errors import UsageError

DetectorName = Literal["mobilenet", "resnet50"]
MaskName = Literal["soft", "parse"]


@dataclass(frozen=True, kw_only=True)
class FaceOptions:
    """Faces are found, restored by a network of their own, and blended into the upscaled picture.

    Raises:
        UsageError: a value outside its range.
    """

    model: str | os.PathLike[str]
    """The restorer: a weights file or a name. Any network that upscales images, or one that takes an aligned face
    (GFPGAN, RestoreFormer, CodeFormer)."""
    strength: float = 1.0
    """Share of the restored face in the result, 0 to 1."""
    min_size: int = 16
    """Faces whose box has a shorter side than that, in pixels of the input, are left alone."""
    only_center: bool = False
    """Restore only the face that is nearest to the picture's centre."""
    detector: DetectorName = "mobilenet"
    """Network that finds faces: `mobilenet` is small and fast, `resnet50` finds more of the difficult ones."""
    min_score: float = 0.8
    """Least certainty of the detector, 0 to 1."""
    mask: MaskName = "soft"
    """Where the restored face is used: `soft`, an oval around it, or `parse`, also only where a parser sees skin and
    features."""
    folder: Path | None = None
    """Where the files of detector, parser and named restorers lie; by default they are downloaded once."""
    smooth: bool = True
    """In video, let positions follow slowly where a face moves slowly, and faces come and go over some frames."""

    def __post_init__(self) -> None:
        for name in ("strength", "min_score"):
            value = getattr(self, name)
            if not (math.isfinite(value) and 0 <= value <= 1):
                raise UsageError(f"--face-{name.replace('_', '-')} must be 0 to 1, got {value:g}")
        if self.min_size < 0:
            raise UsageError(f"--face-min-size must be 0 or more pixels, got {self.min_size}")
        if self.detector not in get_args(DetectorName):
            raise UsageError(
                f"--face-detector must be one of {', '.join(get_args(DetectorName))}, got {self.detector!r}"
            )
        if self.mask not in get_args(MaskName):
            raise UsageError(f"--face-mask must be one of {', '.join(get_args(MaskName))}, got {self.mask!r}")
        if self.folder is not None and not self.folder.is_dir():
            raise UsageError(f"--face-dir {self.folder} is not a folder")

    def __str__(self) -> str:
        """The choices that change a result, but not where files lie."""
        names = ("strength", "min_size", "only_center", "detector", "min_score", "mask", "smooth")
        return ", ".join(f"{name.replace('_', ' ')} {getattr(self, name)}" for name in names)
