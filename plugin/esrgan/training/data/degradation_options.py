"""What is random in a degradation, and in which ranges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from esrgan.errors import UsageError

KERNELS = ("iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso")
"""Families of Gaussian kernels, by BasicSR's names."""


def _require_range(name: str, values: Sequence[float]) -> None:
    if len(values) != 2 or not 0 <= values[0] <= values[1]:
        raise UsageError(f"degradation: {name} must be two numbers from 0 on, the smaller first, got {list(values)}")


def _require_weights(name: str, values: Sequence[float], count: int) -> None:
    if len(values) != count or min(values) < 0 or not sum(values) > 0:
        raise UsageError(f"degradation: {name} must be {count} numbers from 0 on, got {list(values)}")


@dataclass(frozen=True, kw_only=True)
class StageOptions:
    """One of the two stages. Pairs are the ends of a range.

    Raises:
        UsageError: a probability outside 0..1, or a range that is none.
    """

    blur_prob: float = 1.0
    sinc_prob: float = 0.1
    """Of a sinc kernel (ringing) in place of a Gaussian one."""
    kernel_prob: tuple[float, ...] = (0.45, 0.25, 0.12, 0.03, 0.12, 0.03)
    """Of iso, aniso, generalized_iso, generalized_aniso, plateau_iso and plateau_aniso."""
    blur_sigma: tuple[float, ...] = (0.2, 3.0)
    betag_range: tuple[float, ...] = (0.5, 4.0)
    """Shape of the generalised Gaussian kernels."""
    betap_range: tuple[float, ...] = (1.0, 2.0)
    """Shape of the plateau kernels."""
    resize_prob: tuple[float, ...] = (0.2, 0.7, 0.1)
    """Of up, down and keep."""
    resize_range: tuple[float, ...] = (0.15, 1.5)
    gaussian_noise_prob: float = 0.5
    """Of Gaussian noise; it is Poisson noise otherwise."""
    noise_range: tuple[float, ...] = (1.0, 30.0)
    """Standard deviation, in levels of 255."""
    poisson_scale_range: tuple[float, ...] = (0.05, 3.0)
    gray_noise_prob: float = 0.4
    """Of noise that is the same in all channels."""
    jpeg_range: tuple[float, ...] = (30.0, 95.0)
    """Quality."""

    def __post_init__(self) -> None:
        for name in ("blur_prob", "sinc_prob", "gaussian_noise_prob", "gray_noise_prob"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"degradation: {name} must be 0 to 1, got {getattr(self, name)}")
        for name in ("blur_sigma", "betag_range", "betap_range", "noise_range", "poisson_scale_range", "jpeg_range"):
            _require_range(name, getattr(self, name))
        _require_range("resize_range", self.resize_range)
        if not 0 < self.resize_range[0] <= 1 <= self.resize_range[1]:
            raise UsageError(f"degradation: resize_range must be from over 0 to 1 or more, got {self.resize_range}")
        if not 1 <= self.jpeg_range[0] <= self.jpeg_range[1] <= 100:
            raise UsageError(f"degradation: jpeg_range must be within 1 to 100, got {self.jpeg_range}")
        _require_weights("resize_prob", self.resize_prob, 3)
        _require_weights("kernel_prob", self.kernel_prob, len(KERNELS))


@dataclass(frozen=True, kw_only=True)
class SecondStageOptions(StageOptions):
    """The second stage is milder."""

    blur_prob: float = 0.8
    blur_sigma: tuple[float, ...] = (0.2, 1.5)
    resize_prob: tuple[float, ...] = (0.3, 0.4, 0.3)
    resize_range: tuple[float, ...] = (0.3, 1.2)
    noise_range: tuple[float, ...] = (1.0, 25.0)
    poisson_scale_range: tuple[float, ...] = (0.05, 2.5)


@dataclass(frozen=True, kw_only=True)
class DegradationOptions:
    """`degradation:` of a set; the defaults are Real-ESRGAN's.

    Raises:
        UsageError: a probability outside 0..1.
    """

    first: StageOptions = StageOptions()
    second: SecondStageOptions = SecondStageOptions()
    final_sinc_prob: float = 0.8
    sharpen: bool = True
    """Degrade, and compare with, the HR image after unsharp masking; the discriminator sees it as it is."""

    def __post_init__(self) -> None:
        if not 0 <= self.final_sinc_prob <= 1:
            raise UsageError(f"degradation: final_sinc_prob must be 0 to 1, got {self.final_sinc_prob}")
