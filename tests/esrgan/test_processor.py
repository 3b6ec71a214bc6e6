"""What the processor computes by itself, judged by the kernel's own list of its abilities."""

from __future__ import annotations

from pathlib import Path

import pytest

from esrgan.processor import multiplies_bfloat16

_CPUINFO = Path("/proc/cpuinfo")


@pytest.mark.skipif(not _CPUINFO.exists(), reason="only Linux lists what the processor can do there")
def test_bfloat16_is_known_by_the_processors_instructions():
    flags = _CPUINFO.read_text().split()
    if "avx512_bf16" in flags or "amx_bf16" in flags:
        assert multiplies_bfloat16()
    elif "avx2" in flags and "avx512f" not in flags and "avx_ne_convert" not in flags:
        assert not multiplies_bfloat16()
    else:
        pytest.skip("oneDNN decides for this processor, by more than its instructions")


def test_a_torch_without_onednn_has_none(monkeypatch):
    monkeypatch.setattr("torch.backends.mkldnn.is_available", lambda: False)
    assert not multiplies_bfloat16()
