"""The Linux control groups that limit this process: of a container, a service, or a batch job. Loads no library."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_GROUPS = Path("sys/fs/cgroup")
_MEMBERSHIP = Path("proc/self/cgroup")


def group_folders(controller: str, root: Path = Path("/")) -> Iterator[Path]:
    """Folders of the groups that this process is in, of versions 1 and 2, and of all above them.

    A limit may be written in any of them, and not each folder exists.

    Args:
        controller: `cpu`, `memory`: which one's version 1 folders are meant. Version 2 has one folder for all.
        root: of the file system that tells of control groups.
    """
    try:
        lines = (root / _MEMBERSHIP).read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        # In a container the path may be that of the host: then only the mounted root is there.
        for group in (PurePosixPath(path), *PurePosixPath(path).parents):
            for mount in (controllers, controller) if controllers else ("", "unified"):
                yield root / _GROUPS / mount / str(group).lstrip("/")
