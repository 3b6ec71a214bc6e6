"""What a caller may choose about how the network runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, get_args

from esrgan.errors import UsageError
from esrgan_video.engine.backends.config import BackendConfig, BackendName, OpenVINOConfig

if TYPE_CHECKING:
    from esrgan_video.export.int8 import Calibration

DType = Literal["auto", "float32", "bfloat16", "float16", "int8"]

DEFAULT_OVERLAP = 24
"""Input pixels around a tile. Measured by `benchmarks/tile_overlap.py` with trained weights: 16 leaves up to 0.6 code
values of 255, 24 none."""
EXACT_OVERLAP = 2 * DEFAULT_OVERLAP
"""The same where the result is to be that of the float32 network: a margin for deeper networks than were measured."""

MOST_PRE_PAD = 256
"""Beyond what a network sees from a place, more of it changes nothing."""
TTA_HELP = (
    "take the mean over a picture's eight orientations (self-ensemble): 8 times the work for a little more fidelity"
)
"""Of the option `--tta`."""


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """How the network runs. The defaults choose by device, by weights and by the memory that is free.

    Raises:
        UsageError: a value outside its range.
    """

    backend: BackendName | BackendConfig = "usual"
    """Library that runs the network: its name, or its settings. `usual` is torch or, on a processor, native where
    that was built and half precision was not asked for; `auto` takes the fastest one that is installed."""
    device: str = "auto"
    """`auto` (CUDA, else MPS, else CPU), `cpu`, `mps`, `cuda` or `cuda:N`."""
    dtype: DType = "auto"
    """Precision of the convolutions. `auto` is float32 in native, and in others half precision where that is fast and
    was checked against float32 with these weights. `int8` is for the dense blocks of RRDBNet in OpenVINO, and needs
    `calibration`."""
    calibration: Calibration | None = field(default=None, compare=False)
    """For `int8`: what `esrgan_video.export.int8.calibrate` found in some frames."""
    tile: int | None = None
    """Side of a tile in input pixels without overlap; 0 never cuts, `None` cuts when memory asks for it."""
    overlap: int = DEFAULT_OVERLAP
    """Input pixels of neighbourhood that a tile sees beyond each of its sides."""
    batch: int | None = None
    """Frames or tiles in one pass; `None` chooses."""
    pre_pad: int = 0
    """Input pixels that a frame is mirrored by beyond each side before the network sees it, and cut off by again. The
    network itself sees black there: along the border of flat, vivid areas it is far off."""
    tta: bool = False
    """Whether a picture goes through the network in its eight orientations, of which the result is the mean: 8 times
    the work for a little more fidelity."""
    threads: int | None = None
    """Processor cores to use; `None` takes what `OMP_NUM_THREADS` says, or all that the process may use."""

    def __post_init__(self) -> None:
        if isinstance(self.backend, str) and self.backend not in get_args(BackendName):
            raise UsageError(f"backend must be one of {', '.join(get_args(BackendName))}, got {self.backend!r}")
        if self.dtype not in get_args(DType):
            raise UsageError(f"dtype must be one of {', '.join(get_args(DType))}, got {self.dtype!r}")
        if self.dtype == "int8" and not (
            self.backend in ("auto", "openvino") or isinstance(self.backend, OpenVINOConfig)
        ):
            raise UsageError("dtype int8 runs in OpenVINO only: use backend openvino as well")
        if self.tile is not None and self.tile < 0:
            raise UsageError(f"tile must be 0 (whole frames) or a side in pixels, got {self.tile}")
        if self.overlap < 0:
            raise UsageError(f"tile overlap must be 0 or more pixels, got {self.overlap}")
        if not 0 <= self.pre_pad <= MOST_PRE_PAD:
            raise UsageError(f"pre-pad must be 0 to {MOST_PRE_PAD} pixels, got {self.pre_pad}")
        if self.batch is not None and self.batch < 1:
            raise UsageError(f"batch must be at least 1, got {self.batch}")
        if self.threads is not None and self.threads < 1:
            raise UsageError(f"threads must be at least 1, got {self.threads}")
