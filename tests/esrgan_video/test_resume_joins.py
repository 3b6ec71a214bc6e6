"""Segments joined without encoding again: every frame and every time is there, and no decoder notices the joins."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest

from clip_tools import Clip, decode, main_video, planes, times, video_options, write_clip
from esrgan_video import upscale_video
from esrgan_video.container import EncoderOptions

H264 = EncoderOptions(preset="ultrafast", extra={"bf": "3", "x264-params": "b-pyramid=normal:b-adapt=0"})
HEVC = EncoderOptions(codec="hevc", preset="ultrafast", extra={"x265-params": "bframes=3:log-level=error"})
VP9 = EncoderOptions(codec="vp9", extra={"deadline": "realtime", "cpu-used": "8"})
AV1 = EncoderOptions(codec="av1", preset="12")
FFV1 = EncoderOptions(codec="ffv1")
PRORES = EncoderOptions(codec="prores")
CASES = [
    (".mp4", H264), (".mkv", H264), (".mov", H264), (".mp4", HEVC), (".mkv", HEVC), (".webm", VP9), (".mp4", VP9),
    (".webm", AV1), (".mp4", AV1), (".mkv", FFV1), (".mov", PRORES), (".mkv", PRORES),
]  # fmt: skip


def name_of(value):
    return (value.codec or "h264") if isinstance(value, EncoderOptions) else str(value)


@pytest.fixture(scope="module")
def barcode(tmp_path_factory):
    """36 frames at irregular times whose brightness tells their number through any encoder, and the times in ticks."""
    generator = np.random.default_rng(3)
    ticks = np.cumsum(generator.integers(1500, 9000, 36)).tolist()
    made = [
        [np.full((48, 64), 20 + 6 * number, np.uint8), *[np.full((24, 32), 128, np.uint8)] * 2] for number in range(36)
    ]
    clip = Clip(codec="ffv1", options={}, times=ticks, time_base=Fraction(1, 90000), planes=made)
    return write_clip(tmp_path_factory.mktemp("joins") / "barcode.nut", clip)


def run(source, target, upscaler, encoder, segment_frames, **given):
    options = video_options(encoder=encoder, segment_frames=segment_frames, **given)
    return upscale_video(source, target, upscaler=upscaler, options=options, progress="none")


def stored_packets(path):
    """`(pts, dts)` of the video's packets in the order of the file, as the demuxer reads them."""
    with av.open(str(path)) as container:
        return [(packet.pts, packet.dts) for packet in container.demux(main_video(container)) if packet.size]


@pytest.mark.parametrize(
    ("suffix", "encoder", "segment_frames"),
    [*((*case, 7) for case in CASES), (".mp4", H264, 1), (".mp4", HEVC, 2), (".mkv", H264, 12)],
    ids=name_of,
)
def test_joined_segments_have_all_frames_at_their_times(
    suffix, encoder, segment_frames, barcode, tmp_path, make_upscaler
):
    target = tmp_path / f"out{suffix}"
    result = run(barcode, target, make_upscaler(scale=2), encoder, segment_frames)
    expected = times(barcode)
    if suffix in (".mkv", ".webm"):
        expected = [Fraction(round(moment * 1000), 1000) for moment in expected]
    found = times(target)
    assert result.frames == len(found) == 36
    assert max(abs(ours - theirs) for ours, theirs in zip(found, expected, strict=True)) == 0
    unit = {"prores": 4}.get(name_of(encoder), 1)  # ProRes has ten bits
    for number, frame in enumerate(decode(target)):
        assert abs(planes(frame)[0].mean() / unit - (20 + 6 * number)) < 3
    if suffix in (".mp4", ".mov"):  # Matroska stores no decoding times
        stamps = stored_packets(target)
        assert all(before[1] < after[1] for before, after in pairwise(stamps))
        assert all(dts <= pts for pts, dts in stamps)
        if name_of(encoder) in ("h264", "hevc") and segment_frames > 3:
            assert [pts for pts, _ in stamps] != sorted(pts for pts, _ in stamps)
