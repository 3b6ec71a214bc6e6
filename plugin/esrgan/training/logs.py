"""What a run says: a log file with everything, short lines on the terminal, losses for programs."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from esrgan.weights.atomic import written_beside

_FORMAT = "%(asctime)s %(levelname)s: %(message)s"
_LOGGERS = ("basicsr", "esrgan")


@contextmanager
def logging_to_terminal(*, speaks: bool = True) -> Iterator[None]:
    """Send the records of BasicSR and of this project to standard error, inside the block.

    Args:
        speaks: whether this process says more than errors; the first one does.
    """
    from basicsr.utils.logger import initialized_logger

    before = {name: _settings(name) for name in _LOGGERS}
    handler = _terminal()
    handler.setFormatter(logging.Formatter(_FORMAT))
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers[:], logger.propagate = [handler], False
        logger.setLevel(logging.INFO if speaks else logging.ERROR)
    # BasicSR then leaves the handlers of its logger alone.
    had_handlers = initialized_logger.get("basicsr")
    initialized_logger["basicsr"] = True
    try:
        yield
    finally:
        for name, (handlers, propagate, level) in before.items():
            logger = logging.getLogger(name)
            logger.handlers[:], logger.propagate = handlers, propagate
            logger.setLevel(level)
        if not had_handlers:
            initialized_logger.pop("basicsr", None)


@contextmanager
def logging_to_file(file: Path | None) -> Iterator[None]:
    """Also write the records to `file`, if there is one, inside the block."""
    if file is None:
        yield
        return
    handler = logging.FileHandler(file, "a", encoding="utf-8")
    handler.setFormatter(logging.Formatter(_FORMAT))
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
        handler.close()


def _settings(name: str) -> tuple[list[logging.Handler], bool, int]:
    logger = logging.getLogger(name)
    return logger.handlers[:], logger.propagate, logger.level


def _terminal() -> logging.Handler:
    handler = _AboveBar()
    # The structure of a network is hundreds of lines: it is in the log file.
    handler.addFilter(lambda record: record.funcName != "print_network")
    return handler


class _AboveBar(logging.Handler):
    """Writes records above a progress bar instead of through it."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stderr)


def log_file_name(task: str, name: str) -> str:
    """`train_NAME_DATE_TIME.log`, as upstream names it."""
    return f"{task}_{name}_{time.strftime('%Y%m%d_%H%M%S')}.log"


class RecordFile:
    """`losses.jsonl` or `scores.jsonl`: one object a line, numbers with all their digits.

    Args:
        file: the file; it is continued.
        last_iteration: lines of later iterations are removed, since they are about to be made again.
    """

    def __init__(self, file: Path, last_iteration: int) -> None:
        kept = [line for line in _complete_lines(file) if json.loads(line)["iter"] <= last_iteration]
        with written_beside(file) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
        self._stream = file.open("a", encoding="utf-8")

    def add(self, iteration: int, values: Mapping[str, Any]) -> None:
        """Write a line about an iteration."""
        self._stream.write(json.dumps({"iter": iteration, **values}) + "\n")
        self._stream.flush()

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


def _complete_lines(file: Path) -> Iterator[str]:
    """The lines that are whole: a killed run may leave half of one."""
    if not file.is_file():
        return
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and isinstance(record.get("iter"), int):
            yield line


def duration(seconds: float) -> str:
    """`3 d 04 h`, `2 h 05 min`, `4 min 10 s` or `12 s`."""
    whole = round(seconds)
    for size, unit, small, small_unit in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // small:02d} {small_unit}"
    return f"{whole} s"
