"""Training pairs from a folder of photographs: sub-images and their MATLAB-like bicubic LR."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from esrgan.errors import DataError
from esrgan.training.compat import patch_torchvision

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})


@dataclass(frozen=True, kw_only=True)
class PrepareOptions:
    """How photographs become pairs."""

    scale: int = 4
    """Size ratio of HR to LR."""
    crop: int | None = 160
    """Side of an HR sub-image in pixels, a multiple of `scale`; `None` keeps whole images."""
    step: int = 80
    """Distance between sub-images in HR pixels, a multiple of `scale`."""

    def __post_init__(self) -> None:
        if self.scale < 1:
            raise DataError(f"scale must be at least 1, got {self.scale}")
        for name, value in (("crop", self.crop), ("step", self.step)):
            if value is not None and (value < 1 or value % self.scale):
                raise DataError(f"{name} must be a positive multiple of the scale {self.scale}, got {value}")


def prepare(source: Path, target: Path, options: PrepareOptions, *, workers: int | None = None) -> int:
    """Write `target/hr/*.png` and `target/lr/*.png` for every image in `source`; returns the number of pairs.

    The LR picture is made from the whole HR image (cropped to a multiple of the scale) before it is
    cut, so sub-images have no border of their own. A picture whose pairs are all there is left as it
    is: an interrupted run continues.

    Raises:
        DataError: `source` holds no image, or one that cannot be read.
    """
    images = sorted(path for path in source.iterdir() if path.suffix.lower() in SUFFIXES) if source.is_dir() else []
    if not images:
        raise DataError(f"no images in {source}: expected files ending in {', '.join(sorted(SUFFIXES))}")
    for folder in ("hr", "lr"):
        (target / folder).mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(workers or os.cpu_count()) as pool:
        counts = pool.map(partial(_prepare_image, target=target, options=options), images)
        return sum(tqdm(counts, total=len(images), desc="prepare", unit="image"))


def _prepare_image(path: Path, *, target: Path, options: PrepareOptions) -> int:
    hr = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)  # (H, W, 3), BGR
    if hr is None:
        raise DataError(f"cannot read {path}: not an image, or truncated")
    boxes = dict(_boxes(hr.shape[0], hr.shape[1], path.stem, options))
    missing = [name for name in boxes if not all((target / kind / name).exists() for kind in ("hr", "lr"))]
    if missing:
        scale = options.scale
        hr = hr[: hr.shape[0] // scale * scale, : hr.shape[1] // scale * scale]
        lr = _matlab_bicubic(hr, scale)
        for name in missing:
            top, left, height, width = boxes[name]
            _write(target / "hr" / name, hr[top : top + height, left : left + width])
            top, left, height, width = (value // scale for value in boxes[name])
            _write(target / "lr" / name, lr[top : top + height, left : left + width])
    return len(boxes)


def _boxes(height: int, width: int, stem: str, options: PrepareOptions) -> Iterator[tuple[str, tuple[int, ...]]]:
    """File name and (top, left, height, width) of each sub-image, in HR pixels."""
    height, width = (side // options.scale * options.scale for side in (height, width))
    if options.crop is None:
        yield f"{stem}.png", (0, 0, height, width)
        return
    if min(height, width) < options.crop:
        raise DataError(f"{stem}: {width}x{height} is smaller than the crop of {options.crop}")
    number = 0
    for top in range(0, height - options.crop + 1, options.step):
        for left in range(0, width - options.crop + 1, options.step):
            number += 1
            yield f"{stem}_s{number:03d}.png", (top, left, options.crop, options.crop)


def _matlab_bicubic(hr: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    patch_torchvision()
    from basicsr.utils.matlab_functions import imresize

    lr: NDArray[Any] = imresize(hr.astype(np.float32) / 255.0, 1 / scale)
    return (lr * 255.0).round().clip(0, 255).astype(np.uint8)


def _write(path: Path, image: NDArray[np.uint8]) -> None:
    done, data = cv2.imencode(".png", image)
    if not done:
        raise DataError(f"cannot encode {path} as PNG")
    part = path.with_suffix(".part")
    part.write_bytes(data.tobytes())
    part.replace(path)
