"""Ctrl-C and SIGTERM ask a run to stop after the iteration that it is in; a later one stops it at once."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any, Self

import torch
from torch import distributed

from esrgan.training.launch import Launch

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_PATIENCE = 3.0
"""Seconds in which more signals are the same request: torchrun passes on what a terminal already sent."""
_AGREE_EVERY = 10
"""Iterations between two questions to the other processes: they must all stop after the same one."""


class StopRequest:
    """Whether the user, or the machine, wants the run to end. A context manager that catches the signals."""

    def __init__(self, launch: Launch) -> None:
        self._launch = launch
        self._asked_at: float | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._ask) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, _signal: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._asked_at is None:
            self._asked_at = now
        elif now - self._asked_at > _PATIENCE:
            raise KeyboardInterrupt

    def after(self, iteration: int) -> bool:
        """Whether to stop after `iteration`: the same answer in every process."""
        if not self._launch.distributed:
            return self._asked_at is not None
        if iteration % _AGREE_EVERY:
            return False
        device = "cuda" if self._launch.num_gpu else "cpu"
        flag = torch.tensor(float(self._asked_at is not None), device=device)
        distributed.all_reduce(flag, distributed.ReduceOp.MAX)
        return bool(flag)
