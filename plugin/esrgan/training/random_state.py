"""The random generators of a process: seeding, saving and restoring all of them together."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

MAX_SEED = 2**32
"""Seeds are under this: numpy's limit."""


def seed_all(seed: int) -> None:
    """Seed python, numpy and torch on every device."""
    random.seed(seed)
    np.random.seed(seed % MAX_SEED)  # noqa: NPY002 - the generator that BasicSR's datasets use
    torch.manual_seed(seed)


def random_state() -> dict[str, Any]:
    """The state of python's, numpy's and torch's generators: tensors, numbers and lists only."""
    version, numbers, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002
    return {
        "python": [version, list(numbers), gauss],
        "numpy": [name, torch.from_numpy(np.asarray(keys, np.int64)), int(position), int(has_gauss), float(cached)],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """The inverse of `random_state`; CUDA's part only where there are as many devices."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


@contextmanager
def seeded(*entropy: int) -> Iterator[None]:
    """Seed the CPU's generators from `entropy` for the block, and put their states back after it."""
    numbers = np.random.SeedSequence(entropy).generate_state(3, np.uint64)
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    random.seed(int(numbers[0]))
    np.random.seed(int(numbers[1]) % MAX_SEED)  # noqa: NPY002
    torch.default_generator.manual_seed(int(numbers[2]) >> 1)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])  # noqa: NPY002
        torch.set_rng_state(before[2])
