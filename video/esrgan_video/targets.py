"""Where the upscaled frames go, whatever it is: `open_target` takes the one decision."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from esrgan.errors import MediaError
from esrgan_video.colour import Colour, PixelLayout
from esrgan_video.container import Frame, VideoEncoder
from esrgan_video.container.target import finished_under
from esrgan_video.options import VideoOptions
from esrgan_video.plan import VideoPlan, plan_video
from esrgan_video.protocol import PlanningUpscaler
from esrgan_video.segments import Completion, Segment, SegmentStore, opened_store
from esrgan_video.sources import AnyReader


class FrameTarget(Protocol):
    """An output that is open. It takes frames in parts; a part that is written may outlive the run."""

    @property
    def layout(self) -> PixelLayout:
        """Planes that frames must have."""
        ...

    @property
    def colour(self) -> Colour:
        """What their values must mean."""
        ...

    @property
    def dropped(self) -> tuple[str, ...]:
        """Streams of the input that the output lacks."""
        ...

    @property
    def part_frames(self) -> int | None:
        """Frames of each part but the last; `None`: all frames are one part."""
        ...

    @property
    def finished(self) -> Mapping[int, Segment]:
        """Parts that an earlier run has written, by their place."""
        ...

    @property
    def completion(self) -> Completion | None:
        """Set when no part is missing."""
        ...

    def write(self, index: int, frames: Iterable[Frame]) -> None:
        """Write part `index`."""
        ...

    def complete(self, frames: int, damaged_packets: int) -> None:
        """Say that all parts are written, and have `frames` frames."""
        ...

    def finish(self) -> Completion:
        """Give the output its name, when all parts are written."""
        ...


@dataclass(kw_only=True)
class WholeTarget:
    """An output that is written in one go: nothing outlives the run."""

    layout: PixelLayout
    """Planes that frames must have."""
    colour: Colour
    """What their values must mean."""
    write_all: Callable[[Iterable[Frame]], int]
    """Takes all frames, finishes the output and returns how many it wrote; called once."""
    dropped: tuple[str, ...] = ()
    """Streams of the input that the output lacks."""
    part_frames: None = None
    """All frames are one part."""
    finished: Mapping[int, Segment] = field(default_factory=dict)
    """None."""
    completion: Completion | None = None
    """Set when all is written."""
    _written: int = 0

    def write(self, _index: int, frames: Iterable[Frame]) -> None:
        """Write all frames."""
        self._written = self.write_all(frames)

    def complete(self, frames: int, damaged_packets: int) -> None:
        """Say that there were `frames` frames.

        Raises:
            MediaError: another number of them was written.
        """
        if self._written != frames:
            raise MediaError(
                f"{frames} frames were decoded but {self._written} written: this is a bug, please report it"
            )
        self.completion = Completion(frames=frames, damaged_packets=damaged_packets)

    def finish(self) -> Completion:
        """Nothing is left to do."""
        return _completed(self.completion)


class VideoFile:
    """A video file, whose parts are segments in a store until all are joined.

    Opening tries out the encoder and the file's header, so that what cannot work fails before the first frame.
    """

    def __init__(self, plan: VideoPlan, store: SegmentStore) -> None:
        self._plan = plan.with_threads(store.job.threads)
        self._store = store
        with self._plan.muxer(store.scratch):
            pass

    @property
    def layout(self) -> PixelLayout:
        """Planes that frames must have."""
        return self._plan.video.plan.layout

    @property
    def colour(self) -> Colour:
        """What their values must mean."""
        return self._plan.video.plan.colour

    @property
    def dropped(self) -> tuple[str, ...]:
        """Streams of the input that the output lacks."""
        return tuple(str(stream) for stream in self._plan.streams.dropped)

    @property
    def part_frames(self) -> int:
        """Frames of each segment but the last."""
        return self._store.job.segment_frames

    @property
    def finished(self) -> Mapping[int, Segment]:
        """Segments that are in the store."""
        return self._store.segments

    @property
    def completion(self) -> Completion | None:
        """Set when no segment is missing."""
        return self._store.completion

    def write(self, index: int, frames: Iterable[Frame]) -> None:
        """Encode a segment and store it.

        Raises:
            MediaError: the encoder fails, or the disk is full.
        """
        encoder = VideoEncoder(self._plan.video)
        self._store.add(index, encoder.extradata, encoder.packets(frames))

    def complete(self, frames: int, damaged_packets: int) -> None:
        """Say that no segment is missing, and that all together have `frames` frames."""
        self._store.complete(frames, damaged_packets)

    def finish(self) -> Completion:
        """Join the segments in the file and, when it has its name, remove them.

        Raises:
            MediaError: the disk is full, or a segment is damaged.
        """
        done, video = _completed(self.completion), self._plan.video
        end = self._store.end * video.time_base
        with finished_under(self._plan.target) as unfinished, self._plan.muxer(unfinished, end) as muxer:
            muxer.write(
                self._store.packets(extradata=muxer.extradata, step=video.usual_duration, time_base=video.time_base)
            )
        self._store.discard()
        return done


@contextlib.contextmanager
def open_target(
    path: Path, reader: AnyReader, size: tuple[int, int], options: VideoOptions, upscaler: PlanningUpscaler
) -> Iterator[FrameTarget]:
    """Open the output. What was under its name stays until `finish` has ended well.

    Args:
        path: where to.
        reader: what the frames come from.
        size: their width and height.
        options: how they are to be written.
        upscaler: what makes them; results of another one are not continued.

    Raises:
        UsageError: an option or a combination that cannot work, a size or stream that the output cannot hold, another
            run at work on the output, or an unfinished one of another input or other settings.
        MediaError: it cannot be written.
    """
    plan = plan_video(path, reader, size, options, upscaler)
    with opened_store(path, plan.job, restart=options.restart) as store:
        yield VideoFile(plan, store)


def _completed(completion: Completion | None) -> Completion:
    if completion is None:
        raise ValueError("parts are missing")
    return completion
