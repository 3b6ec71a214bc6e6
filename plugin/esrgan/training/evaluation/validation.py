"""Measuring a network on a set: in validations of a training run, and in `basicsr test`."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esrgan.progress import Progress, ProgressMode
from esrgan.training.evaluation.metrics import BestScores, Metric, Picture

_OWN_VALIDATION = (
    "basicsr.models.sr_model",
    "basicsr.models.realesrgan_model",
    "basicsr.models.realesrnet_model",
)
"""Modules whose validation is one image in, one image out, as `evaluate` does it."""

_LARGEST_SAMPLE = 512
_GAP = 4

_log = logging.getLogger(__name__)


def takes_single_images(model: Any) -> bool:
    """Whether `evaluate` can stand in for the model's own validation; video models have another."""
    for cls in type(model).__mro__:
        if "nondist_validation" in vars(cls):
            return cls.__module__ in _OWN_VALIDATION
    return False


def evaluate(
    model: Any,
    loader: Any,
    metrics: Sequence[Metric],
    *,
    each: Callable[[int, Picture], None],
    progress: ProgressMode = "auto",
) -> dict[str, float]:
    """Run the generator on every image of a set.

    Args:
        model: of the `SRModel` family.
        loader: batches of one image.
        metrics: what to measure.
        each: called with the number of the image from 0, and what became of it.
        progress: how it is shown.

    Returns:
        The mean of each metric over the images that it can measure, in the order of `metrics`; those that
        can measure none are left out.
    """
    values: dict[str, list[float]] = {metric.name: [] for metric in metrics}
    name = loader.dataset.opt["name"]
    with Progress(f"validate {name}", total=len(loader), unit="image", mode=progress) as bar, _evaluating(model):
        for number, batch in enumerate(loader):
            picture = _upscaled(model, batch)
            for metric in metrics:
                if not math.isnan(value := metric.measure(picture)):
                    values[metric.name].append(value)
            each(number, picture)
            bar.update()
    return {
        name: math.fsum(found) / len(found) if _is_finite(found) else math.inf
        for name, found in values.items()
        if found
    }


def _is_finite(values: Sequence[float]) -> bool:
    return all(math.isfinite(value) for value in values)


@contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    """Models of Real-ESRGAN degrade what they are fed, unless this attribute says that they do not train."""
    before = model.is_train
    model.is_train = False
    try:
        yield
    finally:
        model.is_train = before


def _upscaled(model: Any, batch: Mapping[str, Any]) -> Picture:
    from basicsr.utils import tensor2img

    model.feed_data(batch)
    model.test()
    output = tensor2img([model.get_current_visuals()["result"]])
    return Picture(
        name=Path(batch["lq_path"][0]).stem,
        lr=tensor2img([batch["lq"]]),
        output=output,
        hr=tensor2img([batch["gt"]]) if "gt" in batch else None,
    )


def side_by_side(picture: Picture, scale: int) -> NDArray[np.uint8]:
    """LR (pixels repeated) | output | HR, `(H, W, 3)` BGR: the middle of the picture, at most 512 pixels a side."""
    lr = picture.lr.repeat(scale, axis=0).repeat(scale, axis=1)
    images = [image for image in (lr, picture.output, picture.hr) if image is not None]
    height = min(_LARGEST_SAMPLE, *(image.shape[0] for image in images))
    width = min(_LARGEST_SAMPLE, *(image.shape[1] for image in images))
    parts: list[NDArray[np.uint8]] = []
    for image in images:
        top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
        cut = image[top : top + height, left : left + width]
        parts += [
            cut if cut.ndim == 3 else np.repeat(cut[..., None], 3, axis=2),
            np.full((height, _GAP, 3), 255, np.uint8),
        ]
    return np.concatenate(parts[:-1], axis=1)


def report(
    dataset: str, iteration: int | None, scores: Mapping[str, float], *, border: int, best: BestScores | None = None
) -> str:
    """Lines for a person: each metric by name, with the best value so far."""
    when = "" if iteration is None else f" at iteration {iteration:,}"
    lines = [f"{dataset}{when}, border {border}:"]
    for name, value in scores.items():
        unit = " dB" if name.startswith("psnr") else ""
        line = f"    {name:<10} {value:8.4f}{unit}"
        if best is not None and (known := best.values.get(dataset, {}).get(name)):
            line += f"   best {known[0]:.4f} at {known[1]:,.0f}"
        lines.append(line)
    if not scores:
        lines.append("    nothing to measure: the set has no HR images of a useful size")
    return "\n".join(lines)
