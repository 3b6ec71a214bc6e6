"""How pipes are named."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from esrgan.errors import UsageError

PIPE = Path("-")
"""Stands for standard input, and for standard output. A file of that name is `./-`."""

PipeFormat = Literal["y4m", "nut"]


def refuse_named_pipe(path: Path) -> None:
    """Refuse a pipe that has a name: files are opened more than once, and the second time would wait for ever.

    Raises:
        UsageError: it is one.
    """
    if path != PIPE and path.is_fifo():
        raise UsageError(f"{path} is a named pipe, which can be read only once: esrgan upscale - < {path}")


def path_of(text: str) -> Path:
    """The path that a user wrote: `-` alone is `PIPE`, `./-` is not."""
    path = Path(text)
    return path.absolute() if path == PIPE and text != "-" else path
