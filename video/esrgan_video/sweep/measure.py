"""Scores of the blends of two networks on HR images, bicubic beside them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from esrgan.errors import MissingExtraError, UsageError
from esrgan.progress import Progress, ProgressMode
from esrgan.weights import LoadedNetwork, interpolate
from esrgan_video.engine import EngineOptions, Upscaler

if TYPE_CHECKING:
    from esrgan.training.evaluation.metrics import Metric

Picture = NDArray[np.uint8]
"""`(H, W, 3)` BGR."""

COLUMNS = ("psnr_y", "ssim_y", "psnr_rgb", "ssim_rgb", "niqe")
"""Names of the scores. PSNR in dB and SSIM want to be high, NIQE low."""

BICUBIC = "bicubic"
ORIGINAL = "original"


@dataclass(frozen=True)
class Row:
    """The mean scores of one way to upscale."""

    name: str
    """`bicubic`, `original` (the HR images themselves), or the alpha."""
    alpha: float | None
    scores: Mapping[str, float]
    """Of `COLUMNS`, those that could be measured on an image at least."""


@dataclass(frozen=True, kw_only=True)
class Crop:
    """A square of the first image, in HR pixels, that is kept of every row; the middle where not given."""

    side: int = 160
    left: int | None = None
    top: int | None = None


@dataclass(frozen=True)
class Swept:
    """What a sweep found."""

    rows: list[Row]
    """Bicubic, each alpha, and the original."""
    crops: list[Picture]
    """The crop of each row."""
    images: int
    border: int
    """Pixels at each edge that were left out of the scores: the scale."""


def sweep(
    a: LoadedNetwork,
    b: LoadedNetwork,
    images: Sequence[Path],
    alphas: Iterable[float],
    *,
    engine: EngineOptions | None = None,
    crop: Crop | None = None,
    progress: ProgressMode = "auto",
) -> Swept:
    """Upscale the MATLAB-like bicubic LR of every image with (1 − α) A + α B for each α, and measure.

    Args:
        a: PSNR-oriented network.
        b: GAN of the same architecture, trained from `a`.
        images: HR images; they are cut to a multiple of the scale.
        alphas: 0..1 each.
        engine: device, precision and tiles; float32 by default, since scores are compared.
        crop: what `Swept.crops` shows.
        progress: how it is shown.

    Raises:
        MissingExtraError: BasicSR, whose metrics are used, is not installed.
        UsageError: networks that differ, that are x1, or an alpha outside 0..1.
        DataError: an image cannot be read, or is too small.
    """
    if find_spec("basicsr") is None:
        raise MissingExtraError("measuring", "train")
    scale = a.facts.scale
    if scale < 2:
        raise UsageError("a sweep needs networks that enlarge: these are x1")
    interpolate(a, b, 0)  # refuses networks that differ, before minutes are spent on bicubic
    alphas = list(alphas)
    metrics = _metrics(scale)
    rows, crops = [], []
    with Progress("sweep", total=(len(alphas) + 2) * len(images), unit="image", mode=progress) as bar:
        for name, alpha, enlarge in _ways(a, b, alphas, engine or EngineOptions(dtype="float32")):
            found: dict[str, list[float]] = {metric.name: [] for metric in metrics}
            for number, file in enumerate(images):
                hr, lr = _pair(file, scale)
                output = enlarge(lr) if enlarge else hr
                _measure(metrics, found, output, hr if enlarge else None)
                if number == 0:
                    crops.append(_cut(output, crop or Crop()))
                bar.update()
            rows.append(Row(name, alpha, {key: math.fsum(some) / len(some) for key, some in found.items() if some}))
    return Swept(rows, crops, len(images), scale)


def _ways(
    a: LoadedNetwork, b: LoadedNetwork, alphas: Sequence[float], engine: EngineOptions
) -> Iterator[tuple[str, float | None, Callable[[Picture], Picture] | None]]:
    """Name, alpha, and how to enlarge; one network at a time is in memory. The original has no way."""
    scale = a.facts.scale
    yield BICUBIC, None, lambda lr: _bicubic(lr, scale)
    for alpha in alphas:
        yield f"{alpha:g}", alpha, partial(_run, Upscaler(interpolate(a, b, alpha), engine))
    yield ORIGINAL, None, None


def _run(upscaler: Upscaler, lr: Picture) -> Picture:
    rgb = torch.from_numpy(lr[..., ::-1].transpose(2, 0, 1) / np.float32(255))[None]
    output = upscaler(rgb)[0].clamp(0, 1).cpu().numpy()  # (3, sH, sW)
    return _to_bytes(output.transpose(1, 2, 0)[..., ::-1])


def _bicubic(lr: Picture, scale: int) -> Picture:
    """MATLAB's `imresize(lr, scale, 'bicubic')`, as in papers' tables."""
    from basicsr.utils.matlab_functions import imresize

    return _to_bytes(imresize(lr / np.float32(255), scale))


def _to_bytes(image: NDArray[np.floating]) -> Picture:
    return np.ascontiguousarray((image.clip(0, 1) * 255).round().astype(np.uint8))


def _pair(file: Path, scale: int) -> tuple[Picture, Picture]:
    from esrgan.training.data.bicubic_folder import hr_and_lr

    return hr_and_lr(file, scale)


def _metrics(scale: int) -> list[Metric]:
    from esrgan.training.evaluation.metrics import niqe_metric, standard_metrics
    from esrgan.training.parts import register_all

    register_all()
    found = {metric.name: metric for metric in (*standard_metrics(scale), niqe_metric(scale))}
    return [found[name] for name in COLUMNS]


def _measure(metrics: Sequence[Metric], found: Mapping[str, list[float]], output: Picture, hr: Picture | None) -> None:
    from esrgan.training.evaluation.metrics import Picture as Measured

    picture = Measured(name="", lr=output, output=output, hr=hr)
    for metric in metrics:
        if not math.isnan(value := metric.measure(picture)):
            found[metric.name].append(value)


def _cut(image: Picture, crop: Crop) -> Picture:
    height, width = image.shape[:2]
    side = min(crop.side, height, width)
    top = (height - side) // 2 if crop.top is None else min(crop.top, height - side)
    left = (width - side) // 2 if crop.left is None else min(crop.left, width - side)
    return image[top : top + side, left : left + side].copy()
