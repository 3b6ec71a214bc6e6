"""Where a run begins: anew, or from a checkpoint."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esrgan.training.data.loaders import Position
from esrgan.training.folders import RunFolders
from esrgan.training.options.run_options import RunOptions
from esrgan.training.random_state import restore_random_state
from esrgan.training.run.checkpoints import Checkpoint, StockState, load_model_state, newest_state, read_state
from esrgan.training.run.loop import Parts

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Start:
    """A state to continue from, and its file."""

    file: Path
    state: Checkpoint | StockState

    @property
    def iteration(self) -> int:
        """Iterations that are done."""
        return self.state.iteration


def find_start(run: RunOptions, folders: RunFolders, *, auto_resume: bool) -> Start | None:
    """The newest checkpoint of the run (`--auto_resume`), else `path: resume_state`, else `None`.

    Raises:
        UsageError: `resume_state` does not exist.
        FailedError: it is damaged, or all checkpoints of the run are.
    """
    newest = newest_state(folders.states) if auto_resume else None
    if newest is not None:
        return Start(*newest)
    if run.path.resume_state:
        file = Path(run.path.resume_state)
        return Start(file, read_state(file))
    return None


def set_aside_newer(folder: Path, start: Start) -> None:
    """Rename checkpoints after `start`, which the run is about to make again, to `*.state.replaced`."""
    for file in folder.glob("*.state"):
        if file.stem.isdecimal() and int(file.stem) > start.iteration:
            _log.warning("%s is set aside: the run continues from %s", file.name, start.file.name)
            file.replace(file.with_name(f"{file.name}.replaced"))


def prepare_options(opt: dict[str, Any], run: RunOptions, start: Start) -> None:
    """Change what BasicSR's model is built from, since its weights come from `start`.

    Upstream's training states hold no networks: those are read from `net_g_N.pth` beside them.
    """
    paths = opt["path"]
    paths["resume_state"] = str(start.file)
    models = start.file.resolve().parent.parent / "models"
    for name in run.networks:
        if name in run.path.ignore_resume_networks:
            continue
        stock = isinstance(start.state, StockState)
        label = name.removeprefix("network_")
        paths[f"pretrain_{name}"] = str(models / f"net_{label}_{start.iteration}.pth") if stock else None
        if stock and paths.get(f"param_key_{label}") == "params_ema":
            paths[f"param_key_{label}"] = "params"


def restore(start: Start, parts: Parts) -> Position:
    """Put the networks, optimisers, scores and random generators where they were; returns the position in the data.

    Raises:
        FailedError: the checkpoint is of another network.
    """
    state, model, launch = start.state, parts.model, parts.launch
    if isinstance(state, StockState):
        model.resume_training(state.values)
        _log.warning("%s is BasicSR's: it holds no random states, so the run goes on, but not exactly", start.file)
        return Position(state.epoch + 1)
    ignored = parts.run.path.ignore_resume_networks
    load_model_state(model, state.model, ignored=ignored)
    if ignored:
        _log.warning("%s: not taken from %s", ", ".join(ignored), start.file)
    parts.validator.best.values = {name: dict(scores) for name, scores in state.best.items()}
    if launch.rank < len(state.random):
        restore_random_state(state.random[launch.rank])
    _log.info("continues after iteration %s from %s", f"{state.iteration:,}", start.file)
    if parts.run.manual_seed not in (None, state.seed):
        _log.warning("manual_seed is left at %d, with which the run began", state.seed)
    batch_size = parts.data.batch_size
    if (state.world_size, state.batch_size) == (launch.world_size, batch_size):
        return state.position
    _log.warning("the batch is another than in %s: the run goes on, but not exactly", start.file)
    samples = state.position.batches * state.batch_size * state.world_size
    return Position(state.position.epoch, samples // (batch_size * launch.world_size))
