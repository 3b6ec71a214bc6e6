"""Checks of `verify_video` that want an input of their own: containers, depth, HDR, sizes, trials, damage, fields."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

from break_tools import Change, rewrite, turn_time_bit
from clip_tools import Clip, Tags, write_clip
from esrgan_video import OutputSize
from esrgan_video.container import EncoderOptions
from verify_tools import LOSSLESS, failed, upscale, verify


def without_frame(number):
    return lambda frames: frames[:number] + frames[number + 1 :]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".webm"])
def test_other_containers_pass(suffix, everything, tmp_path, nearest):
    encoder = EncoderOptions(extra={"cpu-used": "8", "deadline": "realtime"}) if suffix == ".webm" else LOSSLESS
    target = upscale(everything, tmp_path / f"out{suffix}", nearest, encoder, drop_unsupported=True)
    report = verify(everything, target, drop_unsupported=True)
    assert not report.failed, report.table()


def test_what_was_left_out_is_a_breach_unless_it_was_asked_for(everything, tmp_path, nearest):
    target = upscale(everything, tmp_path / "out.mp4", nearest, drop_unsupported=True)
    report = verify(everything, target)
    assert [(check.name, check.found) for check in report.failed] == [
        ("streams", "4 of 5; missing: #4 (attachment, unknown)")
    ]
    assert not failed(everything, target, drop_unsupported=True)


def test_what_the_container_could_hold_must_not_be_left_out(everything, good, tmp_path):
    broken = rewrite(good, tmp_path / "broken.mkv", Change(without=[1]))
    assert failed(everything, broken, drop_unsupported=True) == {("file", "streams")}


def test_fewer_bits_and_coarser_chroma_are_found(tmp_path, nearest):
    clip = Clip(codec="ffv1", pix_fmt="yuv422p10le", options={}, times=range(5), tags=Tags(matrix=1, color_range=1))
    source = write_clip(tmp_path / "in.mkv", clip)
    target = upscale(source, tmp_path / "out.mkv", nearest, EncoderOptions(codec="ffv1"))
    assert not failed(source, target)
    for pix_fmt, expected in (
        ("yuv422p", {("video", "depth")}),
        ("yuv420p10le", {("video", "chroma sampling")}),
        ("yuv420p", {("video", "depth"), ("video", "chroma sampling")}),
        ("yuv444p12le", set()),
    ):
        again = rewrite(target, tmp_path / f"{pix_fmt}.mkv", Change(codec="ffv1", pix_fmt=pix_fmt))
        assert failed(source, again) == expected


def test_lost_or_other_hdr_metadata_is_found(tmp_path, nearest):
    display = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
    tags = Tags(matrix=9, color_range=1, primaries=9, transfer=16)

    def clip(name, display, light):
        given = f"log-level=error:master-display={display}:max-cll={light}" if display else "log-level=error"
        options = {"x265-params": f"{given}:qp=4"}
        return write_clip(
            tmp_path / name,
            Clip(codec="libx265", pix_fmt="yuv420p10le", tags=tags, times=range(3), options=options, size=(128, 96)),
        )

    source = clip("in.mkv", display, "1000,400")
    target = upscale(source, tmp_path / "out.mp4", nearest, EncoderOptions(codec="hevc", preset="ultrafast"))
    assert not failed(source, target)
    both = {("video", "mastering display"), ("video", "light level")}
    assert failed(source, clip("none.mkv", None, None)) == both
    assert failed(source, clip("dimmer.mkv", display.replace("10000000", "6000000"), "600,400")) == both
    assert failed(source, clip("level.mkv", display, "1000,300")) == {("video", "light level")}


def test_other_sizes(plain, tmp_path, make_upscaler):
    wide = write_clip(tmp_path / "in.mp4", Clip(size=(72, 48), sar=Fraction(8, 9), times=range(5)))
    square = upscale(wide, tmp_path / "square.mp4", make_upscaler(), size=OutputSize(width=128, height=96))
    assert not failed(wide, square)  # the shape of pixels makes up for it
    assert not failed(
        plain, upscale(plain, tmp_path / "odd.mp4", make_upscaler(), size=OutputSize(width=82, height=62))
    )
    squeezed = rewrite(square, tmp_path / "squeezed.mp4", Change(sar=Fraction(3, 2)))
    assert failed(wide, squeezed) == {("video", "aspect ratio"), ("video", "size")}


@pytest.mark.parametrize(
    "trial", [{"start": Fraction(1)}, {"end": Fraction(3, 2)}, {"frames": 20}, {"start": Fraction(9, 10), "frames": 31},
              {"start": Fraction(3), "end": Fraction(17, 5)}],
)  # fmt: skip
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_trial_is_verified_against_its_part(trial, suffix, tmp_path, nearest):
    clip = Clip(
        times=range(100), audio=["aac"], subtitles=[(100, 900, "a"), (1000, 2000, "b"), (3100, 3300, "c")],
        chapters=[(0, 1000, "A"), (1000, 4000, "B")], options={"preset": "ultrafast", "g": "25"},
    )  # fmt: skip
    source = write_clip(tmp_path / "in.mkv", clip)
    target = upscale(source, tmp_path / f"out{suffix}", nearest, **trial)
    report = verify(source, target, **trial)
    assert not report.failed, report.table()
    assert ("video", "frames") in failed(source, target)
    later = {**trial, "start": trial.get("start", 0) + Fraction(1, 5)}
    assert ("video", "picture") in failed(source, target, **later)


def test_damaged_input_counts_what_the_decoder_gives(plain, tmp_path, nearest):
    with av.open(str(plain)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    content = bytearray(plain.read_bytes())
    position, size = places[10]
    content[position + 4 : position + size] = b"\xff" * (size - 4)
    source = tmp_path / "damaged.mp4"
    source.write_bytes(content)
    target = upscale(source, tmp_path / "out.mp4", nearest)
    report = verify(source, target)
    assert not report.failed, report.table()
    frames = next(check for check in report.checks if check.name == "frames")
    assert frames.expected == f"{frames.found} (1 damaged packet besides)"
    assert failed(plain, target) >= {("video", "frames"), ("video", "times")}


@pytest.mark.parametrize(("moved", "ticks"), [(slice(12, None), 500), (slice(13, None), 500), (slice(13, 14), 15)])
def test_a_wrong_time_of_the_input_does_not_excuse_others_of_the_output(moved, ticks, tmp_path, nearest):
    whole = write_clip(tmp_path / "whole.ts", Clip(muxer="mpegts", options={"preset": "ultrafast", "bf": "0"}))
    source = turn_time_bit(whole, tmp_path / "turned.ts", 0, 12)
    target = upscale(source, tmp_path / "out.mkv", nearest)
    assert failed(source, target) == set()

    def later(frames):
        late = frames[moved]
        return [(time + ticks if (time, frame) in late else time, frame) for time, frame in frames]

    wrong = rewrite(target, tmp_path / "moved.mkv", Change(frames=later))
    assert ("video", "times") in failed(source, wrong)


def _disc(number: int) -> list[np.ndarray]:
    """A flat colour in a disc of opacity that moves, on black that cannot be seen."""
    y, x = np.mgrid[:96, :128]
    seen = np.hypot(x - 50 - number, y - 48) < 20
    luma, alpha = np.where(seen, 150, 16), np.where(seen, 255, 0)
    chroma = [np.where(seen, value, 128)[::2, ::2] for value in (90, 180)]
    return [plane.astype(np.uint8) for plane in (luma, *chroma, alpha)]


@pytest.mark.parametrize(
    ("suffix", "encoder"), [(".mkv", EncoderOptions(codec="ffv1")), (".mov", EncoderOptions()), (".webm", None)]
)
def test_colours_that_cannot_be_seen_may_be_anything(suffix, encoder, tmp_path, nearest):
    tags = Tags(matrix=1, color_range=1)
    clip = Clip(codec="ffv1", pix_fmt="yuva420p", size=(128, 96), times=range(6), options={}, tags=tags,
                planes=[_disc(number) for number in range(6)])  # fmt: skip
    source = write_clip(tmp_path / "in.mkv", clip)
    fast = EncoderOptions(extra={"deadline": "realtime", "cpu-used": "8"})
    assert not failed(source, upscale(source, tmp_path / f"out{suffix}", nearest, encoder or fast))
    other = write_clip(
        tmp_path / "other.mkv",
        Clip(
            **{**vars(clip), "planes": [[*_disc(number)[:3], np.full((96, 128), 255, np.uint8)] for number in range(6)]}
        ),
    )
    assert {
        name
        for _, name in failed(source, upscale(other, tmp_path / "opaque.mkv", nearest, EncoderOptions(codec="ffv1")))
    } >= {"alpha"}


# Interlaced input


@pytest.fixture(scope="module")
def interlaced(clips):
    """20 frames of H.264 in MP4 that are flagged as two fields, the upper one first."""
    options = {"preset": "ultrafast", "x264-params": "tff=1", "bf": "0"}
    return write_clip(clips / "interlaced.mp4", Clip(times=range(20), options=options))


@pytest.mark.parametrize("mode", ["frame", "field", "off"])
@pytest.mark.parametrize("trial", [{}, {"frames": 7}])
def test_interlaced_input_per_frame_per_field_or_as_it_is(mode, trial, interlaced, tmp_path, identity):
    with av.open(str(interlaced)) as container:
        assert all(frame.interlaced_frame for frame in container.decode(video=0))
    target = upscale(interlaced, tmp_path / "out.mkv", identity, deinterlace=mode, **trial)
    report = verify(interlaced, target, **trial)
    assert not report.failed, report.table()
    count = next(check.found for check in report.checks if check.name == "frames")
    assert int(count) == (7 if trial else 40 if mode == "field" else 20)


def test_a_missing_second_field_is_found(interlaced, tmp_path, identity):
    target = upscale(interlaced, tmp_path / "out.mkv", identity, deinterlace="field")
    assert failed(interlaced, rewrite(target, tmp_path / "second.mkv", Change(frames=without_frame(9)))) == {
        ("video", "frames")
    }
    assert failed(interlaced, rewrite(target, tmp_path / "first.mkv", Change(frames=without_frame(10)))) == {
        ("video", "frames"),
        ("video", "times"),
    }


def test_fields_that_appear_in_the_output_are_found(plain, tmp_path, identity):
    encoder = EncoderOptions(preset="ultrafast", extra={"qp": "0", "x264-params": "tff=1"})
    assert failed(plain, upscale(plain, tmp_path / "out.mp4", identity, encoder)) == {("video", "interlacing")}


def test_lost_transparency_is_found(tmp_path, nearest):
    clip = Clip(codec="ffv1", pix_fmt="yuva444p", options={}, times=range(5), tags=Tags(matrix=1, color_range=1))
    source = write_clip(tmp_path / "in.mkv", clip)
    target = upscale(source, tmp_path / "out.mkv", nearest, EncoderOptions(codec="ffv1"))
    assert not failed(source, target)
    opaque = rewrite(target, tmp_path / "opaque.mkv", Change(codec="ffv1", pix_fmt="yuv444p"))
    assert failed(source, opaque) == {("video", "alpha")}
    small = upscale(source, tmp_path / "h264.mkv", nearest, EncoderOptions(codec="h264", preset="ultrafast"))
    assert not failed(source, small)  # said before the work: H.264 cannot hold it


def test_a_trial_of_a_video_that_does_not_say_how_long_frames_last(tmp_path, nearest):
    clip = Clip(rate=Fraction(1000), audio=["aac"], times=[33 * n for n in range(40)], time_base=Fraction(1, 1000))
    source = write_clip(tmp_path / "in.mkv", clip)
    for count in (7, 8, 9):
        target = upscale(source, tmp_path / f"{count}.mkv", nearest, frames=count)
        report = verify(source, target, frames=count)
        assert not report.failed, report.table()
