"""The same frames become the same stream each time, whatever the processor."""

from __future__ import annotations

from fractions import Fraction

import pytest

from clip_tools import Clip, packets, video_options, write_clip
from esrgan_video import upscale_video
from esrgan_video.container import EncoderOptions, encoding

RUNS = 8


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    clip = Clip(size=(32, 24), times=list(range(0, 40 * 3600, 3600)), time_base=Fraction(1, 90000))
    return write_clip(tmp_path_factory.mktemp("repeatable") / "in.mp4", clip)


@pytest.mark.parametrize("preset", ["veryfast", "fast", "slow"])
def test_x264_decides_alike_each_time(preset, source, tmp_path, nearest):
    """With AVX-512, which is left out therefore, these differ."""
    streams = set()
    for number in range(RUNS):
        target = tmp_path / f"{number}.mp4"
        options = video_options(encoder=EncoderOptions(preset=preset))
        upscale_video(source, target, upscaler=nearest, options=options, progress="none")
        streams.add(tuple(packets(target, 0)))
    assert len(streams) == 1


@pytest.mark.parametrize(
    ("encoder", "has", "given", "expected"),
    [
        ("libx264", True, "", "asm=avx2,fma3,bmi2,lzcnt"),
        ("libx264rgb", True, "bframes=2", "bframes=2:asm=avx2,fma3,bmi2,lzcnt"),
        ("libx264", True, "asm=avx512:bframes=2", "asm=avx512:bframes=2"),
        ("libx264", False, "bframes=2", "bframes=2"),
        ("libx265", True, "", ""),
    ],
)
def test_only_x264_with_avx512_is_told_and_only_what_the_user_left_open(encoder, has, given, expected, monkeypatch):
    monkeypatch.setattr(encoding, "has_avx512", lambda: has)
    options = {"preset": "fast", **({"x264-params": given} if given else {})}
    told = encoding.repeatable(encoder, options)
    assert told == {"preset": "fast", **({"x264-params": expected} if expected else {})}


def test_what_the_processor_has_is_what_the_system_says():
    from pathlib import Path

    from esrgan.processor import has_avx512

    information = Path("/proc/cpuinfo")
    if not information.is_file() or "flags" not in information.read_text():
        pytest.skip("this system does not list what its processor has")
    flags = set(next(line for line in information.read_text().splitlines() if line.startswith("flags")).split())
    if has_avx512():
        assert flags >= {"avx512f", "avx512bw", "avx512vl", "avx2", "fma", "bmi2"}
    else:
        assert not flags >= {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
