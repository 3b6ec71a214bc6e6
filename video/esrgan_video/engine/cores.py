"""How many processor cores this process may use, and how its threads should wait. Nothing here loads a library."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, MutableMapping
from pathlib import Path

from esrgan.control_groups import group_folders

_OWN_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


def usable_cores(root: Path = Path("/")) -> int:
    """Cores that this process may use, at least 1.

    The affinity mask counts, and so do CPU quotas of Linux control groups, v1 and v2, of this process's group and all
    above it. Part of a core counts as a whole one: two threads that share 1.5 cores do more than one thread does.

    Args:
        root: of the file system that tells of control groups.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cores, *(math.ceil(quota) for quota in _quotas(root))]))


def prepare_threads(threads: int | None, environment: MutableMapping[str, str] = os.environ) -> None:
    """Tell libraries that are not loaded yet how many threads to start, and to let waiting ones sleep.

    OpenMP's threads wait for each other by spinning: beside any other work on the same cores that takes most of their
    time. What the user has set stays.

    Args:
        threads: that the user asked for; `None` for as many as there are cores.
        environment: to change; OpenMP reads it once, when it is loaded.
    """
    if not any(name in environment for name in _OWN_WAITING):
        environment["OMP_WAIT_POLICY"] = "PASSIVE"
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)
    else:
        environment.setdefault("OMP_NUM_THREADS", str(usable_cores()))


def threads_for(wanted: int | None) -> int:
    """Threads that the engine uses: `wanted`, else what `OMP_NUM_THREADS` says, else `usable_cores`."""
    if wanted is not None:
        return wanted
    said = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(said) if said.isdigit() and int(said) else usable_cores()


def _quotas(root: Path) -> Iterator[float]:
    """CPU quotas in cores."""
    for folder in group_folders("cpu", root):
        try:
            if (folder / "cpu.max").exists():
                quota, period = (folder / "cpu.max").read_text().split()
            else:
                quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
            if float(quota) > 0 and float(period) > 0:  # v1 says -1 where there is no limit
                yield float(quota) / float(period)
        except (OSError, ValueError):  # no such file, or "max"
            continue
