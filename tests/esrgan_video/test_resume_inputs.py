"""Going on after an interruption with every kind of input, and what callers see of it."""

from __future__ import annotations

import json
import re
from fractions import Fraction

import numpy as np
import psutil
import pytest
from PIL import Image

from clip_tools import Clip, Tags, decode, digest, planes, times, video_options, write_clip
from esrgan.errors import EngineError, MediaError, UsageError, one_line
from esrgan_video import OutputSize, upscale_video
from esrgan_video.container import EncoderOptions

FAST = EncoderOptions(preset="ultrafast", extra={"bf": "2"})


class StoppedError(Exception):
    """Raised by a `watch`, as a program does that stops the work."""


def stop_after(batches):
    left = batches

    def watch(_progress):
        nonlocal left
        left -= 1
        if left < 0:
            raise StoppedError

    return watch


def check_resume(source, folder, make_upscaler, *, suffix=".mp4", batches=4, encoder=FAST, **given):
    """Stop a run midway, go on, and compare with one that was not stopped."""
    options = video_options(encoder=encoder, segment_frames=6, **given)
    target, reference = folder / f"out{suffix}", folder / f"reference{suffix}"
    with pytest.raises(StoppedError):
        upscale_video(
            source, target, upscaler=make_upscaler(), options=options, progress="none", watch=stop_after(batches)
        )
    assert not target.exists()
    upscaler = make_upscaler()
    result = upscale_video(source, target, upscaler=upscaler, options=options, progress="none")
    whole = upscale_video(source, reference, upscaler=make_upscaler(), options=options, progress="none")
    assert result.resumed_frames >= 6
    assert sum(shape[0] for shape in upscaler.batches) <= whole.frames - result.resumed_frames
    assert result.frames == whole.frames
    assert times(target) == times(reference)
    assert digest(target, 0) == digest(reference, 0)
    for mine, other in zip(decode(target), decode(reference), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(planes(mine), planes(other), strict=True))
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]
    return target


def test_a_trial(make_upscaler, tmp_path):
    source = write_clip(tmp_path / "in.mp4", Clip(times=range(60), audio=["aac"]))
    target = check_resume(source, tmp_path, make_upscaler, start=Fraction(1, 2), end=Fraction(3, 2))
    assert times(target) == [Fraction(number, 25) for number in range(25)]


def test_fields_made_frames(make_upscaler, tmp_path):
    clip = Clip(times=range(20), options={"preset": "ultrafast", "x264-params": "tff=1", "flags": "+ildct+ilme"})
    source = write_clip(tmp_path / "in.mp4", clip)
    target = check_resume(source, tmp_path, make_upscaler, deinterlace="field")
    assert len(times(target)) == 40


def test_frames_without_times(make_upscaler, tmp_path):
    source = write_clip(tmp_path / "in.avi", Clip(times=range(30)))
    check_resume(source, tmp_path, make_upscaler)


def test_ten_bits_in_webm(make_upscaler, tmp_path):
    tags = Tags(matrix=9, color_range=1, primaries=9, transfer=16)
    source = write_clip(tmp_path / "in.mkv", Clip(pix_fmt="yuv420p10le", tags=tags, size=(128, 96), times=range(20)))
    check_resume(source, tmp_path, make_upscaler, suffix=".webm", encoder=EncoderOptions(preset="12"))


@pytest.mark.parametrize(
    ("suffix", "encoder"),
    [
        (".mkv", EncoderOptions(codec="hevc", preset="ultrafast")),
        (".webm", EncoderOptions(codec="vp9", extra={"cpu-used": "5"})),
        (".mov", EncoderOptions(codec="prores")),
        (".mkv", EncoderOptions(codec="ffv1")),
    ],
    ids=["hevc", "vp9", "prores", "ffv1"],
)
def test_every_encoder_makes_the_same_bits_again(suffix, encoder, plain, make_upscaler, tmp_path):
    check_resume(plain, tmp_path, make_upscaler, suffix=suffix, encoder=encoder, frames=20)


def test_numbered_images(make_upscaler, tmp_path):
    (tmp_path / "frames").mkdir()
    for number in range(20):
        Image.new("RGB", (16, 12), (10 * number, 0, 0)).save(tmp_path / "frames" / f"{number:03d}.png")
    pattern = tmp_path / "frames" / "%03d.png"
    check_resume(pattern, tmp_path, make_upscaler)
    options = video_options(encoder=FAST, segment_frames=6)
    with pytest.raises(StoppedError):
        upscale_video(
            pattern, tmp_path / "o.mp4", upscaler=make_upscaler(), options=options, progress="none", watch=stop_after(4)
        )
    Image.new("RGB", (16, 12), (1, 2, 3)).save(tmp_path / "frames" / "020.png")
    with pytest.raises(UsageError, match=r"o\.mp4 was begun otherwise: input's files \(20 with digest"):
        upscale_video(pattern, tmp_path / "o.mp4", upscaler=make_upscaler(), options=options, progress="none")


SCRIPT = """
import vapoursynth as vs
clip = vs.core.std.BlankClip(format=vs.YUV420P8, width=32, height=24, length=20, fpsnum=24, fpsden=1)
clip.std.FrameEval(lambda n: clip.std.BlankClip(color=[n * {step}, 128, 128])).set_output()
"""


def test_a_script_is_told_by_its_text(make_upscaler, tmp_path, caplog):
    pytest.importorskip("vapoursynth")
    script = tmp_path / "clip.vpy"
    script.write_text(SCRIPT.format(step=5))
    check_resume(script, tmp_path, make_upscaler)
    options = video_options(encoder=FAST, segment_frames=6)

    def go(watch=None):
        return upscale_video(
            script, tmp_path / "o.mp4", upscaler=make_upscaler(), options=options, progress="none", watch=watch
        )

    with pytest.raises(StoppedError):
        go(stop_after(4))
    script.write_text(SCRIPT.format(step=6))
    with pytest.raises(UsageError, match=r"input's text \("):
        go()
    script.write_text(SCRIPT.format(step=5))  # saved anew, with the same text
    caplog.clear()
    assert go().resumed_frames >= 6
    assert "if what it reads has changed, begin anew with --restart" in caplog.text


def test_progress_starts_at_what_is_done(plain, make_upscaler, tmp_path, capsys):
    options = video_options(encoder=FAST, segment_frames=6)
    seen = []
    with pytest.raises(StoppedError):
        upscale_video(
            plain, tmp_path / "o.mp4", upscaler=make_upscaler(), options=options, progress="none", watch=stop_after(5)
        )
    capsys.readouterr()
    result = upscale_video(
        plain, tmp_path / "o.mp4", upscaler=make_upscaler(batch=2), options=options, progress="json", watch=seen.append
    )
    assert result.resumed_frames in (6, 12)
    assert [progress.frames for progress in seen] == list(range(result.resumed_frames + 2, 31, 2))
    assert {progress.total for progress in seen} == {30}
    last = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert (last["event"], last["done"], last["total"]) == ("done", 30, 30)


def test_an_error_says_what_is_kept_and_a_first_segment_that_failed_leaves_nothing(plain, make_upscaler, tmp_path):
    class Failing(make_upscaler):
        left = 0

        def __call__(self, batch):
            if len(self.batches) == self.left:
                raise EngineError("no memory")
            return super().__call__(batch)

    options = video_options(encoder=FAST, segment_frames=6)
    upscaler = Failing()
    upscaler.left = 1
    with pytest.raises(EngineError) as caught:
        upscale_video(plain, tmp_path / "o.mp4", upscaler=upscaler, options=options, progress="none")
    assert one_line(caught.value) == "no memory"
    assert list(tmp_path.iterdir()) == []
    upscaler.left = 6
    with pytest.raises(EngineError) as caught:
        upscale_video(plain, tmp_path / "o.mp4", upscaler=upscaler, options=options, progress="none")
    assert re.fullmatch(
        r"no memory; \d+ finished frames are kept in .*/\.o\.mp4\.esrgan: the same command goes on from there",
        one_line(caught.value),
    )


def test_another_network_is_refused(plain, make_upscaler, tmp_path):
    class Identified(make_upscaler):
        identity = {"weights": "one"}  # noqa: RUF012

    options = video_options(encoder=FAST, segment_frames=6)
    target = tmp_path / "o.mp4"
    with pytest.raises(StoppedError):
        upscale_video(plain, target, upscaler=Identified(), options=options, progress="none", watch=stop_after(4))
    other = Identified()
    other.identity = {"weights": "two"}
    with pytest.raises(UsageError, match=r"weights \(one before, now two\)"):
        upscale_video(plain, target, upscaler=other, options=options, progress="none")


@pytest.fixture
def damaged(plain, tmp_path):
    content = bytearray(plain.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 300] = b"\xff" * 300
    source = tmp_path / "damaged.mp4"
    source.write_bytes(content)
    return source


def test_damage_is_counted_over_all_runs(damaged, make_upscaler, tmp_path):
    options = video_options(encoder=FAST, segment_frames=6)
    whole = upscale_video(damaged, tmp_path / "whole.mp4", upscaler=make_upscaler(), options=options, progress="none")
    with pytest.raises(StoppedError):
        upscale_video(
            damaged, tmp_path / "o.mp4", upscaler=make_upscaler(), options=options, progress="none", watch=stop_after(5)
        )
    result = upscale_video(damaged, tmp_path / "o.mp4", upscaler=make_upscaler(), options=options, progress="none")
    assert result.damaged_packets == whole.damaged_packets > 0
    assert result.frames == whole.frames


def test_strict_stops_at_the_first_damage_and_leaving_it_out_goes_on(damaged, make_upscaler, tmp_path):
    target = tmp_path / "o.mp4"
    with pytest.raises(
        MediaError, match=r"damaged.mp4: (a damaged packet \(.*\)|the frame at .* is damaged)"
    ) as caught:
        upscale_video(
            damaged,
            target,
            upscaler=make_upscaler(batch=1),
            options=video_options(encoder=FAST, segment_frames=2, strict=True),
            progress="none",
        )
    assert "leave out --strict to go on" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not target.exists()
    result = upscale_video(
        damaged,
        target,
        upscaler=make_upscaler(),
        options=video_options(encoder=FAST, segment_frames=2),
        progress="none",
    )
    assert result.frames == len(decode(target))


def test_strict_has_nothing_to_say_of_a_whole_file(vfr, make_upscaler, tmp_path):
    options = video_options(encoder=FAST, strict=True)
    upscale_video(vfr, tmp_path / "o.mp4", upscaler=make_upscaler(), options=options, progress="none")
    assert times(tmp_path / "o.mp4") == times(vfr)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_frames(make_upscaler, tmp_path):
    source = write_clip(tmp_path / "in.mkv", Clip(times=range(3000), size=(32, 24)))
    process, used = psutil.Process(), {}
    wanted = {300: "a tenth", 1500: "half", 3000: "all"}

    def watch(progress):
        if progress.frames in wanted:
            used[wanted[progress.frames]] = process.memory_info().rss

    # Large pictures come out: keeping one of ten would show.
    options = video_options(encoder=FAST, segment_frames=50, size=OutputSize(width=320, height=240))
    result = upscale_video(
        source, tmp_path / "o.mkv", upscaler=make_upscaler(batch=10), options=options, progress="none", watch=watch
    )
    assert result.frames == 3000
    assert set(used) == set(wanted.values())
    assert max(used["half"], used["all"]) - used["a tenth"] < 30e6, used
