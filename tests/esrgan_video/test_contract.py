"""The contract, clause by clause: inputs made for one property each, upscaled, and checked by `verify_video`.

The verifier shares no code with what it checks, and `test_verify.py` shows that it finds each breach. What the inputs
are is checked here too, with PyAV, so that none passes for lack of what it is named after.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from av.stream import Disposition

from clip_tools import Clip, Tags, decode, packets, streams, times, video_options, write_clip
from esrgan.errors import UsageError
from esrgan_video import upscale_video
from esrgan_video.container import EncoderOptions
from esrgan_video.verify import VerifyOptions, verify_video

MS = Fraction(1, 1000)
STEADY = [40 * number for number in range(20)]
IRREGULAR = (0, 3, 4, 11, 12, 30, 31, 33, 60, 61, 90, 151, 152, 200)
NEGATIVE = {"avoid_negative_ts": "disabled", "muxdelay": "0", "mpegts_copyts": "1"}
DISPLAY = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
HDR = Clip(
    codec="libx265",
    pix_fmt="yuv420p10le",
    size=(96, 72),
    tags=Tags(matrix=9, color_range=1, primaries=9, transfer=16, location=3),
    times=range(3),
    options={"x265-params": f"log-level=error:master-display={DISPLAY}:max-cll=1000,400"},
)


def clip(**given: Any) -> Callable[[Path], Path]:
    """A clip of `clip_tools` under the name that the table gives it."""
    return lambda path: write_clip(path, Clip(**given))


def image(kind: str) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (255, 0, 0)).save(buffer, kind)
    return buffer.getvalue()


def with_cover(kind: str, codec: str, *, first: bool = False) -> Callable[[Path], Path]:
    """A clip with sound, remuxed beside a picture that is marked as attached, before or after the other streams."""

    def make(path: Path) -> Path:
        inner = write_clip(path.with_name("inner.mkv"), Clip(audio=["aac"], times=STEADY, time_base=MS))
        with av.open(str(inner)) as before, av.open(str(path), "w") as after:
            targets: dict[int, Any] = {}
            cover: Any = None
            for place in ("first", "streams", "last"):
                if place == "streams":
                    targets = {s.index: after.add_stream_from_template(s, opaque=True) for s in before.streams}
                elif first == (place == "first"):
                    cover = after.add_mux_stream(codec, width=8, height=8)
                    cover.disposition = Disposition.attached_pic
            picture = av.Packet(image(kind))
            picture.stream, picture.time_base, picture.pts, picture.dts = cover, Fraction(1, 90000), 0, 0
            after.mux(picture)
            for packet in before.demux():
                if packet.size:
                    packet.stream = targets[packet.stream_index]
                    after.mux(packet)
        return path

    return make


def joined(*parts: Clip) -> Callable[[Path], Path]:
    """Clips side by side in one file: their packets, interleaved by time."""

    def make(path: Path) -> Path:
        muxer = "mpegts" if path.suffix == ".ts" else None
        inner = [write_clip(path.with_name(f"part{number}{path.suffix}"), part) for number, part in enumerate(parts)]
        with av.open(str(path), "w", format=muxer) as after:
            opened = [av.open(str(part)) for part in inner]
            found: list[Any] = []
            for container in opened:
                targets = {s.index: after.add_stream_from_template(s, opaque=True) for s in container.streams}
                for packet in container.demux():
                    if packet.size:
                        packet.stream = targets[packet.stream_index]
                        found.append(packet)
            for packet in sorted(found, key=lambda packet: float((packet.dts or 0) * packet.time_base)):
                after.mux(packet)
            for container in opened:
                container.close()
        return path

    return make


@dataclass(frozen=True)
class Case:
    """A clause of the contract and an input that tries it."""

    name: str
    make: Callable[[Path], Path]
    targets: Sequence[str] = (".mkv", ".mp4")
    shows: Callable[[Path], bool] = lambda _: True
    """Whether the input has the property that it is made for, by PyAV."""


def starts_at(index: int, low: float, high: float) -> Callable[[Path], bool]:
    return lambda path: low <= packets(path, index)[0][0] <= high


def has(*kinds: str) -> Callable[[Path], bool]:
    return lambda path: sorted(kind for kind, *_ in streams(path)) == sorted(kinds)


CASES = [
    Case(
        "negative start.ts",
        clip(times=range(-5, 15), muxer="mpegts", muxer_options=NEGATIVE, audio=["aac"]),
        shows=starts_at(0, -0.3, -0.1),
    ),
    Case(
        "frames before zero without times.mkv",
        clip(times=[time - 200 for time in STEADY], time_base=MS, muxer_options={"avoid_negative_ts": "disabled"},
             audio=["aac"]),
        shows=lambda path: decode(path)[0].pts is None,
    ),
    Case(
        "an edit list that hides frames.mp4",
        clip(times=range(-5, 15), audio=["aac"], muxer_options={"avoid_negative_ts": "disabled"}),
        shows=lambda path: len(decode(path)) == 15,
    ),
    Case("late start.mp4", clip(times=range(50, 65), audio=["aac"]), shows=lambda path: times(path)[0] == 2),
    Case("late start.ts", clip(times=range(50, 65), audio=["aac"], muxer="mpegts")),
    Case("late sound.mp4", clip(audio=["aac"], audio_start=24000), shows=starts_at(1, 0.4, 0.5)),
    Case(
        "late sound.mkv",
        clip(audio=["libopus"], audio_start=24000, times=STEADY, time_base=MS),
        (".mkv", ".webm", ".mp4"),
        shows=starts_at(1, 0.4, 0.5),
    ),
    Case("irregular.mp4", clip(times=[1001 * t for t in IRREGULAR], time_base=Fraction(1, 90000), audio=["aac"])),
    Case(
        "no durations.mkv",
        clip(rate=Fraction(1000), audio=["aac"], times=STEADY, time_base=MS),
        shows=lambda path: all(frame.duration <= 1 for frame in decode(path)),
    ),
    Case(
        "ntsc.mp4", clip(time_base=Fraction(1001, 30000), rate=Fraction(30000, 1001), audio=["aac"]), (".mp4", ".mov")
    ),
    Case("a clock of 90 kHz.mov", clip(time_base=Fraction(1, 90000), times=[3003 * n + n % 3 for n in range(20)])),
    Case("no times at all.h264", clip(rate=Fraction(30000, 1001), time_base=Fraction(1001, 30000), muxer="h264"),
         shows=lambda path: decode(path)[0].pts is None),
    Case("png cover.mp4", with_cover("PNG", "png"), shows=has("audio", "video", "video")),
    Case("jpeg cover.mp4", with_cover("JPEG", "mjpeg"), shows=has("audio", "video", "video")),
    Case("cover before the video.mp4", with_cover("JPEG", "mjpeg", first=True)),
    Case(
        "cover and font.mkv",
        clip(attachments={"font.ttf": ("application/x-truetype-font", b"\0\1\0\0" + bytes(200)),
                          "cover.jpg": ("image/jpeg", image("JPEG"))}, times=STEADY, time_base=MS,
             metadata={"title": "T", "my_own": "x"}),
        shows=has("attachment", "video", "video"),
    ),
    Case(
        "two videos.ts",
        joined(Clip(muxer="mpegts", audio=["aac"]), Clip(muxer="mpegts", size=(96, 80))),
        shows=has("audio", "video", "video"),
    ),
    Case(
        "a second video in hevc.ts",
        joined(Clip(muxer="mpegts"), Clip(codec="libx265", options={"x265-params": "log-level=error"}, muxer="mpegts")),
        shows=has("video", "video"),
    ),
    Case(
        "plain subtitles.mkv",
        clip(subtitles=[(100, 300, "Hallo <i>Welt</i>"), (400, 700, "Zweite\nZeile")], times=STEADY, time_base=MS),
        (".mkv", ".mp4", ".mov", ".webm"),
    ),
    Case("chapters with gaps.mkv", clip(chapters=[(100, 300, "A"), (400, 800, "B")], times=STEADY, time_base=MS)),
    Case(
        "titles and tags.mp4",
        clip(audio=["aac", "ac3"], metadata={"title": "T", "comment": "C"}, chapters=[(0, 300, "A"), (300, 800, "B")]),
        (".mkv", ".mp4", ".mov"),
        shows=lambda path: [entry[3] for entry in streams(path)][1:3] == ["Track 0", "Track 1"],
    ),
    Case(
        "tags of all kinds.mkv",
        clip(metadata={"title": "T", "my_own": "x", "creation_time": "2020-01-02T03:04:05.000000Z"}, times=range(3)),
        (".mkv", ".mp4", ".mov"),
    ),
    Case("sound without channel places.mkv", clip(audio=["pcm_s24le"], times=STEADY, time_base=MS)),
    Case("raw sound.avi", clip(codec="mpeg4", options={"bf": "2"}, audio=["pcm_s16le"])),
    Case("b-frames and mp3.avi", clip(options={"bf": "3"}, audio=["libmp3lame"])),
    Case("sound without durations.nut", clip(audio=["flac"]),
         shows=lambda path: not any(packet.duration for packet in _demux(path, 1))),
    Case("program stream.mpg", clip(codec="mpeg2video", options={"bf": "2"}, audio=["mp2"], muxer="mpeg")),
    Case("flash.flv", clip(audio=["aac"], times=STEADY, time_base=MS)),
    Case("hdr10.mkv", lambda path: write_clip(path, HDR), (".mkv", ".mp4"),
         shows=lambda path: "MASTERING_DISPLAY_METADATA" in {kind.name for kind in decode(path)[0].side_data}),
    Case("mirrored and turned.mp4", clip(matrix=(0, 65536, 0, 65536, 0, 0, 0, 0, 1 << 30), times=range(3)),
         (".mkv", ".mp4", ".mov")),
    Case("rgb.mkv", clip(codec="ffv1", pix_fmt="bgr0", options={}, times=range(3))),
]  # fmt: skip


def _demux(path: Path, index: int) -> list[Any]:
    with av.open(str(path)) as container:
        return [packet for packet in container.demux(index) if packet.size]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("contract")


@pytest.mark.parametrize(
    ("case", "suffix"), [(case, suffix) for case in CASES for suffix in case.targets],
    ids=lambda value: value.name if isinstance(value, Case) else value,
)  # fmt: skip
def test_nothing_is_lost(case, suffix, inputs, tmp_path, nearest):
    source = inputs / case.name
    if not source.exists():
        case.make(source)
    assert case.shows(source)
    encoder = EncoderOptions(preset="ultrafast")
    if suffix == ".webm":
        encoder = EncoderOptions(extra={"deadline": "realtime", "cpu-used": "8"})
    target = tmp_path / f"out{suffix}"
    may_drop = case.name == "cover and font.mkv" and suffix != ".mkv"
    options = video_options(encoder=encoder, drop_unsupported=may_drop)
    upscale_video(source, target, upscaler=nearest, options=options, progress="none")
    report = verify_video(source, target, options=VerifyOptions(drop_unsupported=may_drop), progress="none")
    assert not report.failed, report.table()
    assert len(decode(target)) == len(decode(source))


@pytest.mark.parametrize(
    ("case", "suffix", "message"),
    [
        ("jpeg cover.mp4", ".mov", r"#\d \(video, mjpeg\).*: write \.mkv or \.mp4 instead"),
        ("cover and font.mkv", ".webm", r"#1 \(attachment, unknown\), #2 \(video, mjpeg\).*: write \.mkv instead"),
        ("cover and font.mkv", ".mp4", r"#1 \(attachment, unknown\).*: write \.mkv instead"),
    ],
)
def test_what_would_vanish_is_refused(case, suffix, message, tmp_path, nearest):
    """Muxers of FFmpeg take these streams and leave them out without a word."""
    source = next(entry for entry in CASES if entry.name == case).make(tmp_path / case)
    with pytest.raises(UsageError, match=message):
        upscale_video(source, tmp_path / f"out{suffix}", upscaler=nearest, progress="none")


def test_flags_that_a_container_lacks_are_said(tmp_path, nearest, caplog):
    source = write_clip(tmp_path / "in.mkv", Clip(audio=["aac", "aac"], times=STEADY, time_base=MS))
    with av.open(str(source)) as container:
        assert container.streams[2].disposition & Disposition.comment
    options = video_options(encoder=EncoderOptions(preset="ultrafast"))
    upscale_video(source, tmp_path / "out.mov", upscaler=nearest, options=options, progress="none")
    assert "stream #2 (audio, aac, fra) is no longer marked comment: .mov cannot" in caplog.text
    caplog.clear()
    upscale_video(source, tmp_path / "out.mp4", upscaler=nearest, options=options, progress="none")
    assert "no longer marked" not in caplog.text
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams[2].disposition & Disposition.comment


def test_tags_without_a_place_beside_cover_art_are_said(tmp_path, nearest, caplog):
    case = next(entry for entry in CASES if entry.name == "cover and font.mkv")
    source = case.make(tmp_path / case.name)
    options = video_options(encoder=EncoderOptions(preset="ultrafast"), drop_unsupported=True)
    upscale_video(source, tmp_path / "out.mp4", upscaler=nearest, options=options, progress="none")
    assert "beside cover art .mp4 has no place for the tags MY_OWN" in caplog.text
