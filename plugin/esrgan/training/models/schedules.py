"""Optimisers and learning rates of a run that goes on: how far it is from its state, all else from the options."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Mapping
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

_log = logging.getLogger(__name__)

_PROGRESS = ("last_epoch", "_step_count", "_last_lr", "_get_lr_called_within_step", "_is_initial")
"""What a scheduler's state says of how far it is. The rest are its options, and what follows from them."""


_KEPT = ("params", "lr", "initial_lr")
"""What a group of an optimiser has beside its options; rates are the schedule's."""
_IMPLEMENTATION = ("fused", "foreach", "capturable", "differentiable", "maximize", "decoupled_weight_decay")
"""Options of optimisers that a user does not ask for."""


def continue_optimizer(optimizer: Optimizer, saved: Mapping[str, Any]) -> None:
    """Give `optimizer` the state `saved`, with the options that it was made of.

    Args:
        optimizer: made of the options as they are now.
        saved: the state of the optimiser of the run.
    """
    options = [{key: value for key, value in group.items() if key not in _KEPT} for group in optimizer.param_groups]
    optimizer.load_state_dict(dict(saved))
    changed: dict[str, str] = {}
    for group, own in zip(optimizer.param_groups, options, strict=True):
        for name, value in own.items():
            if name in group and _differ(group[name], value) and name not in _IMPLEMENTATION:
                changed[name] = f"{name} {group[name]} is now {value}"
        group.update(own)
    if changed:
        _log.warning("%s was changed since the run began: %s", type(optimizer).__name__, ", ".join(changed.values()))


def _differ(one: Any, other: Any) -> bool:
    """Whether two options differ; a list is what a tuple becomes in a file."""
    return (list(one) != list(other)) if isinstance(one, list | tuple) else bool(one != other)


def continue_schedule(scheduler: LRScheduler, saved: Mapping[str, Any], *, anew: bool = False) -> None:
    """Take `scheduler` to where `saved` was, with the options that it was made of.

    A state holds the options of the run that wrote it, and they would replace those that were changed since: a schedule
    that was shortened would end at a high learning rate, and nothing would tell.

    Args:
        scheduler: made of the options as they are now, for an optimiser whose state was loaded already.
        saved: the state of the scheduler of the run.
        anew: the optimiser's state was not loaded, so that it does not know the rate yet.
    """
    groups = scheduler.optimizer.param_groups
    asked = {
        name: copy.deepcopy(value)
        for name, value in scheduler.state_dict().items()
        if name not in _PROGRESS and name in saved and value != saved[name]
    }
    scheduler.load_state_dict(dict(saved))
    if not asked and not anew:
        return
    if asked:
        said = ", ".join(f"{name} {saved[name]} is now {value}" for name, value in asked.items())
        _log.warning("the schedule of learning rates was changed since the run began: %s", said)
    before = _replayed(scheduler, saved["last_epoch"])
    for name, value in asked.items():
        setattr(scheduler, name, value)
    for group, rate in zip(groups, scheduler.base_lrs, strict=True):
        group["initial_lr"] = rate
    # Some schedules go from each rate to the next, past what was changed behind them.
    now = _replayed(scheduler, saved["last_epoch"])
    for group, old, new in zip(groups, before, now, strict=True):
        group["lr"] = new if anew or not old else group["lr"] * new / old


def _replayed(scheduler: LRScheduler, count: int) -> list[float]:
    """The rates that `count` steps lead to from the first ones. Neither the optimiser nor the schedule moves."""
    groups = scheduler.optimizer.param_groups
    kept = scheduler.last_epoch, [group["lr"] for group in groups]
    for group in groups:
        group["lr"] = group["initial_lr"]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="To get the last learning rate")
        for epoch in range(1, count + 1):
            scheduler.last_epoch = epoch
            for group, rate in zip(groups, scheduler.get_lr(), strict=True):
                group["lr"] = rate
    rates = [group["lr"] for group in groups]
    scheduler.last_epoch = kept[0]
    for group, rate in zip(groups, kept[1], strict=True):
        group["lr"] = rate
    return rates
