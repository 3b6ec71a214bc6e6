"""What this machine's processor computes by itself."""

from __future__ import annotations

import torch


def multiplies_bfloat16() -> bool:
    """Whether the processor runs convolutions in bfloat16. In software that takes some 30 times as long."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001 - torch asks it by this name too


def has_avx512() -> bool:
    """Whether the processor has AVX-512, and with it everything of AVX2's time."""
    return torch.backends.cpu.get_cpu_capability() == "AVX512"
