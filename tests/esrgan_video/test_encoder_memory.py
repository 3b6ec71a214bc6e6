"""What an encoder is expected to take of memory, against what a process takes that runs it with PyAV alone."""

from __future__ import annotations

import json
import subprocess
import sys
from fractions import Fraction

import pytest

from esrgan_video.colour import Colour, PixelLayout
from esrgan_video.container import EncoderPlan, OutputVideo
from esrgan_video.container.encoder_memory import encoder_bytes, fitting_lookahead, with_lookahead

_MEASURE = """
import json, sys
from fractions import Fraction
import av, numpy as np, psutil

encoder, options, threads, pix_fmt, width, height, count = json.loads(sys.argv[1])
rows, columns = np.mgrid[:height, :width]
waves = 128 + 60 * np.sin(rows / 17) + 60 * np.sin(columns / 23)
frames = []
for shift in range(3):
    grey = np.roll(waves, 3 * shift, 1).astype(np.uint8)
    frames.append(av.VideoFrame.from_ndarray(grey, format="gray").reformat(format=pix_fmt, threads=1))
context = av.CodecContext.create(encoder, "w")
context.width, context.height, context.pix_fmt = width, height, pix_fmt
context.time_base, context.framerate = Fraction(1, 25), Fraction(25)
context.thread_count, context.thread_type, context.options = threads, "AUTO", options
process = psutil.Process()
before = peak = process.memory_info().rss
for number in range(count):
    frame = frames[number % 3]
    frame.pts, frame.time_base, frame.pict_type = number, Fraction(1, 25), 0
    context.encode(frame)
    peak = max(peak, process.memory_info().rss)
context.encode(None)
print(max(peak, process.memory_info().rss) - before)
"""


def measured(video: OutputVideo, count: int) -> int:
    given = [video.plan.encoder, dict(video.plan.options), video.threads, video.plan.pix_fmt, video.width, video.height]
    ended = subprocess.run(
        [sys.executable, "-c", _MEASURE, json.dumps([*given, count])], capture_output=True, text=True, check=True
    )
    return int(ended.stdout)


def make_video(encoder="libx264", pix_fmt="yuv420p", size=(1920, 1080), threads=1, **options) -> OutputVideo:
    plan = EncoderPlan(
        encoder=encoder,
        pix_fmt=pix_fmt,
        layout=PixelLayout.of(pix_fmt),
        colour=Colour(matrix=1, full_range=False),
        options={key.replace("_", "-"): value for key, value in options.items()},
        field_order=1,
    )
    return OutputVideo(
        plan=plan,
        width=size[0],
        height=size[1],
        time_base=Fraction(1, 25),
        rate=Fraction(25),
        sample_aspect_ratio=None,
        threads=threads,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="other systems count a process's memory in other ways")
@pytest.mark.parametrize(
    "given",
    [
        {"preset": "veryfast"},
        {"preset": "veryfast", "rc_lookahead": "3"},
        {"preset": "veryfast", "threads": 3},
        {"preset": "veryfast", "x264_params": "rc-lookahead=5:bframes=0"},
        {"preset": "veryfast", "pix_fmt": "yuv444p10le"},
        {"preset": "fast"},
        {"preset": "slow", "threads": 3, "size": (1280, 720)},
    ],
)
def test_what_x264_takes_is_about_what_is_expected(given):
    video = make_video(**given)
    taken = measured(video, 80)
    assert 0.85 * taken < encoder_bytes(video) < 1.4 * taken


@pytest.mark.skipif(sys.platform != "linux", reason="other systems count a process's memory in other ways")
@pytest.mark.parametrize(
    ("encoder", "options"),
    [
        ("libx265", {"x265_params": "log-level=error"}),
        ("libvpx-vp9", {"deadline": "good", "cpu_used": "4"}),
        ("ffv1", {}),
        ("mpeg4", {}),
    ],
)
def test_other_encoders_take_no_more_than_is_expected(encoder, options):
    video = make_video(encoder, **options)
    assert measured(video, 40) < 1.1 * encoder_bytes(video)


def test_the_lookahead_becomes_as_short_as_memory_asks_for():
    video = make_video(preset="fast", size=(7680, 4320))
    usual = encoder_bytes(video)
    assert fitting_lookahead(video, usual) is None
    shorter = fitting_lookahead(video, usual - 1)
    assert shorter == 15
    sizes = [encoder_bytes(with_lookahead(video, lookahead)) for lookahead in (15, 7, 3)]
    assert usual > sizes[0] > sizes[1] > sizes[2]
    assert [fitting_lookahead(video, size) for size in sizes] == [15, 7, 3]
    assert fitting_lookahead(video, 0) == 3
    assert with_lookahead(video, None) is video


@pytest.mark.parametrize(
    "given",
    [
        {"preset": "fast", "rc_lookahead": "40"},
        {"preset": "fast", "x264_params": "aq-mode=1:rc-lookahead=40"},
        {"preset": "superfast"},
        {"encoder": "libx265"},
        {"encoder": "ffv1"},
    ],
)
def test_what_the_user_said_and_what_has_no_lookahead_to_shorten_stays(given):
    assert fitting_lookahead(make_video(**given), 0) is None


def test_memory_goes_with_the_size_the_depth_and_the_planes():
    small, large = (encoder_bytes(make_video(preset="fast", size=size)) for size in ((640, 360), (1280, 720)))
    assert large == pytest.approx(4 * small, rel=1e-6)
    for encoder in ("libx264", "libx265", "libsvtav1", "prores_ks"):
        eight, ten = (encoder_bytes(make_video(encoder, name)) for name in ("yuv420p", "yuv420p10le"))
        assert 1.3 * eight < ten <= 2.1 * eight
    assert encoder_bytes(make_video(pix_fmt="yuv444p")) > encoder_bytes(make_video(pix_fmt="yuv422p"))
