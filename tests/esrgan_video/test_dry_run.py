"""A dry run: what it says is what the run then does, and it leaves no trace."""

from __future__ import annotations

import json
import threading
import time

import av
import numpy as np
import pytest

from clip_tools import Clip, Tags, main_video, streams, video_options, write_clip
from esrgan.errors import EngineError, UsageError
from esrgan_video import OutputSize, upscale_video
from esrgan_video.cli.dry_run import as_json, as_table
from esrgan_video.container import EncoderOptions
from esrgan_video.dry_run import dry_run

FAST = EncoderOptions(preset="ultrafast")


def everything(folder):
    return {path: path.stat().st_mtime_ns for path in [folder, *folder.rglob("*")]}


def test_it_says_what_the_run_then_does(rich, tmp_path, nearest):
    target = tmp_path / "out.mp4"
    options = video_options(
        encoder=EncoderOptions(codec="hevc", preset="ultrafast", pix_fmt="yuv420p10le"),
        size=OutputSize(width=100, height=80),
        segment_frames=12,
        drop_unsupported=True,
    )
    before = everything(tmp_path)
    said = as_json(dry_run(rich, target, upscaler=nearest, options=options))
    assert everything(tmp_path) == before
    json.dumps(said)
    result = upscale_video(rich, target, upscaler=nearest, options=options, progress="none")
    assert said["frames"] == result.frames == 50
    assert said["segments"] == 5
    actions = {stream["index"]: stream["action"] for stream in said["streams"]}
    kept = [action for action in actions.values() if action != "drop"]
    assert len(kept) == len([kind for kind, *_ in streams(target) if kind != "data"])  # MP4 has chapters in a track
    assert len([action for action in actions.values() if action == "drop"]) == len(result.dropped_streams) == 1
    assert [stream["target"] for stream in said["streams"] if stream["action"] == "convert"] == ["mov_text"]
    with av.open(str(target)) as container:
        video = main_video(container)
        output = said["output"]
        assert (output["width"], output["height"]) == (video.width, video.height) == (100, 80)
        assert output["pixel_format"] == video.codec_context.pix_fmt == "yuv420p10le"
        assert output["bits"] == 10
        assert output["matrix"] == video.codec_context.colorspace
    assert said["disk_needed"] > target.stat().st_size / 2
    assert said["disk_free"] > 0
    assert 1e7 < said["memory"] < 1e11
    assert said["frames_per_second"] > 0


def test_it_tries_a_few_frames_only(tmp_path, make_upscaler):
    source = write_clip(tmp_path / "in.mkv", Clip(times=range(200)))
    upscaler = make_upscaler(batch=4)
    forecast = dry_run(source, tmp_path / "out.mkv", upscaler=upscaler, options=video_options(encoder=FAST))
    assert upscaler.batches == [(4, 3, 48, 64)] * 3
    assert forecast.tried_frames == 8
    assert forecast.frames == 200
    assert forecast.seconds == pytest.approx(200 / forecast.frames_per_second)
    assert [thread.name for thread in threading.enumerate() if thread.name in ("prefetch", "drain")] == []


SPEED = 50
"""Frames per second of the slow network below."""


@pytest.fixture
def slow(make_upscaler):
    """Keeps the frames that it is given, and takes its time for each."""

    class Slow(make_upscaler):
        seen = ()

        def __call__(self, batch):
            self.seen = [*self.seen, *batch]
            time.sleep(len(batch) / SPEED)
            return super().__call__(batch)

    return Slow(batch=2)


def grey_clip(path, pictures):
    planes = [[picture] for picture in pictures]
    clip = Clip(
        codec="ffv1", pix_fmt="gray", options={}, times=range(len(planes)), planes=planes, tags=Tags(color_range=2)
    )
    return write_clip(path, clip)


def test_a_video_that_begins_with_black_is_judged_by_its_middle(tmp_path, slow):
    noise = np.random.default_rng(0).integers(16, 235, (40, 48, 64), np.uint8)
    source = grey_clip(tmp_path / "in.mkv", [*np.zeros((20, 48, 64), np.uint8), *noise])
    target, options = tmp_path / "out.mkv", video_options(encoder=FAST)
    forecast = dry_run(source, target, upscaler=slow, options=options)
    assert forecast.frames == 60
    assert forecast.frames_per_second < SPEED
    for number, seen in enumerate(slow.seen):
        np.testing.assert_allclose(seen[0] * 255, noise[10 + number], atol=0.01)
    upscale_video(source, target, upscaler=slow, options=options, progress="none")
    assert forecast.disk_needed > target.stat().st_size


def test_a_still_video_is_taken_for_one_that_moves(tmp_path, slow):
    source = grey_clip(tmp_path / "in.mkv", np.full((30, 48, 64), 90, np.uint8))
    forecast = dry_run(source, tmp_path / "out.mkv", upscaler=slow, options=video_options(encoder=FAST))
    assert forecast.tried_frames == 4
    assert forecast.frames_per_second < SPEED


def test_a_part_is_judged_by_its_own_middle(tmp_path, slow):
    pictures = [np.full((48, 64), 20 + 2 * number, np.uint8) for number in range(100)]
    source = grey_clip(tmp_path / "in.mkv", pictures)
    for given in ({"start": 1, "end": 3}, {"start": 1, "frames": 50}):
        slow.seen = []
        forecast = dry_run(source, tmp_path / "o.mkv", upscaler=slow, options=video_options(encoder=FAST, **given))
        assert forecast.frames == 50
        seen = [(picture.mean().item() * 255 - 20) / 2 for picture in slow.seen]
        assert seen == pytest.approx([50, 51, 52, 53, 54, 55], abs=0.01)


def test_a_video_of_one_frame(tmp_path, nearest):
    source = write_clip(tmp_path / "in.mkv", Clip(times=[0]))
    forecast = dry_run(source, tmp_path / "out.mkv", upscaler=nearest)
    assert (forecast.frames, forecast.tried_frames, forecast.segments) == (1, 1, 1)
    assert "1 segment(s)" in as_table(forecast)


def test_it_tells_what_an_earlier_run_has_left(plain, tmp_path, make_upscaler):
    class Stops(make_upscaler):
        def __call__(self, batch):
            if len(self.batches) == 5:
                raise EngineError("no memory")
            return super().__call__(batch)

    Stops.__qualname__ = make_upscaler.__qualname__
    target = tmp_path / "out.mp4"
    options = video_options(encoder=FAST, segment_frames=8)
    with pytest.raises(EngineError, match="no memory"):
        upscale_video(plain, target, upscaler=Stops(), options=options, progress="none")
    before = everything(tmp_path)
    finished = 8 * len(list(tmp_path.rglob("*.segment")))  # one or two: the encoder may not have come to the second
    forecast = dry_run(plain, target, upscaler=make_upscaler(), options=options)
    assert (forecast.finished_frames, forecast.frames_left, forecast.changes) == (finished, 30 - finished, ())
    assert finished > 0
    assert f"{finished} frames are done" in as_table(forecast)
    other = dry_run(plain, target, upscaler=make_upscaler(), options=video_options(encoder=FAST, segment_frames=9))
    assert other.changes == ("segment frames (8 before, now 9)",)
    assert "use --restart" in as_table(other)
    anew = dry_run(plain, target, upscaler=make_upscaler(), options=video_options(segment_frames=9, restart=True))
    assert (anew.finished_frames, anew.changes) == (0, ())
    assert everything(tmp_path) == before


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("out.webm", {"encoder": EncoderOptions(codec="h264")}, r"\.webm cannot hold video of libx264"),
        ("out.mp4", {"encoder": EncoderOptions(preset="warp")}, "preset=warp"),
        ("out.avi", {}, "unknown video extension"),
        ("%05d.png", {}, "--dry-run is for video files as output"),
        ("out.gif", {}, "--dry-run is for video files as output"),
    ],
)
def test_what_cannot_work_is_said(name, given, message, plain, tmp_path, nearest):
    with pytest.raises(UsageError, match=message):
        dry_run(plain, tmp_path / name, upscaler=nearest, options=video_options(**given))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("deinterlace", "frames", "said"),
    [("frame", 4, "whole pictures"), ("field", 8, "whole pictures"), ("off", 4, "woven")],
)
def test_fields_are_announced(deinterlace, frames, said, tmp_path, nearest):
    clip = Clip(times=range(4), options={"preset": "ultrafast", "x264-params": "tff=1"})
    options = video_options(encoder=FAST, deinterlace=deinterlace)
    forecast = dry_run(write_clip(tmp_path / "in.mp4", clip), tmp_path / "out.mp4", upscaler=nearest, options=options)
    assert said in as_table(forecast)
    assert forecast.frames == frames
    found = as_json(forecast)["input"]
    assert (found["interlaced"], found["deinterlaced"]) == (True, deinterlace != "off")


@pytest.mark.parametrize(("name", "kept"), [("out.mkv", True), ("out.mp4", False)])
def test_transparency_is_announced(name, kept, tmp_path, nearest):
    source = write_clip(tmp_path / "in.mkv", Clip(codec="ffv1", pix_fmt="yuva420p", options={}, times=range(2)))
    forecast = dry_run(source, tmp_path / name, upscaler=nearest)
    assert ("kept" if kept else "left out") in next(line for line in as_table(forecast).splitlines() if "alpha" in line)
    assert (as_json(forecast)["input"]["alpha"], as_json(forecast)["output"]["alpha"]) == (True, kept)
