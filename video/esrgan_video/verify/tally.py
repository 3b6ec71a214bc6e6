"""`Tally` and `TimeTally`: counting faults without keeping them all."""

from __future__ import annotations

from fractions import Fraction


class Tally:
    """How many faults of one kind there were, and the first of them in words."""

    def __init__(self) -> None:
        self.count = 0
        """How many."""
        self.first = ""
        """The first."""

    def __bool__(self) -> bool:
        return self.count > 0

    def add(self, text: str) -> None:
        """Count one more."""
        self.first = self.first or text
        self.count += 1


class TimeTally:
    """Times that were found, against those that were expected: exact, rounded to the container's tick, or wrong.

    Args:
        tick: unit of the times that were found, in seconds.
        slack: difference in seconds that counts as rounding whatever the tick.
    """

    def __init__(self, tick: Fraction, slack: Fraction = Fraction(0)) -> None:
        self.tick = max(tick, slack)
        """Unit of the times that were found, in seconds."""
        self._slack = slack
        self.exact = 0
        """Times that were met exactly."""
        self.rounded = 0
        """Times that the tick cannot express, and whose nearest neighbour was found."""
        self.wrong = Tally()
        """All others."""

    def add(self, expected: Fraction, found: Fraction) -> bool:
        """Compare two times in seconds; false where they differ."""
        difference = found - expected
        if difference == 0:
            self.exact += 1
        elif is_rounded(difference, expected, self.tick) or abs(difference) < self._slack:
            self.rounded += 1
        else:
            self.wrong.add(f"{text_of(found)} instead of {text_of(expected)}")
            return False
        return True

    def __str__(self) -> str:
        parts = []
        if self.exact:
            parts.append(f"{self.exact} exact")
        if self.rounded:
            parts.append(f"{self.rounded} rounded to {text_of_tick(self.tick)}")
        if self.wrong:
            parts.append(f"{self.wrong.count} wrong, the first {self.wrong.first}")
        return ", ".join(parts) or "none"


def is_rounded(difference: Fraction, expected: Fraction, tick: Fraction) -> bool:
    """Whether `difference` is what rounding `expected` to a multiple of `tick` explains."""
    return (expected / tick).denominator != 1 and abs(difference) < tick


def text_of(time: Fraction) -> str:
    """Seconds, to the microsecond where that is needed."""
    text = f"{float(time):.6f}".rstrip("0")
    return f"{text}{'0' * max(0, 3 - len(text.partition('.')[2]))} s"


def text_of_tick(tick: Fraction) -> str:
    """`1 ms`, or the fraction of a second."""
    return "1 ms" if tick == Fraction(1, 1000) else f"{tick} s"
