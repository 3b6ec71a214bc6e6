"""`PacketComparison`: the packets of one stream of the input against those of its copy, in step."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from esrgan_video.verify.media import seconds
from esrgan_video.verify.report import Check, check
from esrgan_video.verify.subtitle_text import plain_text
from esrgan_video.verify.tally import Tally, TimeTally, text_of

if TYPE_CHECKING:
    from av.packet import Packet
    from av.stream import Stream

_LOOK_AHEAD = 8
"""Packets among which the partner of one that differs is looked for."""

_NOTICEABLE = Fraction(1, 5)
"""Seconds that sound may be moved otherwise than the video: packets are longer than frames, and cannot overlap."""

_LEAP = 1
"""Seconds that a packet's time must be away from where it belongs to be wrong for certain."""
_MOST_LEAPS = 32
"""Packets in a row whose times may be wrong: in transport streams one time stands for several."""


@dataclass(frozen=True)
class _Item:
    """What is kept of a packet until its partner arrives."""

    payload: bytes
    time: Fraction | None
    duration: Fraction
    is_keyframe: bool


@dataclass(frozen=True)
class Window:
    """The part of the input that the output has, on the input's clock, and how its times were moved."""

    start: Fraction | None
    """Packets that begin before are left out."""
    end: Fraction | None
    """Packets that begin then or later are left out."""
    shift: Fraction
    """Seconds that the output's times are later."""


class PacketComparison:
    """Compares a stream with its copy. Of each packet a digest and its time are kept until the other file's comes.

    Args:
        source: the input's stream.
        target: the output's.
    """

    def __init__(self, source: Stream, target: Stream) -> None:
        self._streams: tuple[Any, Any] = source, target
        self._is_text = source.type == "subtitle" and _codec(source) != _codec(target)
        self._is_subtitle = source.type == "subtitle"
        self._is_raw = _codec(source).startswith("pcm_")  # containers cut raw sound as they like
        self._is_video = source.type == "video"
        self._queues: tuple[deque[_Item], deque[_Item]] = deque(), deque()
        # Where raw sound is cut at samples, times that were rounded before become exact.
        self._times = TimeTally(seconds(target.time_base), seconds(source.time_base) if self._is_raw else Fraction(0))
        self._ends = TimeTally(seconds(target.time_base))
        self._payloads = Tally()
        self._lost, self._added = Tally(), Tally()
        self._counts = [0, 0]
        self._window: Window | None = None
        self._last: Fraction | None = None
        self._last_found: Fraction | None = None
        self._was_crowded = False
        self._shifts: list[Fraction] = []
        self._last_shift = Fraction(0)
        self._out_of_step: Fraction | None = None
        self._leaps: list[tuple[Fraction, Fraction]] = []
        self._corrected = 0
        self._has_begun = False

    def open_window(self, window: Window) -> None:
        """Say which part is compared: nothing is, before."""
        self._window = window
        self._shifts = [window.shift]
        self._drain()

    def close_window(self, end: Fraction) -> None:
        """Leave out packets of the input that begin at `end` or later and were not compared yet."""
        kept = [item for item in self._queues[0] if item.time is None or item.time < end]
        self._queues[0].clear()
        self._queues[0].extend(kept)

    def feed(self, packet: Packet[Any], *, is_target: bool) -> None:
        """Take a packet of the input, or of the output."""
        queue = self._queues[is_target]
        for item in self._items(packet, self._streams[is_target]):
            queue.append(item)
        if self._window is not None:
            self._drain()

    def _items(self, packet: Packet[Any], stream: Any) -> Iterator[_Item]:
        unit = seconds(packet.time_base)
        stamp = packet.pts if packet.pts is not None else packet.dts
        time = None if stamp is None else stamp * unit
        if self._is_subtitle and _codec(stream) == "mov_text" and packet.size <= 2:
            return  # a pause
        payload = plain_text(packet) if self._is_text else _payload(bytes(packet), _codec(stream))
        if self._is_text and not payload:
            return
        digest = payload if len(payload) <= 16 or self._is_raw else hashlib.blake2b(payload, digest_size=16).digest()
        yield _Item(digest, time, (packet.duration or 0) * unit, packet.is_keyframe)

    def _drain(self, *, is_end: bool = False) -> None:
        """Compare what both files have given; of two packets that differ, wait for those behind them first."""
        sources, targets = self._queues
        self._drop_outside()
        while sources and targets:
            if not self._is_raw and sources[0].payload != targets[0].payload:
                if not is_end and min(len(sources), len(targets)) <= _LOOK_AHEAD:
                    return
                self._skip_to_partner()
            source, target = sources.popleft(), targets.popleft()
            self._counts[0] += 1
            self._counts[1] += 1
            if self._is_raw:
                source, target = self._cut(source, target)
            self._compare(source, target)
            self._drop_outside()

    def _drop_outside(self) -> None:
        sources = self._queues[0]
        while sources and not self._is_inside(sources[0]):
            sources.popleft()

    def _skip_to_partner(self) -> None:
        """Where a packet is missing or too many, go on behind it."""
        sources, targets = self._queues
        for skipped in range(1, _LOOK_AHEAD + 1):
            for queue, other, tally, place in ((sources, targets, self._lost, 0), (targets, sources, self._added, 1)):
                if skipped < len(queue) and queue[skipped].payload == other[0].payload:
                    for _ in range(skipped):
                        self._counts[place] += 1
                        tally.add(_at(queue.popleft()))
                    return

    def _cut(self, source: _Item, target: _Item) -> tuple[_Item, _Item]:
        """Both packets at the length of the shorter one; the rest of the other goes back to its queue."""
        size = min(len(source.payload), len(target.payload))
        for item, queue in zip((source, target), self._queues, strict=True):
            if len(item.payload) > size:
                queue.appendleft(replace(item, payload=item.payload[size:], time=None))
        return replace(source, payload=source.payload[:size]), replace(target, payload=target.payload[:size])

    def _is_inside(self, item: _Item) -> bool:
        window = self._window
        if window is None:
            return True
        if window.start is not None and item.time is not None and item.time < window.start:
            return False
        if window.end is not None and item.time is not None and item.time >= window.end:
            return False
        if window.start is not None and self._is_video and not self._has_begun and not item.is_keyframe:
            return False
        self._has_begun = True
        return True

    def _compare(self, source: _Item, target: _Item) -> None:
        if source.payload != target.payload:
            self._payloads.add(_at(source))
        if source.time is None or target.time is None:
            return
        steps_back = self._last is not None and source.time <= self._last and not self._is_video
        crowded = self._last_found is not None and target.time - self._last_found <= self._times.tick
        self._last_found = target.time
        expected = self._expected(source.time, target.time)
        leaps = self._last is not None and source.time > self._last + _LEAP and abs(expected - target.time) > _LEAP
        if leaps and len(self._leaps) < _MOST_LEAPS:
            self._leaps.append((source.time, target.time))
            return
        self._settle_leaps(source.time)
        self._last = source.time
        if (steps_back or self._was_crowded) and expected != target.time:
            self._corrected += 1
            self._last_shift = target.time - source.time
            # Put one tick behind the one before for want of room, it does not tell how those after it were moved.
            self._shifts = [self._last_shift, *self._shifts[self._was_crowded :]][:3]
            self._was_crowded = crowded
            return
        self._was_crowded = False
        self._last_shift = expected - source.time
        self._times.add(expected, target.time)
        if self._is_subtitle and source.duration:
            self._ends.add(expected + source.duration, target.time + target.duration)

    def _expected(self, time: Fraction, found: Fraction) -> Fraction:
        """Where a packet belongs that the input has at `time`, the nearest to where it was found."""
        return min((time + shift for shift in self._shifts), key=lambda expected: abs(expected - found))

    def _settle_leaps(self, following: Fraction | None) -> None:
        """Judge packets whose times leap ahead, now that it is known whether time returns: then theirs were wrong."""
        for time, found in self._leaps:
            if following is not None and following < time - _LEAP:
                self._corrected += 1
            else:
                self._times.add(self._expected(time, found), found)
        self._leaps.clear()

    def follow(self, shift: Fraction) -> None:
        """Take notice that the video is moved by `shift` seconds from here on: so may subtitles be, few as they are."""
        if self._is_subtitle and shift not in self._shifts:
            self._shifts = [*self._shifts[:2], shift]

    def compare_clocks(self, shift: Fraction) -> None:
        """Take notice of how the video's last frame was moved, where time begins anew in the video.

        Args:
            shift: seconds that its time is later in the output.
        """
        apart = self._last_shift - shift
        if self._corrected and not self._is_subtitle and abs(apart) > _NOTICEABLE:
            self._out_of_step = apart

    def finish(self) -> None:
        """Count what is left over."""
        self._drain(is_end=True)
        self._settle_leaps(None)
        for queue, tally, place in zip(self._queues, (self._lost, self._added), (0, 1), strict=True):
            for item in queue:
                if place == 0 and not self._is_inside(item):
                    continue
                self._counts[place] += 1
                tally.add(_at(item))

    def checks(self, subject: str) -> list[Check]:
        """What was found."""
        kind = "lines" if self._is_text else "packets"
        equal = "same text" if self._is_text else "byte-equal"
        faults = []
        if self._lost:
            faults.append(f"{self._lost.count} missing, the first {self._lost.first}")
        if self._added:
            faults.append(f"{self._added.count} too many, the first {self._added.first}")
        if self._payloads:
            faults.append(f"{self._payloads.count} differ, the first {self._payloads.first}")
        found = "; ".join([f"{self._counts[1]} {kind}", *faults])
        results = [check(kind, f"{self._counts[0]} {kind}, {equal}", found, not faults, subject)]
        text = str(self._times) + (f", {self._corrected} that stepped back corrected" if self._corrected else "")
        if self._out_of_step is not None:
            text += f", in the end {float(self._out_of_step):+.3f} s from the video"
        in_time = not self._times.wrong and self._out_of_step is None
        results.append(check("start times", "those of the input, relative to the video", text, in_time, subject))
        if self._is_subtitle:
            results.append(check("end times", "those of the input", str(self._ends), not self._ends.wrong, subject))
        return results


def _at(item: _Item) -> str:
    return "without a time" if item.time is None else f"at {text_of(item.time)}"


def _codec(stream: Any) -> str:
    return stream.codec_context.codec.canonical_name if stream.codec_context is not None else ""


def _payload(data: bytes, codec: str) -> bytes:
    """The content without the framing that containers change."""
    if codec == "aac" and len(data) > 7 and data[0] == 0xFF and data[1] & 0xF6 == 0xF0:  # ADTS, ISO/IEC 13818-7
        return data[7 if data[1] & 1 else 9 :]
    if codec in ("h264", "hevc"):
        return b"".join(_units(data))
    return data


def _units(data: bytes) -> Iterator[bytes]:
    """NAL units after start codes or after four bytes of length; `data` itself where it is neither."""
    if data.startswith((b"\0\0\0\1", b"\0\0\1")):
        for unit in data.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1")[1:]:
            yield unit.rstrip(b"\0")
        return
    place = 0
    units = []
    while place + 4 <= len(data):
        size = int.from_bytes(data[place : place + 4], "big")
        units.append(data[place + 4 : place + 4 + size])
        place += 4 + size
    if place == len(data):
        yield from (unit.rstrip(b"\0") for unit in units)
    else:
        yield data
