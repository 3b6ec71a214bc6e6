"""Sixteen real clips, each with one property that breaks upscalers, through Matroska and MP4."""

from __future__ import annotations

from fractions import Fraction
from math import floor

import av
import numpy as np
import pytest

from clip_tools import decode, digest, main_video, planes, streams, times
from esrgan.errors import MediaError, UsageError
from esrgan_video import OutputSize, VideoOptions, upscale_video
from esrgan_video.container import EncoderOptions
from esrgan_video.verify import VerifyOptions, verify_video

FRAMES = {
    "anime.mp4": 181,
    "ass_subtitles.mkv": 30,
    "bt601.mp4": 30,
    "bt709_full_range.mp4": 30,
    "carphone_qcif.mp4": 120,
    "chapters.mkv": 150,
    "h264_10bit.mp4": 30,
    "hlg_10bit.mp4": 9,
    "interlaced_sar_11_12_ac3.mp4": 21,
    "odd_size_161x121.webm": 30,
    "rotated.mp4": 45,
    "transparent.webm": 150,
    "two_video_two_audio_two_subtitles.mp4": 325,
    "vfr_no_duration.webm": 74,
}


@pytest.fixture(params=FRAMES, scope="module")
def clip(request, assets):
    return assets / "media" / request.param


@pytest.fixture(params=[".mkv", ".mp4"], scope="module")
def result(request, clip, tmp_path_factory, make_upscaler):
    """The clip through a stand-in for the network; large pictures are made smaller, so that this takes seconds."""
    target = tmp_path_factory.mktemp("result") / f"out{request.param}"
    with av.open(str(clip)) as container:
        small = main_video(container).width < 500
    upscale_video(
        clip,
        target,
        upscaler=make_upscaler(scale=2 if small else 1, batch=8),
        options=VideoOptions(
            size=OutputSize(scale=2 if small else 0.25),
            encoder=EncoderOptions(codec="h264", preset="ultrafast"),
            drop_unsupported=request.param == ".mp4" and clip.name == "ass_subtitles.mkv",
        ),
        progress="none",
    )
    return target


def test_the_verifier_agrees(clip, result):
    may_drop = VerifyOptions(drop_unsupported=result.suffix == ".mp4" and clip.name == "ass_subtitles.mkv")
    report = verify_video(clip, result, options=may_drop, progress="none")
    assert not report.failed, report.table()
    counts = [check.found for check in report.checks if check.name == "frames"]
    assert counts == [str(FRAMES[clip.name])]


def turn(frame):
    return [bytes(data)[:24] for kind, data in frame.side_data.items() if kind.name == "DISPLAYMATRIX"]


def shrunk(luma, rows, columns):
    """Means of equal blocks: `(rows, columns)`, which divide the picture's size."""
    height, width = luma.shape
    return luma.astype(float).reshape(rows, height // rows, columns, width // columns).mean((1, 3))


def test_every_frame_sound_tag_and_shape_is_kept(clip, result):
    expected = times(clip)
    if result.suffix == ".mkv":  # whole milliseconds
        expected = [Fraction(floor(moment * 1000 + Fraction(1, 2)), 1000) for moment in expected]
    assert times(result) == expected
    assert len(expected) == FRAMES[clip.name]

    before, after = decode(clip)[0], decode(result)[0]
    assert after.format.name.replace("yuvj", "yuv") == before.format.name.replace("yuvj", "yuv")
    for tag, unspecified in (("colorspace", 2), ("color_range", 0), ("color_primaries", 2), ("color_trc", 2)):
        assert getattr(before, tag) in (getattr(after, tag), unspecified), tag
    assert after.colorspace != 2
    assert turn(before) == turn(after)

    with av.open(str(clip)) as source, av.open(str(result)) as target:
        shapes = [main_video(container).sample_aspect_ratio for container in (source, target)]
        assert shapes[0] == shapes[1] or not shapes[0]
        assert len(source.chapters()) == len(target.chapters())
        main = main_video(source).index
        copied = [s.index for s in source.streams if s.index != main and s.type in ("audio", "video")]
    kinds = [kind for kind, codec, *_ in streams(clip) if not (codec == "ssa" and result.suffix == ".mp4")]
    if clip.name == "chapters.mkv" and result.suffix == ".mp4":
        kinds.append("data")  # MP4 keeps chapters in a track of their own too
    assert [kind for kind, *_ in streams(result)] == kinds
    for index in copied:
        assert digest(result, index) == digest(clip, index)


def test_what_comes_out_looks_like_what_went_in(clip, result):
    """Frame by frame: the same luma in the same place, the larger picture brought to the size of the smaller."""
    for source, target in zip(decode(clip), decode(result), strict=True):
        size = (min(source.height, target.height), min(source.width, target.width))
        before, after = (shrunk(planes(frame)[0], *size) for frame in (source, target))
        assert np.abs(before - after).mean() < 3 * 2 ** (source.format.components[0].bits - 8)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("audio_only.mp4", r"audio_only\.mp4 has no video stream, only audio"),
        ("damaged_bitstream.webm", r"damaged_bitstream\.webm: not one frame .* damaged packet"),
    ],
)
def test_what_has_no_frame_says_so(name, message, assets, tmp_path, nearest):
    with pytest.raises(MediaError, match=message):
        upscale_video(assets / "media" / name, tmp_path / "out.mkv", upscaler=nearest, progress="none")
    assert not list(tmp_path.iterdir())


def test_styled_subtitles_are_refused_for_mp4(assets, tmp_path, nearest):
    with pytest.raises(UsageError, match=r"\.mp4 cannot hold stream #2 \(subtitle, ssa\) .*: write \.mkv instead"):
        upscale_video(assets / "media/ass_subtitles.mkv", tmp_path / "out.mp4", upscaler=nearest, progress="none")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["odd_size_161x121.webm", "vfr_no_duration.webm", "transparent.webm"])
def test_webm_to_webm(name, assets, tmp_path, make_upscaler):
    source, target = assets / "media" / name, tmp_path / "out.webm"
    encoder = EncoderOptions(extra={"deadline": "realtime", "cpu-used": "8"})
    options = VideoOptions(size=OutputSize(scale=0.25), encoder=encoder)
    upscale_video(source, target, upscaler=make_upscaler(scale=1), options=options, progress="none")
    assert times(target) == times(source)
    assert len(times(target)) == FRAMES[name]
    if name != "odd_size_161x121.webm":
        assert digest(target, 1) == digest(source, 1)
