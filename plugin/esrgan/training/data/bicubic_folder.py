"""Any folder of HR images as a validation or test set: the LR images are made while it is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from esrgan.errors import DataError
from esrgan.training.data.bicubic import downscale
from esrgan.training.data.image_files import SUFFIXES, read_bgr


def hr_images(folder: Path) -> list[Path]:
    """The image files of `folder`, by name; other files, hidden ones and folders are left alone.

    Raises:
        DataError: there is no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder")
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.name[0] != "." and p.is_file())
    if not found:
        raise DataError(f"{folder} holds no image ({', '.join(sorted(SUFFIXES))})")
    return found


def hr_and_lr(file: Path, scale: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """An image, cut at the right and below to a multiple of `scale`, and its MATLAB-like bicubic LR; BGR.

    Raises:
        DataError: it cannot be decoded, or is smaller than `scale`.
    """
    try:
        image = read_bgr(file)
    except DataError as error:
        raise DataError(f"{file} {error}") from error
    height, width = (side // scale * scale for side in image.shape[:2])
    if not height or not width:
        raise DataError(f"{file} is {image.shape[1]}x{image.shape[0]}, smaller than the scale {scale}")
    hr = image[:height, :width]
    return hr, downscale(hr, scale)


class BicubicFolderDataset(Dataset[dict[str, Any]]):
    """HR images of a folder with the LR images that papers measure on. Grey is repeated, alpha dropped.

    YAML: `type: BicubicFolderDataset_esrgan`, `name` and `dataroot_gt`; nothing else.

    Raises:
        DataError: no such folder, or no image in it.
    """

    makes_rgb = True
    """Grey images and images with alpha may be in the folder."""

    def __init__(self, opt: dict[str, Any]) -> None:
        self.opt = opt
        self.paths = hr_images(Path(opt["dataroot_gt"]))
        self._scale: int = opt["scale"]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """`lq` `(3, H, W)` and `gt` `(3, sH, sW)`, RGB in 0..1, with `lq_path` and `gt_path`, both of the HR file."""
        file = self.paths[index]
        hr, lr = hr_and_lr(file, self._scale)
        return {
            "lq": to_tensor(as_floats(lr)),
            "gt": to_tensor(as_floats(hr)),
            "lq_path": str(file),
            "gt_path": str(file),
        }


def as_floats(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Levels of 0..255 as 0..1."""
    return np.asarray(image, np.float32) / np.float32(255)


def to_tensor(image: NDArray[np.float32]) -> Tensor:
    """`(H, W, 3)` BGR -> `(3, H, W)` RGB."""
    return torch.from_numpy(np.ascontiguousarray(image[..., ::-1].transpose(2, 0, 1)))
