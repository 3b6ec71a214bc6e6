"""What goes wrong: one clear line, the right exit code, nothing half-written, no hang."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from clip_tools import Clip, decode, times, video_options, wav, write_clip
from esrgan.errors import EngineError, MediaError, UsageError
from esrgan_video import OutputSize, upscale_video
from esrgan_video.container import EncoderOptions, VideoEncoder, VideoReader

FAST = EncoderOptions(preset="ultrafast")


def run(source, target, upscaler, encoder=FAST, **given):
    options = video_options(encoder=encoder, **given)
    return upscale_video(source, target, upscaler=upscaler, options=options, progress="none")


@pytest.fixture
def folder(tmp_path):
    """A folder in which an older result stands; afterwards it must stand there unchanged, and nothing else."""
    (tmp_path / "out.mp4").write_bytes(b"what was there before")
    yield tmp_path
    assert (tmp_path / "out.mp4").read_bytes() == b"what was there before"
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert not [thread for thread in threading.enumerate() if thread.name in ("prefetch", "drain")]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"encoder": EncoderOptions(codec="h265x")}, r"unknown video codec 'h265x' \(did you mean h265\?\): use .*vp9"),
        ({"encoder": EncoderOptions(codec="aac")}, "unknown video codec 'aac'"),
        ({"encoder": EncoderOptions(codec="vp9", preset="slow")}, "libvpx-vp9 has no presets: leave out --preset slow"),
        ({"encoder": EncoderOptions(codec="ffv1", crf=3)}, "ffv1 has no quality scale: leave out --crf 3"),
        ({"encoder": EncoderOptions(preset="warp")}, r"libx264 does not take 128x96 .* preset=warp"),
        ({"encoder": EncoderOptions(crf=1000)}, "--crf of libx264 goes from 0 to 51, got 1000"),
        (
            {"encoder": EncoderOptions(extra={"profil": "high"})},
            "libx264 has no option 'profil', did you mean profile?",
        ),
        ({"encoder": EncoderOptions(pix_fmt="yuv410p")}, "libx264 does not take --pix-fmt yuv410p: use yuv420p"),
        ({"batch": 0}, "--batch must be at least 1, got 0"),
        ({"frames": 0}, "--frames must be at least 1"),
        ({"start": 2.0, "end": 1.0}, "--end must be after --start, got 2 s to 1 s"),
        ({"start": 100.0}, "has no frame after --start 100 s"),
    ],
)
def test_mistakes_of_use(given, message, plain, folder, nearest):
    with pytest.raises(UsageError, match=message) as caught:
        run(plain, folder / "out.mp4", nearest, **given)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2
    assert nearest.batches == []


@pytest.mark.parametrize(("suffix", "codec"), [(".webm", "h264"), (".mov", "vp9"), (".mp4", "libtheora")])
def test_a_codec_that_the_container_cannot_hold(suffix, codec, plain, folder, nearest):
    with pytest.raises(UsageError, match=rf"(\{suffix} cannot hold video of .*use another --codec, or \.mkv|unknown)"):
        run(plain, folder / f"other{suffix}", nearest, EncoderOptions(codec=codec))


def test_options_that_cannot_be():
    with pytest.raises(UsageError, match="--crf must be 0 or more, got -1"):
        EncoderOptions(crf=-1)
    with pytest.raises(UsageError, match="the output scale must be a positive number, got 0"):
        OutputSize(scale=0)


def test_paths_that_cannot_be(plain, folder, nearest):
    for target, message in [
        (folder / "out.avi", r"unknown video extension '\.avi'; use \.mkv, \.mp4, \.mov, \.webm"),
        (folder / "out", r"unknown video extension '\(none\)'"),
        (folder / "missing" / "out.mp4", r"the folder .*missing does not exist"),
    ]:
        with pytest.raises(UsageError, match=message):
            run(plain, target, nearest)
    (folder / "a folder.mp4").mkdir()
    with pytest.raises(UsageError, match=r"a folder\.mp4 is a folder: name a file"):
        run(plain, folder / "a folder.mp4", nearest)
    with pytest.raises(UsageError, match=r"no such file: .*nothing\.mkv"):
        run(folder / "nothing.mkv", folder / "out.mp4", nearest)


@pytest.mark.parametrize("kind", ["same", "symlink", "hardlink"])
def test_the_output_must_not_be_the_input(kind, plain, tmp_path, nearest):
    source = tmp_path / "in.mp4"
    source.write_bytes(plain.read_bytes())
    target = source
    if kind != "same":
        target = tmp_path / "link.mp4"
        target.symlink_to(source) if kind == "symlink" else target.hardlink_to(source)
    with pytest.raises(UsageError, match="is the input: write to another file"):
        run(source, target, nearest)
    assert source.read_bytes() == plain.read_bytes()


def test_a_link_as_output_stays_and_what_it_names_is_written(plain, tmp_path, make_upscaler):
    disk, link = tmp_path / "disk", tmp_path / "out.mkv"
    disk.mkdir()
    (disk / "video.mkv").write_bytes(b"what was there before")
    link.symlink_to("disk/video.mkv")

    class Failing(make_upscaler):
        def __call__(self, batch):
            if len(self.batches) == 5:
                raise EngineError("no memory")
            return super().__call__(batch)

    Failing.__qualname__ = make_upscaler.__qualname__
    with pytest.raises(EngineError):
        run(plain, link, Failing(), segment_frames=4)
    assert (disk / "video.mkv").read_bytes() == b"what was there before"
    assert [path.name for path in tmp_path.rglob(".*")] == [".video.mkv.esrgan"]  # where there is room for the video
    assert run(plain, disk / "video.mkv", make_upscaler(), segment_frames=4).resumed_frames >= 4
    assert run(plain, link, make_upscaler()).frames == 30
    assert link.is_symlink()
    assert not (disk / "video.mkv").is_symlink()
    assert len(decode(disk / "video.mkv")) == 30
    assert [path.name for path in tmp_path.rglob(".*")] == []


def test_a_link_into_a_folder_that_is_missing_is_refused_at_once(plain, tmp_path, nearest):
    (tmp_path / "out.mkv").symlink_to("gone/video.mkv")
    with pytest.raises(UsageError, match=r"the folder .*gone does not exist"):
        run(plain, tmp_path / "out.mkv", nearest)
    assert nearest.batches == []


@pytest.mark.parametrize("name", ["n" * 251 + ".mkv", "ü" * 125 + ".gif", "n" * 247 + "%d.png"])
def test_names_may_be_as_long_as_the_system_lets_them(name, plain, tmp_path, nearest):
    encoder = FAST if name.endswith("mkv") else EncoderOptions()
    assert run(plain, tmp_path / name, nearest, encoder, frames=3).frames == 3
    written = list(tmp_path.iterdir())
    assert len(written) == (3 if "%d" in name else 1)
    assert all(path.name[:20] == name[:20] for path in written)


@pytest.mark.parametrize("name", ["Alien: Romulus.mkv", "http://x.mp4", "concat:a.gif", "pipe:1.webp"])
def test_a_name_with_a_colon_is_no_protocol(name, plain, tmp_path, nearest, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    encoder = FAST if name.endswith(("mkv", "mp4")) else EncoderOptions()
    assert run(plain, name, nearest, encoder, frames=3).frames == 3
    assert len(decode(tmp_path / name)) == 3


def test_inputs_that_are_no_video(plain, folder, nearest):
    empty = folder / "empty.mkv"
    empty.touch()
    text = folder / "text.mkv"
    text.write_text("no video at all, only words\n" * 100)
    for source, message in [
        (wav(folder / "sound.wav"), "has no video stream, only audio"),
        (empty, "is empty"),
        (text, r"cannot read .*text\.mkv"),
    ]:
        with pytest.raises(MediaError, match=message) as caught:
            run(source, folder / "out.mp4", nearest)
        assert "\n" not in str(caught.value)
        assert caught.value.exit_code == 1
    assert plain.is_file()


def test_a_folder_that_cannot_be_written_to(plain, nearest):
    with pytest.raises(MediaError, match=r"cannot write /proc/out\.mp4: "):
        run(plain, Path("/proc/out.mp4"), nearest)


class Failing:
    """An upscaler that gives up after some batches."""

    def __init__(self, inner, after, error):
        self.scale, self.device, self.plan = inner.scale, inner.device, inner.plan
        self._inner, self._left, self._error = inner, after, error

    def __call__(self, batch):
        self._left -= 1
        if self._left < 0:
            raise self._error
        return self._inner(batch)


@pytest.mark.parametrize("after", [0, 1, 3])
def test_a_failing_engine_leaves_nothing_behind(after, plain, folder, nearest):
    with pytest.raises(EngineError, match="no memory"):
        run(plain, folder / "out.mp4", Failing(nearest, after, EngineError("no memory")))


def test_an_interrupt_leaves_nothing_behind(plain, folder, nearest):
    with pytest.raises(KeyboardInterrupt):
        run(plain, folder / "out.mp4", Failing(nearest, 2, KeyboardInterrupt()))


def test_a_failing_encoder_ends_the_run_at_once(folder, make_upscaler, monkeypatch):
    source = write_clip(folder / "long.mkv", Clip(times=range(400)))
    original = VideoEncoder._encode

    def breaks(self, frame):
        if frame is not None and frame.pts >= 5 * 40:
            raise MediaError("the encoder broke")
        return original(self, frame)

    monkeypatch.setattr(VideoEncoder, "_encode", breaks)
    upscaler = make_upscaler(batch=2)
    with pytest.raises(MediaError, match="the encoder broke"):
        run(source, folder / "out.mp4", upscaler)
    assert len(upscaler.batches) < 20


def test_a_slow_encoder_keeps_few_frames_in_memory(tmp_path, make_upscaler, monkeypatch):
    source = write_clip(tmp_path / "long.mkv", Clip(times=range(200)))
    original, written, decoded, waiting = VideoEncoder._encode, [], [], []
    read = VideoReader.frames

    def slow(self, frame):
        time.sleep(0.002)
        if frame is not None:
            written.append(frame.pts)
            waiting.append(len(decoded) - len(written))
        return original(self, frame)

    def counted(self):
        for frame in read(self):
            decoded.append(frame.pts)
            yield frame

    monkeypatch.setattr(VideoEncoder, "_encode", slow)
    monkeypatch.setattr(VideoReader, "frames", counted)
    run(source, tmp_path / "out.mp4", make_upscaler(batch=4))
    # Two batches wait on either side; one is in each pair of hands.
    assert 4 <= max(waiting) <= 4 * 7
    assert len(written) == 200


def test_frames_that_an_encoder_swallows_are_noticed(plain, folder, nearest, monkeypatch):
    original = VideoEncoder._encode

    def forgetful(self, frame):
        return [packet for packet in original(self, frame) if packet.pts != 10 * 512]

    monkeypatch.setattr(VideoEncoder, "_encode", forgetful)
    with pytest.raises(MediaError, match="libx264 made 29 packets of 30 frames"):
        run(plain, folder / "out.mp4", nearest)


def test_not_a_number_from_the_network_does_not_reach_the_file_as_noise(plain, tmp_path, make_upscaler):
    class Broken(make_upscaler):
        def __call__(self, batch):
            return torch.full_like(super().__call__(batch), float("nan"))

    run(plain, tmp_path / "out.mkv", Broken(), EncoderOptions(codec="ffv1"))
    frame = decode(tmp_path / "out.mkv")[0]
    assert bytes(frame.planes[0])[:1] == b"\x10"


_SCRIPT = """
import resource, sys, time, torch
from pathlib import Path
from torch.nn import functional as F
from esrgan.errors import EsrganError
from esrgan_video import VideoOptions, upscale_video
from esrgan_video.container import EncoderOptions

class Plan:
    batch, tile = 2, None

class Slow:
    scale, device = 2, torch.device("cpu")
    def plan(self, height, width):
        return Plan
    def __call__(self, batch):
        print("batch", flush=True)
        time.sleep({delay})
        return F.interpolate(batch, scale_factor=2.0, mode="nearest")

if {limit}:
    resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
try:
    options = VideoOptions(encoder=EncoderOptions(codec="ffv1"))
    upscale_video(sys.argv[1], sys.argv[2], upscaler=Slow(), options=options, progress="none")
except KeyboardInterrupt:
    sys.exit(130)
except EsrganError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""


def test_ctrl_c_ends_cleanly_and_soon(plain, folder):
    script = _SCRIPT.format(delay=0.3, limit=0)
    command = [sys.executable, "-c", script, str(plain), str(folder / "out.mkv")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        for _ in range(3):
            assert process.stdout.readline() == "batch\n"
        os.kill(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, "")  # 15 batches would have ended with 0
    assert not (folder / "out.mkv").exists()


def test_a_full_disk_is_one_line(plain, folder):
    # A limit on the size of files stands in for the disk: the system answers writes with an error in both cases.
    script = _SCRIPT.format(delay=0, limit=20_000)
    command = [sys.executable, "-c", script, str(plain), str(folder / "out.mkv")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr == f"cannot write {folder / 'out.mkv'}: File too large\n"
    assert not (folder / "out.mkv").exists()


def test_a_damaged_input_gives_what_the_decoder_gives(plain, tmp_path, nearest):
    content = bytearray(plain.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 300] = b"\xff" * 300
    source = tmp_path / "damaged.mp4"
    source.write_bytes(content)
    result = run(source, tmp_path / "out.mp4", nearest)
    assert 0 < result.damaged_packets < 5
    assert result.frames == len(decode(tmp_path / "out.mp4")) >= 25
    assert set(times(tmp_path / "out.mp4")) <= set(times(plain))
