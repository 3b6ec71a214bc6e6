"""The output's place: what is checked before work starts, and a name that is taken only when all is done."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from esrgan.errors import MediaError, UsageError

_LONGEST_NAME = 255
"""Bytes of a file's name that file systems hold."""


def check_paths(source: Path, target: Path) -> None:
    """Refuse paths that cannot work.

    Raises:
        UsageError: an output that is a folder or the input itself, or whose folder is missing.
    """
    folder = real_place(target).parent
    if target.is_dir():
        raise UsageError(f"{target} is a folder: name a file")
    if not folder.is_dir():
        raise UsageError(f"cannot write {target}: the folder {folder} does not exist")
    if target.exists() and source.exists() and target.samefile(source):
        raise UsageError(f"the output {target} is the input: write to another file")


def real_place(target: Path) -> Path:
    """Where the file `target` is written: a link stays, and what it names is written."""
    return Path(os.path.realpath(target)) if target.is_symlink() else target


def hidden_beside(target: Path, ending: str) -> Path:
    """A hidden name for what belongs to `target`, which may be a link: `.NAME` and `ending`.

    A name that would be too long has a hash in place of the target's.
    """
    place = real_place(target)
    name = f".{place.name}{ending}"
    if len(os.fsencode(name)) > _LONGEST_NAME:
        name = f".{hashlib.sha256(os.fsencode(place.name)).hexdigest()[:32]}{ending}"
    return place.with_name(name)


@contextlib.contextmanager
def finished_under(target: Path) -> Iterator[Path]:
    """A hidden file beside `target` that gets its name when the block ends well, and is deleted otherwise.

    Raises:
        MediaError: the file cannot be written; also for errors of the system inside the block.
    """
    place = real_place(target)
    unfinished = hidden_beside(place.with_suffix(""), f".part{place.suffix}")
    try:
        yield unfinished
        with unfinished.open("r+b") as file:
            os.fsync(file.fileno())  # else a power cut could leave the name on an empty file
        unfinished.replace(place)
    except OSError as error:
        raise MediaError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
