"""What a run will need: memory, found without computing; time, from a few real iterations."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch
from torch import Tensor, nn

from esrgan.training.check.weights import build_network
from esrgan.training.data.loaders import Position, TrainingData
from esrgan.training.folders import RunFolders
from esrgan.training.launch import Launch
from esrgan.training.models.building import build_model
from esrgan.training.options.basicsr_options import basicsr_options
from esrgan.training.options.run_options import OptionsFile
from esrgan.training.random_state import seed_all

_STATES_PER_WEIGHT = 4
"""In float32: the weight, its gradient, and Adam's two means."""


def memory_needed(options: OptionsFile) -> int | None:
    """Bytes that the networks of a run hold while a batch is trained on; `None` where that cannot be told.

    Counted are weights with gradients, optimiser and average, and what the forward passes keep for the
    backward passes. Not counted are VGG of a perceptual loss and the workspace of the libraries, so the
    peak is higher; on CUDA by about a third. Nothing is computed: tensors have shapes only.
    """
    run = options.run
    train_set = run.datasets.get("train")
    if run.train is None or train_set is None or train_set.gt_size is None or not train_set.batch_size_per_gpu:
        return None
    parts = run.train.extra.get("accumulate") or 1
    batch = train_set.batch_size_per_gpu // parts
    total = 0
    for name in run.networks:
        side = train_set.gt_size // (run.scale if name == "network_g" else 1)
        try:
            network = build_network(options, name).to("meta")
            channels = run.networks[name].arguments.get("num_in_ch", 3)
            held = _held_for_backward(network, torch.empty(batch, channels, side, side, device="meta"))
        except Exception:  # noqa: BLE001 - any network of any plugin
            return None
        # A discriminator sees real and generated images.
        total += held * (1 if name == "network_g" else 2)
        weights = sum(p.numel() * p.element_size() for p in network.parameters())
        total += weights * (_STATES_PER_WEIGHT + int(name == "network_g" and run.train.ema_decay > 0))
    return total


def _held_for_backward(network: nn.Module, image: Tensor) -> int:
    """Bytes of the tensors that autograd keeps, each once, weights left out."""
    own = {id(parameter) for parameter in network.parameters()}
    held: dict[int, int] = {}
    kept: list[Tensor] = []  # alive, so that no identity is used twice

    def pack(tensor: Tensor) -> Tensor:
        key = tensor.untyped_storage()._cdata  # noqa: SLF001 - the storage's only stable identity
        if id(tensor) not in own and key not in held:
            held[key] = tensor.untyped_storage().nbytes()
            kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        network(image)
    return sum(held.values())


@dataclass(frozen=True)
class Measured:
    """What a few iterations took."""

    seconds: float
    """Of one iteration, without the first, which sets things up."""
    peak_bytes: int
    """Of this process (CPU) or of one GPU."""


def measure_steps(options: OptionsFile, launch: Launch, steps: int) -> Measured:
    """Train for `steps` iterations and one more in a folder that is then removed.

    Raises:
        FailedError: the model cannot be built, or diverges at once.
        DataError: the images cannot be read.
    """
    with _scratch() as base:
        folders = RunFolders.of_training(base, options.run.name)
        folders.create(training=True)
        seed = options.run.manual_seed or 0
        seed_all(seed)
        opt = basicsr_options(options, launch, folders, seed=seed)
        data = TrainingData(opt["datasets"]["train"], launch, seed)
        model = build_model(opt)
        batches = data.batches(Position())
        try:
            seconds = [_timed(model, batches, iteration) for iteration in range(1, steps + 2)]
        finally:
            batches.close()
    return Measured(seconds=sum(seconds[1:]) / steps, peak_bytes=_peak_bytes(launch))


def _timed(model: Any, batches: Iterator[tuple[dict[str, Any], Position]], iteration: int) -> float:
    """Seconds that one iteration takes, the wait for its data included."""
    started = time.perf_counter()
    batch, _ = next(batches)
    model.update_learning_rate(iteration)
    model.feed_data(batch)
    model.optimize_parameters(iteration)
    model.get_current_log()  # waits for the device
    return time.perf_counter() - started


def _peak_bytes(launch: Launch) -> int:
    if launch.num_gpu:
        return torch.cuda.max_memory_reserved()
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@contextmanager
def _scratch() -> Iterator[Path]:
    folder = Path(mkdtemp(prefix="basicsr_check_"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
