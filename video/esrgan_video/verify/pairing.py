"""Which stream of the output is the copy of which stream of the input, and why one may be missing."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from esrgan_video.verify.media import is_picture

if TYPE_CHECKING:
    from av.stream import Stream

_MUXERS = {".mkv": "matroska", ".webm": "webm", ".mov": "mov"}
_PLAIN_TEXT = frozenset({"subrip", "mov_text", "text", "webvtt"})
"""Subtitles that every container has a codec of its own for."""


def pair_streams(source: Sequence[Stream], target: Sequence[Stream]) -> list[tuple[Stream, Stream | None]]:
    """For each stream of the input its copy in the output, if any; copies keep the order of their kind."""
    partners: dict[int, Stream] = {}
    for kind in {kind_of(stream) for stream in source}:
        ours = [stream for stream in source if kind_of(stream) == kind]
        theirs = [stream for stream in target if kind_of(stream) == kind]
        partners |= {ours[one].index: theirs[other] for one, other in _best_pairs(ours, theirs)}
    return [(stream, partners.get(stream.index)) for stream in source]


def kind_of(stream: Stream) -> str:
    """`picture` for cover art, wherever the container keeps it; else the type."""
    is_image = str(getattr(stream, "mimetype", None) or "").startswith("image/")
    return "picture" if is_picture(stream) or is_image else stream.type


def _best_pairs(ours: Sequence[Stream], theirs: Sequence[Stream]) -> list[tuple[int, int]]:
    """Pairs in order with the most in common: the longest common subsequence, weighted."""
    best: list[list[tuple[int, list[tuple[int, int]]]]] = [[(0, [])] * (len(theirs) + 1)]
    for one, stream in enumerate(ours):
        row: list[tuple[int, list[tuple[int, int]]]] = [(0, [])]
        for other, candidate in enumerate(theirs):
            score, pairs = best[one][other]
            together = (score + _likeness(stream, candidate), [*pairs, (one, other)])
            row.append(max(together, best[one][other + 1], row[other], key=lambda entry: entry[0]))
        best.append(row)
    return best[-1][-1][1]


def _likeness(one: Stream, other: Stream) -> int:
    same_title = title_of(one) == title_of(other)
    return 1 + 4 * (codec_of(one) == codec_of(other)) + 2 * (language_of(one) == language_of(other)) + same_title


def codec_of(stream: Any) -> str:
    """Name of the codec, `unknown` without one."""
    if stream.codec_context is not None:
        return str(stream.codec_context.codec.canonical_name)
    return (getattr(stream, "name", None) or "unknown") if stream.type == "data" else "unknown"


def language_of(stream: Stream) -> str:
    """Language tag in lower case, `und` without one."""
    tags = {key.lower(): value for key, value in stream.metadata.items()}
    return (stream.language or tags.get("language") or "und").lower()


def title_of(stream: Stream) -> str:
    """Title tag; MP4 calls it a name."""
    tags = {key.lower(): value for key, value in stream.metadata.items()}
    return tags.get("title", tags.get("name", ""))


def excuse(stream: Stream, target: Any, target_path: Path, *, may_drop: bool, source: Any) -> str | None:
    """Why the output may lack a stream of the input; `None` where there is no reason.

    Args:
        stream: of the input.
        target: the output's container.
        target_path: its file.
        may_drop: whether leaving out what the container cannot hold was asked for.
        source: the input's container.
    """
    if stream.type == "data" and source.chapters() and codec_of(stream) == "bin_data":
        return "it repeats the chapters"
    if stream.type == "data" and "timecode" in stream.metadata:
        kept = any(other.metadata.get("timecode") == stream.metadata["timecode"] for other in target.streams)
        return "it repeats the timecode tag" if kept else None
    suffix = target_path.suffix.lower()
    if not (may_drop or stream.type == "data") or _can_hold(stream, _MUXERS.get(suffix, "mp4")):
        return None
    return f"{suffix} cannot hold it"


def _can_hold(stream: Any, muxer: str) -> bool:
    """Whether a file of this kind can be begun with the stream in it, and takes its first packet."""
    import av

    if stream.type == "subtitle" and codec_of(stream) in _PLAIN_TEXT:
        return True
    if stream.type == "attachment" or is_picture(stream):
        return muxer in ("matroska", "mp4") if is_picture(stream) else muxer == "matroska"
    try:
        with av.open(io.BytesIO(), "w", format=muxer) as output:
            copy = output.add_stream_from_template(stream, opaque=True)
            output.start_encoding()
            if stream.type == "data":
                packet = _first_packet(stream)
                packet.stream = copy
                output.mux_one(packet)
    except (ValueError, StopIteration, av.error.FFmpegError):
        return False
    return True


def _first_packet(stream: Any) -> Any:
    import av

    with av.open(stream.container.name) as again:
        return next(packet for packet in again.demux(again.streams[stream.index]) if packet.size)
