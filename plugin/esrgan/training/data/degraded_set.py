"""HR images with LR images that are degraded at random while training, as in Real-ESRGAN."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
from torch.utils.data import Dataset

from esrgan.errors import DataError
from esrgan.training.data.bicubic_folder import as_floats, hr_images, to_tensor
from esrgan.training.data.degradation import Image, degrade, sharpened
from esrgan.training.data.degradation_options import DegradationOptions
from esrgan.training.data.image_files import read_bgr
from esrgan.training.options.binding import bound

_MARGIN = 32
"""HR pixels around a patch that are degraded with it, so that it has no border of its own."""


class DegradedDataset(Dataset[dict[str, Any]]):
    """Patches of HR images and their LR after `degrade`, made by the loader's processes.

    Like any other set it is the same for equal seeds and positions, so a run is continued exactly; and it
    works on the CPU and with every model.

    YAML: `type: DegradedDataset_esrgan`, `name`, `dataroot_gt`, `gt_size`, `use_hflip`, `use_rot`, and `degradation`
    with the fields of `DegradationOptions` where Real-ESRGAN's own ranges are not meant.

    Raises:
        DataError: no such folder, or no image in it.
        UsageError: an impossible degradation.
    """

    makes_rgb = True
    """Grey images and images with alpha may be in the folder."""
    sections: ClassVar[Mapping[str, type]] = {"degradation": DegradationOptions}
    """Keys that hold keys of their own, and what these are bound to."""

    def __init__(self, opt: dict[str, Any]) -> None:
        self.opt = opt
        self.paths = hr_images(Path(opt["dataroot_gt"]))
        self._scale: int = opt["scale"]
        self._side: int = opt["gt_size"]
        self._hflip: bool = opt["use_hflip"]
        self._rotation: bool = opt["use_rot"]
        self._degradation = bound(DegradationOptions, opt.get("degradation") or {})

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """`lq` `(3, H, W)`, `gt` and `gt_usm`, the sharpened HR, `(3, sH, sW)`; RGB in 0..1."""
        from basicsr.data.transforms import augment

        file = self.paths[index]
        # From the global generator: that is the one which a loader seeds for each sample.
        random = np.random.default_rng(np.random.randint(2**31, size=4))  # noqa: NPY002
        hr = self._patch(file, random)
        hr = np.ascontiguousarray(augment(hr, hflip=self._hflip, rotation=self._rotation))
        target = sharpened(hr) if self._degradation.sharpen else hr
        lr = degrade(target, self._scale, self._degradation, random)
        sample = {"gt": self._middle(hr, 1), "gt_usm": self._middle(target, 1), "lq": self._middle(lr, self._scale)}
        return {**{name: to_tensor(image) for name, image in sample.items()}, "gt_path": str(file)}

    def _patch(self, file: Path, random: np.random.Generator) -> Image:
        """A random square of the patch's size and its margin; small images are mirrored at the edges."""
        try:
            image = read_bgr(file)
        except DataError as error:
            raise DataError(f"{file} {error}") from error
        side = self._side + 2 * self._padding
        below, right = (max(0, side - length) for length in image.shape[:2])
        if below or right:
            image = np.asarray(cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_REFLECT), np.uint8)
        top, left = (int(random.integers(length - side + 1)) for length in image.shape[:2])
        return as_floats(image[top : top + side, left : left + side])

    @property
    def _padding(self) -> int:
        """The margin as a multiple of the scale."""
        return -(-_MARGIN // self._scale) * self._scale

    def _middle(self, image: Image, shrink: int) -> Image:
        start, side = self._padding // shrink, self._side // shrink
        return image[start : start + side, start : start + side]
