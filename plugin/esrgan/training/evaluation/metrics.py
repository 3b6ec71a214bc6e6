"""Measures of a picture against its original: always PSNR and SSIM on Y and on RGB, and what the options add."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from esrgan.training.options.binding import Component, thaw
from esrgan.training.parts import full_name, registered

_SSIM_WINDOW = 11
_NIQE_BLOCK = 96

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Picture:
    """What a network made of one image."""

    name: str
    """Of the LR file, without folder and suffix."""
    lr: NDArray[np.uint8]
    """`(H, W, 3)` BGR or `(H, W)` grey, as are the others."""
    output: NDArray[np.uint8]
    hr: NDArray[np.uint8] | None


@dataclass(frozen=True)
class Metric:
    """A named measure."""

    name: str
    measure: Callable[[Picture], float]
    """NaN where a picture cannot be measured: too small, or without HR."""
    better: Literal["higher", "lower"] = "higher"


def standard_metrics(scale: int) -> list[Metric]:
    """PSNR in dB and SSIM, on the Y of YCbCr (BT.601, as in MATLAB) and on RGB, without a border of `scale` pixels.

    They differ by about 2 dB, and papers give either: both are always measured, under their own names.
    """
    return [
        Metric(f"{name}_{space}", _full_reference(f"calculate_{name}", scale, is_y=space == "y"))
        for name in ("psnr", "ssim")
        for space in ("y", "rgb")
    ]


def _full_reference(function: str, border: int, *, is_y: bool) -> Callable[[Picture], float]:
    calculate = registered("metric")[function]

    def measure(picture: Picture) -> float:
        if picture.hr is None or min(picture.output.shape[:2]) < 2 * border + _SSIM_WINDOW:
            return math.nan
        if not is_y and picture.output.ndim == 2:  # grey: there is no RGB
            return math.nan
        return float(calculate(picture.output, picture.hr, crop_border=border, test_y_channel=is_y))

    return measure


def niqe_metric(border: int, **arguments: Any) -> Metric:
    """NIQE (Mittal et al. 2013) as BasicSR computes it, on Y by default; lower is better.

    It compares statistics of 96x96 blocks: a picture with fewer than two of them cannot be measured.
    """
    calculate = registered("metric")["calculate_niqe"]

    def measure(picture: Picture) -> float:
        rows, columns = ((side - 2 * border) // _NIQE_BLOCK for side in picture.output.shape[:2])
        if min(rows, columns) < 1 or rows * columns < 2:
            return math.nan
        order = "HWC" if picture.output.ndim == 3 else "HW"
        return float(calculate(picture.output, crop_border=border, input_order=order, **arguments))

    return Metric("niqe", measure, "lower")


def configured_metrics(components: Mapping[str, Component]) -> list[Metric]:
    """The metrics of `val: metrics`, out of BasicSR's registry."""
    metrics = []
    for name, component in components.items():
        arguments = thaw(component.arguments)
        if component.type == "calculate_niqe":
            arguments.pop("better", None)
            border = arguments.pop("crop_border", 0)
            metrics.append(replace(niqe_metric(border, **arguments), name=name))
            continue
        better = arguments.pop("better", "higher")
        function = registered("metric")[full_name("metric", component.type) or component.type]
        metrics.append(Metric(name, _registered_metric(function, arguments), better))
    return metrics


def _registered_metric(function: Callable[..., Any], arguments: dict[str, Any]) -> Callable[[Picture], float]:
    def measure(picture: Picture) -> float:
        hr = {} if picture.hr is None else {"img2": picture.hr}
        try:
            return float(function(img=picture.output, **hr, **arguments))
        except TypeError:
            if picture.hr is None:  # a full-reference metric, on a set without HR
                return math.nan
            raise

    return measure


def pyiqa_metrics(names: Iterable[str], device: Any, *, border: int = 0) -> list[Metric]:
    """Metrics of the package pyiqa. What cannot be had is left out with a warning: a run does not end for a measure.

    NIQE comes with BasicSR: without pyiqa that one is taken, without a border of `border` pixels.
    """
    has_pyiqa = find_spec("pyiqa") is not None
    metrics, missing = [], []
    for name in names:
        if has_pyiqa:
            metrics += _pyiqa_metric(name, device)
        elif name == "niqe":
            metrics.append(niqe_metric(border))
        else:
            missing.append(name)
    if missing:
        _log.warning("%s are left out: `pip install pyiqa` for val:pyiqa", ", ".join(missing))
    return metrics


def _pyiqa_metric(name: str, device: Any) -> list[Metric]:
    """The metric, or nothing where its weights cannot be downloaded or it is not known."""
    try:
        network = import_module("pyiqa").create_metric(name, device=device)  # downloads when first used
    except Exception as error:  # noqa: BLE001 - whatever the package and its downloads raise
        _log.warning("val:pyiqa: %s is left out: %s", name, " ".join(str(error).split()) or type(error).__name__)
        return []
    return [Metric(name, _measure_with(network), "lower" if network.lower_better else "higher")]


def _measure_with(network: Any) -> Callable[[Picture], float]:
    import torch

    def tensor(image: NDArray[np.uint8]) -> torch.Tensor:
        rgb = np.ascontiguousarray(image[..., ::-1])
        return torch.from_numpy(rgb).permute(2, 0, 1)[None].float() / 255  # (1, 3, H, W)

    def measure(picture: Picture) -> float:
        if picture.output.ndim == 2 or (picture.hr is None and network.metric_mode == "FR"):
            return math.nan
        images = [picture.output] if network.metric_mode == "NR" else [picture.output, picture.hr]
        with torch.no_grad():
            return float(network(*(tensor(image) for image in images if image is not None)))

    return measure


@dataclass
class BestScores:
    """The best value of each metric of each set so far."""

    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    """Set -> metric -> value and iteration."""

    def update(self, dataset: str, metric: Metric, value: float, iteration: int) -> None:
        """Take `value` into account."""
        best = self.values.setdefault(dataset, {})
        sign = 1 if metric.better == "higher" else -1
        if not math.isnan(value) and (metric.name not in best or sign * value > sign * best[metric.name][0]):
            best[metric.name] = [value, iteration]
