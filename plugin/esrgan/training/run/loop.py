"""The training loop: iterations, and what happens between them."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esrgan.progress import Progress, ProgressMode
from esrgan.training.data.loaders import Position, TrainingData
from esrgan.training.evaluation.validators import Validator
from esrgan.training.folders import RunFolders
from esrgan.training.launch import Launch, gathered
from esrgan.training.logs import RecordFile, duration
from esrgan.training.options.run_options import RunOptions
from esrgan.training.random_state import random_state
from esrgan.training.run.checkpoints import Checkpoint, model_state, save_networks
from esrgan.training.run.stopping import StopRequest

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a loop works with; all of it is built."""

    run: RunOptions
    launch: Launch
    folders: RunFolders
    model: Any
    data: TrainingData
    validator: Validator
    losses: RecordFile | None
    """In the first process only."""
    tensorboard: Any
    """A `SummaryWriter`, or `None`."""
    seed: int


class Loop:
    """Trains from `position` after `iteration` to the end, or until it is asked to stop."""

    def __init__(self, parts: Parts, *, iteration: int, position: Position) -> None:
        assert parts.run.train is not None
        self._parts = parts
        self._train = parts.run.train
        self._iteration = iteration
        self._position = position
        self._clock = _Clock(iteration, self._train.total_iter)

    def run(self) -> bool:
        """Train; returns whether the run is complete.

        Raises:
            TrainingDiverged: losses stay without finite values.
            FailedError: a checkpoint cannot be written, or data cannot be read.
        """
        left = max(0, self._train.total_iter - self._iteration)
        with (
            StopRequest(self._parts.launch) as stop,
            Progress(self._parts.run.name, total=left, unit="it", mode=self._progress_mode()) as bar,
        ):
            for batch in self._batches(left):
                self._step(batch)
                stopping = stop.after(self._iteration)
                self._between(stopping=stopping)
                bar.update()
                if stopping and self._iteration < self._train.total_iter:
                    return False
            self._finish()
        return True

    def _progress_mode(self) -> ProgressMode:
        """A bar on a terminal; elsewhere the lines of the log are enough."""
        return "bar" if self._parts.launch.is_first and sys.stderr.isatty() else "none"

    def _batches(self, count: int) -> Iterator[Mapping[str, Any]]:
        batches = self._parts.data.batches(self._position)
        try:
            for _ in range(count):
                with self._clock.waiting():
                    batch, self._position = next(batches)
                yield batch
        finally:
            batches.close()

    def _step(self, batch: Mapping[str, Any]) -> None:
        model = self._parts.model
        self._iteration += 1
        model.update_learning_rate(self._iteration, warmup_iter=self._train.warmup_iter)
        model.feed_data(batch)
        model.optimize_parameters(self._iteration)

    def _between(self, *, stopping: bool) -> None:
        options, iteration = self._parts.run, self._iteration
        is_last = iteration == self._train.total_iter
        if iteration % options.logger.print_freq == 0:
            self._log_losses()
        due = is_last or stopping or iteration % options.logger.save_checkpoint_freq == 0
        if options.val is not None and (is_last or iteration % options.val.val_freq == 0):
            try:
                self._parts.validator.validate(iteration)
            except Exception:
                # Hours of training are not lost with an image. Of several processes, the others wait elsewhere.
                if due and not self._parts.launch.distributed:
                    self._save()
                raise
        # After the validation, so that a checkpoint knows the best scores up to and with its iteration.
        if due:
            self._save()

    def _log_losses(self) -> None:
        model, parts = self._parts.model, self._parts
        values = {name: float(value) for name, value in model.get_current_log().items()}
        rates = [float(rate) for rate in model.get_current_learning_rate()]
        if parts.losses is None:
            return
        parts.losses.add(self._iteration, {"epoch": self._position.epoch, "lr": rates[0], **values})
        shown = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        _log.info("%s  lr %.3g  %s", self._clock.line(self._iteration), rates[0], shown)
        if parts.tensorboard is not None:
            for name, value in {"lr": rates[0], **values}.items():
                tag = f"losses/{name}" if name.startswith("l_") else name
                parts.tensorboard.add_scalar(tag, value, self._iteration)

    def _save(self) -> None:
        parts = self._parts
        random = gathered(random_state(), parts.launch)
        if parts.launch.is_first:
            save_networks(parts.model, self._position.epoch, self._iteration)
            # The networks first: where there is a checkpoint, there are its networks.
            checkpoint = self._checkpoint(random)
            file = checkpoint.write(parts.folders.states)
            if not checkpoint.model.get("guard", {}).get("skipped_in_a_row"):
                parts.model.last_checkpoint = str(file)  # a good one: training was going well
            _log.info("saved iteration %s", f"{self._iteration:,}")

    def _checkpoint(self, random: list[dict[str, Any]]) -> Checkpoint:
        parts = self._parts
        return Checkpoint(
            iteration=self._iteration,
            position=self._position,
            seed=parts.seed,
            batch_size=parts.data.batch_size,
            world_size=parts.launch.world_size,
            random=random,
            best=parts.validator.best.values,
            model_type=parts.run.model_type,
            model=model_state(parts.model),
        )

    def _finish(self) -> None:
        if self._parts.launch.is_first:
            save_networks(self._parts.model, -1, -1)
            _log.info("done: %s", Path(self._parts.folders.models) / "net_g_latest.pth")


class _Clock:
    """Iterations a second, the share of waiting for data, and the time left."""

    def __init__(self, iteration: int, total: int) -> None:
        self._first = self._last = iteration
        self._total = total
        self._started = self._since = time.monotonic()
        self._waited = 0.0

    def waiting(self) -> _Clock:
        """A context in which time is spent on waiting for data."""
        return self

    def __enter__(self) -> None:
        self._waited -= time.monotonic()

    def __exit__(self, *_: object) -> None:
        self._waited += time.monotonic()

    def line(self, iteration: int) -> str:
        """The numbers since the last call; the time left is by the mean of the whole run."""
        now = time.monotonic()
        spent = max(now - self._since, 1e-9)
        rate = (iteration - self._last) / spent
        left = (now - self._started) / (iteration - self._first) * (self._total - iteration)
        waited = self._waited / spent
        self._last, self._since, self._waited = iteration, now, 0.0
        return f"{iteration:,}/{self._total:,}  {rate:.3g} it/s  data {waited:.0%}  {duration(left)} left"
