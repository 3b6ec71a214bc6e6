"""`StreamPlan`: what becomes of each stream of the input, settled before any work is done."""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from esrgan.errors import UsageError
from esrgan_video.container.formats import FORMATS, ContainerFormat, open_input
from esrgan_video.container.tags import stream_tags

if TYPE_CHECKING:
    from pathlib import Path

    from av.container import InputContainer
    from av.packet import Packet
    from av.stream import Stream

_log = logging.getLogger(__name__)

Action = Literal["upscale", "copy", "convert", "attach", "drop"]

_PLAIN_TEXT = frozenset({"subrip", "srt", "mov_text", "text"})
"""Subtitles that are lines of text with at most bold, italic and underline: containers have one such codec each."""


@dataclass(frozen=True, kw_only=True)
class StreamDecision:
    """What becomes of one stream."""

    index: int
    """Number of the stream in the input."""
    kind: str
    """`video`, `audio`, `subtitle`, `data` or `attachment`."""
    codec: str
    """Name of its codec, `unknown` if FFmpeg has none for it."""
    language: str | None
    """Language tag."""
    action: Action
    """`upscale`, `copy`, `convert` (to `target`), `attach` (a picture that becomes an attachment) or `drop`."""
    target: str | None = None
    """Encoder that a converted stream goes through."""
    reason: str | None = None
    """Why it is not simply copied."""
    lost_flags: frozenset[str] = frozenset()
    """Dispositions (`comment`, `hearing_impaired` ...) that the container has no place for."""

    def __str__(self) -> str:
        language = f", {self.language}" if self.language not in (None, "und") else ""
        return f"#{self.index} ({self.kind}, {self.codec}{language})"


@dataclass(frozen=True, kw_only=True)
class StreamPlan:
    """What becomes of all streams, in the order of the input."""

    container: ContainerFormat
    """The container that they go to."""
    streams: tuple[StreamDecision, ...]
    """One decision per stream of the input."""

    @property
    def dropped(self) -> tuple[StreamDecision, ...]:
        """Streams that will be missing."""
        return tuple(decision for decision in self.streams if decision.action == "drop")


def plan_streams(path: Path, main_stream: int, container: ContainerFormat, *, drop_unsupported: bool) -> StreamPlan:
    """Decide for each stream whether `container` can hold it, by writing a header with it into memory.

    Args:
        path: the input.
        main_stream: number of the video stream that is upscaled.
        container: of the output.
        drop_unsupported: leave out what the container cannot hold, with a warning, instead of refusing.
            Data streams (timecodes, sensors) that cannot be held are always left out.

    Raises:
        UsageError: an audio, video, subtitle or attachment stream that the container cannot hold.
    """
    with open_input(path) as source:
        has_chapters = bool(source.chapters())
        streams = [_decide(path, stream, main_stream, container, has_chapters) for stream in source.streams]
        refused = [decision for decision in streams if decision.action == "drop" and decision.kind != "data"]
        if refused and not drop_unsupported:
            raise UsageError(_refusal(path, source, refused, container))
    plan = StreamPlan(container=container, streams=tuple(streams))
    for decision in plan.dropped:
        level = logging.INFO if decision.reason in (_CHAPTER_TRACK, _TIMECODE_TRACK) else logging.WARNING
        _log.log(level, "%s: stream %s is left out: %s", path, decision, decision.reason)
    for decision in plan.streams:
        if decision.lost_flags:
            flags = ", ".join(sorted(decision.lost_flags))
            _log.warning("%s: stream %s is no longer marked %s: %s cannot", path, decision, flags, container.suffix)
        if decision.action == "convert":
            _log.info("%s: stream %s becomes %s", path, decision, decision.target)
    return plan


_CHAPTER_TRACK = "it repeats the chapters, which are kept"
_TIMECODE_TRACK = "it repeats the timecode tag, from which it is made anew"


def _decide(
    path: Path, stream: Stream, main_stream: int, container: ContainerFormat, has_chapters: bool
) -> StreamDecision:
    def decision(action: Action, target: str | None = None, reason: str | None = None) -> StreamDecision:
        return StreamDecision(
            index=stream.index,
            kind=stream.type,
            codec=codec_name(stream),
            language=stream.language,
            action=action,
            target=target,
            reason=reason,
            lost_flags=frozenset() if action in ("attach", "drop") else _flags(stream) - container.flags,
        )

    if stream.index == main_stream:
        return decision("upscale")
    if has_chapters and stream.type == "data" and codec_name(stream) == "bin_data":
        return decision("drop", reason=_CHAPTER_TRACK)
    if stream.type == "data" and "timecode" in stream.metadata:
        return decision("drop", reason=_TIMECODE_TRACK)
    reason = f"{container.suffix} cannot hold it"
    if is_picture(stream) and container.attachments:
        return decision("attach", reason="pictures are attachments in Matroska")
    # Muxers take these, and leave them out without a word.
    if (is_picture(stream) and not container.pictures) or (stream.type == "attachment" and not container.attachments):
        return decision("drop", reason=reason)
    if _fits(path, stream, container):
        return decision("copy")
    if stream.type == "subtitle" and codec_name(stream) in _PLAIN_TEXT:
        return decision("convert", container.text_codec, reason)
    return decision("drop", reason=reason)


def codec_name(stream: Stream) -> str:
    """The codec of a stream, `unknown` where FFmpeg has no decoder for it."""
    context: Any = stream.codec_context
    if context is not None:
        return str(context.name)
    return (stream.name or "unknown") if stream.type == "data" else "unknown"


def is_picture(stream: Stream) -> bool:
    """Whether a video stream is cover art."""
    from av.stream import Disposition

    return bool(stream.type == "video" and stream.disposition & Disposition.attached_pic)


_LAYOUTS = {"1 channels": "mono", "2 channels": "stereo"}
"""Channels whose places the input does not name, as Matroska does not for PCM; MP4 must have a name."""


def _flags(stream: Stream) -> frozenset[str]:
    """Names of the dispositions of a stream that say something of its content."""
    from av.stream import Disposition

    return frozenset(
        flag.name for flag in Disposition if flag.name and stream.disposition & flag and flag.name != "attached_pic"
    )


def add_copy(output: Any, stream: Stream) -> Any:
    """Add a stream to `output` that takes the packets of `stream` as they are.

    Raises:
        ValueError: the container knows that it cannot hold this codec.
    """
    copy = output.add_stream_from_template(stream, opaque=True)
    copy.metadata.update(stream_tags(stream.metadata))
    copy.disposition = stream.disposition
    context: Any = stream.codec_context
    if stream.type == "audio" and context is not None and context.layout.name in _LAYOUTS:
        copy.codec_context.layout = _LAYOUTS[context.layout.name]
    return copy


def _fits(path: Path, stream: Stream, container: ContainerFormat) -> bool:
    """Write the header of a file with a bare video stream and this one into memory, and see."""
    import av

    try:
        with _trial(container) as output:
            copy = add_copy(output, stream)
            output.start_encoding()
            # Muxers take any data stream, and refuse its packets; some sound fails when the file is finished.
            if stream.type in ("audio", "data"):
                packet = _first_packet(path, stream.index)
                if packet is not None:
                    packet.stream = copy
                    output.mux_one(packet)
    except (ValueError, av.error.FFmpegError):
        return False
    return True


def _first_packet(path: Path, index: int) -> Packet[Any] | None:
    with open_input(path) as source:
        return next((packet for packet in source.demux(source.streams[index]) if packet.size), None)


def _trial(container: ContainerFormat) -> Any:
    import av

    output = av.open(io.BytesIO(), "w", format=container.muxer)
    output.add_mux_stream(container.probe_codec, width=16, height=16)
    return output


def _refusal(path: Path, source: InputContainer, refused: list[StreamDecision], container: ContainerFormat) -> str:
    names = ", ".join(str(decision) for decision in refused)
    able = [
        other.suffix
        for other in FORMATS.values()
        if other is not container
        and all(
            _decide(path, source.streams[decision.index], -1, other, False).action != "drop" for decision in refused
        )
    ]
    instead = f"write {' or '.join(able)} instead, or " if able else ""
    plural = "s" if len(refused) > 1 else ""
    return (
        f"{container.suffix} cannot hold stream{plural} {names} of {path}: "
        f"{instead}leave {'them' if plural else 'it'} out with --drop-unsupported"
    )
