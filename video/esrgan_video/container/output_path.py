"""The output's place: what is checked before work starts, and a name that is taken only when all is done."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from esrgan.errors import MediaError, UsageError


def check_paths(source: Path, target: Path) -> None:
    """Refuse paths that cannot work.

    Raises:
        UsageError: an output that is a folder or the input itself, or whose folder is missing.
    """
    if target.is_dir():
        raise UsageError(f"{target} is a folder: name a file")
    if not target.parent.is_dir():
        raise UsageError(f"cannot write {target}: the folder {target.parent} does not exist")
    if target.exists() and source.exists() and target.samefile(source):
        raise UsageError(f"the output {target} is the input: write to another file")


@contextlib.contextmanager
def finished_under(target: Path) -> Iterator[Path]:
    """A hidden file beside `target` that gets its name when the block ends well, and is deleted otherwise.

    Raises:
        MediaError: the file cannot be written; also for errors of the system inside the block.
    """
    unfinished = target.with_name(f".{target.stem}.part{target.suffix}")
    try:
        yield unfinished
        with unfinished.open("r+b") as file:
            os.fsync(file.fileno())  # else a power cut could leave the name on an empty file
        unfinished.replace(target)
    except OSError as error:
        raise MediaError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
