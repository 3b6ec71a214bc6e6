"""`PacketCopier`: packets of all the other streams, on a file handle of their own, in step with the video."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from esrgan.errors import MediaError
from esrgan_video.container.clock import Clock
from esrgan_video.container.decoder import Decoder, Join
from esrgan_video.container.formats import open_input, reason
from esrgan_video.container.plan import StreamPlan
from esrgan_video.container.subtitles import SubtitleConverter
from esrgan_video.container.timing import Timeline, TimeRange
from esrgan_video.container.trial import PacketTrial

if TYPE_CHECKING:
    from av.container.core import Chapter
    from av.packet import Packet
    from av.stream import Stream

_log = logging.getLogger(__name__)

_MAX_FAILED_READS = 16
_LONGEST_SKEW = 10
"""Seconds by which packets that begin together may lie apart in a file: what FFmpeg's muxers allow."""

_APART = 1
"""Seconds between the times of decoding and presentation of sound, of which one is wrong then: they are the same."""
_STEP_BACK = 1
"""Seconds that time must step back to be on a new clock."""
_MOST_STRAYS = 24
"""Packets in a row whose times may be wrong: in transport streams one time stands for several."""


@dataclass
class _Route:
    """Where the packets of one stream go."""

    target: Any
    timeline: Timeline
    is_picture: bool
    convert: Callable[[Packet[Any]], Packet[Any] | None]
    trial: PacketTrial | None
    """Knows which packets can be copied; `None` for what is converted, and for pictures."""
    waiting: list[Packet[Any]] = field(default_factory=list)
    """Packets from one on whose time breaks off, until it is known whether time returns."""
    position: int = 0
    """Where the last packet begins in the file, in bytes."""
    previous_position: int = 0
    """The same of the one before."""
    refused: int = 0
    """Packets that were left out because of damage."""
    last_time: Fraction = Fraction(0)
    waits_for_keyframe: bool = False
    follows_on: bool = False
    is_sparse: bool = False
    """Whether there may be none for minutes, so that their times do not tell where time begins anew."""
    joins_passed: int = 0
    last_stamp: int | None = None
    last_dts: int | None = None
    last_step: int = 0

    def usual_duration(self, packet: Packet[Any]) -> int:
        """Distance from the packet before, in ticks: MP4 hides a last packet that does not say how long it is."""
        if packet.dts is not None and self.last_dts is not None and packet.dts > self.last_dts:
            self.last_step = packet.dts - self.last_dts
        self.last_dts = packet.dts
        return self.last_step


class PacketCopier:
    """Reads the streams that are copied or converted, and gives their packets when the video has come that far.

    Args:
        path: the input.
        plan: what becomes of each stream.
        time_range: packets that begin outside are left out. A copied video stream begins at its first keyframe
            inside.
        shift: seconds that are taken off all times.
        strict: stop at the first damaged packet, with a `MediaError`, instead of leaving it out.
    """

    def __init__(
        self, path: Path, plan: StreamPlan, time_range: TimeRange, shift: Fraction, *, strict: bool = False
    ) -> None:
        self._path = path
        self._plan = plan
        self._shift = shift
        self._strict = strict
        self._container = open_input(path)
        origin = Fraction(self._container.start_time or 0, 1_000_000)
        # With a start, the first frame is at zero, and what begins before it is left out.
        self._start = Fraction(0) if time_range.start else None
        self._end = None if time_range.end is None else origin + time_range.end - shift
        self._routes: dict[int, _Route] = {}
        self._pending: Packet[Any] | None = None
        self._may_begin_anew = False
        self._packets = self._read()

    def close(self) -> None:
        """Close the file."""
        for route in self._routes.values():
            if route.trial is not None:
                route.trial.close()
        self._container.close()

    @property
    def tags(self) -> dict[str, str]:
        """Tags of the input file."""
        return dict(self._container.metadata)

    @property
    def chapters(self) -> list[Chapter]:
        """Chapters of the input file."""
        return self._container.chapters()

    def source(self, index: int) -> Stream:
        """The input's stream `index`, on this copier's own handle."""
        return self._container.streams[index]

    def connect(self, index: int, target: Any, *, is_picture: bool = False, to_subtitles: bool = False) -> None:
        """Send the packets of the input's stream `index` to the output stream `target`."""
        from av.format import Flags

        stream = self._container.streams[index]
        clock = None
        if stream.type in ("audio", "video"):
            time_base = Fraction(stream.time_base.numerator, stream.time_base.denominator)
            clock = Clock(time_base, 1, lambda own: self._offset_at_join(index, own * time_base) // time_base)
        self._routes[index] = _Route(
            target=target,
            timeline=Timeline(1, strict=not self._plan.container.milliseconds, clock=clock),
            is_picture=is_picture,
            convert=SubtitleConverter(stream, target).convert if to_subtitles else _as_it_is,
            trial=None if to_subtitles or is_picture else PacketTrial(stream, self._plan.container.muxer),
            follows_on=stream.type == "audio",
            is_sparse=clock is None and Flags.ts_discont in Flags(self._container.format.flags),
            waits_for_keyframe=stream.type == "video" and self._start is not None and not is_picture,
        )

    def until(self, time: Fraction | None) -> Iterator[Packet[Any]]:
        """Packets that begin before `time` (seconds, after the shift), in the file's order; all for `None`."""
        while True:
            if self._pending is None:
                self._pending = next(self._packets, None)
            packet = self._pending
            if packet is None or (time is not None and self._begin(packet) >= time):
                return
            self._pending = None
            yield packet

    def rest(self, end: Fraction | None) -> Iterator[Packet[Any]]:
        """What is left of packets that begin before `end`, also where the file has later ones before them."""
        for packet in self.until(None if end is None else end + _LONGEST_SKEW):
            if end is None or self._begin(packet) < end:
                yield packet

    def report(self) -> None:
        """Log what had to be repaired."""
        for index, route in self._routes.items():
            if route.refused:
                _log.warning("%s: %d damaged packet(s) of stream #%d were left out", self._path, route.refused, index)
            if route.timeline.repaired:
                _log.warning(
                    "%s: %d timestamp(s) of stream #%d did not increase and were corrected",
                    self._path,
                    route.timeline.repaired,
                    index,
                )

    def _begin(self, packet: Packet[Any]) -> Fraction:
        stamp = packet.dts if packet.dts is not None else packet.pts
        if stamp is None:
            return Fraction(0)
        return Fraction(stamp * packet.time_base.numerator, packet.time_base.denominator)

    def _read(self) -> Iterator[Packet[Any]]:
        for packet in self._demux():
            self._shift_back(packet)
            yield from self._taken(packet, self._routes[packet.stream_index])
        for route in self._routes.values():
            while route.waiting:
                yield from self._believed(route)

    def _taken(self, packet: Packet[Any], route: _Route) -> Iterator[Packet[Any]]:
        """What is written when a packet comes: nothing, it, or with it those that waited."""
        if route.waiting and route.timeline.goes_on(packet.dts):
            waiting, route.waiting = route.waiting, []
            for astray in waiting:
                yield from self._written(astray, route, packet.dts)
        # Of sound alone the next packets come soon for certain.
        if route.waiting or (route.follows_on and route.timeline.breaks_off(packet.dts)):
            self._may_begin_anew = True
            route.waiting.append(packet)
            if len(route.waiting) > _MOST_STRAYS:
                yield from self._believed(route)
        else:
            yield from self._written(packet, route, None)

    def _believed(self, route: _Route) -> Iterator[Packet[Any]]:
        """The first packet that waited, at its own time, and what follows from that for the others."""
        (first, *others), route.waiting = route.waiting, []
        yield from self._written(first, route, None)
        for packet in others:
            yield from self._taken(packet, route)

    def _written(self, packet: Packet[Any], route: _Route, following: int | None) -> Iterator[Packet[Any]]:
        """What is written of a packet: one packet, or none."""
        if packet.pos is not None and packet.pos > 0:
            route.previous_position, route.position = route.position, packet.pos
        result = self._usable(packet, route) if self._place(packet, route, following) else None
        if result is not None:
            result.stream = route.target
            yield result

    def _offset_at_join(self, index: int, own: Fraction) -> Fraction:
        """Seconds by which the clock is moved that begins in stream `index` now: as many as the video's is moved there.

        A stream may end before the video of the same recording does. Joined to its own end, it would be early from
        there on.

        Args:
            index: of the stream.
            own: seconds that would join it to its own end.
        """
        route = self._routes[index]
        for join in reversed(self._joins):
            if join.before < route.position and route.previous_position < join.behind:
                return join.offset
        return own

    def _follow_video(self, packet: Packet[Any], route: _Route) -> None:
        """Move a packet as the video is moved that lies around it in the file."""
        stamp = packet.dts if packet.dts is not None else packet.pts
        if stamp is None:
            return
        time_base = Fraction(packet.time_base.numerator, packet.time_base.denominator)
        steps_back = route.last_stamp is not None and (route.last_stamp - stamp) * time_base > _STEP_BACK
        route.last_stamp = stamp
        has_sound = any(other.follows_on for other in self._routes.values())
        self._may_begin_anew = self._may_begin_anew or steps_back or not has_sound
        if not self._may_begin_anew:  # a look for joins is a pass over the file; sound tells where one may be
            return
        for number, join in enumerate(self._joins, 1):
            if join.behind <= route.position or (steps_back and join.before < route.position):
                route.joins_passed = max(route.joins_passed, number)
        if route.joins_passed:
            offset = round(self._joins[route.joins_passed - 1].offset / time_base)
            packet.pts = None if packet.pts is None else packet.pts + offset
            packet.dts = None if packet.dts is None else packet.dts + offset

    @cached_property
    def _joins(self) -> list[Join]:
        """Where time begins anew in the main video; to find that the file is read once more."""
        if self._start is not None:  # the video's clock began in the middle
            return []
        decoder = Decoder(self._path)
        try:
            return decoder.all_joins()
        finally:
            decoder.close()

    def _shift_back(self, packet: Packet[Any]) -> None:
        if self._routes[packet.stream_index].is_picture:
            return
        ticks = round(self._shift / Fraction(packet.time_base.numerator, packet.time_base.denominator))
        packet.pts = None if packet.pts is None else packet.pts - ticks
        packet.dts = None if packet.dts is None else packet.dts - ticks

    def _usable(self, packet: Packet[Any], route: _Route) -> Packet[Any] | None:
        """What is written of a packet; `None` for a pause of subtitles and for one that is damaged."""
        import av

        index = packet.stream_index
        try:
            if route.trial is not None:
                route.trial.write(packet)
            return route.convert(packet)
        except av.error.MemoryError:
            raise
        except av.error.FFmpegError as error:  # damage has many names: a flipped bit may ask for what nobody wrote
            route.refused += 1
            if self._strict:
                raise MediaError(
                    f"{self._path}: a damaged packet of stream #{index} ({reason(error)}): leave out --strict to go on"
                ) from error
            _log.debug("%s: damaged packet of stream #%d: %s", self._path, index, reason(error))
            return None

    def _demux(self) -> Iterator[Packet[Any]]:
        """Packets of the connected streams, on the input's clock."""
        import av
        from av.stream import Discard

        if not self._routes:
            return
        for stream in self._container.streams:
            if stream.index not in self._routes:
                stream.discard = Discard.all
        chosen = [self._container.streams[index] for index in self._routes]
        failures = 0
        while failures < _MAX_FAILED_READS:
            try:
                for packet in self._container.demux(*chosen):
                    failures = 0
                    if packet.size:
                        yield packet
                return
            except av.error.InvalidDataError as error:
                failures += 1
                _log.debug("%s: damaged data: %s", self._path, reason(error))
            except av.error.FFmpegError as error:
                raise MediaError(f"cannot read {self._path} any further: {reason(error)}") from error

    def _place(self, packet: Packet[Any], route: _Route, following: int | None) -> bool:
        """Give a packet the time that is written; false if it lies outside the range."""
        if route.is_picture:
            return True
        if route.is_sparse:
            self._follow_video(packet, route)
        time_base = Fraction(packet.time_base.numerator, packet.time_base.denominator)
        begin = packet.pts if packet.pts is not None else packet.dts
        if begin is not None:
            route.last_time = begin * time_base
        if self._start is not None and route.last_time < self._start:
            return False
        if self._end is not None and route.last_time >= self._end:
            return False
        if route.waits_for_keyframe and not packet.is_keyframe:
            return False
        route.waits_for_keyframe = False
        if route.follows_on and not packet.duration:
            packet.duration = route.usual_duration(packet)
        if packet.dts is not None:
            if route.follows_on and packet.pts is not None and abs(packet.pts - packet.dts) * time_base > _APART:
                packet.pts = packet.dts
            placed = route.timeline.place(packet.dts, packet.duration or 0, following)
            if packet.pts is not None and placed != packet.dts:
                packet.pts = max(placed, packet.pts + placed - packet.dts)
            packet.dts = placed
        return True


def _as_it_is(packet: Packet[Any]) -> Packet[Any]:
    return packet
