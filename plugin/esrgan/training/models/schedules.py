"""Learning rates of a run that goes on."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from typing import Any

from torch.optim.lr_scheduler import LRScheduler

_log = logging.getLogger(__name__)

_PROGRESS = ("last_epoch", "_step_count", "_last_lr", "_get_lr_called_within_step", "_is_initial")
"""What a scheduler's state says of how far it is. The rest are its options, and what follows from them."""


def continue_schedule(scheduler: LRScheduler, saved: Mapping[str, Any]) -> None:
    """Take `scheduler` to where `saved` was, with the options that it was made of.

    A state holds the options of the run that wrote it, and they would replace those that were changed since: a schedule
    that was shortened would end at a high learning rate, and nothing would tell.

    Args:
        scheduler: made of the options as they are now, for an optimiser whose state was loaded already.
        saved: the state of the scheduler of the run.
    """
    asked = {
        name: copy.deepcopy(value)
        for name, value in scheduler.state_dict().items()
        if name not in _PROGRESS and name in saved and value != saved[name]
    }
    scheduler.load_state_dict(dict(saved))
    if not asked:
        return
    said = ", ".join(f"{name} {saved[name]} is now {value}" for name, value in asked.items())
    _log.warning("the schedule of learning rates was changed since the run began: %s", said)
    for name, value in asked.items():
        setattr(scheduler, name, value)
    for group, before, now in zip(scheduler.optimizer.param_groups, saved["base_lrs"], scheduler.base_lrs, strict=True):
        if now != before:
            group["initial_lr"] = now
            group["lr"] *= now / before
