"""What `VideoReader` gives, against PyAV's own decoding of the same file."""

from __future__ import annotations

import itertools
import shutil
from fractions import Fraction

import av
import numpy as np
import pytest

from break_tools import turn_time_bit
from clip_tools import Clip, Tags, decode, increasing, make_frame, planes, times, wav, write_clip
from esrgan.errors import MediaError, UsageError
from esrgan_video.container import TimeRange, VideoReader
from esrgan_video.container.clock import Clock
from esrgan_video.container.timing import Timeline


def read(path, **given):
    with VideoReader(path, TimeRange(**given)) as reader:
        return list(reader.frames())


def copied(frame):
    return [plane.copy() for plane in frame.planes]


SOURCES = {
    "h264.mp4": Clip(),
    "h264.mov": Clip(size=(50, 34)),
    "vp9.webm": Clip(codec="libvpx-vp9", size=(161, 121), options={"deadline": "realtime", "cpu-used": "8"}),
    "ten bit.mkv": Clip(codec="ffv1", pix_fmt="yuv422p10le", options={}),
    "hevc.mkv": Clip(codec="libx265", pix_fmt="yuv420p10le", options={"x265-params": "log-level=error"}, size=(66, 50)),
    "full.mp4": Clip(pix_fmt="yuvj444p", tags=Tags(matrix=1, color_range=2)),
    "grey.mkv": Clip(codec="ffv1", pix_fmt="gray", options={}),
    "mpeg4.ts": Clip(codec="mpeg4", options={"bf": "2"}, muxer="mpegts"),
    "mjpeg.avi": Clip(codec="mjpeg", pix_fmt="yuvj422p", options={}),
}


@pytest.mark.parametrize("name", SOURCES)
def test_every_frame_with_its_time_and_exact_code_values(name, tmp_path):
    path = write_clip(tmp_path / name, SOURCES[name])
    expected = decode(path)
    with VideoReader(path) as reader:
        found = [(frame.pts, copied(frame)) for frame in reader.frames()]
    assert [pts for pts, _ in found] == [frame.pts for frame in expected]
    assert len(found) == 30
    for (_, ours), theirs in zip(found, expected, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(ours, planes(theirs), strict=True))


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "planar"),
    [
        ("ffv1", "bgr0", "gbrp"),
        ("rawvideo", "yuyv422", "yuv422p"),
        ("rawvideo", "nv12", "yuv420p"),
        ("png", "rgb48be", "gbrp16le"),
    ],
)
def test_packed_formats_arrive_in_planes(codec, pix_fmt, planar, tmp_path):
    clip = Clip(codec=codec, pix_fmt=pix_fmt, options={}, times=range(3), size=(34, 22))
    path = write_clip(tmp_path / "packed.nut", clip)
    frames = read(path)
    assert frames[0].layout.pix_fmt == planar
    for frame, theirs in zip(frames, decode(path), strict=True):
        expected = planes(theirs.reformat(format=planar, threads=1))
        assert all(np.array_equal(a, b) for a, b in zip(frame.planes, expected, strict=True))


def test_irregular_times_are_exact(vfr):
    frames = read(vfr)
    assert [frame.time for frame in frames] == times(vfr)
    assert len({b.pts - a.pts for a, b in itertools.pairwise(frames)}) > 5


def test_a_late_start_is_kept(late):
    assert read(late)[0].time == 2


@pytest.mark.parametrize("name", ["b-frames.avi", "b-frames.asf"])
def test_containers_with_decoding_times_only_get_times_in_order(name, tmp_path):
    path = write_clip(tmp_path / name, Clip(options={"bf": "3"}))
    raw = [frame.pts for frame in decode(path)]
    assert not increasing(raw)  # what FFmpeg says of B-frames there is not the order of presentation
    assert [frame.pts for frame in read(path)] == sorted(raw)


def test_frames_without_times_follow_the_frame_rate(tmp_path):
    rate = Fraction(30000, 1001)
    path = write_clip(tmp_path / "raw.h264", Clip(rate=rate, time_base=1 / rate, muxer="h264"))
    assert [frame.pts for frame in decode(path)] == [None] * 30
    assert [frame.time for frame in read(path)] == [number / rate for number in range(30)]


def test_properties_of_the_stream(tmp_path):
    tags = Tags(matrix=9, color_range=1, primaries=9, transfer=18, location=3)
    turned = (0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)
    clip = Clip(pix_fmt="yuv420p10le", tags=tags, sar=Fraction(4, 3), matrix=turned, rate=Fraction(24000, 1001),
                time_base=Fraction(1001, 24000), video_metadata={"language": "swe"})  # fmt: skip
    with VideoReader(write_clip(tmp_path / "tagged.mp4", clip)) as reader:
        info = reader.info
        assert (info.width, info.height, info.layout.pix_fmt) == (64, 48, "yuv420p10le")
        colour = info.colour
        assert (colour.matrix, colour.full_range, colour.primaries, colour.transfer) == (9, False, 9, 18)
        assert colour.chroma_location == 3
        assert info.sample_aspect_ratio == Fraction(4, 3)
        assert info.display_matrix == turned
        assert info.rate == Fraction(24000, 1001)
        assert info.frames_from_header == reader.expected_frames == 30
        assert info.metadata["language"] == "swe"
        assert not info.interlaced


def test_hdr_metadata_is_read(tmp_path):
    display = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
    parameters = f"log-level=error:master-display={display}:max-cll=1000,400"
    clip = Clip(codec="libx265", pix_fmt="yuv420p10le", options={"x265-params": parameters}, times=range(3))
    with VideoReader(write_clip(tmp_path / "hdr.mkv", clip)) as reader:
        assert reader.info.mastering_display.red == (Fraction(34000, 50000), Fraction(16000, 50000))
        assert reader.info.mastering_display.luminance == (Fraction(1, 10000), 1000)
        assert reader.info.mastering_display.for_x26x() == display
        assert (reader.info.light_level.maximum, reader.info.light_level.frame_average) == (1000, 400)


def test_a_frame_rate_that_cannot_be_is_measured(tmp_path):
    clip = Clip(rate=Fraction(1000), times=[40 * time for time in range(30)], time_base=Fraction(1, 1000))
    with VideoReader(write_clip(tmp_path / "thousand.mkv", clip)) as reader:
        assert reader.info.rate == 25


def test_cover_art_is_not_the_video(rich, tmp_path):
    path = tmp_path / "cover first.mp4"
    with av.open(str(rich)) as source, av.open(str(path), "w") as output:
        wanted = [stream for stream in source.streams if stream.type == "video"]
        targets = {}
        for stream in reversed(wanted):
            targets[stream.index] = output.add_stream_from_template(stream, opaque=True)
            targets[stream.index].disposition = stream.disposition
        for packet in source.demux(*wanted):
            if packet.size:
                packet.stream = targets[packet.stream.index]
                output.mux(packet)
    assert len(read(path)) == 50


# Ranges


@pytest.mark.parametrize("start", [Fraction(0), Fraction(1, 3), Fraction(1), Fraction(11, 5), Fraction(39, 10)])
@pytest.mark.parametrize("kind", ["mp4", "mkv", "ts"])
def test_a_range_gives_the_frames_of_a_whole_run(start, kind, tmp_path):
    # 100 frames, a keyframe each second, B-frames before it that refer across it (open groups)
    options = {"preset": "ultrafast", "bf": "2", "g": "25", "x264-params": "open-gop=1:scenecut=0"}
    path = write_clip(
        tmp_path / f"long.{kind}", Clip(times=range(100), options=options, muxer={"ts": "mpegts"}.get(kind))
    )
    whole = [(frame.time, copied(frame)) for frame in read(path)]
    origin = whole[0][0]
    end = start + Fraction(3, 5)
    expected = [(time, pixels) for time, pixels in whole if start <= time - origin < end]
    found = [(frame.time, copied(frame)) for frame in read(path, start=start, end=end)]
    assert len(found) == len(expected) > 1
    moved = expected[0][0] if start else 0
    for (time, ours), (expected_time, theirs) in zip(found, expected, strict=True):
        assert time == expected_time - moved
        assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_a_number_of_frames(plain):
    assert [frame.time for frame in read(plain, frames=7)] == times(plain)[:7]
    assert len(read(plain, start=Fraction(1), frames=3)) == 3
    assert len(read(plain, frames=1000)) == 30


def test_expected_frames_of_a_range(plain):
    with VideoReader(plain, TimeRange(start=Fraction(1, 2), end=Fraction(1))) as reader:
        assert abs(reader.expected_frames - len(list(reader.frames()))) <= 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"start": Fraction(-1)}, "--start must not be negative, got -1 s"),
        ({"start": Fraction(3), "end": Fraction(2)}, "--end must be after --start, got 3 s to 2 s"),
        ({"end": Fraction(0)}, "--end must be after --start"),
        ({"frames": 0}, "--frames must be at least 1, got 0"),
    ],
)
def test_ranges_that_cannot_be(given, message):
    with pytest.raises(UsageError, match=message):
        TimeRange(**given)


def test_a_range_behind_the_end(plain):
    with pytest.raises(UsageError, match=r"plain\.mp4 has no frame after --start 100 s"):
        VideoReader(plain, TimeRange(start=Fraction(100)))


# What is damaged, and what is not a video


def damaged(source, target, numbers, *, headers_only=False):
    """A copy of `source` whose video packets `numbers` are overwritten: with ones, or the first bytes at random."""
    with av.open(str(source)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    content = bytearray(source.read_bytes())
    for number in numbers:
        position, size = places[number]
        if headers_only:
            length = min(size, 40) - 5
            content[position + 5 : position + 5 + length] = np.random.default_rng(number).bytes(length)
        else:
            content[position + 4 : position + size] = b"\xff" * (size - 4)
    target.write_bytes(content)
    return target


def decoded_one_at_a_time(path):
    """Times that FFmpeg gives without frame threads, which lose frames behind an error at the end."""
    found = []
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.thread_type = "SLICE"
        for packet in container.demux(video=0):
            try:
                found += [frame.pts for frame in packet.decode()]
            except av.error.InvalidDataError:
                continue
    return found


@pytest.mark.parametrize("numbers", [[10], [5, 17, 18], [29], [27, 28, 29], [1, 26, 28]])
def test_damage_costs_no_more_frames_than_the_decoder_loses(numbers, plain, tmp_path):
    path = damaged(plain, tmp_path / "damaged.mp4", numbers)
    expected = decoded_one_at_a_time(path)
    assert 20 < len(expected) < 30
    with VideoReader(path) as reader:
        assert [frame.pts for frame in reader.frames()] == expected
        assert reader.damaged_packets > 0


@pytest.mark.parametrize("numbers", [[29], [28], [27, 28, 29], [5, 17, 18], [1, 26, 28]])
def test_damaged_headers_cost_no_more_either(numbers, plain, tmp_path):
    path = damaged(plain, tmp_path / "damaged.mp4", numbers, headers_only=True)
    frames = read(path)
    assert len(frames) == len(decoded_one_at_a_time(path)) >= 20
    assert increasing(frame.pts for frame in frames)


def test_damage_is_logged(plain, tmp_path, caplog):
    read(damaged(plain, tmp_path / "damaged.mp4", [10]))
    assert "damaged.mp4: 1 damaged packet(s) could not be decoded" in caplog.text


def test_files_joined_end_to_end_go_on_with_time(tmp_path):
    first = write_clip(tmp_path / "one.ts", Clip(muxer="mpegts", times=range(60)))
    second = write_clip(tmp_path / "two.ts", Clip(muxer="mpegts", size=(96, 80)))
    path = tmp_path / "joined.ts"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    frames = read(path)
    assert len(frames) == len(decode(path)) == 90
    assert increasing(frame.time for frame in frames)
    assert frames[-1].time - frames[0].time == Fraction(89, 25)
    assert {(frame.width, frame.height) for frame in frames} == {(64, 48), (96, 80)}


@pytest.mark.parametrize("bframes", [0, 2])
@pytest.mark.parametrize("number", [7, 20])
def test_a_wrong_time_moves_no_other_frame(number, bframes, tmp_path):
    options = {"preset": "ultrafast", "bf": str(bframes), "x264-params": "scenecut=0"}
    whole = write_clip(tmp_path / "whole.ts", Clip(muxer="mpegts", options=options))
    path = turn_time_bit(whole, tmp_path / "turned.ts", 0, number)
    expected = times(whole)
    assert max(times(path)) > 10_000
    found = [frame.time for frame in read(path)]
    assert increasing(found)
    assert sum(one != other for one, other in zip(found, expected, strict=True)) <= 1
    assert max(abs(one - other) for one, other in zip(found, expected, strict=True)) < Fraction(1, 25)


@pytest.mark.parametrize("late", [2, 3])
def test_the_second_of_joined_files_may_begin_without_a_keyframe(late, tmp_path):
    options = {"preset": "ultrafast", "bf": "2", "g": "25"}
    first = write_clip(tmp_path / "one.ts", Clip(muxer="mpegts", times=range(75), options=options))
    second = write_clip(tmp_path / "two.ts", Clip(muxer="mpegts", times=range(75), options=options))
    content = second.read_bytes()
    path = tmp_path / "joined.ts"
    path.write_bytes(first.read_bytes() + content[len(content) // 188 * late // 12 * 188 :])
    frames = read(path)
    assert len(frames) == len(decode(path)) > 100
    assert increasing(frame.time for frame in frames)
    steps = [after.time - before.time for before, after in itertools.pairwise(frames)]
    assert max(steps) < 1  # no more is missing than was cut off
    assert 4 < frames[-1].time - frames[0].time < 6


@pytest.mark.parametrize(
    ("stamps", "expected"),
    [
        ([0, 40, 80, 9_000_000, 160, 200], [0, 40, 80, 120, 160, 200]),
        ([0, 40, 80, 9_000_000, 120, 160], [0, 40, 80, 100, 120, 160]),  # one too many
        ([5000, 5040, 5080, 3, 5160, 5200], [5000, 5040, 5080, 5120, 5160, 5200]),
        ([0, 40, 9_000_000, 9_000_000, 160], [0, 40, 9_000_000, 9_000_001, 9_000_040]),  # not one, and not a join
        ([0, 40, 80, 9_000_000, 9_000_040], [0, 40, 80, 9_000_000, 9_000_040]),  # a gap
        ([5000, 5040, 0, 40, 80], [5000, 5040, 5080, 5120, 5160]),  # a join
        ([0, 600, 1200, 0, 600, 1200], [0, 600, 1200, 1240, 1840, 2440]),  # of short files
        ([5000, 5040, 0, 5080, 40, 5120, 80], [5000, 5040, 5060, 5080, 5100, 5120, 5160]),  # two clocks in turn
        ([0, 40, 80, 79, 120], [0, 40, 80, 81, 120]),
        ([0, None, 80, None], [0, 40, 80, 120]),
        ([0, 40, 80, 9_000_000], [0, 40, 80, 9_000_000]),
    ],
)
def test_times_of_a_damaged_or_joined_file(stamps, expected):
    timeline = Timeline(40, clock=Clock(Fraction(1, 1000), 40))
    found = []
    for stamp, following in itertools.pairwise([*stamps, None]):
        found.append(timeline.place(stamp, 40, following if timeline.breaks_off(stamp) else None))
    assert found == expected


def test_a_cut_file_is_read_as_far_as_it_goes(tmp_path):
    path = write_clip(tmp_path / "whole.mkv", Clip(times=range(100)))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    frames = read(path)
    assert 20 < len(frames) < 80
    assert [frame.pts for frame in frames] == decoded_one_at_a_time(path)


def test_what_is_not_a_video(tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("just some words\n" * 50)
    noise = tmp_path / "noise.mp4"
    noise.write_bytes(np.random.default_rng(0).bytes(5000))
    empty = tmp_path / "empty.mp4"
    empty.touch()
    for path, message in [
        (text, "notes.txt: it is text, not a video"),
        (noise, "noise.mp4: .*it is damaged or not a video"),
        (empty, r"empty.mp4 is empty \(0 bytes\)"),
        (wav(tmp_path / "sound.wav"), "sound.wav has no video stream, only audio"),
    ]:
        with pytest.raises(MediaError, match=message):
            VideoReader(path)


def test_paths_that_are_no_file(tmp_path):
    with pytest.raises(UsageError, match=r"no such file: .*missing\.mp4"):
        VideoReader(tmp_path / "missing.mp4")
    with pytest.raises(UsageError, match="is a folder"):
        VideoReader(tmp_path)


def test_an_mp4_without_its_index_says_so(plain, tmp_path):
    path = tmp_path / "cut.mp4"
    path.write_bytes(plain.read_bytes()[:2000])
    with pytest.raises(MediaError, match=r"cannot read .*cut\.mp4"):
        VideoReader(path)


def test_no_decodable_frame(plain, tmp_path):
    path = damaged(plain, tmp_path / "all.mp4", range(30))
    with pytest.raises(MediaError, match=r"all\.mp4: not one frame .* damaged packet"):
        VideoReader(path)


def test_a_name_that_looks_like_a_protocol(plain, tmp_path, monkeypatch):
    shutil.copy(plain, tmp_path / "http:%03d.mp4")
    monkeypatch.chdir(tmp_path)
    from pathlib import Path

    assert len(read(Path("http:%03d.mp4"))) == 30


def test_frames_of_clips_differ():
    """The clips' frames must differ, or tests could not tell a lost frame from a kept one."""
    made = [planes(make_frame(Clip(), number))[0].tobytes() for number in range(30)]
    assert len(set(made)) == 30
