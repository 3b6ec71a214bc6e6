"""Small sets, options files and runs of the `basicsr` command."""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

SCALE = 4


class RunFolder:
    """A folder with the sets `train` and `val`, in which runs take place."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.pairs("train")
        self.pairs("val", count=2, seed=1)

    def pairs(self, name: str, *, count: int = 6, side: int = 48, seed: int = 0) -> None:
        """Write `NAME/hr/NNN.png`, random smooth pictures, and `NAME/lr/NNN.png`, a quarter as large."""
        generator = np.random.default_rng(seed)
        for kind in ("hr", "lr"):
            (self.path / name / kind).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            lr = generator.integers(0, 256, (side // SCALE, side // SCALE, 3), dtype=np.uint8)
            hr = cv2.resize(lr, (side, side), interpolation=cv2.INTER_CUBIC)
            cv2.imwrite(str(self.path / name / "hr" / f"{number:03d}.png"), hr)
            cv2.imwrite(str(self.path / name / "lr" / f"{number:03d}.png"), lr)

    def set(self, name: str) -> dict[str, Any]:
        """Options of one of the sets."""
        return {
            "name": name,
            "type": "PairedImageDataset",
            "dataroot_gt": f"{name}/hr",
            "dataroot_lq": f"{name}/lr",
            "io_backend": {"type": "disk"},
        }

    def options(self, **changes: Any) -> dict[str, Any]:
        """A run of seconds; `changes` as in `train__total_iter=5`, where `None` takes a key out."""
        values: dict[str, Any] = {
            "name": "tiny",
            "model_type": "PSNRModel_esrgan",
            "scale": SCALE,
            "num_gpu": 0,
            "manual_seed": 3,
            "datasets": {
                "train": {
                    **self.set("train"),
                    "gt_size": 32,
                    "use_hflip": True,
                    "use_rot": True,
                    "num_worker_per_gpu": 0,
                    "batch_size_per_gpu": 2,
                    "dataset_enlarge_ratio": 2,
                },
                "val": self.set("val"),
            },
            "network_g": {"type": "RRDBNet_esrgan", "num_feat": 4, "num_block": 1, "num_grow_ch": 2},
            "path": {},
            "train": {
                "ema_decay": 0.9,
                "optim_g": {"type": "Adam", "lr": 1e-3},
                "scheduler": {"type": "MultiStepLR", "milestones": [8], "gamma": 0.5},
                "total_iter": 12,
                "warmup_iter": 3,
                "pixel_opt": {"type": "L1Loss"},
            },
            "val": {"val_freq": 6, "sample_images": 1},
            "logger": {"print_freq": 1, "save_checkpoint_freq": 4},
        }
        for key, value in changes.items():
            _set(values, key.split("__"), value)
        return values

    def write(self, values: dict[str, Any] | None = None, **changes: Any) -> Path:
        """Write an options file, `tiny.yml`."""
        values = self.options(**changes) if values is None else values
        file = self.path / "tiny.yml"
        file.write_text(yaml.safe_dump(copy.deepcopy(values), sort_keys=False), encoding="utf-8")
        return file

    @property
    def loss_file(self) -> Path:
        """`losses.jsonl` of the run."""
        return self.path / "experiments" / "tiny" / "losses.jsonl"

    def losses(self) -> list[dict[str, Any]]:
        """Its records."""
        return [json.loads(line) for line in self.loss_file.read_text(encoding="utf-8").splitlines()]

    def basicsr(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command here, to its end."""
        return subprocess.run(
            [sys.executable, "-m", "esrgan.training.cli", *arguments],
            cwd=self.path,
            env=_environment(),
            capture_output=True,
            text=True,
            timeout=280,
        )

    @contextmanager
    def started(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """Start the command here; it is killed at the end of the block, should it still run."""
        command = [sys.executable, "-m", "esrgan.training.cli", *arguments]
        with subprocess.Popen(
            command,
            cwd=self.path,
            env=_environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def wait_for_losses(self, lines: int, process: subprocess.Popen[bytes]) -> None:
        """Return as soon as `losses.jsonl` has that many lines."""
        deadline = time.monotonic() + 200
        while process.poll() is None and time.monotonic() < deadline:
            if self.loss_file.exists() and self.loss_file.read_bytes().count(b"\n") >= lines:
                return
            time.sleep(0.002)
        raise AssertionError(f"the run ended, or took too long, before line {lines} of its losses")


def _set(values: dict[str, Any], keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        values = values.setdefault(key, {})
    if value is None:
        values.pop(keys[-1], None)
    else:
        values[keys[-1]] = value


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A folder with two small sets, which is the current one."""
    monkeypatch.chdir(tmp_path)
    return RunFolder(tmp_path)


@pytest.fixture
def handlers() -> Iterator[None]:
    """Puts the signal handlers back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def bfloat16_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let bfloat16 be computed in software where the processor has none: the networks of tests are tiny."""
    monkeypatch.setattr("esrgan.training.models.step_model.multiplies_bfloat16", lambda: True)
