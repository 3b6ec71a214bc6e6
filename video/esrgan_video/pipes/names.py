"""How pipes are named."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

PIPE = Path("-")
"""Stands for standard input, and for standard output. A file of that name is `./-`."""

PipeFormat = Literal["y4m", "nut"]


def path_of(text: str) -> Path:
    """The path that a user wrote: `-` alone is `PIPE`, `./-` is not."""
    path = Path(text)
    return path.absolute() if path == PIPE and text != "-" else path
