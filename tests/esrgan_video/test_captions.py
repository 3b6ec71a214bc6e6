"""Closed captions of the input's frames in the output, as PyAV decodes both."""

from __future__ import annotations

import re
from fractions import Fraction

import av
import pytest

from clip_tools import Clip, decode, video_options, write_clip
from esrgan.errors import EngineError
from esrgan_video import upscale_video
from esrgan_video.container import EncoderOptions, VideoReader
from esrgan_video.container.captions import with_captions
from esrgan_video.dry_run import dry_run
from esrgan_video.segments.shelf import FrameShelf
from verify_tools import failed, verify

MPEG2 = Clip(codec="mpeg2video", options={"bf": "2"})
FIELDS = Clip(codec="mpeg2video", options={"bf": "2", "flags": "+ildct+ilme"})


def said(number):
    """Triplets of frame `number`: a pair of CEA-608, a pause, and one to three pairs of CEA-708."""
    return bytes([0xFC, 0x41, 0x80 + number, 0xFD, 0x80, 0x80]) + bytes([0xFE, 0, number]) * (1 + number % 3)


def captioned(folder, clip, say=said):
    """A transport stream of `clip`, an MPEG-2 video, with captions as ATSC A/53 part 4 has them: in user data."""
    plain = write_clip(folder / "plain.mkv", clip)
    path = folder / "captions.ts"
    with av.open(str(plain)) as before, av.open(str(path), "w") as after:
        stream = after.add_stream_from_template(before.streams.video[0])
        for packet in before.demux(video=0):
            if not packet.size:
                continue
            triplets = say(round(packet.pts * packet.time_base * 25))
            head = b"\0\0\1\xb2GA94\x03" + bytes([0x40 | len(triplets) // 3, 0xFF])
            data = bytes(packet)
            slices = data.index(b"\0\0\1\1")
            made = av.Packet(data[:slices] + (head + triplets + b"\xff" if triplets else b"") + data[slices:])
            made.pts, made.dts, made.time_base = packet.pts, packet.dts, packet.time_base
            made.is_keyframe, made.stream = packet.is_keyframe, stream
            after.mux(made)
    return path


def captions(path):
    return [
        b"".join(bytes(data) for kind, data in frame.side_data.items() if kind.name == "A53_CC")
        for frame in decode(path)
    ]


def run(source, target, upscaler, encoder=None, **given):
    encoder = encoder or EncoderOptions(preset="ultrafast")
    return upscale_video(
        source, target, upscaler=upscaler, options=video_options(encoder=encoder, **given), progress="none"
    )


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_captions_stay_with_their_frames(codec, suffix, tmp_path, nearest):
    source = captioned(tmp_path, MPEG2)
    assert captions(source) == [said(number) for number in range(30)]
    target = tmp_path / f"out{suffix}"
    run(source, target, nearest, EncoderOptions(codec=codec, preset="fast"))  # with B-frames
    assert captions(target) == captions(source)
    assert verify(source, target).failed == ()


@pytest.mark.parametrize("mode", ["frame", "field", "off"])
def test_captions_of_two_fields_are_said_once(mode, tmp_path, nearest):
    source = captioned(tmp_path, FIELDS)
    assert all(frame.interlaced_frame for frame in decode(source))
    target = tmp_path / "out.mkv"
    run(source, target, nearest, deinterlace=mode)
    found = captions(target)
    assert found[:: 2 if mode == "field" else 1] == captions(source)
    assert not any(found[1::2]) or mode != "field"
    assert failed(source, target) == set()


@pytest.mark.parametrize("trial", [{"start": "0.5"}, {"start": "0.5", "frames": 5}, {"end": "0.6"}])
def test_captions_of_a_trial(trial, tmp_path, nearest):
    source = captioned(tmp_path, MPEG2)
    target = tmp_path / "out.mkv"
    result = run(source, target, nearest, **trial)
    whole = captions(source)
    first = 13 if "start" in trial else 0
    assert captions(target) == whole[first : first + result.frames]


def test_captions_survive_an_interruption(stopping, tmp_path):
    source = captioned(tmp_path, MPEG2)
    target = tmp_path / "out.mp4"
    with pytest.raises(EngineError):
        run(source, target, stopping(6), segment_frames=7)
    assert run(source, target, stopping(), segment_frames=7).resumed_frames >= 7
    assert captions(target) == captions(source)


def test_captions_of_frames_that_were_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("esrgan_video.segments.shelf._SLOW", 0)
    monkeypatch.setattr("esrgan_video.segments.shelf._BYTES_A_SECOND", 1 << 60)
    source = captioned(tmp_path, MPEG2)
    with VideoReader(source) as reader:
        frames = list(reader.frames())
    kept = list(FrameShelf(tmp_path / "frames").keeping(frames[:3]))
    shelf = FrameShelf(tmp_path / "frames")
    assert len(shelf) == 3
    facts = {"layout": kept[0].layout, "colour": kept[0].colour, "width": 64, "height": 48}
    assert [frame.captions for frame in shelf.frames(iter(frames), **facts)] == captions(source)[:3]


@pytest.mark.parametrize("codec", ["ffv1", "vp9"])
def test_where_captions_are_lost_is_said_before_the_work(codec, stopping, tmp_path, caplog):
    source = captioned(tmp_path, MPEG2)
    encoder = EncoderOptions(codec=codec)
    said_once = re.compile(r"captions\.ts: its closed captions are lost: \S+ cannot carry them, h264 and hevc do")
    with pytest.raises(EngineError):
        run(source, tmp_path / "out.mkv", stopping(0), encoder)
    assert len(said_once.findall(caplog.text)) == 1
    caplog.clear()
    dry_run(source, tmp_path / "out.mkv", upscaler=stopping(), options=video_options(encoder=encoder))
    assert len(said_once.findall(caplog.text)) == 1


def test_images_and_animations_say_so_too(tmp_path, nearest, caplog):
    source = captioned(tmp_path, MPEG2)
    result = upscale_video(source, tmp_path / "%03d.png", upscaler=nearest, progress="none")
    assert result.dropped_streams == ("closed captions",)
    assert "left out: closed captions" in caplog.text


def test_nothing_is_said_of_a_video_without_captions(plain, tmp_path, nearest, caplog):
    run(plain, tmp_path / "out.mkv", nearest, EncoderOptions(codec="ffv1"))
    assert "captions" not in caplog.text
    found = next(check for check in verify(plain, tmp_path / "out.mkv").checks if check.name == "captions")
    assert found.status == "not applicable"


@pytest.mark.parametrize(
    "say",
    [
        lambda _: b"",
        lambda number: said(number) if number < 29 else b"",
        lambda number: said(number ^ 1),
        lambda number: said(number).replace(b"A", b"B"),
    ],
)
def test_other_captions_are_found(say, tmp_path, nearest):
    (tmp_path / "other").mkdir()
    source, other = captioned(tmp_path, MPEG2), captioned(tmp_path / "other", MPEG2, say)
    target = tmp_path / "out.mkv"
    run(other, target, nearest)
    assert failed(source, target) == {("video", "captions")}
    run(other, tmp_path / "out.webm", nearest, EncoderOptions(extra={"cpu-used": "8", "deadline": "realtime"}))
    assert ("video", "captions") not in failed(source, tmp_path / "out.webm")


@pytest.mark.parametrize("encoder", ["libx264", "libx265"])
@pytest.mark.parametrize("content", [bytes(3 * 40), bytes([0, 0, 1]) * 31, b"\xfc\x94\x2c"])
def test_any_bytes_come_through(content, encoder, tmp_path):
    path = tmp_path / "out.mkv"
    with av.open(str(path), "w") as output:
        stream = output.add_stream(encoder, 25, {"x265-params": "log-level=error"} if encoder == "libx265" else {})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        frame = av.VideoFrame(64, 48, "yuv420p")
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            made = with_captions(packet, content, encoder)
            made.stream = stream
            output.mux(made)
    assert captions(path) == [content]
