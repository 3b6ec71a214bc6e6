"""The processes of a run: one, or several that torchrun or Slurm started."""

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

import torch
from torch import distributed

from esrgan.errors import FailedError, UsageError

_log = logging.getLogger(__name__)

Launcher = Literal["none", "pytorch", "slurm"]

_TIMEOUT = timedelta(hours=3)
"""The other processes wait while the first one validates or writes checkpoints."""

_DEFAULT_PORT = "29500"


@dataclass(frozen=True, kw_only=True)
class Launch:
    """This process among those of the run."""

    rank: int = 0
    world_size: int = 1
    num_gpu: int = 0
    """GPUs of this machine that the run uses; 0 is the CPU."""
    distributed: bool = False

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files and speaks."""
        return self.rank == 0


@contextmanager
def launched(
    launcher: Launcher, num_gpu: Literal["auto"] | int, *, port: int | None = None, local_rank: int | None = None
) -> Iterator[Launch]:
    """Join the other processes of the run, and leave them at the end.

    With `none`, the variables that torchrun sets decide: without them this is the only process.

    Args:
        launcher: who started the processes.
        num_gpu: the option of that name.
        port: of the first process, for Slurm; 29500 or `MASTER_PORT` by default.
        local_rank: number of this process on its machine, where the launcher passes it as an argument.

    Raises:
        UsageError: more GPUs than there are, or a launcher whose variables are not set.
        FailedError: the other processes cannot be reached.
    """
    count = torch.cuda.device_count()
    gpus = count if num_gpu == "auto" else num_gpu
    if gpus > count:
        raise UsageError(
            f"num_gpu is {gpus}, but this machine has {count} CUDA devices; --force_yml num_gpu=0 uses the CPU"
        )
    if launcher == "none" and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        launcher = "pytorch"
    if launcher == "none":
        if num_gpu == "auto" and gpus > 1:
            _log.warning("one of %d GPUs is used; torchrun --nproc_per_node %d uses all", gpus, gpus)
            gpus = 1
        yield Launch(num_gpu=gpus)
        return
    if launcher == "slurm":
        _read_slurm(os.environ, port)
    missing = [name for name in ("RANK", "WORLD_SIZE") if name not in os.environ]
    if missing:
        raise UsageError(f"--launcher pytorch: {' and '.join(missing)} not set; start with torchrun")
    local = os.environ.setdefault("LOCAL_RANK", str(local_rank or 0))
    _join(int(local), gpus)
    try:
        yield Launch(
            rank=distributed.get_rank(), world_size=distributed.get_world_size(), num_gpu=gpus, distributed=True
        )
    finally:
        distributed.destroy_process_group()


def _join(local_rank: int, gpus: int) -> None:
    os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    os.environ.setdefault("MASTER_PORT", _DEFAULT_PORT)
    if gpus:
        torch.cuda.set_device(local_rank % torch.cuda.device_count())  # num_gpu counts those of one process, upstream
    try:
        distributed.init_process_group("nccl" if gpus else "gloo", timeout=_TIMEOUT)
    except (RuntimeError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise FailedError(f"the processes of the run cannot reach each other: {first}") from error


def _read_slurm(environment: MutableMapping[str, str], port: int | None) -> None:
    """Set torchrun's variables from Slurm's."""
    names = ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_NODELIST")
    missing = [name for name in names if name not in environment]
    if missing:
        raise UsageError(f"--launcher slurm: {' and '.join(missing)} not set; start with srun")
    environment["RANK"] = environment["SLURM_PROCID"]
    environment["WORLD_SIZE"] = environment["SLURM_NTASKS"]
    environment["LOCAL_RANK"] = environment.get("SLURM_LOCALID", "0")
    environment["MASTER_ADDR"] = _first_host(environment["SLURM_NODELIST"])
    if port is not None:
        environment["MASTER_PORT"] = str(port)


def _first_host(nodes: str) -> str:
    command = ("scontrol", "show", "hostnames", nodes)
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - no shell
    except (OSError, subprocess.CalledProcessError) as error:
        raise FailedError(f"--launcher slurm: `{' '.join(command)}` failed: {error}") from error
    return answer.stdout.split()[0]


def gathered(value: Any, launch: Launch) -> list[Any]:
    """`value` of every process, by rank; all must call this."""
    if not launch.distributed:
        return [value]
    values: list[Any] = [None] * launch.world_size
    distributed.all_gather_object(values, value)
    return values


def from_first[T](value: T, launch: Launch) -> T:
    """`value` of the first process; all must call this."""
    if not launch.distributed:
        return value
    box = [value]
    distributed.broadcast_object_list(box, src=0)
    return box[0]
