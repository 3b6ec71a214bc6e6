"""Which frames the output must have, and which of those it has belongs to which."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

from esrgan.errors import UsageError
from esrgan_video.verify.media import Media, Timed

_FALLBACK_RATE = Fraction(25)
_MOST_UNTIMED = 17
"""Frames at the beginning of which the first one with a time is looked for."""
_SEARCH_MARGIN = 2
"""Seconds before a trial's start at which decoding begins."""
_STRAY = 1
"""Seconds that a time must be away from those of its neighbours to be wrong for certain."""
_AHEAD = 2
"""Frames behind one that say whether its time is wrong."""
_NEAR = Fraction(9, 20)
"""Share of the distance to the next frame within which a frame at another time is the same frame, misplaced."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """The part of the input that was upscaled, in the words of `esrgan upscale`.

    Raises:
        UsageError: an end that is not after the start, or fewer than one frame.
    """

    start: Fraction | None = None
    """First moment, in seconds from the beginning of the file; `None` is the beginning."""
    end: Fraction | None = None
    """First moment that was left out; `None` is the end."""
    frames: int | None = None
    """Most frames."""

    def __post_init__(self) -> None:
        if self.end is not None and self.end <= (self.start or 0):
            raise UsageError(f"--end must be after --start, got {float(self.start or 0):g} s to {float(self.end):g} s")
        if self.frames is not None and self.frames < 1:
            raise UsageError(f"--frames must be at least 1, got {self.frames}")


@dataclass(frozen=True)
class Expected:
    """A frame that the output must have."""

    source: Timed
    """The input's frame that it is made of."""
    time: Fraction
    """When it is shown, on the input's clock, in seconds."""
    gap: Fraction
    """How long until the next, in seconds."""
    is_free: bool
    """Whether the input's time says nothing, because it is missing or steps back."""
    is_second_field: bool = False
    """Whether it is the picture of an interlaced frame's second field, which the output may have or not."""


def selected(media: Media, trial: Trial) -> Iterator[Timed]:
    """The frames of the trial, each with a time: missing ones follow from the frame rate."""
    start = media.origin + trial.start if trial.start else None
    end = None if trial.end is None else media.origin + trial.end
    period = 1 / (media.rate or _FALLBACK_RATE)
    frames = _without_strays(_led_in(_from(media, start), period))
    chosen = (timed for timed in frames if timed.time is None or start is None or timed.time >= start)
    last: Timed | None = None
    for timed in itertools.islice(chosen, trial.frames):
        if timed.time is None:
            after = Fraction(0) if last is None or last.time is None else last.time + (last.duration or period)
            timed = replace(timed, time=after)
        if end is not None and timed.time is not None and timed.time >= end:
            return
        last = timed
        yield timed


def _led_in(frames: Iterator[Timed], period: Fraction) -> Iterator[Timed]:
    """The first frames, where they have no times, are those before the first that has one."""
    first = list(itertools.islice(frames, _MOST_UNTIMED))
    known = next((place for place, timed in enumerate(first) if timed.time is not None), None)
    for place, timed in enumerate(first):
        if known is not None and place < known:
            timed = replace(timed, time=_time(first[known]) - (known - place) * period)
        yield timed
    yield from frames


def _without_strays(frames: Iterator[Timed]) -> Iterator[Timed]:
    """Frames whose times are far from those of both neighbours, which go on from each other, get a time between them.

    Their own says nothing, and what the output makes of it must not move the rest. Where recordings are joined, a
    decoder may give frames of both in turn: then the time after next goes on from such a one.
    """
    ahead: deque[Timed] = deque()
    last: Fraction | None = None
    for coming in itertools.chain(frames, [None, None]):
        if coming is not None:
            ahead.append(coming)
        if ahead and (coming is None or len(ahead) > _AHEAD):
            timed = ahead.popleft()
            after, then = (*(other.time for other in ahead), None, None)[:2]
            if last is not None and after is not None and _goes_on(last, after):
                is_stray = timed.time is not None and not last - _STRAY <= timed.time <= after + _STRAY
                if is_stray and not _goes_on(timed.time, then):
                    timed = replace(timed, time=(last + after) / 2, is_guess=True)
            yield timed
            last = timed.time


def _goes_on(time: Fraction | None, following: Fraction | None) -> bool:
    return time is not None and following is not None and time < following <= time + _STRAY


def _from(media: Media, start: Fraction | None) -> Iterator[Timed]:
    """Frames from one that is not after `start`."""
    if start is not None and start > _SEARCH_MARGIN:
        media.skip_to(start - _SEARCH_MARGIN)
        frames = media.frames()
        first = next(frames, None)
        if first is not None and first.time is not None and first.time <= start:
            return itertools.chain([first], frames)
        media.restart()
    return media.frames()


def expected_frames(frames: Iterator[Timed], period: Fraction, *, all_interlaced: bool) -> Iterator[Expected]:
    """What the output must have: a frame for each of the input, and may have: one midway for each second field.

    Args:
        frames: of the input, with their times.
        period: seconds between two frames on average.
        all_interlaced: whether the header says that frames are interlaced which do not say so themselves.
    """
    previous: Fraction | None = None
    gap = period
    for timed, following in itertools.pairwise(itertools.chain(frames, [None])):
        assert timed is not None
        time = _time(timed)
        until_next = Fraction(0) if following is None else _time(following) - time
        gap = until_next if until_next > 0 else gap
        is_free = timed.is_guess or (previous is not None and time <= previous)
        if timed.frame.interlaced_frame or all_interlaced:
            yield Expected(timed, time, gap / 2, is_free)
            yield Expected(timed, time + gap / 2, gap / 2, is_free=False, is_second_field=True)
        else:
            yield Expected(timed, time, gap, is_free)
        previous = time


def align(
    expected: Iterator[Expected], found: Iterator[Timed], shift: Fraction
) -> Iterator[tuple[Expected | None, Timed | None, Fraction]]:
    """Pair expected and found frames by their times.

    Args:
        expected: in order.
        found: in order.
        shift: seconds that the output's times are later than the input's.

    Yields:
        The expected frame, the found one, and the shift that holds for the pair; `None` for one that has no partner.
    """
    wanted, given = next(expected, None), next(found, None)
    shifts = [shift]
    while wanted is not None or given is not None:
        if wanted is None or given is None:
            yield wanted, given, shifts[0]
            wanted, given = next(expected, None), next(found, None)
            continue
        apart = _time(given) - wanted.time
        is_guess = wanted.source.is_guess
        if wanted.is_free and not is_guess:
            shifts = [apart, *shifts][:3]
        best = _nearest(shifts, apart)
        distance = apart - best
        if abs(distance) <= wanted.gap * (1 if is_guess else _NEAR):
            shifts = [best, *(value for value in shifts if value != best)]
            yield wanted, given, best
            wanted, given = next(expected, None), next(found, None)
        elif distance > 0:
            yield wanted, None, shifts[0]
            wanted = next(expected, None)
        else:
            yield None, given, shifts[0]
            given = next(found, None)


def _nearest(values: list[Fraction], wanted: Fraction) -> Fraction:
    return min(values, key=lambda value: abs(wanted - value))


def _time(timed: Timed) -> Fraction:
    return timed.time if timed.time is not None else Fraction(0)
