"""Progress of long work: a bar on a terminal, plain lines when piped, JSON lines on request."""

from __future__ import annotations

import json
import sys
import time
from types import TracebackType
from typing import Literal, Self, TextIO

from tqdm import tqdm

ProgressMode = Literal["auto", "bar", "lines", "json", "none"]

_LINE_INTERVAL = 5.0
"""Seconds between two plain lines."""
_JSON_INTERVAL = 0.5
"""Seconds between two JSON lines."""


class Progress:
    """Counts units of work and shows the count, the rate and the time left on `stream`.

    Args:
        description: what is being done, a few words.
        total: units in all, `None` when unknown.
        unit: name of one unit: `frame`, `image`, `B` (bytes, shown as kB, MB …).
        mode: `auto` is `bar` on a terminal and `lines` elsewhere.
        stream: where to write; standard error by default, so that standard output stays clean.
        initial: units that were done before this run; rate and time left are those of this run.
    """

    def __init__(
        self,
        description: str,
        *,
        total: int | None,
        unit: str,
        mode: ProgressMode = "auto",
        stream: TextIO | None = None,
        initial: int = 0,
    ) -> None:
        self._stream = sys.stderr if stream is None else stream
        if mode == "auto":
            mode = "bar" if self._stream.isatty() else "lines"
        self._mode = mode
        self._description = description
        self._unit = unit
        self.total = total
        self.done = self._initial = initial
        self._facts: dict[str, int] = {}
        self._started = self._last_report = time.monotonic()
        self._bar = (
            tqdm(
                total=total,
                initial=initial,
                desc=description,
                unit=unit if unit == "B" else f" {unit}",
                unit_scale=unit == "B",
                file=self._stream,
                dynamic_ncols=True,
            )
            if mode == "bar"
            else None
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        elif kind is None:
            self._report(final=True)

    def update(self, count: int = 1, **facts: int) -> None:
        """Add `count` finished units; `facts` are added to the JSON lines from now on."""
        self.done += count
        self._facts.update(facts)
        if self._bar is not None:
            self._bar.update(count)
            return
        interval = _JSON_INTERVAL if self._mode == "json" else _LINE_INTERVAL
        if time.monotonic() - self._last_report >= interval:
            self._report(final=False)

    def _report(self, *, final: bool) -> None:
        now = self._last_report = time.monotonic()
        elapsed = now - self._started
        rate = (self.done - self._initial) / elapsed if elapsed > 0 else 0.0
        left = (self.total - self.done) / rate if self.total and rate > 0 else None
        if self._mode == "json":
            record = {
                "event": "done" if final else "progress",
                "task": self._description,
                "unit": self._unit,
                "done": self.done,
                "total": self.total,
                "elapsed_s": round(elapsed, 3),
                "rate_per_s": round(rate, 3),
                "eta_s": None if left is None else round(left, 1),
                **self._facts,
            }
            self._stream.write(json.dumps(record) + "\n")
        elif self._mode == "lines":
            of_total = f"/{self.total}" if self.total else ""
            eta = "" if final or left is None else f", {left:.0f} s left"
            self._stream.write(
                f"{self._description}: {self.done}{of_total} {self._unit}, {rate:.2f}/s, {elapsed:.0f} s{eta}\n"
            )
        self._stream.flush()
