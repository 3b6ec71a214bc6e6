"""How much memory of the machine is left to this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil

from esrgan.control_groups import group_folders

_VERSIONS = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
"""Of control groups, version 2 and 1: the files of the limit and of what is used, and the count of what may go."""


def available_bytes(root: Path = Path("/")) -> int:
    """Bytes that this process can take before the system swaps, or kills it: of the machine, and of its containers.

    Args:
        root: of the file system that tells of control groups.
    """
    return min([int(psutil.virtual_memory().available), *_left_in_groups(root)])


def _left_in_groups(root: Path) -> Iterator[int]:
    """What the limit of each control group leaves."""
    for folder in group_folders("memory", root):
        for limit_file, used_file, reclaimable in _VERSIONS:
            try:
                limit, used = (int((folder / name).read_text()) for name in (limit_file, used_file))
                statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
                # Cached files, and memory that its process gave up for now, are there for whoever asks next.
                yield max(0, limit - max(0, used - int(statistics.get(reclaimable, 0))))
            except (OSError, ValueError):  # no such file, or "max"
                continue
