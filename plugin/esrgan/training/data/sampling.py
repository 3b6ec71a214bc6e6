"""Training data whose order and augmentation depend on the seed and the position alone.

So it makes no difference how many workers load it, how far ahead they are, or where a run was
interrupted: the n-th sample of an epoch is the same one, cut and turned the same way.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Iterator
from typing import Any, NamedTuple

import cv2
import torch
from torch.utils.data import Dataset, Sampler

from esrgan.errors import DataError
from esrgan.training.compat import patch_torchvision
from esrgan.training.random_state import seeded


class SampleKey(NamedTuple):
    """What a sampler asks a `SeededDataset` for."""

    image: int
    """Its number in the set."""
    epoch: int
    position: int
    """In the epoch, over all processes."""


class SeededDataset(Dataset[Any]):
    """A BasicSR dataset whose random choices follow from the seed and the key of a sample.

    Args:
        dataset: the set; its choices may come from python's, numpy's or torch's generator.
        seed: of the run.
    """

    def __init__(self, dataset: Any, seed: int) -> None:
        self.dataset = dataset
        self.seed = seed

    def __len__(self) -> int:
        return len(self.dataset)

    def __getstate__(self) -> dict[str, Any]:
        return {"dataset": pickle.dumps(self.dataset), "seed": self.seed}

    def __setstate__(self, state: dict[str, Any]) -> None:
        patch_torchvision()  # a worker that was not forked has yet to import BasicSR
        self.dataset, self.seed = pickle.loads(state["dataset"]), state["seed"]  # noqa: S301 - our own process's

    def __getitem__(self, key: SampleKey) -> Any:
        with seeded(self.seed, key.epoch, key.position):
            try:
                return self.dataset[key.image]
            except (ValueError, AttributeError, TypeError, OSError, cv2.error) as error:
                # What OpenCV and BasicSR make of a file that is damaged, too small, or gone.
                raise DataError(f"cannot use {self._name(key.image)}: {error}") from error

    def _name(self, index: int) -> str:
        paths = getattr(self.dataset, "paths", None)
        if not paths:
            return f"image {index}"
        path = paths[index]
        return str(path.get("gt_path") or path.get("lq_path") if isinstance(path, dict) else path)


class ResumableSampler(Sampler[SampleKey]):
    """The order of an enlarged set, shuffled anew in each epoch, from any position on.

    Args:
        length: images in the set.
        ratio: an epoch goes through the set this many times.
        seed: of the run.
        rank, world_size: each process gets every `world_size`-th sample.
    """

    def __init__(self, length: int, *, ratio: float, seed: int, rank: int, world_size: int) -> None:
        self._length = length
        self._samples = math.ceil(length * ratio / world_size)  # of one process in an epoch
        self._seed = seed
        self._rank = rank
        self._world_size = world_size
        self._epoch = 0
        self._skipped = 0

    def start(self, epoch: int, skipped: int = 0) -> None:
        """Make the next iteration go through `epoch`, without its first `skipped` samples of this process."""
        self._epoch = epoch
        self._skipped = skipped

    def __len__(self) -> int:
        return max(0, self._samples - self._skipped)

    def __iter__(self) -> Iterator[SampleKey]:
        generator = torch.Generator()
        generator.manual_seed((self._seed << 24) + self._epoch)
        order = torch.randperm(self._samples * self._world_size, generator=generator).tolist()
        epoch = self._epoch
        for sample in range(self._skipped, self._samples):
            position = sample * self._world_size + self._rank
            yield SampleKey(order[position] % self._length, epoch, position)
