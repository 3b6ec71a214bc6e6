"""BasicSR's loaders, set up for a run that can be continued anywhere."""

from __future__ import annotations

import signal
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from esrgan.errors import DataError, UsageError
from esrgan.training.data.sampling import ResumableSampler, SeededDataset
from esrgan.training.launch import Launch
from esrgan.training.parts import full_name

_GRACE_SECONDS = 30
"""How long a worker lives on after SIGTERM, which Slurm sends to every process of a run at once."""


@dataclass(frozen=True)
class Position:
    """Where a run is in its data."""

    epoch: int = 0
    batches: int = 0
    """Batches of the epoch that were used for training."""


class TrainingData:
    """Batches without end, from any position on.

    Args:
        options: `datasets: train` with the keys that upstream adds (`phase`, `scale`).
        launch: this process.
        seed: of the run.

    Raises:
        DataError: the set cannot be read, or is smaller than a batch.
        UsageError: batches are to be copied to a GPU ahead, and there is none.
    """

    def __init__(self, options: dict[str, Any], launch: Launch, seed: int) -> None:
        from basicsr.data import build_dataloader

        self._launch = launch
        self._cuda = options.get("prefetch_mode") == "cuda"
        if self._cuda and not launch.num_gpu:
            raise UsageError("datasets:train:prefetch_mode: cuda needs a GPU; leave it out on the CPU")
        if options.get("prefetch_mode") == "cpu":
            # Workers load ahead by themselves. Upstream's thread would wait for ever where an image cannot be read.
            options = {**options, "prefetch_mode": None}
        dataset = build_set(options)
        ratio = options.get("dataset_enlarge_ratio", 1)
        self.images = len(dataset)
        self._sampler = ResumableSampler(
            self.images, ratio=ratio, seed=seed, rank=launch.rank, world_size=launch.world_size
        )
        self._loader = build_dataloader(
            SeededDataset(dataset, seed),
            options,
            num_gpu=launch.num_gpu,
            dist=launch.distributed,
            sampler=self._sampler,
            seed=seed,
        )
        # The loader would draw from the generator that the networks use.
        self._loader.generator = torch.Generator().manual_seed(seed)
        self._loader.worker_init_fn = _Detached(self._loader.worker_init_fn)
        self.batch_size = int(self._loader.batch_size)
        self.batches_per_epoch = len(self._sampler) // self.batch_size
        if not self.batches_per_epoch:
            raise DataError(
                f"datasets:train: an epoch has {len(self._sampler)} samples for each process, less than the batch "
                f"of {self.batch_size}: raise dataset_enlarge_ratio or lower batch_size_per_gpu"
            )

    def batches(self, start: Position) -> Generator[tuple[dict[str, Any], Position]]:
        """Yield each batch with the position after it."""
        position = start
        while True:
            self._sampler.start(position.epoch, position.batches * self.batch_size)
            for batch in self._epoch():
                position = Position(position.epoch, position.batches + 1)
                yield batch, position
            position = Position(position.epoch + 1)

    def _epoch(self) -> Iterator[dict[str, Any]]:
        iterator = _CudaBatches(self._loader, self._launch.num_gpu) if self._cuda else iter(self._loader)
        while True:
            try:
                batch = next(iterator, None)
            except DataError as error:  # from a worker: the text of its whole traceback
                last = str(error).strip().splitlines()[-1]
                raise DataError(last.partition("DataError: ")[2] or last) from error
            if batch is None:
                return
            yield batch


class _CudaBatches:
    """BasicSR's prefetcher as an iterator; it copies the next batch while the network works."""

    def __init__(self, loader: Any, num_gpu: int) -> None:
        from basicsr.data.prefetch_dataloader import CUDAPrefetcher

        self._prefetcher = CUDAPrefetcher(loader, {"num_gpu": num_gpu})

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self

    def __next__(self) -> dict[str, Any]:
        batch: dict[str, Any] | None = self._prefetcher.next()
        if batch is None:
            raise StopIteration
        return batch


@dataclass(frozen=True)
class _Detached:
    """Starts a worker that leaves Ctrl-C and SIGTERM to the training process, which still needs it to stop well."""

    inner: Callable[[int], None] | None

    def __call__(self, worker: int) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: signal.alarm(_GRACE_SECONDS))
        if self.inner is not None:
            self.inner(worker)


def build_set(options: dict[str, Any]) -> Any:
    """One of BasicSR's datasets.

    Raises:
        DataError: it cannot be built from these options.
    """
    from basicsr.data import build_dataset

    options = {**options, "type": full_name("dataset", options["type"]) or options["type"]}
    try:
        dataset = build_dataset(options)
    except (AssertionError, KeyError, OSError, TypeError, ValueError) as error:
        raise DataError(f"the set {options['name']!r} cannot be read: {_reason(error)}") from error
    if not len(dataset):
        raise DataError(f"the set {options['name']!r} is empty")
    return dataset


def _reason(error: Exception) -> str:
    text = str(error).strip()
    return f"the key {text} is missing" if isinstance(error, KeyError) else text or type(error).__name__


def evaluation_loader(options: dict[str, Any], launch: Launch, seed: int) -> Any:
    """The loader of a validation or test set: one image at a time, in the order of the set."""
    from basicsr.data import build_dataloader

    loader = build_dataloader(
        build_set(options), options, num_gpu=launch.num_gpu, dist=launch.distributed, sampler=None, seed=seed
    )
    loader.generator = torch.Generator().manual_seed(seed)
    return loader
