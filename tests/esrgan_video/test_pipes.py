"""y4m and NUT through pipes, with real processes; what goes in and comes out is read with PyAV."""

from __future__ import annotations

import fcntl
import io
import os
import signal
import struct
import subprocess
import sys
import termios
import time
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest
import torch

from clip_tools import Clip, Tags, decode, main_video, planes, times, video_options, write_clip
from esrgan.archs.compact import SRVGGNetCompact
from esrgan.errors import MediaError, UsageError, one_line
from esrgan_video import upscale_video
from esrgan_video.container import EncoderOptions
from esrgan_video.inputs import expand_inputs, is_video, output_path, plan_outputs
from esrgan_video.pipes.names import PIPE, path_of
from esrgan_video.segments import SegmentStore

COMMAND = [sys.executable, "-m", "esrgan_video.cli.main", "upscale"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A network that repeats pixels, x2: all of its convolutions are zero, and the input is added enlarged."""
    network = SRVGGNetCompact(num_feat=4, num_conv=1, upscale=2)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    path = tmp_path_factory.mktemp("weights") / "nearest.pth"
    torch.save({"params": network.state_dict()}, path)
    return path


def y4m(header, frames):
    """A stream as the format's description says, without any library."""
    body = b"".join(b"FRAME\n" + b"".join(plane.tobytes() for plane in frame) for frame in frames)
    return f"YUV4MPEG2 {header}\n".encode() + body


def noise(number, shapes, peak=255):
    generator = np.random.default_rng(number)
    dtype = np.uint8 if peak < 256 else np.uint16
    return [generator.integers(peak // 16, peak - peak // 16, shape).astype(dtype) for shape in shapes]


GREY = y4m("W8 H6 F30000:1001 Ip A4:3 Cmono XCOLORRANGE=FULL", [noise(number, [(6, 8)]) for number in range(5)])


class Unseekable(io.RawIOBase):
    """Bytes that can be read once."""

    def __init__(self, data):
        self._data = io.BytesIO(data)

    def readable(self):
        return True

    def readinto(self, buffer):
        return self._data.readinto(buffer)


def opened(data):
    """Bytes of a stream as PyAV reads them."""
    return av.open(io.BytesIO(data))


def frames_of(data):
    with opened(data) as container:
        return list(container.decode(video=0))


@pytest.fixture
def pipes(monkeypatch):
    """Puts bytes into standard input and gives those that come out of standard output."""

    def connect(data=b""):
        written = io.BytesIO()
        source = io.BufferedReader(Unseekable(data), 7)  # reads are short, as those of a pipe
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=source, isatty=lambda: False))
        monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=written, isatty=lambda: False))
        return written

    return connect


def run(source, target, upscaler, **given):
    return upscale_video(source, target, upscaler=upscaler, options=video_options(**given), progress="none")


# Processes


@pytest.mark.slow
def test_a_stream_goes_through_two_processes(weights):
    arguments = ["-", "-o", "-", "-n", str(weights), "--fp32"]
    with (
        subprocess.Popen([*COMMAND, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first,
        subprocess.Popen(
            [*COMMAND, *arguments, "--ext", "nut", "--progress", "json"],
            stdin=first.stdout,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as second,
    ):
        first.stdout.close()
        first.stdin.write(GREY)
        first.stdin.close()
        data, said = second.communicate(timeout=120)
        assert first.wait(timeout=60) == second.wait() == 0, said
    assert data.startswith(b"nut/multimedia container\0")
    assert b'"frame"' in said  # progress is there, and elsewhere
    before, after = frames_of(GREY), frames_of(data)
    assert len(before) == len(after) == 5
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(planes(other)[0], planes(one)[0].repeat(4, 0).repeat(4, 1))
        assert other.time == one.time


@pytest.mark.slow
def test_a_reader_that_goes_away_ends_the_run_quietly(plain, weights):
    for ext in ("y4m", "nut"):
        with subprocess.Popen(
            [*COMMAND, str(plain), "-o", "-", "--ext", ext, "-n", str(weights), "--progress", "none"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            process.stdout.read(100)
            process.stdout.close()
            said = process.stderr.read().decode()
            assert process.wait(timeout=60) == 1
        lines = [line for line in said.splitlines() if "WARNING" not in line]
        assert lines == [], said


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("ext", ["y4m", "nut"])
def test_a_full_disk_behind_standard_output_is_one_line(ext, plain, weights):
    call = [*COMMAND, str(plain), "-o", "-", "--ext", ext, "-n", str(weights), "--progress", "none"]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(call, stdout=full, stderr=subprocess.PIPE, timeout=60)
    lines = [line for line in done.stderr.decode().splitlines() if "WARNING" not in line]
    assert done.returncode == 1
    assert [line.lower() for line in lines] == [
        f"esrgan: cannot write {ext} to standard output: no space left on device"
    ]


def unread(pipe):
    """Bytes in a pipe that nobody has taken."""
    return struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))[0]


def wait_until(is_so):
    end = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize(
    "frames",
    [
        pytest.param(0, id="before its header"),
        pytest.param(12, id="in its first second"),
        pytest.param(60, id="in the middle"),
    ],
)
def test_a_run_that_waits_for_a_pipe_ends_at_once_and_leaves_nothing(frames, name, weights, tmp_path):
    data = y4m("W8 H6 F25:1 Ip A1:1 Cmono", [noise(number, [(6, 8)]) for number in range(frames)]) if frames else b""
    target = tmp_path / "out.mkv"
    call = [*COMMAND, "-", "-o", str(target), "-n", str(weights), "--progress", "none", "--segment-frames", "4"]
    with subprocess.Popen(call, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            process.stdin.write(data or b"YUV4")
            process.stdin.flush()
            wait_until(lambda: not unread(process.stdin))
            if frames > 25:
                wait_until(lambda: list(tmp_path.rglob("*.segment")))
            time.sleep(1)  # for it to come to where it waits
            began = time.monotonic()
            process.send_signal(getattr(signal, name))
            assert process.wait(timeout=60) == 130
            assert time.monotonic() - began < 10
        finally:
            process.kill()
        assert process.stderr.read().decode().splitlines()[-1].startswith("esrgan: interrupted")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("ext", ["y4m", "nut"])
def test_a_run_whose_reader_takes_nothing_ends_at_once(ext, name, plain, weights):
    call = [*COMMAND, str(plain), "-o", "-", "--ext", ext, "-n", str(weights), "--progress", "none"]
    with subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            wait_until(lambda: unread(process.stdout) > 40_000)
            time.sleep(1)  # for it to come to where it waits
            process.send_signal(getattr(signal, name))
            assert process.wait(timeout=10) == 130
        finally:
            process.kill()
        said = [line for line in process.stderr.read().decode().splitlines() if "WARNING" not in line]
    assert len(said) == 1
    assert said[0].startswith("esrgan: interrupted")


def test_what_is_no_stream_is_one_line(weights):
    data = b"\0\0\0\x20ftypisom"
    done = subprocess.run([*COMMAND, "-", "-o", "-", "-n", str(weights)], input=data, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, b"")
    assert "begins with b'\\x00\\x00\\x00 ftypisom'" in done.stderr.decode()
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(("source", "target"), [("-", "out.mkv"), ("in.y4m", "-")])
def test_a_terminal_is_refused(source, target, tmp_path, nearest, monkeypatch):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(isatty=lambda: True))
    (tmp_path / "in.y4m").write_bytes(GREY)
    ends = [PIPE if name == "-" else tmp_path / name for name in (source, target)]
    with pytest.raises(UsageError, match="which is a terminal"):
        run(*ends, nearest)


def test_nothing_in_a_pipe_is_one_line(tmp_path, nearest, pipes):
    pipes(b"")
    with pytest.raises(MediaError, match="standard input is empty"):
        run(PIPE, tmp_path / "out.mkv", nearest)


def test_a_named_pipe_is_refused_and_not_waited_for(tmp_path, nearest):
    os.mkfifo(tmp_path / "in.y4m")
    (tmp_path / "link.y4m").symlink_to("in.y4m")  # as /dev/fd/63, where a shell puts what another program writes
    for name in ("in.y4m", "link.y4m"):
        with pytest.raises(UsageError, match=f"esrgan upscale - < .*{name}"):
            run(tmp_path / name, tmp_path / "out.mkv", nearest)


# Into a pipe


@pytest.mark.parametrize("color_range", [1, 2])
@pytest.mark.parametrize(
    ("pix_fmt", "location"),
    [
        *(("yuv420p", location) for location in range(4)),  # the only format whose place of chroma y4m names
        *((pix_fmt, 0) for pix_fmt in ("yuv420p10le", "yuv422p", "yuv444p12le", "yuv411p", "gray", "gray10le")),
    ],
)
def test_y4m_says_all_that_it_can(pix_fmt, color_range, location, tmp_path, identity, pipes):
    clip = Clip(
        codec="ffv1",
        pix_fmt=pix_fmt,
        size=(16, 12),
        times=range(3),
        time_base=Fraction(1001, 24000),
        rate=Fraction(24000, 1001),
        options={},
        muxer="matroska",
        tags=Tags(matrix=6, color_range=color_range, location=location),
    )
    source = write_clip(tmp_path / "in.mkv", clip)
    written = pipes()
    run(source, "-", identity)
    header = written.getvalue().split(b"\n")[0].split()
    assert header[:4] == [b"YUV4MPEG2", b"W16", b"H12", b"F24000:1001"]
    found, expected = frames_of(written.getvalue()), decode(source)
    assert {frame.format.name for frame in found} == {pix_fmt}
    assert {int(frame.color_range) for frame in found} == {color_range}
    if pix_fmt == "yuv420p":
        assert {int(frame.chroma_location) for frame in found} == {location or 1}
    assert [frame.time for frame in found] == pytest.approx([number * 1001 / 24000 for number in range(3)])
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(planes(one)[0], planes(other)[0])
        for small, large in zip(planes(one)[1:], planes(other)[1:], strict=True):  # chroma was resampled
            assert abs(small.astype(int).mean() - large.astype(int).mean()) < 2 << (one.format.components[0].bits - 8)


def test_y4m_says_the_shape_of_pixels(tmp_path, nearest, pipes):
    source = write_clip(tmp_path / "in.mp4", Clip(times=[0, 1], sar=Fraction(16, 11)))
    written = pipes()
    run(source, "-", nearest)
    assert b" A16:11 " in written.getvalue().split(b"\n")[0]
    with opened(written.getvalue()) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(16, 11)


def test_y4m_says_that_it_has_no_times(vfr, nearest, pipes, caplog):
    written = pipes()
    result = run(vfr, "-", nearest)
    assert len(frames_of(written.getvalue())) == result.frames == len(times(vfr))
    assert "y4m has no times" in caplog.text


def test_y4m_says_that_it_has_no_matrix(tmp_path, nearest, pipes, caplog):
    for matrix, warned in ((6, False), (1, True)):
        caplog.clear()
        pipes()
        run(write_clip(tmp_path / f"{matrix}.mp4", Clip(times=[0, 1], tags=Tags(matrix=matrix))), "-", nearest)
        assert ("colour matrix" in caplog.text) == warned


def test_nut_has_exact_times(vfr, nearest, pipes):
    written = pipes()
    run(vfr, "-", nearest, pipe_format="nut")
    with opened(written.getvalue()) as container:
        stream = container.streams.video[0]
        unit = Fraction(stream.time_base.numerator, stream.time_base.denominator)
        assert [frame.pts * unit for frame in container.decode(stream)] == times(vfr)


@pytest.mark.parametrize(("pix_fmt", "y4m_fmt"), [("gbrp10le", "yuv444p10le"), ("gbrap10le", "yuv444p10le")])
def test_nut_holds_rgb_and_alpha_where_y4m_does_not(pix_fmt, y4m_fmt, tmp_path, identity, pipes, caplog):
    clip = Clip(codec="ffv1", pix_fmt=pix_fmt, size=(16, 12), times=range(2), options={})
    source = write_clip(tmp_path / "in.mkv", clip)
    written = pipes()
    run(source, "-", identity)
    assert {frame.format.name for frame in frames_of(written.getvalue())} == {y4m_fmt}
    assert ("no transparency" in caplog.text) == (pix_fmt == "gbrap10le")
    written = pipes()
    run(source, "-", identity, pipe_format="nut")
    for one, other in zip(frames_of(written.getvalue()), decode(source), strict=True):
        assert one.format.name == pix_fmt
        for small, large in zip(planes(one), planes(other), strict=True):
            np.testing.assert_array_equal(small, large)


def test_what_a_pipe_cannot_hold_is_named(rich, nearest, pipes, caplog):
    pipes()
    result = run(rich, "-", nearest, frames=2)
    assert "a pipe holds only the video, left out: #1 (audio, aac, eng)" in caplog.text
    assert len(result.dropped_streams) >= 4


# Out of a pipe


@pytest.mark.parametrize(
    ("tag", "pix_fmt", "location", "shapes", "peak"),
    [
        ("420jpeg", "yuv420p", 2, [(6, 8), (3, 4), (3, 4)], 255),
        ("420mpeg2", "yuv420p", 1, [(6, 8), (3, 4), (3, 4)], 255),
        ("420paldv", "yuv420p", 3, [(6, 8), (3, 4), (3, 4)], 255),
        ("420p10", "yuv420p10le", 0, [(6, 8), (3, 4), (3, 4)], 1023),
        ("422", "yuv422p", 0, [(6, 8), (6, 4), (6, 4)], 255),
        ("444p12", "yuv444p12le", 0, [(6, 8), (6, 8), (6, 8)], 4095),
    ],
)
@pytest.mark.parametrize(("color_range", "range_tag"), [(1, "LIMITED"), (2, "FULL")])
def test_y4m_is_read_with_its_tags(
    tag, pix_fmt, location, shapes, peak, color_range, range_tag, tmp_path, identity, pipes
):
    source = [noise(number, shapes, peak) for number in range(3)]
    pipes(y4m(f"W8 H6 F25:1 Ip A4:3 C{tag} XCOLORRANGE={range_tag}", source))
    result = run(PIPE, tmp_path / "out.mkv", identity, encoder=EncoderOptions(codec="ffv1"))
    assert result.frames == 3
    with av.open(str(tmp_path / "out.mkv")) as container:
        context = main_video(container).codec_context
        assert (context.pix_fmt, context.color_range) == (pix_fmt, color_range)
        assert context.chroma_sample_location == location or not location
    assert times(tmp_path / "out.mkv") == [Fraction(number, 25) for number in range(3)]
    for frame, expected in zip(decode(tmp_path / "out.mkv"), source, strict=True):
        np.testing.assert_array_equal(planes(frame)[0], expected[0])


def test_a_range_of_a_pipe_is_found_without_seeking(tmp_path, nearest, pipes):
    pipes(GREY)
    result = run("-", tmp_path / "%d.png", nearest, start="0.03", frames=2)
    assert result.frames == 2
    for number, source in ((1, 1), (2, 2)):
        expected = noise(source, [(6, 8)])[0].repeat(2, 0).repeat(2, 1)
        np.testing.assert_array_equal(cv2.imread(str(tmp_path / f"{number}.png"), cv2.IMREAD_UNCHANGED), expected)


def nut_with_sound(path):
    """Raw video and sound in NUT."""
    return write_clip(
        path,
        Clip(
            codec="rawvideo",
            pix_fmt="yuv420p",
            size=(16, 12),
            times=range(4),
            options={},
            audio=["pcm_s16le"],
            muxer="nut",
        ),
    ).read_bytes()


class StoppedError(Exception):
    """Raised by a `watch`."""


def stopped(target, upscaler, options, after, monkeypatch, *, killed):
    """Stop a run from the pipe after so many frames; one that is killed cannot tidy up."""

    def watch(progress):
        if progress.frames == after:
            raise StoppedError

    with monkeypatch.context() as patched:
        if killed:
            patched.setattr(SegmentStore, "leave", lambda _: None)
        with pytest.raises(StoppedError) as caught:
            upscale_video(PIPE, target, upscaler=upscaler, options=options, progress="none", watch=watch)
    assert one_line(caught.value) == ""  # it does not say that work can go on
    assert (target.parent / f".{target.name}.esrgan").exists() == killed


@pytest.mark.parametrize("name", ["out.mkv", "%d.png"])
@pytest.mark.parametrize("killed", [False, True])
def test_nothing_of_one_pipe_gets_into_the_video_of_another(name, killed, tmp_path, make_upscaler, pipes, monkeypatch):
    """Both have frames at the same times."""
    one, other = ([noise(seed + number, [(6, 8)]) for number in range(12)] for seed in (0, 100))
    encoder = EncoderOptions() if name == "%d.png" else EncoderOptions(codec="ffv1")
    options, upscaler = video_options(encoder=encoder, segment_frames=2), make_upscaler(1, 1)
    pipes(y4m("W8 H6 F25:1 Ip A1:1 Cmono XCOLORRANGE=FULL", one))
    stopped(tmp_path / name, upscaler, options, 9, monkeypatch, killed=killed)
    pipes(y4m("W8 H6 F25:1 Ip A1:1 Cmono XCOLORRANGE=FULL", other))
    result = upscale_video(PIPE, tmp_path / name, upscaler=upscaler, options=options, progress="none")
    assert (result.frames, result.resumed_frames) == (12, 0)
    found = sorted(tmp_path.glob("*.png"), key=lambda path: int(path.stem)) if name == "%d.png" else [tmp_path / name]
    shown = [planes(frame)[0] for path in found for frame in decode(path)]
    np.testing.assert_array_equal(shown, [frame[0] for frame in other])
    assert not (tmp_path / f".{name}.esrgan").exists()


def test_a_file_takes_the_place_of_what_a_killed_pipe_left(plain, tmp_path, make_upscaler, pipes, monkeypatch):
    pipes(GREY)
    options = video_options(segment_frames=1)
    stopped(tmp_path / "o.mkv", make_upscaler(1, 1), options, 4, monkeypatch, killed=True)
    assert list(tmp_path.rglob("*.segment"))
    result = upscale_video(plain, tmp_path / "o.mkv", upscaler=make_upscaler(1), options=options, progress="none")
    assert (result.frames, result.resumed_frames) == (30, 0)


def test_sound_that_would_be_lost_is_refused(tmp_path, nearest, pipes, caplog):
    data = nut_with_sound(tmp_path / "in.nut")
    pipes(data)
    with pytest.raises(UsageError, match=r"only the video comes through a pipe, not #1 \(audio, pcm_s16le"):
        run("-", tmp_path / "out.mkv", nearest)
    assert nearest.batches == []
    pipes(data)
    assert run("-", tmp_path / "out.mkv", nearest, drop_unsupported=True).frames == 4
    assert "only the video is read" in caplog.text


def test_a_stream_that_is_cut_short_gives_the_frames_before(tmp_path, nearest, pipes):
    pipes(GREY[:-20])
    assert run("-", tmp_path / "%d.png", nearest).frames == 4


@pytest.mark.parametrize("data", [b"YUV4MPEG2 nonsense\nFRAME\n", b"nut/multimedia container\0" + bytes(50)])
def test_a_damaged_stream_is_one_line(data, tmp_path, nearest, pipes):
    pipes(data)
    with pytest.raises(MediaError) as caught:
        run("-", tmp_path / "out.mkv", nearest)
    assert "\n" not in str(caught.value)


# Names


def test_a_dash_is_a_pipe_and_a_file_of_that_name_is_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert expand_inputs(["-"]) == [PIPE]
    assert is_video(PIPE)
    (tmp_path / "-").write_bytes(b"GIF89a")
    assert expand_inputs(["./-"]) == [path_of("./-")] == [tmp_path / "-"]


def test_results_of_pipes_and_files(tmp_path):
    assert output_path(PIPE, tmp_path) == tmp_path / "stdin_out.mkv"
    assert plan_outputs([PIPE], PIPE, ext="nut") == [(PIPE, PIPE)]
    with pytest.raises(UsageError, match="ext mp4"):
        output_path(PIPE, PIPE, ext="mp4")
    with pytest.raises(UsageError, match="one video, not the image"):
        output_path(tmp_path / "a.png", PIPE)
    with pytest.raises(UsageError, match="one video, not several"):
        plan_outputs([tmp_path / "a.mkv", tmp_path / "b.mkv"], PIPE)
