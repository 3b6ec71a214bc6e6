"""`CaptionCheck`: whether the closed captions of the input's frames came through."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

from esrgan_video.verify.report import Check, check, not_applicable
from esrgan_video.verify.tally import text_of

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

_KIND = "A53_CC"
"""FFmpeg's name of captions beside a frame: triplets of ATSC A/53, part 4, 6.2.3."""
_HOLDERS = frozenset({"h264", "hevc", "mpeg2video"})
"""Codecs that have a place for them."""
_MOST_BEHIND = 256
"""Triplets that the output may be behind: those of a few seconds."""
_VALID, _SORT = 0x04, 0x03
_LINE_21 = 2
"""Sorts below are CEA-608, where two bytes without bits but for parity are a pause."""


class CaptionCheck:
    """Compares what is said, in order and apart for each sort; pauses do not count. What waits is bounded."""

    def __init__(self) -> None:
        self._waiting: dict[int, tuple[deque[tuple[bytes, Fraction]], deque[tuple[bytes, Fraction]]]] = {}
        self._counts = [0, 0]
        self._fault: Fraction | None = None

    def add(self, time: Fraction, source: VideoFrame | None, target: VideoFrame | None) -> None:
        """Take the frames that belong together.

        Args:
            time: of the input's frame, in seconds.
            source: the input's frame, `None` for the second picture that is made of it.
            target: the output's frame; `None` where there is none.
        """
        for place, frame in enumerate((source, target)):
            for sort, said in _said(frame):
                self._counts[place] += 1
                if self._fault is None:
                    self._waiting.setdefault(sort, (deque(), deque()))[place].append((said, time))
        for queues in self._waiting.values():
            self._compare(*queues)
        if self._fault is not None:
            self._waiting.clear()

    def _compare(self, sources: deque[tuple[bytes, Fraction]], targets: deque[tuple[bytes, Fraction]]) -> None:
        while sources and targets and self._fault is None:
            (before, time), (after, _) = sources.popleft(), targets.popleft()
            self._fault = time if before != after else None
        for queue in (sources, targets):
            if len(queue) > _MOST_BEHIND and self._fault is None:
                self._fault = queue[0][1]

    def check(self, codec: str) -> Check:
        """What was found in an output of `codec`."""
        name = "captions"
        left = [queue[0][1] for queues in self._waiting.values() for queue in queues if queue]
        fault = self._fault if self._fault is not None else min(left, default=None)
        if not any(self._counts):
            return not_applicable(name, "none", "none")
        if not self._counts[1] and codec not in _HOLDERS:
            return not_applicable(name, f"{self._counts[0]} pairs of bytes", f"{codec} cannot hold them")
        where = "" if fault is None else f", others from {text_of(fault)} on"
        return check(
            name, f"{self._counts[0]} pairs of bytes, those of the input", f"{self._counts[1]}{where}", fault is None
        )


def _said(frame: VideoFrame | None) -> Iterator[tuple[int, bytes]]:
    """The sort and the two bytes of each triplet that says something."""
    if frame is None:
        return
    for kind, data in frame.side_data.items():
        triplets = bytes(data) if kind.name == _KIND else b""
        for start in range(0, len(triplets) - 2, 3):
            head, said = triplets[start], triplets[start + 1 : start + 3]
            sort = head & _SORT
            is_pause = sort < _LINE_21 and not (said[0] & 0x7F or said[1] & 0x7F)
            if head & _VALID and not is_pause:
                yield sort, said
