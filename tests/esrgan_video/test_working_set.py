"""Runs where memory is short: passes leave what encoder and frames will take, and x264 looks less far ahead."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest

from clip_tools import Clip, video_options, write_clip
from esrgan_video import Upscaler, plan, upscale_video, working_set
from esrgan_video.colour import PixelLayout
from esrgan_video.container import EncoderOptions
from esrgan_video.container.encoding import usual_threads
from esrgan_video.dry_run import dry_run
from esrgan_video.engine import EngineOptions, upscaler
from esrgan_video.engine.cores import usable_cores
from esrgan_video.engine.memory import LEAST_BYTES
from network_tools import random_rrdb

MIB = 1 << 20


class StoppedError(Exception):
    """Raised by a `watch`, as a program does that stops the work."""


def noted(path) -> dict[str, str]:
    """The settings that x264 writes into its stream."""
    (text,) = set(re.findall(rb"x264 - core[^\0]*options: ([^\0]*)", path.read_bytes()))
    return dict(pair.split("=", 1) for pair in text.decode(errors="replace").split() if "=" in pair)


def have_free(monkeypatch, mebibytes: int) -> None:
    for module in (plan, working_set, upscaler):
        monkeypatch.setattr(module, "available_bytes", lambda: mebibytes * MIB)


def engine(**facts) -> Upscaler:
    network = random_rrdb(num_feat=16, num_block=1, num_grow_ch=16)
    return Upscaler(replace(network, facts=replace(network.facts, **facts)), EngineOptions(device="cpu", threads=2))


def test_the_passes_of_a_run_leave_what_the_caller_takes(monkeypatch):
    engine_ = engine()
    whole = engine_.plan(1080, 1920)
    have_free(monkeypatch, 4000)
    with engine_.beside(4000 * MIB - 2 * LEAST_BYTES):
        beside = engine_.plan(1080, 1920)
        with engine_.beside(10**12):
            least = engine_.plan(1080, 1920)
        assert engine_.plan(1080, 1920) == beside
    assert engine_.plan(1080, 1920) == whole
    assert whole.tile is None
    assert least.tile < beside.tile < 1920
    for chosen, room in ((beside, 2 * LEAST_BYTES), (least, LEAST_BYTES)):
        side = chosen.tile + 2 * chosen.overlap
        assert chosen.batch * side * min(side, 1080) * engine_._backend.bytes_per_pixel <= room


def test_frames_on_their_way_are_counted_as_they_lie_in_memory():
    layout = PixelLayout.of("yuv420p10le")
    codes = 3840 * 2160 * 2 * 3 // 2
    rgb = 3840 * 2160 * 3 * 4
    assert working_set.frame_bytes(layout, (3840, 2160), 1) == rgb + 6 * codes
    assert working_set.frame_bytes(layout, (3840, 2160), 3) == rgb + 14 * codes


def test_a_run_that_may_not_fit_says_so_and_goes_on(plain, tmp_path, nearest, monkeypatch, caplog):
    options = video_options(encoder=EncoderOptions(preset="ultrafast"))
    have_free(monkeypatch, LEAST_BYTES // MIB)
    result = upscale_video(plain, tmp_path / "short.mp4", upscaler=nearest, options=options, progress="none")
    assert result.frames == 30
    (said,) = [record.getMessage() for record in caplog.records if "memory" in record.getMessage()]
    assert re.match(r"plain\.mp4: encoder and frames will take about \d+ MiB of memory, and 128 are free: ", said)
    caplog.clear()
    have_free(monkeypatch, 4000)
    upscale_video(plain, tmp_path / "out.mp4", upscaler=nearest, options=options, progress="none")
    assert "memory" not in caplog.text


def test_a_lookahead_that_memory_made_shorter_stays_when_work_goes_on(tmp_path, make_upscaler, monkeypatch):
    source = write_clip(tmp_path / "in.mkv", Clip(size=(640, 480), times=range(24)))
    options = video_options(encoder=EncoderOptions(preset="fast"), segment_frames=6)

    def run(name, **given):
        upscale_video(
            source, tmp_path / name, upscaler=make_upscaler(batch=1), options=options, progress="none", **given
        )

    def stop(progress):
        if progress.frames == 14:
            raise StoppedError

    # 1280x960 takes 160 MiB for the encoder at its usual lookahead of 30 frames.
    have_free(monkeypatch, LEAST_BYTES // MIB + 120)
    run("short.mp4")
    with pytest.raises(StoppedError):
        run("resumed.mp4", watch=stop)
    have_free(monkeypatch, 64_000)
    run("resumed.mp4")
    run("usual.mp4")
    assert noted(tmp_path / "usual.mp4")["rc_lookahead"] == "30"
    assert int(noted(tmp_path / "short.mp4")["rc_lookahead"]) < 30
    assert (tmp_path / "resumed.mp4").read_bytes() == (tmp_path / "short.mp4").read_bytes()


def test_a_dry_run_counts_what_the_encoder_will_take(tmp_path, nearest):
    source = write_clip(tmp_path / "in.mkv", Clip(size=(640, 480), times=range(4)))
    said = {
        preset: dry_run(
            source,
            tmp_path / "out.mkv",
            upscaler=nearest,
            options=video_options(encoder=EncoderOptions(preset=preset)),
        )
        for preset in ("veryslow", "ultrafast")
    }
    assert said["veryslow"].memory - said["ultrafast"].memory > 50 * 1280 * 960 * 2  # tens of frames more
    assert all(forecast.memory_free > 0 for forecast in said.values())


@pytest.mark.parametrize(
    ("weights", "given", "share"),
    [
        (758_755, {}, 0.11),
        (16_697_987, {}, 0.005),
        (40_000, {}, 2),
        (758_755, {"preset": "veryfast"}, 2),
        (758_755, {"extra": {"subq": "4"}}, 2),
    ],
)
def test_x264_gets_the_threads_that_its_share_of_the_work_is_worth(weights, given, share, tmp_path):
    source = write_clip(tmp_path / "in.mkv", Clip(size=(96, 64), times=range(2)))
    options = video_options(encoder=EncoderOptions(**given))
    upscale_video(source, tmp_path / "o.mkv", upscaler=engine(parameters=weights), options=options, progress="none")
    own = usual_threads("libx264", 256)
    assert int(noted(tmp_path / "o.mkv")["threads"]) == min(own, math.ceil(share * usable_cores()))
