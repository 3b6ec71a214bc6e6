"""Where a run writes: the folders that BasicSR's users know, below the current directory."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esrgan.errors import FailedError


@dataclass(frozen=True)
class RunFolders:
    """Folders of one run, by its name."""

    root: Path
    """`experiments/NAME` for training, `results/NAME` for tests."""

    @classmethod
    def of_training(cls, base: Path, name: str) -> RunFolders:
        """Those of `basicsr train`."""
        return cls(base / "experiments" / name)

    @classmethod
    def of_test(cls, base: Path, name: str) -> RunFolders:
        """Those of `basicsr test`."""
        return cls(base / "results" / name)

    @property
    def models(self) -> Path:
        """Networks, `net_g_5000.pth`: what other programs read."""
        return self.root / "models"

    @property
    def states(self) -> Path:
        """Checkpoints, `5000.state`: what a run is continued from."""
        return self.root / "training_states"

    @property
    def pictures(self) -> Path:
        """Pictures of validations and tests."""
        return self.root / "visualization"

    @property
    def losses(self) -> Path:
        """Losses with all their digits, one JSON object a line."""
        return self.root / "losses.jsonl"

    @property
    def scores(self) -> Path:
        """Scores of all validations, one JSON object a line."""
        return self.root / "scores.jsonl"

    def tensorboard(self, base: Path) -> Path:
        """Where TensorBoard looks."""
        return base / "tb_logger" / self.root.name

    def for_basicsr(self) -> dict[str, Any]:
        """The keys that upstream adds to `path:`."""
        return {
            "experiments_root": str(self.root),
            "results_root": str(self.root),
            "log": str(self.root),
            "models": str(self.models),
            "training_states": str(self.states),
            "visualization": str(self.pictures),
        }

    def create(self, *, training: bool) -> None:
        """Make the folders; half-written files in them are removed.

        Raises:
            FailedError: they cannot be made.
        """
        folders = (self.models, self.states, self.pictures) if training else (self.pictures,)
        try:
            for folder in folders:
                folder.mkdir(parents=True, exist_ok=True)
            for leftover in (*self.models.glob(".*"), *self.states.glob(".*")):  # of a run that was killed
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        except OSError as error:
            raise FailedError(f"cannot write to {self.root}: {error.strerror or error}") from error


def archive(folder: Path) -> Path | None:
    """Rename `folder` to `NAME_archived_DATE_TIME` if it exists; returns the new name."""
    if not folder.exists():
        return None
    stamp = time.strftime("%Y%m%d_%H%M%S")
    target = folder.with_name(f"{folder.name}_archived_{stamp}")
    number = 1
    while target.exists():  # twice in one second
        number += 1
        target = folder.with_name(f"{folder.name}_archived_{stamp}_{number}")
    return folder.rename(target)
