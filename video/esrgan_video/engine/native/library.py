"""The compiled part, through ctypes: finding it, its kernels, its structures."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

MODULE = "esrgan_video.engine.native._winograd"
"""As in setup.py. It is no Python module: only its place and name are those of one."""

PORTABLE = "portable"
"""Name of the kernel that runs everywhere and is not written for any instruction set."""


class Layer(ctypes.Structure):
    """`EsrganLayer` of network.cpp."""

    _fields_ = (
        ("weights", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("in_blocks", ctypes.c_int32),
        ("out_blocks", ctypes.c_int32),
    )


class Network(ctypes.Structure):
    """`EsrganNetwork` of network.cpp."""

    _fields_ = (
        ("layers", ctypes.POINTER(Layer)),
        ("in_channels", ctypes.c_int32),
        ("out_channels", ctypes.c_int32),
        ("num_blocks", ctypes.c_int32),
        ("num_stages", ctypes.c_int32),
    )


@dataclass(frozen=True)
class Library:
    """The functions of network.cpp."""

    functions: ctypes.CDLL
    kernels: Mapping[str, int]
    """Kernels that this processor runs, fastest first, by name."""

    def workspace_bytes(self, network: Network, *, height: int, width: int, kernel: str, threads: int) -> int:
        """Memory that `run` needs beside input and output, for a picture of `height` x `width` before upscaling."""
        found = self.functions.esrgan_workspace(ctypes.byref(network), height, width, self.kernels[kernel], threads)
        if found < 0:
            raise MemoryError
        return int(found)

    def run(
        self,
        network: Network,
        *,
        source: int,
        target: int,
        height: int,
        width: int,
        kernel: str,
        threads: int,
        workspace: int,
        stopped: ctypes.c_int32,
    ) -> None:
        """Upscale one picture. `source`, `target` and `workspace` are addresses; the last is a multiple of 64.

        Once another thread gives `stopped` a value, it returns soon and the target is worth nothing.

        Raises:
            MemoryError: not even the lists of what to do could be made.
        """
        failed = self.functions.esrgan_run(
            ctypes.byref(network),
            source,
            target,
            height,
            width,
            self.kernels[kernel],
            threads,
            workspace,
            ctypes.byref(stopped),
        )
        if failed:
            raise MemoryError


@cache
def find_library() -> Library | None:
    """The compiled part; `None` where it was not built."""
    spec = find_spec(MODULE)
    if spec is None or spec.origin is None:
        return None
    try:
        functions = ctypes.CDLL(spec.origin)
    except OSError:  # built for another machine
        return None
    pointer, integer = ctypes.c_void_p, ctypes.c_int32
    network = ctypes.POINTER(Network)
    functions.esrgan_kernel.argtypes = (integer, ctypes.POINTER(integer))
    functions.esrgan_kernel.restype = ctypes.c_char_p
    functions.esrgan_workspace.argtypes = (network, integer, integer, integer, integer)
    functions.esrgan_workspace.restype = ctypes.c_int64
    functions.esrgan_run.argtypes = (
        *(network, pointer, pointer, integer, integer, integer, integer, pointer),
        ctypes.POINTER(integer),
    )
    functions.esrgan_run.restype = integer
    return Library(functions, _kernels(functions))


def _kernels(functions: ctypes.CDLL) -> dict[str, int]:
    kernels: dict[str, int] = {}
    supported = ctypes.c_int32()
    index = 0
    while name := functions.esrgan_kernel(index, ctypes.byref(supported)):
        if supported.value:
            kernels[name.decode()] = index
        index += 1
    return kernels
