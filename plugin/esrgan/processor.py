"""What this machine's processor computes by itself."""

from __future__ import annotations

import platform
from pathlib import Path

import torch


def multiplies_bfloat16() -> bool:
    """Whether the processor runs convolutions in bfloat16. In software that takes some 30 times as long."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001 - torch asks it by this name too


def multiplies_int8() -> bool:
    """Whether products of 8-bit numbers are added without saturation. x86 needs VNNI for that, or AMX."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return True
    if torch.cpu._is_vnni_supported():  # noqa: SLF001 - torch asks it by this name too; it knows AVX-512's alone
        return True
    flags = Path("/proc/cpuinfo")
    return flags.exists() and not {"avx_vnni", "amx_int8"}.isdisjoint(flags.read_text().split())
