"""Segments joined to one video: the decoding times that each alone cannot know."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from esrgan.errors import MediaError
from esrgan_video.segments.packets import Segment, SegmentFile

if TYPE_CHECKING:
    from av.packet import Packet


def joined(
    segments: Iterable[tuple[Segment, Path]], *, extradata: bytes, step: int, time_base: Fraction
) -> Iterator[Packet[Any]]:
    """All packets, in order of decoding, with decoding times that increase and never exceed the time of presentation.

    The i-th packet gets the (i - d)-th smallest of all times of presentation, where d is the largest of the segments'
    delays; before the first there are d more, `step` apart. Since no frame is in an earlier segment than one shown
    before it, each segment sorts its own times.

    Args:
        segments: each with its file, in their order.
        extradata: the codec's headers in the file that the packets go to.
        step: ticks of a usual frame.
        time_base: unit of times, in seconds.

    Raises:
        MediaError: a segment is damaged, or its packets need other headers.
    """
    segments = list(segments)
    delay = max(segment.delay for segment, _ in segments)
    first = segments[0][0].first
    times = deque(first - step * place for place in range(delay, 0, -1))
    for _, path in segments:
        with SegmentFile(path) as file:
            if file.extradata != extradata:
                raise MediaError(
                    f"{path} was encoded with other headers than this encoder's: begin anew with --restart"
                )
            times.extend(sorted(file.times()))
            for packet in file.packets():
                packet.dts = times.popleft()
                packet.time_base = time_base
                yield packet
