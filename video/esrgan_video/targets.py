"""Where the upscaled frames go, whatever it is: `open_target` takes the one decision."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from esrgan.errors import UsageError
from esrgan_video.animation.target import open_animation_target
from esrgan_video.animation.writer import WRITERS
from esrgan_video.colour import Colour, PixelLayout
from esrgan_video.container import Frame, VideoEncoder
from esrgan_video.container.target import check_paths, finished_under
from esrgan_video.frame_target import FrameTarget, completed
from esrgan_video.inputs import ANIMATION_SUFFIXES, IMAGE_SUFFIXES, sequence_of
from esrgan_video.options import VideoOptions
from esrgan_video.pipes.names import PIPE
from esrgan_video.pipes.target import open_pipe_target
from esrgan_video.plan import VideoPlan, plan_video
from esrgan_video.protocol import PlanningUpscaler
from esrgan_video.segments import Completion, Segment, SegmentStore, opened_store
from esrgan_video.sequences.pattern import SequencePattern
from esrgan_video.sequences.target import open_sequence_target
from esrgan_video.sources import AnyReader


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
        done, video = completed(self.completion), self._plan.video
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
    with _opener(path)(path, reader, size, options, upscaler) as target:
        yield target


def _opener(path: Path) -> Callable[..., AbstractContextManager[FrameTarget]]:
    if path == PIPE:
        return open_pipe_target
    if sequence_of(path) is not None:
        return open_sequence_target
    return open_animation_target if path.suffix.lower() in WRITERS else _open_video_file


@contextlib.contextmanager
def _open_video_file(
    path: Path, reader: AnyReader, size: tuple[int, int], options: VideoOptions, upscaler: PlanningUpscaler
) -> Iterator[FrameTarget]:
    plan = plan_video(path, reader, size, options, upscaler)
    with opened_store(path, plan.job, restart=options.restart, make=SegmentStore) as store:
        yield VideoFile(plan, store)


def check_ends(source: Path, target: Path) -> None:
    """Refuse, before anything is opened, paths that cannot work.

    Raises:
        UsageError: a target that is a folder or the source itself, or whose folder is missing, or a terminal.
    """
    if target == PIPE:
        if sys.stdout.isatty():
            raise UsageError("- writes raw video to standard output, which is a terminal: pipe it into a program")
        return
    inputs, outputs = sequence_of(source), sequence_of(target)
    if outputs is None:
        check_paths(source, target)
        _check_single(source, inputs, target)
    elif inputs is not None and _same_files(inputs, outputs):
        raise UsageError(f"the output {target} is the input: write to another folder or name")


def _check_single(source: Path, inputs: SequencePattern | None, target: Path) -> None:
    """Refuse one file that is among the files of the input, or is an image that can hold one frame only."""
    files = [] if inputs is None or not target.exists() else map(inputs.file, inputs.numbers())
    if any(target.samefile(file) for file in files):
        raise UsageError(f"the output {target} is one of the files {source}: write to another file")
    if target.suffix.lower() in IMAGE_SUFFIXES - ANIMATION_SUFFIXES:
        numbered = target.with_name(f"{target.stem}_%05d{target.suffix}")
        raise UsageError(f"{target} cannot hold the frames of {source}: number the files, as in {numbered}")


def _same_files(one: SequencePattern, other: SequencePattern) -> bool:
    same_names = (one.before, one.after) == (other.before, other.after)
    return same_names and one.folder.resolve() == other.folder.resolve()
