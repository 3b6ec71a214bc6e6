"""Checkpoints: one file that holds all that the next iteration depends on."""

from __future__ import annotations

import logging
import pickle
import shutil
import zipfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch
from torch import nn

from esrgan.errors import FailedError, UsageError
from esrgan.training.data.loaders import Position
from esrgan.training.models.pretrained import taken
from esrgan.weights.atomic import written_beside

_FORMAT = 1
_SUFFIX = ".state"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A moment between two iterations of a run."""

    iteration: int
    """Iterations that are done."""
    position: Position
    seed: int
    batch_size: int
    """Of one process."""
    world_size: int
    random: list[dict[str, Any]]
    """State of the random generators of each process."""
    best: dict[str, Any]
    """Best metrics so far: of each set and metric, the value and the iteration."""
    model_type: str
    model: dict[str, Any]
    """What the model needs: networks, optimisers, schedulers."""

    def write(self, folder: Path) -> Path:
        """Write `folder/ITERATION.state`, whole or not at all.

        Raises:
            FailedError: it cannot be written.
        """
        file = folder / f"{self.iteration}{_SUFFIX}"
        values = {**vars(self), "position": [self.position.epoch, self.position.batches], "format": _FORMAT}
        try:
            with written_beside(file) as temporary:
                torch.save(values, temporary)
        except (OSError, RuntimeError) as error:
            raise FailedError(f"the checkpoint {file} cannot be written: {error}") from error
        return file


@dataclass(frozen=True)
class StockState:
    """A training state of upstream's: it can be continued, but not exactly."""

    iteration: int
    epoch: int
    values: dict[str, Any]


def read_state(file: Path) -> Checkpoint | StockState:
    """Read a checkpoint or a training state that upstream wrote. Nothing in the file is run.

    Raises:
        FailedError: the file is damaged, or something else.
    """
    try:
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                # torch does not compare the checksums that it writes.
                if (damaged := archive.testzip()) is not None:
                    raise FailedError(f"{file}: is damaged: the checksum of {damaged!r} is wrong")
        values = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise UsageError(f"the checkpoint {file} does not exist") from error
    except (
        OSError,
        RuntimeError,
        ValueError,
        EOFError,
        LookupError,
        pickle.UnpicklingError,
        zipfile.BadZipFile,
    ) as error:
        raise FailedError(f"{file}: is damaged or not a checkpoint: {type(error).__name__}") from error
    try:
        return _parse(values)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FailedError(f"{file}: is not a checkpoint of a training run") from error


def _parse(values: dict[str, Any]) -> Checkpoint | StockState:
    if "format" not in values:
        return StockState(iteration=int(values["iter"]), epoch=int(values["epoch"]), values=values)
    known = dict(values)
    if known.pop("format") != _FORMAT:
        raise ValueError("another format")
    epoch, batches = known.pop("position")
    return Checkpoint(position=Position(epoch, batches), **known)


def newest_state(folder: Path) -> tuple[Path, Checkpoint | StockState] | None:
    """The newest checkpoint in `folder` that can be read, `None` when there is none at all.

    Raises:
        FailedError: there are checkpoints, and all are damaged.
    """
    numbered = {int(file.stem): file for file in folder.glob(f"*{_SUFFIX}") if file.stem.isdecimal()}
    for _, file in sorted(numbered.items(), reverse=True):
        try:
            return file, read_state(file)
        except FailedError as error:
            _log.warning("%s; trying the one before", error)
    if numbered:
        raise FailedError(f"all {len(numbered)} checkpoints in {folder} are damaged; move them away to start anew")
    return None


def model_state(model: Any) -> dict[str, Any]:
    """What `model` needs to go on: its own `training_state()`, or what BasicSR's models are made of."""
    if hasattr(model, "training_state"):
        state: dict[str, Any] = model.training_state()
        return state
    return {
        "networks": {name: _to_cpu(model.get_bare_model(network).state_dict()) for name, network in _networks(model)},
        "optimizers": [_to_cpu(optimiser.state_dict()) for optimiser in model.optimizers],
        "schedulers": [dict(scheduler.state_dict()) for scheduler in model.schedulers],
        # The pool of training pairs of Real-ESRGAN's models.
        "queue": _to_cpu({name: value for name, value in vars(model).items() if name in _QUEUE}),
    }


_QUEUE = ("queue_lr", "queue_gt", "queue_ptr")


def load_model_state(model: Any, state: dict[str, Any], *, ignored: Collection[str] = ()) -> None:
    """The inverse of `model_state`.

    Args:
        model: gets the state.
        state: what `model_state` gave.
        ignored: `network_d` ...: networks that stay as they are, with their averages.

    Raises:
        FailedError: the checkpoint is of another network.
    """
    try:
        if hasattr(model, "load_training_state"):
            model.load_training_state(state, ignored=ignored)
            return
        networks = taken(dict(_networks(model)), ignored)
        if networks.keys() != taken(state["networks"], ignored).keys():
            raise ValueError(f"it holds {', '.join(state['networks'])}")
        for name, network in networks.items():
            model.get_bare_model(network).load_state_dict(state["networks"][name])
        model.resume_training({"optimizers": state["optimizers"], "schedulers": state["schedulers"]})
        for name, value in state["queue"].items():
            setattr(model, name, value.to(model.device) if isinstance(value, torch.Tensor) else value)
    except (RuntimeError, ValueError, KeyError, AssertionError) as error:
        first = " ".join(str(error).split())[:200]
        raise FailedError(f"the checkpoint does not fit the networks of the options: {first}") from error


def _networks(model: Any) -> Iterator[tuple[str, nn.Module]]:
    for name, value in vars(model).items():
        if name.startswith("net_") and isinstance(value, nn.Module):
            yield name, value


def _to_cpu(value: Any) -> Any:
    """A copy of nested `value` with its tensors on the CPU."""
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, Mapping):
        return {key: _to_cpu(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_to_cpu(inner) for inner in value)
    return value


def save_networks(model: Any, epoch: int, iteration: int) -> None:
    """Let `model` write `net_g_ITERATION.pth` and its other networks; -1 is `latest`. Each appears whole or not at all.

    BasicSR's models write in place, and only they know which networks they have: they are pointed to
    a folder beside the final one, and the files are moved when they are complete.

    Raises:
        FailedError: the files cannot be written.
    """
    final = Path(model.opt["path"]["models"])
    last_checkpoint = getattr(model, "last_checkpoint", None)
    try:
        with _writing_beside(model.opt["path"], final) as beside:
            model.save(epoch, iteration)
            files = sorted(beside.iterdir())
            if not files:  # upstream ignores a failed save
                raise FailedError(f"the networks cannot be written to {final}")
            for file in files:
                file.replace(final / file.name)
    except OSError as error:
        raise FailedError(f"the networks cannot be written to {final}: {error.strerror or error}") from error
    finally:
        model.last_checkpoint = last_checkpoint  # the model remembers the folder beside the final one


@contextmanager
def _writing_beside(paths: dict[str, Any], final: Path) -> Iterator[Path]:
    beside = Path(mkdtemp(prefix=".saving_", dir=final))
    states = Path(mkdtemp(prefix=".states_", dir=final))
    before = {key: paths[key] for key in ("models", "training_states")}
    paths.update(models=str(beside), training_states=str(states))
    try:
        yield beside
    finally:
        paths.update(before)
        shutil.rmtree(beside, ignore_errors=True)
        shutil.rmtree(states, ignore_errors=True)  # a checkpoint of ours takes the place of upstream's state
