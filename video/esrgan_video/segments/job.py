"""`Job`: what a journal belongs to, as named facts that are compared when work goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

_OF_THE_ENCODER = frozenset({"encoder", "encoder options"})
"""Facts that frames do not depend on, only what they are encoded to."""
UNTOLD = {"input": "not a file"}
"""The facts of an input that nothing tells from another one: a pipe, a device."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """Everything that the result depends on."""

    facts: Mapping[str, str]
    """Input, settings, weights and versions, each under a name that a user understands."""
    segment_frames: int
    """Frames of each segment but the last."""
    threads: int
    """Threads of the encoder: some give other bits with another number of them."""
    lookahead: int | None = None
    """Frames that x264 looks ahead, where memory asked for fewer than usual; they, too, decide its bits."""

    @property
    def can_go_on(self) -> bool:
        """Whether a later run can know that it has the same input."""
        return not self.facts.items() >= UNTOLD.items()

    def changes(self, now: Mapping[str, str], *, encoded: bool) -> list[str]:
        """What is no longer as it was, in words; empty if work can go on.

        Args:
            now: the facts as they would be now.
            encoded: whether a segment is finished. Until then frames at most are kept, which any encoder can take.
        """
        names = [*self.facts, *(name for name in now if name not in self.facts)]
        return [
            f"{name} ({self.facts.get(name, 'unset')} before, now {now.get(name, 'unset')})"
            for name in names
            if self.facts.get(name) != now.get(name) and (encoded or name not in _OF_THE_ENCODER)
        ]

    def to_json(self) -> dict[str, Any]:
        """For the journal."""
        return {
            "facts": dict(self.facts),
            "segment_frames": self.segment_frames,
            "threads": self.threads,
            "lookahead": self.lookahead,
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """From the journal."""
        return cls(
            facts=record["facts"],
            segment_frames=record["segment_frames"],
            threads=record["threads"],
            lookahead=record.get("lookahead"),
        )
