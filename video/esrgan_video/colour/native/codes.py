"""The compiled way from RGB to code values, through ctypes.

A code is linear in R, G and B: with chroma's samples the means of R, G and B are taken first, and then the same is done
for each plane. Rounding differs from `convert`'s, by the last bits of a float32.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

MODULE = "esrgan_video.colour.native._codes"
"""As in setup.py. It is no Python module: only its place and name are those of one."""

Taps = Sequence[tuple[int, float]]
"""Samples, counted from the first one of a group, and their weights."""

_MAX_TAPS = 8

_Pointers = ctypes.c_void_p * 3
_Weights = ctypes.c_float * _MAX_TAPS


class _Conversion(ctypes.Structure):
    """`EsrganConversion` of codes.cpp."""

    _fields_ = (
        ("rgb", _Pointers),
        ("beyond", _Pointers),
        ("planes", _Pointers),
        ("thresholds", ctypes.c_void_p),
        ("row", ctypes.c_int64),
        ("beyond_row", ctypes.c_int64),
        ("weights", ctypes.c_float * 3 * 3),
        ("offsets", ctypes.c_float * 3),
        ("vertical", _Weights),
        ("horizontal", _Weights),
        ("peak", ctypes.c_float),
        ("black", ctypes.c_float),
        *((name, ctypes.c_int32) for name in ("height", "width", "repeat_y", "repeat_x", "step_y", "step_x")),
        *((name, ctypes.c_int32) for name in ("first_y", "first_x", "taps_y", "taps_x")),
        *((name, ctypes.c_int32) for name in ("limited", "num_planes", "bytes")),
    )


@dataclass(frozen=True)
class Kernel:
    """codes.cpp, compiled for one instruction set."""

    functions: ctypes.CDLL
    number: int

    def run(self, conversion: _Conversion) -> None:
        """Convert one picture in as many threads as torch uses.

        Raises:
            MemoryError: there is none for some rows of the picture.
        """
        if self.functions.esrgan_codes(ctypes.byref(conversion), self.number, torch.get_num_threads()):
            raise MemoryError


def write_codes(
    rgb: Tensor,
    planes: Sequence[Tensor],
    *,
    weights: Sequence[Sequence[float]],
    offsets: Sequence[float],
    peak: int,
    black: float,
    taps: tuple[Taps, Taps],
    step: tuple[int, int],
    beyond: Tensor | None,
    thresholds: Tensor | None,
) -> bool:
    """Write the codes of one picture, where this machine and the picture allow it.

    Args:
        rgb: `(3, H, W)` float32 on the processor.
        planes: to write, `(h, w)` and contiguous, uint8 or uint16: luma, or luma and the two planes of chroma.
        weights: for each plane, of R, G and B in its codes.
        offsets: for each plane, the code of zero.
        peak: the largest code.
        black: the code of what is not a number.
        taps: along rows and along columns, the luma samples whose mean a chroma sample is.
        step: luma samples per chroma sample, along rows and along columns.
        beyond: `(3, h, w)`: `rgb` is limited to 0..1, then this is added, its pixels repeated; `None` does neither.
        thresholds: `(8, 8)` float32 to add before rounding, over and over.

    Returns:
        Whether it was done; if not, nothing was written.

    Raises:
        MemoryError: there is none for some rows of the picture.
    """
    kernels = find_kernels()
    height, width = rgb.shape[-2:]
    if not kernels or rgb.device.type != "cpu" or rgb.dtype != torch.float32 or rgb.stride(-1) != 1:
        return False
    rows, columns = (height, width) if beyond is None else beyond.shape[-2:]
    if height % rows or width % columns:
        return False
    is_within = beyond is None or not beyond.any()
    small = None if is_within or beyond is None else beyond.contiguous()
    across, down = taps
    count = len(planes)
    conversion = _Conversion(
        rgb=_Pointers(*(channel.data_ptr() for channel in rgb)),
        beyond=_Pointers(*(() if small is None else (channel.data_ptr() for channel in small))),
        planes=_Pointers(*(plane.data_ptr() for plane in planes)),
        thresholds=None if thresholds is None else thresholds.data_ptr(),
        row=rgb.stride(-2),
        beyond_row=columns,
        weights=(ctypes.c_float * 3 * 3)(*((ctypes.c_float * 3)(*row) for row in weights[:count])),
        offsets=(ctypes.c_float * 3)(*offsets[:count]),
        vertical=_Weights(*(weight for _, weight in down)),
        horizontal=_Weights(*(weight for _, weight in across)),
        peak=peak,
        black=black,
        height=height,
        width=width,
        repeat_y=height // rows,
        repeat_x=width // columns,
        step_y=step[1],
        step_x=step[0],
        first_y=down[0][0],
        first_x=across[0][0],
        taps_y=len(down),
        taps_x=len(across),
        limited=beyond is not None,
        num_planes=count,
        bytes=planes[0].element_size(),
    )
    kernels[0].run(conversion)
    return True


@cache
def find_kernels() -> Sequence[Kernel]:
    """What this processor runs, fastest first; nothing where it was not built."""
    spec = find_spec(MODULE)
    if spec is None or spec.origin is None:
        return ()
    try:
        library = ctypes.CDLL(spec.origin)
    except OSError:  # built for another machine
        return ()
    integer = ctypes.c_int32
    library.esrgan_codes_supported.argtypes = (integer,)
    library.esrgan_codes_supported.restype = integer
    library.esrgan_codes.argtypes = (ctypes.POINTER(_Conversion), integer, integer)
    library.esrgan_codes.restype = integer
    kernels = []
    number = 0
    while (supported := library.esrgan_codes_supported(number)) >= 0:
        if supported:
            kernels.append(Kernel(library, number))
        number += 1
    return kernels
