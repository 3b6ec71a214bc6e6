"""`ScriptReader`: the output of a VapourSynth script, read as `VideoReader` reads a file."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from esrgan.errors import MediaError
from esrgan_video.closing import Closing
from esrgan_video.container.copier import PacketCopier
from esrgan_video.container.fields import BOTTOM_FIELD_FIRST, PROGRESSIVE, TOP_FIELD_FIRST
from esrgan_video.container.formats import ContainerFormat
from esrgan_video.container.frame import Frame
from esrgan_video.container.info import VideoInfo
from esrgan_video.container.plan import StreamDecision, StreamPlan
from esrgan_video.container.script_props import colour, light_level, mastering_display, positive_ratio, time_base
from esrgan_video.container.script_source import in_layout, last_line, run_script
from esrgan_video.container.timing import Ticks, TimeRange

if TYPE_CHECKING:
    import vapoursynth as vs
    from av.container.core import Chapter
    from av.packet import Packet

SCRIPT_SUFFIXES = frozenset({".vpy"})
"""Suffixes of VapourSynth scripts."""
SCRIPT_CODEC = "vapoursynth"
"""What `VideoInfo.codec` says of a script."""

_FIELD_ORDERS = {1: BOTTOM_FIELD_FIRST, 2: TOP_FIELD_FIRST}
"""FFmpeg's AVFieldOrder for VapourSynth's `_FieldBased`."""
_HIGHEST_PLAUSIBLE_RATE = 250
"""Frames per second; source filters say more (1000 is common) where the rate is variable."""


def is_script(path: Path) -> bool:
    """Whether the suffix is that of a VapourSynth script."""
    return path.suffix.lower() in SCRIPT_SUFFIXES


class ScriptReader(Closing):
    """Runs a VapourSynth script in this process and reads its output 0.

    A script is a program: run only those that you trust. It runs in its own folder, as `vspipe` does it.

    Duration and colour of each frame come from its properties; a frame without duration lasts as long as the one
    before it. The clip's frame rate is a hint only: source filters give one for variable rates too. The first frame is
    at zero. Formats that FFmpeg lacks, such as float, become the nearest integer format.

    Args:
        path: the script.
        time_range: the part to read; with a start, the first frame of it is at zero. Frames before the start are
            made and dropped: only they know how long they last.

    Raises:
        MissingExtraError: VapourSynth is not installed.
        UsageError: no such file, or a range in which there is no frame.
        MediaError: the script fails, has no video as output 0, or its frames cannot be used.
    """

    damaged_packets = 0
    """Always 0: a frame that cannot be made is an error."""

    def __init__(self, path: Path, time_range: TimeRange | None = None) -> None:
        self.path = path
        self.time_range = time_range or TimeRange()
        """The part that is read."""
        clip = run_script(path)
        self._rate = Fraction(clip.fps) or None
        self._layout, clip = in_layout(clip, path)
        if self.time_range.frames is not None and not self.time_range.start:
            clip = clip[: self.time_range.frames]  # else frames behind the range would be fetched ahead
        self._count = int(clip.num_frames)
        self._selected = self.time_range.select(self._timed(clip), lambda timed: timed[1])
        try:
            first = next(self._selected, None)
            if first is None:
                raise self.time_range.nothing_in(path)
            frame, begin, duration = first
            self.shift = begin if self.time_range.start else Fraction(0)
            """Seconds that are taken off all times."""
            self._time_base = time_base(duration)
            self._ticks = Ticks(self._time_base, self.shift)
            self.first_frame: Frame = self._frame(*first)
            self.info: VideoInfo = self._describe(frame.props, duration)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the script's clip and of frames that were fetched ahead."""
        self._selected.close()

    @property
    def expected_frames(self) -> int:
        """How many frames there will be, as far as the clip's frame rate tells."""
        rate = self.info.rate
        return self.time_range.expected_frames(self._count, length=self._count / rate, rate=rate)

    def frames(self) -> Iterator[Frame]:
        """All frames, once.

        Raises:
            MediaError: the script's graph cannot make a frame.
        """
        yield self.first_frame
        for selected in self._selected:
            yield self._frame(*selected)

    def _timed(self, clip: vs.VideoNode) -> Generator[tuple[vs.VideoFrame, Fraction, Fraction]]:
        """Frames with their time on the script's clock and their duration, in seconds."""
        time, duration = Fraction(0), None
        for frame in self._requested(clip):
            duration = self._duration(frame.props, duration)
            yield frame, time, duration
            time += duration

    def _duration(self, props: Mapping[str, Any], previous: Fraction | None) -> Fraction:
        """Seconds on screen."""
        own = positive_ratio(props.get("_DurationNum"), props.get("_DurationDen")) or previous
        if own is None and self._rate is None:
            raise MediaError(
                f"{self.path}: a frame has no duration and the clip no frame rate: set one with std.AssumeFPS, or the "
                "properties _DurationNum and _DurationDen"
            )
        return own or Fraction(1, self._rate or 1)

    def _requested(self, clip: vs.VideoNode) -> Generator[vs.VideoFrame]:
        import vapoursynth as vs

        requests = clip.frames()
        try:
            yield from requests
        except vs.Error as error:
            raise MediaError(f"{self.path}: {last_line(error)}") from error
        finally:
            requests.close()

    def _frame(self, frame: vs.VideoFrame, time: Fraction, duration: Fraction) -> Frame:
        pts, ticks = self._ticks.place(time, duration)
        order = (1, 2, 0) if self._layout.model == "rgb" else range(self._layout.colour_planes)
        return Frame(
            planes=tuple(np.asarray(frame[index]) for index in order),
            layout=self._layout,
            colour=colour(frame, self._layout),
            pts=pts,
            time_base=self._time_base,
            duration=ticks,
        )

    def _describe(self, props: Mapping[str, Any], duration: Fraction) -> VideoInfo:
        frame = self.first_frame
        aspect = positive_ratio(props.get("_SARNum"), props.get("_SARDen"))
        return VideoInfo(
            path=self.path,
            stream_index=0,
            codec=SCRIPT_CODEC,
            width=frame.width,
            height=frame.height,
            layout=frame.layout,
            colour=frame.colour,
            time_base=self._time_base,
            rate=self._rate if self._rate and self._rate <= _HIGHEST_PLAUSIBLE_RATE else 1 / duration,
            sample_aspect_ratio=aspect,
            display_matrix=None,
            mastering_display=mastering_display(props),
            light_level=light_level(props),
            interlaced=int(props.get("_FieldBased", 0)) > 0,
            deinterlaced=False,
            field_order=_FIELD_ORDERS.get(int(props.get("_FieldBased", 0)), PROGRESSIVE),
            start_time=Fraction(0),
            frames_from_header=self._count,
            metadata={},
            only_video=True,
        )


def only_stream(container: ContainerFormat, codec: str) -> StreamPlan:
    """The plan for a source that has nothing but its video: see `VideoInfo.only_video`."""
    decision = StreamDecision(index=0, kind="video", codec=codec, language=None, action="upscale")
    return StreamPlan(container=container, streams=(decision,))


class NothingToCopy(PacketCopier):
    """Stands where `PacketCopier` does for a file: here are no other streams, tags or chapters."""

    def __init__(self) -> None:  # no file to open
        pass

    def close(self) -> None:
        """Nothing is open."""

    @property
    def tags(self) -> dict[str, str]:
        """None."""
        return {}

    @property
    def chapters(self) -> list[Chapter]:
        """None."""
        return []

    def source(self, index: int) -> Any:  # noqa: ARG002 - there is one stream
        """What the writer asks of the stream that is upscaled."""
        from av.stream import Disposition

        return SimpleNamespace(type="video", disposition=Disposition.default)

    def until(self, time: Fraction | None) -> Iterator[Packet[Any]]:  # noqa: ARG002 - as the base
        """None."""
        return iter(())

    def report(self) -> None:
        """Nothing was repaired."""
