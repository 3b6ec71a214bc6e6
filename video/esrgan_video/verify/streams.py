"""`StreamChecks`: all streams but the main video: present, byte-equal, in time, with their tags."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from esrgan_video.verify.media import Media
from esrgan_video.verify.packets import PacketComparison, Window
from esrgan_video.verify.pairing import codec_of, excuse, kind_of, language_of, pair_streams, title_of
from esrgan_video.verify.report import Check, check, not_applicable

if TYPE_CHECKING:
    from av.packet import Packet
    from av.stream import Stream

_DISPOSITIONS = {
    ".mkv": "default dub original comment forced hearing_impaired visual_impaired",
    ".webm": "default forced",
    ".mp4": "default dub comment forced hearing_impaired visual_impaired captions descriptions",
    ".mov": "default",
}
"""What each container has a place for."""


@dataclass(frozen=True)
class _Pair:
    source: Stream
    target: Stream
    packets: PacketComparison | None
    """`None` for attachments and cover art, which have no time."""


class StreamChecks:
    """Watches the packets of both files go by.

    Args:
        before: the input.
        after: the output.
        may_drop: whether leaving out what the container cannot hold was asked for.
    """

    def __init__(self, before: Media, after: Media, *, may_drop: bool) -> None:
        self._before, self._after = before, after
        self._may_drop = may_drop
        ours, theirs = (
            [stream for stream in media.container.streams if stream.index != media.main.index]
            for media in (before, after)
        )
        self._missing: list[Stream] = []
        self._pairs: list[_Pair] = []
        for source, target in pair_streams(ours, theirs):
            if target is None:
                self._missing.append(source)
            else:
                timed = kind_of(source) not in ("picture", "attachment")
                self._pairs.append(_Pair(source, target, PacketComparison(source, target) if timed else None))
        paired = {pair.target.index for pair in self._pairs}
        self._further = [stream for stream in theirs if stream.index not in paired]
        self._routes = (
            {pair.source.index: pair for pair in self._pairs},
            {pair.target.index: pair for pair in self._pairs},
        )
        self._pictures: tuple[dict[int, bytes], dict[int, bytes]] = {}, {}
        before.sink, after.sink = self._from_source, self._from_target

    def _from_source(self, packet: Packet[Any]) -> None:
        self._take(packet, is_target=False)

    def _from_target(self, packet: Packet[Any]) -> None:
        self._take(packet, is_target=True)

    def _take(self, packet: Packet[Any], *, is_target: bool) -> None:
        pair = self._routes[is_target].get(packet.stream_index)
        if pair is None:
            return
        if pair.packets is not None:
            pair.packets.feed(packet, is_target=is_target)
        else:
            self._pictures[is_target].setdefault(packet.stream_index, bytes(packet))

    def open_window(self, window: Window) -> None:
        """Say which part of the input the output has."""
        for pair in self._pairs:
            if pair.packets is not None:
                pair.packets.open_window(window)

    def close_window(self, end: Fraction) -> None:
        """Say where the output ends, now that it is known."""
        for pair in self._pairs:
            if pair.packets is not None:
                pair.packets.close_window(end)

    def follow(self, shift: Fraction) -> None:
        """Say by how many seconds the video is moved from here on."""
        for pair in self._pairs:
            if pair.packets is not None:
                pair.packets.follow(shift)

    def checks(self, clock_shift: Fraction | None) -> list[Check]:
        """What was found, once both files have been read.

        Args:
            clock_shift: seconds that the video's last frame is later in the output, where time begins anew in the
                video; `None` where it does not.
        """
        results = [self._presence()]
        for pair in self._pairs:
            subject = f"#{pair.source.index} {kind_of(pair.source)}"
            if pair.packets is not None:
                pair.packets.finish()
                if clock_shift is not None:
                    pair.packets.compare_clocks(clock_shift)
                results += pair.packets.checks(subject)
                results += tag_checks(pair.source, pair.target, self._after.path, subject)
            else:
                results.append(self._attachment(pair, subject))
        return results

    def _presence(self) -> Check:
        reasons = {
            stream: excuse(
                stream, self._after.container, self._after.path, may_drop=self._may_drop, source=self._before.container
            )
            for stream in self._missing
        }
        lost = [_name(stream) for stream, reason in reasons.items() if reason is None]
        excused = [f"without {_name(stream)}: {reason}" for stream, reason in reasons.items() if reason is not None]
        # Chapters and timecodes of MP4 are tracks too.
        added = [_name(stream) for stream in self._further if stream.type != "data"]
        count = len(self._pairs) + len(self._missing)
        found = [f"{len(self._pairs)} of {count}"]
        found += [f"missing: {', '.join(lost)}"] if lost else []
        found += [f"added: {', '.join(added)}"] if added else []
        if not count and not added:
            return not_applicable("streams", "no other streams", "none", "file")
        return check(
            "streams", f"all {count} besides the video", "; ".join([*found, *excused]), not lost + added, "file"
        )

    def _attachment(self, pair: _Pair, subject: str) -> Check:
        before = self._pictures[0].get(pair.source.index) or getattr(pair.source, "data", None) or b""
        after = self._pictures[1].get(pair.target.index) or getattr(pair.target, "data", None) or b""
        names = [_file_name(stream) for stream in (pair.source, pair.target)]
        same = before == after and (names[0] == names[1] or "" in names)
        equal = "equal" if before == after else "others"
        return check(
            "content", f"{names[0]} {len(before)} bytes".strip(), f"{names[1]} {len(after)} bytes, {equal}".strip(),
            same, subject,
        )  # fmt: skip


def tag_checks(source: Stream, target: Stream, path: Path, subject: str) -> list[Check]:
    """Language, title and disposition of a stream and of its copy in the file `path`."""
    return [
        _same("language", language_of(source), language_of(target), subject),
        _same("title", title_of(source), title_of(target), subject),
        _disposition(source, target, path.suffix.lower(), subject),
    ]


def _disposition(source: Stream, target: Stream, suffix: str, subject: str) -> Check:
    """Flags such as default and forced, as far as the container has a place for them."""
    from av.stream import Disposition

    held = _DISPOSITIONS.get(suffix, _DISPOSITIONS[".mp4"]).split()
    before, after = (
        {flag.name for flag in Disposition if flag.name and stream.disposition & flag} for stream in (source, target)
    )
    expected = before & set(held)
    # MP4 has to have a first track of each kind that is on.
    extra = after - before - ({"default"} if suffix not in (".mkv", ".webm") else set())
    lost = before - set(held)
    text = _flags(after) + (f"; no place for {_flags(lost)}" if lost - after else "")
    return check("disposition", _flags(before), text, expected <= after and not extra, subject)


def _flags(flags: set[str]) -> str:
    return ", ".join(sorted(flags)) or "none"


def _same(name: str, before: str, after: str, subject: str) -> Check:
    if not before and not after:
        return not_applicable(name, "none", "none", subject)
    return check(name, before or "none", after or "none", before == after, subject)


def _name(stream: Stream) -> str:
    return f"#{stream.index} ({kind_of(stream)}, {codec_of(stream)})"


def _file_name(stream: Any) -> str:
    name = getattr(stream, "name", None) if stream.type == "attachment" else None
    tags = {key.lower(): value for key, value in stream.metadata.items()}
    return str(name or tags.get("filename", ""))
