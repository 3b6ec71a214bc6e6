"""Interlaced input: what is noticed, pictures against a bwdif graph of the test's own, and times against arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

import av
import av.filter
import numpy as np
import pytest
import torch

from clip_tools import Clip, decode, make_frame, planes, times, video_options
from esrgan.archs.rrdbnet import RRDBNet
from esrgan.errors import EngineError, UsageError
from esrgan_video import upscale_video
from esrgan_video.cli.main import main
from esrgan_video.container import EncoderOptions
from esrgan_video.container.fields import can_deinterlace, deinterlaced
from esrgan_video.container.reader import VideoReader
from esrgan_video.container.timing import TimeRange

LOSSLESS = EncoderOptions(codec="ffv1")
IRREGULAR = (0, 3, 4, 11, 12, 30, 31, 33, 60, 61)


def filtered(frames: Sequence[av.VideoFrame], *filters: tuple[str, str]) -> list[av.VideoFrame]:
    """What a graph of `filters` makes of frames, to the last one that it holds."""
    graph, made = av.filter.Graph(), []
    nodes = [graph.add_buffer(frames[0], time_base=Fraction(1, 25)), *(graph.add(*given) for given in filters)]
    graph.link_nodes(*nodes, graph.add("buffersink")).configure()
    for frame in [*frames, None]:
        graph.vpush(frame)
        while True:
            try:
                made.append(graph.vpull())
            except (av.error.BlockingIOError, av.error.EOFError):
                break
    return made


def bwdif(frames: Sequence[av.VideoFrame], mode: str) -> list[av.VideoFrame]:
    return filtered(frames, ("bwdif", f"mode=send_{mode}:parity=auto:deint=interlaced"))


def flagged(frame: av.VideoFrame, order: str) -> av.VideoFrame:
    """The frame with FFmpeg's flags of `tff`, `bff` or `prog`."""
    return filtered([frame], ("setfield", f"mode={order}"))[0]


def write(path, frames, orders, *, codec="ffv1", times=None, base=Fraction(1, 25), rate=25, header=0, options=None):
    """A file of `frames`, each flagged with its order; the header says `header` (AVFieldOrder; 0 is unknown)."""
    times = range(len(frames)) if times is None else times
    with av.open(str(path), "w") as output:
        video = output.add_stream(codec, rate, options or {})
        context = video.codec_context
        context.width, context.height, context.pix_fmt = frames[0].width, frames[0].height, frames[0].format.name
        context.time_base, context.field_order = base, header
        context.colorspace, context.color_range = (2, 0) if "gbr" in context.pix_fmt else (1, 1)
        for frame, order, time in zip(frames, orders, times, strict=True):
            made = flagged(frame, order)
            made.pts, made.time_base, made.pict_type = time, base, 0
            output.mux(video.encode(made))
        output.mux(video.encode(None))
    return path


def noise(count: int, pix_fmt: str = "yuv420p", size: tuple[int, int] = (64, 48)) -> list[av.VideoFrame]:
    """Moving noise: neighbours and fields all differ."""
    clip = Clip(pix_fmt=pix_fmt, size=size)
    return [make_frame(clip, number) for number in range(count)]


def read(path, mode="frame", **given):
    with VideoReader(path, TimeRange(**given), deinterlace=mode) as reader:
        return reader.info, list(reader.frames())


def assert_same_pictures(ours, theirs):
    assert len(ours) == len(theirs)
    for frame, other in zip(ours, theirs, strict=True):
        for plane, expected in zip(frame.planes, planes(other), strict=True):
            np.testing.assert_array_equal(plane, expected)


# Pictures


@pytest.mark.parametrize("mode", ["frame", "field"])
def test_a_broadcast_equals_bwdif_and_keeps_every_time(mode, assets):
    source = assets / "media/interlaced_sar_11_12_ac3.mp4"
    decoded = decode(source)
    info, frames = read(source, mode)
    assert info.interlaced
    assert info.deinterlaced
    assert_same_pictures(frames, bwdif(decoded, mode))
    starts = [Fraction(1001 * number, 30000) for number in range(21)]
    halves = [Fraction(1001 * number, 60000) for number in range(42)]
    assert [frame.time for frame in frames] == (starts if mode == "frame" else halves)
    step = halves[1] if mode == "field" else starts[1]
    assert {frame.duration * frame.time_base for frame in frames} == {step}
    assert (1 / info.rate, info.frames_from_header) == (step, len(frames))


@pytest.mark.parametrize("mode", ["frame", "field"])
@pytest.mark.parametrize("order", ["tff", "bff"])
@pytest.mark.parametrize(
    "pix_fmt",
    ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p12le", "yuv420p16le", "gbrp10le", "gray",
     "yuva420p", "yuva444p10le", "yuv411p"],
)  # fmt: skip
def test_depth_and_sampling_are_kept(pix_fmt, order, mode, tmp_path):
    source = write(tmp_path / "in.mkv", noise(4, pix_fmt), [order] * 4)
    _, frames = read(source, mode)
    assert {frame.layout.pix_fmt for frame in frames} == {pix_fmt}
    assert_same_pictures(frames, bwdif(decode(source), mode))


def test_semi_planar_frames_are_taken_too():
    planar = [flagged(frame, "tff") for frame in noise(3)]
    semi = [(frame.reformat(format="nv12", threads=1), number) for number, frame in enumerate(planar)]
    ours = [frame for frame, _ in deinterlaced(iter(semi), "field", usual_duration=1)]
    for frame, other in zip(ours, bwdif(planar, "field"), strict=True):
        assert all(np.array_equal(*pair) for pair in zip(planes(frame), planes(other), strict=True))


def bar(field_times: tuple[int, int]) -> av.VideoFrame:
    """A white bar, 4 wide, whose left edge in the top and the bottom lines is at 2 x the field's time."""
    frame = av.VideoFrame(96, 48, "yuv444p")
    for index, plane in enumerate(frame.planes):
        rows = np.frombuffer(plane, np.uint8).reshape(48, plane.line_size)
        rows[:] = 16 if index == 0 else 128
        for first, time in enumerate(field_times if index == 0 else ()):
            rows[first::2, 2 * time : 2 * time + 4] = 235
    return frame


@pytest.mark.parametrize("order", ["tff", "bff"])
def test_each_field_shows_its_own_moment(order, tmp_path):
    moments = [(2 * number, 2 * number + 1) for number in range(10)]
    drawn = [bar(pair if order == "tff" else pair[::-1]) for pair in moments]
    source = write(tmp_path / "in.mkv", drawn, [order] * 10)
    _, frames = read(source, "field")
    assert len(frames) == 20
    for field, frame in enumerate(frames):
        inside = frame.planes[0][8:-8]
        # Lines of the field are as they were; between them, the bar stands where it stands in them.
        assert (inside.astype(int).argmax(1) == 2 * field).all(), field
        assert frame.time == Fraction(field, 50)


def test_the_picture_of_a_frame_is_that_of_its_first_field(tmp_path):
    source = write(tmp_path / "in.mkv", [bar((2 * number, 2 * number + 1)) for number in range(10)], ["tff"] * 10)
    _, frames = read(source, "frame")
    assert [frame.planes[0][20].argmax() for frame in frames] == [4 * number for number in range(10)]


# Which frames


ORDERS = ["prog", "prog", "tff", "tff", "prog", "prog", "tff", "prog"]


@pytest.mark.parametrize("mode", ["frame", "field"])
def test_only_frames_that_are_flagged_are_touched(mode, tmp_path):
    source = write(tmp_path / "in.mkv", noise(8), ORDERS)
    decoded = decode(source)
    assert [frame.interlaced_frame for frame in decoded] == [order != "prog" for order in ORDERS]
    info, frames = read(source, mode)
    assert info.interlaced
    assert_same_pictures(frames, bwdif(decoded, mode))
    expected = []
    for number, order in enumerate(ORDERS):
        expected.append(Fraction(number, 25))
        if order != "prog" and mode == "field":
            expected.append(Fraction(2 * number + 1, 50))
    assert [frame.time for frame in frames] == expected
    for number in (0, 1):
        assert all(np.array_equal(*pair) for pair in zip(frames[number].planes, planes(decoded[number]), strict=True))


def test_a_progressive_video_is_left_alone(plain):
    info, frames = read(plain)
    assert not info.interlaced
    assert_same_pictures(frames, decode(plain))


def test_interlacing_is_noticed_behind_the_first_frame_and_filtered_whenever_it_comes(tmp_path):
    early = write(tmp_path / "early.mkv", noise(26), ["prog"] * 20 + ["tff"] * 6)
    late = write(tmp_path / "late.mkv", noise(40), ["prog"] * 34 + ["tff"] * 6)
    assert read(early)[0].interlaced
    info, frames = read(late)
    assert not info.interlaced  # not in the first second
    assert_same_pictures(frames, bwdif(decode(late), "frame"))


@pytest.mark.parametrize(("header", "order"), [(2, "tff"), (3, "bff"), (4, "bff"), (5, "tff")])
def test_a_codec_without_flags_takes_the_order_of_the_header(header, order, tmp_path):
    source = write(tmp_path / "in.mov", noise(4, "yuvj422p"), ["prog"] * 4, codec="mjpeg", header=header)
    decoded = decode(source)
    assert not any(frame.interlaced_frame for frame in decoded)
    info, frames = read(source, "field")
    assert info.interlaced
    assert_same_pictures(frames, bwdif([flagged(frame, order) for frame in decoded], "field"))
    assert len(frames) == 8


def test_size_and_format_may_change_on_the_way():
    parts = [noise(3), noise(3, size=(32, 64)), noise(2, "yuv422p", (32, 64))]
    given = [(flagged(frame, "tff"), number) for number, frame in enumerate(frame for part in parts for frame in part)]
    for number, (frame, _) in enumerate(given):
        frame.pts = number
    made = list(deinterlaced(iter(given), "frame", usual_duration=1))
    assert [pts for _, pts in made] == list(range(8))
    expected = [frame for part in (given[:3], given[3:6], given[6:]) for frame in bwdif([f for f, _ in part], "frame")]
    for (frame, _), other in zip(made, expected, strict=True):
        assert all(np.array_equal(*pair) for pair in zip(planes(frame), planes(other), strict=True))


@pytest.mark.parametrize(("pix_fmt", "size"), [("gray10le", (64, 48)), ("yuv420p", (64, 2)), ("yuv420p", (4, 48))])
def test_what_bwdif_refuses_stays_as_it_is_and_is_said(pix_fmt, size, tmp_path, identity, caplog):
    source = write(tmp_path / "in.mkv", noise(3, pix_fmt, size), ["tff"] * 3)
    assert not can_deinterlace(decode(source)[0])
    info, frames = read(source)
    assert (info.interlaced, info.deinterlaced) == (True, False)
    assert_same_pictures(frames, decode(source))
    upscale_video(
        source, tmp_path / "out.mkv", upscaler=identity, options=video_options(encoder=LOSSLESS), progress="none"
    )
    assert "fields are upscaled as they are" in caplog.text


# Times


@pytest.mark.parametrize("mode", ["frame", "field"])
def test_irregular_times_are_exact(mode, tmp_path):
    base = Fraction(1001, 90000)
    source = write(tmp_path / "in.mp4", noise(10), ["tff"] * 10, codec="libx264", times=IRREGULAR, base=base,
                   options={"preset": "ultrafast", "x264-params": "tff=1"})  # fmt: skip
    starts = times(source)
    _, frames = read(source, mode)
    if mode == "frame":
        assert [frame.time for frame in frames] == starts
        return
    middles = [(before + after) / 2 for before, after in pairwise(starts)]
    assert [frame.time for frame in frames[::2]] == starts
    assert [frame.time for frame in frames[1:-1:2]] == middles
    last = decode(source)[-1]
    assert frames[-1].time == starts[-1] + last.duration * Fraction(1, last.time_base.denominator) / 2
    ends = [(frame.pts + frame.duration) * frame.time_base for frame in frames]
    assert ends[:-1] == [frame.time for frame in frames[1:]]


def test_a_gap_does_not_stretch_the_fields_before_it():
    given = [flagged(frame, "tff") for frame in noise(3)]
    for frame in given:
        frame.duration = 4
    stamps = [0, 4, 50]
    made = [
        (pts, frame.duration)
        for frame, pts in deinterlaced(iter(zip(given, stamps, strict=True)), "field", usual_duration=4)
    ]
    assert made == [(0, 4), (4, 4), (8, 4), (12, 4), (100, 4), (104, 4)]  # ticks are half as long


@pytest.mark.parametrize(("mode", "expected"), [("frame", [0]), ("field", [0, Fraction(1, 50)])])
def test_one_frame_is_enough(mode, expected, tmp_path):
    source = write(tmp_path / "in.mkv", noise(1), ["tff"])
    info, frames = read(source, mode)
    assert [frame.time for frame in frames] == expected
    assert info.interlaced
    assert_same_pictures(frames, bwdif(decode(source), mode))


@pytest.mark.parametrize("mode", ["frame", "field"])
def test_a_trial_shows_the_frames_that_the_whole_shows(mode, tmp_path):
    source = write(tmp_path / "in.mp4", noise(60), ["tff"] * 60, codec="libx264",
                   options={"preset": "ultrafast", "x264-params": "tff=1:keyint=10"})  # fmt: skip
    _, whole = read(source, mode)
    _, trial = read(source, mode, start=Fraction(8, 5), frames=7)
    first = 40 if mode == "frame" else 80
    expected = whole[first : first + 7]
    assert [frame.time for frame in trial] == [frame.time - Fraction(8, 5) for frame in expected]
    for frame, other in zip(trial, expected, strict=True):
        assert all(np.array_equal(*pair) for pair in zip(frame.planes, other.planes, strict=True))


def test_a_trial_may_begin_with_a_second_field(tmp_path):
    source = write(tmp_path / "in.mkv", noise(10), ["tff"] * 10)
    _, whole = read(source, "field")
    _, trial = read(source, "field", start=Fraction(1, 10) + Fraction(1, 50), end=Fraction(1, 5))
    assert [frame.time for frame in trial] == [0, Fraction(1, 50), Fraction(1, 25), Fraction(3, 50)]
    assert np.array_equal(trial[0].planes[0], whole[6].planes[0])


# From file to file


def field_order(path):
    with av.open(str(path)) as container:
        return container.streams.video[0].codec_context.field_order


def upscale(source, target, upscaler, encoder=LOSSLESS, **given):
    options = video_options(encoder=encoder, **given)
    return upscale_video(source, target, upscaler=upscaler, options=options, progress="none")


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
@pytest.mark.parametrize(("mode", "count"), [("frame", 10), ("field", 20)])
def test_the_output_is_progressive_with_its_colour_and_times(mode, count, suffix, tmp_path, nearest):
    source = write(tmp_path / "in.mkv", noise(10), ["tff"] * 10)
    target = tmp_path / f"out{suffix}"
    result = upscale(source, target, nearest, EncoderOptions(preset="ultrafast"), deinterlace=mode)
    frames = decode(target)
    assert result.frames == len(frames) == count
    assert not any(frame.interlaced_frame for frame in frames)
    assert field_order(target) == 1
    assert times(target) == [Fraction(number, count * 25 // 10) for number in range(count)]
    assert {(frame.colorspace, frame.color_range) for frame in frames} == {(1, 1)}


def test_fields_are_left_woven_where_that_is_asked_for(tmp_path, nearest, caplog):
    source = write(tmp_path / "in.mkv", noise(4), ["tff"] * 4)
    upscale(source, tmp_path / "out.mkv", nearest, deinterlace="off")
    assert "fields are upscaled as they are" in caplog.text
    for ours, theirs in zip(decode(tmp_path / "out.mkv"), decode(source), strict=True):
        np.testing.assert_array_equal(planes(ours)[0], planes(theirs)[0].repeat(2, 0).repeat(2, 1))
    assert field_order(tmp_path / "out.mkv") == 0  # a line of it belongs to no field any more


@pytest.mark.parametrize(("order", "number"), [("tff", 2), ("bff", 3)])
def test_fields_that_are_kept_are_flagged(order, number, tmp_path, identity, caplog):
    source = write(tmp_path / "in.mkv", noise(4), [order] * 4)
    upscale(source, tmp_path / "out.mkv", identity, EncoderOptions(codec="h264"), deinterlace="off")
    assert field_order(tmp_path / "out.mkv") == number
    assert all(frame.interlaced_frame for frame in decode(tmp_path / "out.mkv"))
    assert "not told" not in caplog.text
    upscale(source, tmp_path / "other.mkv", identity, LOSSLESS, deinterlace="off")
    assert "ffv1 is not told that the frames are interlaced" in caplog.text


def test_the_command_takes_the_choice(tmp_path, capsys):
    torch.manual_seed(0)
    network = RRDBNet(num_feat=4, num_grow_ch=2, num_block=1, scale=2, unshuffle=1)
    torch.save({"params": network.state_dict()}, tmp_path / "tiny.pth")
    source = write(tmp_path / "in.mkv", noise(3), ["tff"] * 3)
    common = ["upscale", str(source), "-n", str(tmp_path / "tiny.pth"), "--frames", "2", "--progress", "none"]
    for name, given in (("a", []), ("b", ["--deinterlace", "field"]), ("c", ["--keep-interlaced"])):
        assert main([*common, "-o", str(tmp_path / f"{name}.mkv"), "--codec", "ffv1", *given]) == 0
    assert times(tmp_path / "a.mkv") == [0, Fraction(1, 25)]
    assert times(tmp_path / "b.mkv") == [0, Fraction(1, 50)]
    first = [planes(decode(tmp_path / f"{name}.mkv")[0])[0] for name in "abc"]
    np.testing.assert_array_equal(first[0], first[1])
    assert not np.array_equal(first[0], first[2])
    with pytest.raises(SystemExit, match="2"):
        main([*common, "--deinterlace", "field", "--keep-interlaced"])
    assert "not allowed with argument" in capsys.readouterr().err


def test_a_run_that_goes_on_gives_the_same_fields(tmp_path, stopping):
    source = write(tmp_path / "in.mkv", noise(12), [*["tff"] * 5, "prog", *["tff"] * 6])
    given = {"deinterlace": "field", "batch": 1, "segment_frames": 4}
    upscale(source, tmp_path / "whole.mkv", stopping(), **given)
    assert times(tmp_path / "whole.mkv")[9:13] == [Fraction(9, 50), Fraction(1, 5), Fraction(6, 25), Fraction(13, 50)]
    with pytest.raises(EngineError, match="enough"):
        upscale(source, tmp_path / "out.mkv", stopping(11), **given)
    result = upscale(source, tmp_path / "out.mkv", stopping(), **given)
    assert result.resumed_frames >= 4
    assert times(tmp_path / "out.mkv") == times(tmp_path / "whole.mkv")
    for frame, other in zip(decode(tmp_path / "out.mkv"), decode(tmp_path / "whole.mkv"), strict=True):
        assert all(np.array_equal(*pair) for pair in zip(planes(frame), planes(other), strict=True))
    with pytest.raises(EngineError, match="enough"):
        upscale(source, tmp_path / "other.mkv", stopping(11), **given)
    with pytest.raises(UsageError, match="deinterlace"):
        upscale(source, tmp_path / "other.mkv", stopping(), **{**given, "deinterlace": "frame"})
