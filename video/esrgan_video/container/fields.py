"""Interlaced video: noticing it, and making whole pictures of its fields with FFmpeg's bwdif."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Literal

from esrgan.errors import MediaError
from esrgan_video.colour import PixelLayout
from esrgan_video.container.formats import reason

if TYPE_CHECKING:
    from av.filter import Graph
    from av.video.frame import VideoFrame

type TimedFrames = Iterator[tuple[VideoFrame, int]]
"""Decoded frames in order of presentation, each with its time in ticks; a frame's `duration` is in ticks too."""

Deinterlace = Literal["frame", "field", "off"]
"""What becomes of two fields: one picture at the frame's time, one picture for each at its own time, or nothing."""

Parity = Literal["auto", "tff", "bff"]
"""Which field is shown first: what each frame's flags say, or for all frames the top or the bottom one."""

PROGRESSIVE, TOP_FIELD_FIRST, BOTTOM_FIELD_FIRST = 1, 2, 3
"""FFmpeg's AVFieldOrder of video without fields, and of video whose fields are coded in the order of display."""
_PARITIES: dict[int, Parity] = {2: "tff", 3: "bff", 4: "bff", 5: "tff"}
"""By FFmpeg's AVFieldOrder: TT, BB, TB (coded top first, shown bottom first) and BT."""

_NOTICED_WITHIN = 1
"""Seconds in which an interlaced frame is looked for: the first of a broadcast is often not flagged."""
_NOTICED_BYTES = 128 << 20
"""Most memory that frames take which wait meanwhile."""


@dataclass(frozen=True, kw_only=True)
class Fields:
    """What a video's frames are made of, and what becomes of it."""

    interlaced: bool
    """Whether frames are made of two fields, as the header or a frame of the first second says."""
    deinterlaced: bool = False
    """Whether these become whole pictures."""
    order: int = PROGRESSIVE
    """FFmpeg's AVFieldOrder of the result."""
    pictures: int = 1
    """Pictures that come of one frame."""
    ticks: int = 1
    """Ticks of the result for one of the file: the middle of a frame's time may be half a tick."""


def whole_pictures(
    frames: TimedFrames, mode: Deinterlace, *, time_base: Fraction, field_order: int, usual_duration: int
) -> tuple[TimedFrames, Fields]:
    """The frames with whole pictures in the place of fields, and what was noticed about them.

    Frames' own flags count. Where none is flagged but the header says interlaced, as with codecs that have no such
    flag, all frames are. What bwdif does not take (see `can_deinterlace`) stays as it is.

    Args:
        frames: as decoded. Those of the first second are read at once.
        mode: see `Deinterlace`.
        time_base: the unit of the frames' times, in seconds.
        field_order: FFmpeg's AVFieldOrder, from the header.
        usual_duration: in ticks, for a last frame that does not say how long it lasts.
    """
    seen, flagged = _first_frames(frames, time_base)
    parity = "auto" if flagged else _PARITIES.get(field_order)
    frames = chain(seen, frames)
    can = bool(seen) and can_deinterlace(seen[0][0])
    if parity is not None and (mode == "off" or not can):
        top_first = parity == "tff" or (flagged and _is_top_field_first(seen[-1][0]))
        return frames, Fields(interlaced=True, order=TOP_FIELD_FIRST if top_first else BOTTOM_FIELD_FIRST)
    if mode == "off":
        return frames, Fields(interlaced=False)
    frames = deinterlaced(frames, mode, parity=parity or "auto", usual_duration=usual_duration)
    ticks = 2 if mode == "field" else 1
    if parity is None:
        return frames, Fields(interlaced=False, ticks=ticks)
    return frames, Fields(interlaced=True, deinterlaced=True, pictures=ticks, ticks=ticks)


def _first_frames(frames: TimedFrames, time_base: Fraction) -> tuple[list[tuple[VideoFrame, int]], bool]:
    """Frames until one is flagged as interlaced, and whether one is; a second of them at most."""
    seen: list[tuple[VideoFrame, int]] = []
    size = 0
    for decoded, pts in frames:
        seen.append((decoded, pts))
        size += sum(plane.buffer_size for plane in decoded.planes)
        if decoded.interlaced_frame:
            return seen, True
        if size > _NOTICED_BYTES or (pts - seen[0][1]) * time_base >= _NOTICED_WITHIN:
            break
    return seen, False


def deinterlaced(
    frames: TimedFrames, mode: Literal["frame", "field"], *, parity: Parity = "auto", usual_duration: int
) -> TimedFrames:
    """Frames that are flagged as interlaced become progressive; all others pass as they are.

    bwdif looks at the frame before and the one behind, so each frame leaves when the next has come. What it cannot
    work on (see `can_deinterlace`) passes as it is.

    Args:
        frames: with ticks that may be of any length.
        mode: `frame` gives one frame for each, at its time. `field` gives two for each that is interlaced, the second
            in the middle of the time for which the frame is shown; all ticks are half as long then.
        parity: `auto` to believe the frames' flags; else all frames are interlaced, whatever they say.
        usual_duration: in ticks of `frames`, for a last frame that does not say how long it lasts.

    Raises:
        MediaError: the filter fails.
    """
    halves = 2 if mode == "field" else 1
    running: _Bwdif | None = None
    before: tuple[VideoFrame, int] | None = None  # the filter looks at it, though it was given away already
    for decoded, pts in frames:
        if running is not None and not running.takes(decoded):
            yield from running.rest()
            running = before = None
        is_interlaced = decoded.interlaced_frame or parity != "auto"
        if running is None and is_interlaced and can_deinterlace(decoded):
            running = _Bwdif(decoded, mode, parity, usual_duration)
            if before is not None and running.takes(before[0]):
                running.show(*before)
        if running is not None:
            yield from running.put(decoded, pts)
        else:
            before = decoded, pts
            yield _lasting(decoded, int(decoded.duration or 0) * halves), pts * halves
    if running is not None:
        yield from running.rest()


def can_deinterlace(decoded: VideoFrame) -> bool:
    """Whether bwdif takes such frames: all 8- to 16-bit planar formats but a few, at least about 5x4 pixels."""
    return _is_filtered(PixelLayout.of(decoded.format.name).pix_fmt, decoded.width, decoded.height)


@dataclass(frozen=True)
class _Moment:
    """When a frame of the input is shown, in its ticks, and what it is."""

    pts: int
    duration: int
    is_interlaced: bool
    is_wanted: bool


class _Bwdif:
    """The filter at work on frames of one size and format.

    The frames' times in the graph are their numbers, so that each picture that comes out says which frame it is of.
    """

    def __init__(self, first: VideoFrame, mode: Literal["frame", "field"], parity: Parity, usual_duration: int) -> None:
        self._layout = PixelLayout.of(first.format.name)
        self._shape = _shape(first)
        self._graph = _graph(self._layout.pix_fmt, first.width, first.height, mode, parity)
        self._parity = parity
        self._by_field = mode == "field"
        self._usual_duration = usual_duration
        self._moments: dict[int, _Moment] = {}
        self._count = 0
        self._last = -1

    def takes(self, decoded: VideoFrame) -> bool:
        """Whether the frame has the size and format that the graph was made for."""
        return _shape(decoded) == self._shape

    def show(self, decoded: VideoFrame, pts: int, *, is_wanted: bool = False) -> None:
        """Let the filter see a frame, whose picture comes later or, if not wanted, not at all."""
        is_interlaced = decoded.interlaced_frame or self._parity != "auto"
        moment = _Moment(pts, int(decoded.duration or 0), is_interlaced, is_wanted)
        if not self._layout.holds(decoded.format.name):
            decoded = decoded.reformat(format=self._layout.pix_fmt, threads=1)
        self._moments[self._count] = moment
        own, decoded.pts = decoded.pts, self._count
        self._graph.vpush(decoded)
        decoded.pts = own
        self._count += 1

    def put(self, decoded: VideoFrame, pts: int) -> TimedFrames:
        """Give the filter its next frame, and take what is ready."""
        self.show(decoded, pts, is_wanted=True)
        yield from self._ready()

    def rest(self) -> TimedFrames:
        """What the filter still holds."""
        self._graph.vpush(None)
        yield from self._ready()

    def _ready(self) -> TimedFrames:
        for made in _pulled(self._graph):
            # Counted in half frames, but for the second field of a lone frame, which repeats the time of the first.
            number = int(made.pts or 0) // 2
            is_second = number == self._last
            self._last = number
            self._moments.pop(number - 1, None)
            if self._moments[number].is_wanted:
                yield self._placed(made, number, is_second)

    def _placed(self, made: VideoFrame, number: int, is_second: bool) -> tuple[VideoFrame, int]:
        """A picture of frame `number` at its time, in ticks of the output."""
        moment = self._moments[number]
        if not self._by_field:
            return _lasting(made, moment.duration), moment.pts
        if made.interlaced_frame or not moment.is_interlaced:  # one picture, not two
            return _lasting(made, 2 * moment.duration), 2 * moment.pts
        shown = self._time_on_screen(number)
        return _lasting(made, shown if moment.duration else 0), 2 * moment.pts + shown * is_second

    def _time_on_screen(self, number: int) -> int:
        """Ticks of the input; where a gap follows, the fields are those of the frame and not of the gap."""
        moment, following = self._moments[number], self._moments.get(number + 1)
        if following is None:
            return moment.duration or self._usual_duration
        until_next = following.pts - moment.pts
        return min(moment.duration or until_next, until_next)


def _shape(decoded: VideoFrame) -> tuple[int, int, str]:
    return decoded.width, decoded.height, decoded.format.name


def _lasting(decoded: VideoFrame, duration: int) -> VideoFrame:
    decoded.duration = duration
    return decoded


def _graph(pix_fmt: str, width: int, height: int, mode: str, parity: Parity = "auto") -> Graph:
    from av.filter import Graph

    graph = Graph()
    graph.link_nodes(
        graph.add("buffer", f"video_size={width}x{height}:pix_fmt={pix_fmt}:time_base=1/1:pixel_aspect=1/1"),
        graph.add("setfield", f"mode={parity}"),
        graph.add("bwdif", f"mode=send_{mode}:parity=auto:deint=interlaced"),
        graph.add("buffersink"),
    ).configure()
    return graph


def _pulled(graph: Graph) -> Iterator[VideoFrame]:
    import av

    while True:
        try:
            yield graph.vpull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        except av.error.FFmpegError as error:
            raise MediaError(f"cannot deinterlace: {reason(error)}") from error


def _is_top_field_first(decoded: VideoFrame) -> bool:
    """What the frame's flags say; PyAV shows this to filters only."""
    from av.filter import Graph

    graph = Graph()
    graph.link_nodes(
        graph.add_buffer(decoded, time_base=Fraction(1)),
        graph.add("select", r"eq(interlace_type\,TOPFIRST)"),
        graph.add("buffersink"),
    ).configure()
    graph.vpush(decoded)
    graph.vpush(None)
    return any(True for _ in _pulled(graph))


@lru_cache(maxsize=16)
def _is_filtered(pix_fmt: str, width: int, height: int) -> bool:
    """Whether bwdif works on such frames as they are: a graph converts what a filter does not take, unasked."""
    import av
    from av.video.frame import VideoFrame

    try:
        graph = _graph(pix_fmt, width, height, "frame")
        graph.vpush(VideoFrame(width, height, pix_fmt))
        graph.vpush(None)
        return all(made.format.name == pix_fmt for made in _pulled(graph))
    except (av.error.FFmpegError, MediaError):  # a side of a few pixels
        return False
