"""Pairs that are decoded once and stay in memory: a fast GPU would wait for files that are decoded for each sample."""

from __future__ import annotations

import logging
import multiprocessing
import os
import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from esrgan.errors import DataError, UsageError
from esrgan.system_memory import available_bytes
from esrgan.training.data.bicubic_folder import hr_images
from esrgan.training.data.image_files import probe, read_bgr

_log = logging.getLogger(__name__)

Pixels = NDArray[np.uint8]

_THREADS = min(32, os.cpu_count() or 1)


class PairedMemoryDataset(Dataset[dict[str, Any]]):
    """Patches of pairs, cut, mirrored and turned as BasicSR's `PairedImageDataset` does it for the same random numbers.

    Each picture is decoded once, before training begins, and takes its height times its width times 3 bytes. Processes
    that load share them where they are forks; else (with several GPUs, and not on Linux) each has a copy. Samples are
    8-bit numbers, which this project's models divide on their device; BasicSR's own models do not.

    YAML: `type: PairedMemoryDataset_esrgan`, `name`, `dataroot_gt`, `dataroot_lq`, `gt_size`, `use_hflip`, `use_rot`.
    The files of a pair have the same name, as `basicsr prepare` writes them.

    Raises:
        DataError: `meta_info_file` or `filename_tmpl` is given; no such folder, no image in it, a file without its
            partner, or a picture that cannot be decoded, is not `scale` times its partner, or is smaller than the
            patch; or all of them need more memory than is free.
        UsageError: a patch that is no multiple of the scale, or a set that is not for training.
    """

    gives_bytes = True
    """Samples are 0..255: a model that does not divide them would learn nonsense."""

    def __init__(self, opt: dict[str, Any]) -> None:
        self.opt = opt
        self._scale: int = opt["scale"]
        self._side: int = opt["gt_size"]
        self._hflip: bool = opt["use_hflip"]
        self._rotation: bool = opt["use_rot"]
        if opt["phase"] != "train":
            raise UsageError(f"{opt['name']}: PairedMemoryDataset is for training; take PairedImageDataset here")
        if self._side < self._scale or self._side % self._scale:
            raise UsageError(f"{opt['name']}: gt_size {self._side} is no multiple of the scale {self._scale}")
        for key in ("meta_info_file", "filename_tmpl"):
            if opt.get(key):
                raise DataError(
                    f"{key} is not for PairedMemoryDataset, which takes all pairs of two folders: leave it out"
                )
        self.paths = _pairs(Path(opt["dataroot_gt"]), Path(opt["dataroot_lq"]))
        _refuse_what_does_not_fit(self.paths, copies=_copies(opt.get("num_worker_per_gpu") or 0))
        with ThreadPoolExecutor(_THREADS) as pool:
            self._pictures = list(pool.map(self._read, self.paths))
        size = sum(hr.nbytes + lr.nbytes for hr, lr in self._pictures)
        _log.info("%s: %s pairs in memory, %.0f MiB", opt["name"], f"{len(self.paths):,}", size / 2**20)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """`lq` `(3, H, W)` and `gt` `(3, sH, sW)`, uint8, RGB in 0..255, with `lq_path` and `gt_path`."""
        hr, lr = self._pictures[index]
        side = self._side // self._scale
        # In BasicSR's order, and from the generator that it draws from.
        top, left = (random.randint(0, length - side) for length in lr.shape[1:])  # noqa: S311
        mirrored = self._hflip and random.random() < 0.5  # noqa: S311
        upside_down = self._rotation and random.random() < 0.5  # noqa: S311
        turned = self._rotation and random.random() < 0.5  # noqa: S311

        def cut(image: Pixels, scale: int) -> Tensor:
            patch = image[:, top * scale : (top + side) * scale, left * scale : (left + side) * scale]
            patch = patch[:, :: -1 if upside_down else 1, :: -1 if mirrored else 1]
            patch = patch.transpose(0, 2, 1) if turned else patch
            # A view would let whoever changes a sample change the picture.
            return torch.from_numpy(np.array(patch, order="C"))

        return {"lq": cut(lr, 1), "gt": cut(hr, self._scale), **self.paths[index]}

    def _read(self, pair: dict[str, str]) -> tuple[Pixels, Pixels]:
        """HR and LR as `(3, H, W)`, RGB: rows of a patch are then copied whole."""
        hr, lr = (_decoded(Path(pair[kind])) for kind in ("gt_path", "lq_path"))
        (height, width), (lr_height, lr_width) = hr.shape[1:], lr.shape[1:]
        if (height, width) != (lr_height * self._scale, lr_width * self._scale):
            raise DataError(
                f"{pair['gt_path']} is {width}x{height}, not {self._scale} times {pair['lq_path']}, which is "
                f"{lr_width}x{lr_height}: make pairs with `basicsr prepare`"
            )
        if min(height, width) < self._side:
            raise DataError(
                f"{pair['gt_path']} is {width}x{height}, smaller than gt_size {self._side}: remove it or lower gt_size"
            )
        return hr, lr


def _pairs(hr_folder: Path, lr_folder: Path) -> list[dict[str, str]]:
    hr, lr = ({file.name: file for file in hr_images(folder)} for folder in (hr_folder, lr_folder))
    for name in sorted(hr.keys() ^ lr.keys()):
        there, missing = (hr_folder, lr_folder) if name in hr else (lr_folder, hr_folder)
        raise DataError(f"{there / name} has no partner in {missing}: make pairs with `basicsr prepare`")
    return [{"lq_path": str(lr[name]), "gt_path": str(file)} for name, file in hr.items()]


def _copies(workers: int) -> int:
    """How many processes will hold the pictures: forks share what was there before them."""
    return 1 if multiprocessing.get_start_method() == "fork" else 1 + workers


def _refuse_what_does_not_fit(pairs: list[dict[str, str]], *, copies: int) -> None:
    """By the headers alone: without it the system would kill the run, and say nothing."""
    needed = 0
    for file in (path for pair in pairs for path in pair.values()):
        with suppress(DataError):  # whoever decodes it says what is wrong
            facts = probe(Path(file))
            needed += 3 * facts.width * facts.height * copies
    free = available_bytes()
    if needed > free:
        raise DataError(
            f"{len(pairs):,} pairs need {needed / 2**20:,.0f} MiB of memory"
            f"{f' in {copies} processes' if copies > 1 else ''}, and {free / 2**20:,.0f} are free: "
            f"take PairedImageDataset{' or fewer workers' if copies > 1 else ''}"
        )


def _decoded(file: Path) -> Pixels:
    try:
        image = read_bgr(file)
    except DataError as error:
        raise DataError(f"{file} {error}: remove its pair, or make pairs with `basicsr prepare`") from error
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}; make it readable") from error
    return np.ascontiguousarray(image[..., ::-1].transpose(2, 0, 1))
