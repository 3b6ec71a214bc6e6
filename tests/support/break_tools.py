"""Rewriting a finished file with one thing changed, with PyAV alone: what a verifier must notice."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.stream import Disposition

from clip_tools import main_video

Frames = list[tuple[int, av.VideoFrame]]
"""Times in ticks, and pictures."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """What `rewrite` does differently; with nothing set, the same file comes out."""

    frames: Callable[[Frames], Frames] | None = None
    """Changes the decoded frames; the video is encoded again, without loss."""
    video: Mapping[str, Any] = field(default_factory=dict)
    """Attributes of the encoder; the video is encoded again."""
    codec: str = "libx264"
    pix_fmt: str | None = None
    sar: Fraction | None = None
    """Shape of pixels; by default that of the file."""
    turn: Sequence[int] | None = None
    """Display matrix; by default that of the file."""
    packet: Callable[[Any], Any] | None = None
    """Takes each packet of the other streams and gives one or `None`."""
    without: Iterable[int] = ()
    """Streams that are left out."""
    stream: Callable[[Any], None] | None = None
    """Changes each stream of the output: its metadata and disposition."""
    chapters: Callable[[list[Any]], list[Any]] | None = None
    tags: Callable[[dict[str, str]], dict[str, str]] | None = None


def rewrite(source: Path, target: Path, change: Change) -> Path:
    with av.open(str(source)) as before, av.open(str(target), "w") as after:
        main = main_video(before)
        again = (
            change.frames or change.video or change.pix_fmt or change.sar or change.turn or change.codec != "libx264"
        )
        targets = {}
        for stream in before.streams:
            if stream.index in change.without:
                continue
            if stream.disposition & Disposition.attached_pic:  # an attachment, in Matroska
                _attach(source, after, stream)
                continue
            if stream is main and again:
                targets[stream.index] = _encoder(after, stream, change)
            else:
                targets[stream.index] = after.add_stream_from_template(stream, opaque=True)
            targets[stream.index].metadata.update(stream.metadata)
            targets[stream.index].disposition = stream.disposition
            if change.stream:
                change.stream(targets[stream.index])
        tags = dict(before.metadata)
        after.metadata.update(change.tags(tags) if change.tags else tags)
        chapters = before.chapters()
        after.set_chapters(change.chapters(chapters) if change.chapters else chapters)
        _copy(source, after, targets, main.index, change, skip_main=bool(again))
        if again:
            _encode(source, after, targets[main.index], change)
    return target


def _attach(source: Path, after: Any, stream: Any) -> None:
    with av.open(str(source)) as again:
        data = bytes(next(again.demux(again.streams[stream.index])))
    tags = {key.lower(): value for key, value in stream.metadata.items()}
    after.add_attachment(tags["filename"], tags["mimetype"], data)


def _encoder(after: Any, stream: Any, change: Change) -> Any:
    options = {"qp": "0", "preset": "ultrafast"} if change.codec == "libx264" else {}
    rate = stream.average_rate
    video = after.add_stream(change.codec, Fraction(rate.numerator, rate.denominator), options)
    theirs, ours = stream.codec_context, video.codec_context
    for name in (
        "width", "height", "pix_fmt", "colorspace", "color_range", "color_primaries", "color_trc",
        "chroma_sample_location",
    ):  # fmt: skip
        setattr(ours, name, getattr(theirs, name))
    ours.time_base = stream.time_base
    sar = change.sar or stream.sample_aspect_ratio
    if sar:
        ours.sample_aspect_ratio = Fraction(sar.numerator, sar.denominator)
    ours.pix_fmt = change.pix_fmt or theirs.pix_fmt
    for name, value in change.video.items():
        setattr(ours, name, value)
    raw = theirs.coded_side_data.get("display_matrix")
    turn = change.turn or (memoryview(raw).cast("i").tolist() if raw else None)
    if turn:
        video.set_display_matrix(turn)
    return video


def _copy(source: Path, after: Any, targets: Any, main: int, change: Change, *, skip_main: bool) -> None:
    with av.open(str(source)) as before:
        for packet in before.demux():
            index = packet.stream_index
            if not packet.size or index not in targets or (index == main and skip_main):
                continue
            if index != main and change.packet:
                packet = change.packet(packet)
            if packet is not None:
                packet.stream = targets[index]
                after.mux(packet)


def _encode(source: Path, after: Any, video: Any, change: Change) -> None:
    with av.open(str(source)) as before:
        frames = [(frame.pts, frame) for frame in before.decode(main_video(before))]
        for time, frame in change.frames(frames) if change.frames else frames:
            if change.pix_fmt:
                same = {"src_color_range": frame.color_range, "dst_color_range": frame.color_range}
                frame = frame.reformat(format=change.pix_fmt, threads=1, **same)
            frame.pts, frame.time_base = time, video.codec_context.time_base
            frame.pict_type = av.video.frame.PictureType.NONE
            for name in ("colorspace", "color_range", "color_primaries", "color_trc"):
                setattr(frame, name, getattr(video.codec_context, name))
            after.mux(video.encode(frame))
    after.mux(video.encode(None))


def turn_time_bit(source: Path, target: Path, index: int, number: int) -> Path:
    """A copy of a transport stream in which the time of a packet of stream `index` is 2**30 ticks of 90 kHz away."""
    content = bytearray(source.read_bytes())
    with av.open(str(source)) as container:
        program = container.streams[index].id
    found = 0
    for start in range(0, len(content), 188):
        head = content[start : start + 4]
        if (head[1] & 0x1F) << 8 | head[2] != program or not head[1] & 0x40:
            continue
        pes = start + 4 + (1 + content[start + 4] if head[3] & 0x20 else 0)
        if found == number:
            content[pes + 9] ^= 2  # the lowest of the three bits in the first byte, ISO/IEC 13818-1, 2.4.3.6
        found += 1
    assert found > number
    target.write_bytes(content)
    return target
