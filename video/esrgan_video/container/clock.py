"""`Clock`: where time begins anew in a file, and which single timestamps are wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction

_DISCONTINUITY = 1
"""Seconds that time may step back, or leave out, before it counts as a new clock or a wrong timestamp."""
_IN_FLIGHT = 64
"""Timestamps behind a join among which there may be some of the clock before: more than any decoder has in flight."""


class Clock:
    """Tells which ticks have to be added to the timestamps of a stream, so that they are all on its first clock.

    Where files are joined end to end, time steps back by more than a second and goes on from there: a new clock, which
    begins where the last frame before ended. Behind it, single timestamps may still be of the clock before. One that is
    more than a second away while a later one goes on as if nothing had been is wrong: it follows its predecessor. What
    jumps ahead and stays there is a gap, and remains one.

    Args:
        time_base: unit of the timestamps, in seconds.
        usual_duration: in ticks, for frames that have none.
        settle: is given the ticks that join a new clock to the end of the one before, and gives those to move it by.
            What would lead back by more than a second is not taken.
    """

    def __init__(
        self, time_base: Fraction, usual_duration: int, settle: Callable[[int], int] = lambda offset: offset
    ) -> None:
        self._step = math.ceil(_DISCONTINUITY / time_base)
        self._usual_duration = max(1, usual_duration)
        self._settle = settle
        self._earlier: int | None = None
        self._since_change = 0
        self._last: int | None = None
        self._expected = 0
        self._end = 0
        self.offset = 0
        """Ticks that the clock at this moment is moved by."""
        self.changes = 0
        """How often a new clock began."""
        self.wrong = 0
        """Timestamps that were wrong."""

    def breaks_off(self, stamp: int | None) -> bool:
        """Whether `stamp` does not go on from the one before, so that `place` must know which one follows."""
        return stamp is not None and not self._is_near(stamp + self.offset)

    def goes_on(self, stamp: int | None) -> bool:
        """Whether `stamp` lies behind the one before, by no more than a second more than expected."""
        return stamp is not None and self._is_behind(stamp + self.offset)

    def place(self, stamp: int, duration: int, *, shown: int | None = None, following: int | None = None) -> int:
        """The ticks to add to a timestamp.

        Args:
            stamp: of decoding, where these are in order, or of presentation.
            duration: in ticks, 0 if unknown.
            shown: time of presentation, where `stamp` is not.
            following: a later timestamp, where `breaks_off` says that this one does not go on: the next, or the next
                that does.
        """
        begin = stamp if shown is None or abs(shown - stamp) > self._step else shown
        offset = self._offset_of(stamp, begin, following)
        self._last = stamp + offset
        self._expected = self._last + (duration or self._usual_duration)
        self._end = max(self._end, begin + offset + (duration or self._usual_duration))
        return offset

    def skip(self, duration: int) -> None:
        """Take notice of a frame without a timestamp that lasts `duration` ticks (0: unknown)."""
        self._last = self._expected
        self._expected += duration or self._usual_duration

    def _offset_of(self, stamp: int, begin: int, following: int | None) -> int:
        self._since_change += 1
        if self._since_change > _IN_FLIGHT:
            self._earlier = None
        placed = stamp + self.offset
        if self._last is None:
            self._end = begin
            return self.offset
        if self._is_near(placed):
            return self.offset
        if self._earlier is not None and self._is_near(stamp + self._earlier):
            self.offset, self._earlier = self._earlier, self.offset
        elif following is not None and self._is_behind(following + self.offset):
            self.wrong += 1
            room = max(1, (following + self.offset - self._last) // 2)
            return min(self._expected, self._last + room) - stamp
        elif self._steps_back(placed):
            self._begin_anew(self._end - begin, stamp)
        return self.offset

    def _begin_anew(self, own: int, stamp: int) -> None:
        self.changes += 1
        self._since_change = 0
        settled = self._settle(own)
        self._earlier, self.offset = self.offset, own if self._steps_back(stamp + settled) else settled

    def _is_near(self, placed: int) -> bool:
        return self._last is None or self._last - self._step <= placed <= self._expected + self._step

    def _is_behind(self, placed: int) -> bool:
        return self._last is None or self._last < placed <= self._expected + self._step

    def _steps_back(self, placed: int) -> bool:
        return self._last is not None and placed < self._last - self._step


def with_following[Item](
    items: Iterable[Item], stamp_of: Callable[[Item], int | None], breaks_off: Callable[[int | None], bool]
) -> Iterator[tuple[Item, int | None]]:
    """Pair items whose timestamps break off with the next timestamp, and all others with `None`.

    Only where one breaks off is the next item waited for.
    """
    waiting: list[Item] = []
    for item in items:
        if waiting:
            yield waiting.pop(), stamp_of(item)
        if breaks_off(stamp_of(item)):
            waiting.append(item)
        else:
            yield item, None
    for item in waiting:
        yield item, None
