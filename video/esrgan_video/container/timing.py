"""Times: the range of a trial, and timestamps that damaged or dts-only files do not give."""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from esrgan.errors import UsageError
from esrgan_video.container.clock import Clock

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

_MOST_WAITING = 16
"""Frames without a timestamp that are kept until one has one."""


@dataclass(frozen=True, kw_only=True)
class TimeRange:
    """Part of a video: frames shown at `start` or later, before `end`, and `frames` of them at most.

    Times are seconds from the beginning of the file, as a player shows them.

    Raises:
        UsageError: a negative start, an end that is not after the start, or fewer than one frame.
    """

    start: Fraction | None = None
    """First moment, in seconds; `None` is the beginning."""
    end: Fraction | None = None
    """First moment that is left out, in seconds; `None` is the end."""
    frames: int | None = None
    """Number of frames at most."""

    def __post_init__(self) -> None:
        if self.start is not None and self.start < 0:
            raise UsageError(f"--start must not be negative, got {float(self.start):g} s")
        if self.end is not None and self.end <= (self.start or 0):
            raise UsageError(f"--end must be after --start, got {float(self.start or 0):g} s to {float(self.end):g} s")
        if self.frames is not None and self.frames < 1:
            raise UsageError(f"--frames must be at least 1, got {self.frames}")

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left out."""
        return not self.start and self.end is None and self.frames is None

    @property
    def ends_early(self) -> bool:
        """Whether the end may be left out."""
        return self.end is not None or self.frames is not None

    def expected_frames(self, total: int, *, length: Fraction, rate: Fraction) -> int:
        """How many of `total` frames are inside, exactly so where all are shown equally long.

        Args:
            total: frames of the whole video.
            length: of the whole video, in seconds.
            rate: frames a second.
        """
        if self.start or self.end is not None:
            end = length if self.end is None else min(length, self.end)
            total = max(1, math.ceil((end - (self.start or 0)) * rate))
        return total if self.frames is None else min(total, self.frames)

    def select[Item](self, items: Iterable[Item], begin: Callable[[Item], Fraction]) -> Generator[Item]:
        """Those of `items` that are inside; behind the last of them, at most one more is taken.

        Args:
            items: in order.
            begin: gives the moment at which one is shown first, in seconds from the beginning of the file.
        """
        count = 0
        for item in items:
            time = begin(item)
            if self.start and time < self.start:
                continue
            if self.end is not None and time >= self.end:
                return
            yield item
            count += 1
            if count == self.frames:
                return

    def nothing_in(self, path: Path) -> UsageError:
        """The error of a file that has no frame inside."""
        until = "" if self.end is None else f" and --end {float(self.end):g} s"
        return UsageError(f"{path} has no frame after --start {float(self.start or 0):g} s{until}")


class Ticks:
    """Times in seconds as whole ticks that strictly increase.

    Those that are no whole tick are rounded one by one, so that errors do not add up.

    Args:
        time_base: a tick, in seconds.
        shift: seconds that are taken off all times.
    """

    def __init__(self, time_base: Fraction, shift: Fraction) -> None:
        self._time_base, self._shift = time_base, shift
        self._last = -1

    def place(self, begin: Fraction, duration: Fraction) -> tuple[int, int]:
        """Timestamp and duration, in ticks, of what begins at `begin` and lasts `duration` seconds."""
        start, end = (begin - self._shift) / self._time_base, (begin + duration - self._shift) / self._time_base
        self._last = max(round(start), self._last + 1)
        return self._last, max(1, round(end) - self._last)


class Timeline:
    """Makes timestamps strictly increase, changing as few of them as possible.

    Missing ones follow their predecessor by its duration. One that repeats or steps back a little is put one
    tick after its predecessor. What a `Clock` finds is moved as it says.

    Args:
        usual_duration: in ticks, for frames that have none.
        strict: whether equal timestamps are put apart too.
        clock: for the same timestamps; without one, a large step back is damage like any other.
    """

    def __init__(self, usual_duration: int, *, strict: bool = True, clock: Clock | None = None) -> None:
        self._usual_duration = max(1, usual_duration)
        self._least_step = 1 if strict else 0
        self._clock = clock
        self._last: int | None = None
        self._last_duration = 0
        self.placed = 0
        """Timestamps that were asked for."""
        self.repaired = 0
        """Timestamps that were changed; those that were missing, or are on a new clock, do not count."""
        self.missing = 0
        """Timestamps that were not there."""

    def breaks_off(self, stamp: int | None) -> bool:
        """Whether `place` must know what follows."""
        return self._clock is not None and self._clock.breaks_off(stamp)

    def goes_on(self, stamp: int | None) -> bool:
        """Whether a timestamp goes on from the last one that was placed; see `Clock`."""
        return self._clock is not None and self._clock.goes_on(stamp)

    def place(self, stamp: int | None, duration: int, following: int | None = None) -> int:
        """The timestamp to use for a frame or packet.

        Args:
            stamp: what it says.
            duration: how many ticks it lasts, 0 if unknown.
            following: what a later one says, where `breaks_off` says that it is asked for; see `Clock.place`.
        """
        self.placed += 1
        if stamp is None:
            self.missing += 1
            placed = 0 if self._last is None else self._last + (self._last_duration or self._usual_duration)
            if self._clock is not None:
                self._clock.skip(duration)
        else:
            placed = self._on_first_clock(stamp, duration, following)
        self._last, self._last_duration = placed, duration
        return placed

    def _on_first_clock(self, stamp: int, duration: int, following: int | None) -> int:
        placed, is_wrong = stamp, False
        if self._clock is not None:
            wrong = self._clock.wrong
            placed += self._clock.place(stamp, duration, following=following)
            is_wrong = self._clock.wrong > wrong
        if self._last is not None and placed < self._last + self._least_step:
            placed, is_wrong = self._last + self._least_step, True
        self.repaired += is_wrong
        return placed


def fill_beginning(
    frames: Iterator[tuple[VideoFrame, int | None]], duration: int
) -> Iterator[tuple[VideoFrame, int | None]]:
    """Give the first frames, where they have no timestamps, those that lead to the first one that has.

    FFmpeg gives none to frames of Matroska that are shown before zero.

    Args:
        frames: with their timestamps, in ticks.
        duration: of a frame, in ticks.
    """
    waiting: list[VideoFrame] = []
    for frame, stamp in frames:
        if stamp is None and len(waiting) < _MOST_WAITING:
            waiting.append(frame)
            continue
        for number, early in enumerate(waiting):
            yield early, None if stamp is None else stamp - (len(waiting) - number) * duration
        yield frame, stamp
        yield from frames
        return
    yield from ((frame, None) for frame in waiting)


def with_times(frames: Iterator[VideoFrame], *, reorder: int) -> Iterator[tuple[VideoFrame, int | None]]:
    """Pair each frame, in order of presentation, with its timestamp.

    Args:
        frames: as decoded.
        reorder: 0 where the container stores times of presentation. Where it stores times of decoding only (AVI, ASF),
            the timestamps are right as a set but not in order: the n-th frame then gets the n-th smallest, looking
            this many frames ahead.
    """
    if not reorder:
        yield from ((frame, frame.pts) for frame in frames)
        return
    waiting: deque[VideoFrame] = deque()
    times: list[float] = []
    for frame in itertools.chain(frames, itertools.repeat(None)):
        if frame is not None:
            waiting.append(frame)
            heapq.heappush(times, math.inf if frame.pts is None else frame.pts)
        if waiting and (frame is None or len(waiting) > reorder):
            time = heapq.heappop(times)
            yield waiting.popleft(), None if time == math.inf else int(time)
        elif frame is None:
            return
