"""`upscale_video`: decode, upscale and encode at the same time, in parts that survive a crash."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from types import TracebackType
from typing import Self

from esrgan.errors import MediaError
from esrgan.progress import Progress, ProgressMode
from esrgan_video.colour import Colour, PixelLayout
from esrgan_video.compare import Comparison
from esrgan_video.container import Frame
from esrgan_video.container.script import is_script
from esrgan_video.engine import Upscaler
from esrgan_video.engine.remembering import RememberingUpscaler, TileMemory
from esrgan_video.faces.restorer import FaceRestorer
from esrgan_video.faces.video import VideoFaces
from esrgan_video.frame_target import FrameTarget
from esrgan_video.options import VideoOptions
from esrgan_video.pipes.ends import giving_up_pipes
from esrgan_video.prefetch import Drain, Prefetch
from esrgan_video.protocol import PlanningUpscaler
from esrgan_video.segments import Segment, cut
from esrgan_video.sources import AnyReader, open_source
from esrgan_video.targets import check_ends, open_target
from esrgan_video.transform import FrameTransform, UpscaledGroup
from esrgan_video.working_set import QUEUED_BATCHES, left_free

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class VideoResult:
    """What was done."""

    path: Path
    """The file that was written."""
    frames: int
    """Frames in it: as many as the decoder gave."""
    seconds: float
    """Time that it took, from the first frame's decoding to the finished file."""
    width: int
    """Columns of the output."""
    height: int
    """Rows of the output."""
    damaged_packets: int
    """Packets of the input's video that could not be decoded."""
    dropped_streams: tuple[str, ...]
    """Streams of the input that the output lacks."""
    reused_frames: int = 0
    """Frames that were not computed, because they show what an earlier one showed."""
    reused_tiles: int = 0
    """Tiles of the other frames that were not computed, because they did not change since the frame before."""
    resumed_frames: int = 0
    """Frames that an earlier, interrupted run had done."""


@dataclass(frozen=True, kw_only=True)
class VideoProgress:
    """How far a run has come."""

    frames: int
    """Frames that are done, those of an earlier run that is continued included."""
    total: int | None
    """Frames that there will be, as far as the header tells."""
    group: UpscaledGroup
    """The last of them, as they were and as they are."""


def upscale_video(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    upscaler: PlanningUpscaler,
    options: VideoOptions | None = None,
    progress: ProgressMode = "auto",
    watch: Callable[[VideoProgress], None] | None = None,
    faces: FaceRestorer | None = None,
) -> VideoResult:
    """Upscale a video file: every frame at its exact time, all other streams copied, colour and tags kept.

    The result appears under its name when it is complete; until then, and after a failure, what was there stays.
    Video files are made in segments that are kept in a hidden folder beside the output, until it is complete: after an
    interruption of any kind, the same call goes on from the last whole segment and gives the same result.

    Args:
        source: a file that FFmpeg can read, of which the first video stream that is not cover art is upscaled; a
            VapourSynth script, numbered image files (`in/%05d.png`), an animated GIF, PNG or WebP, or `-`, a y4m or
            NUT pipe.
        target: the file to write, `.mkv`, `.mp4`, `.mov` or `.webm`; numbered image files (`out/%05d.png`), an
            animation (`.gif`, `.apng`, `.png`, `.webp`), or `-`. What these cannot hold is reported and left out.
        upscaler: the network at work.
        options: size, encoder, range and what else there is to choose.
        progress: how progress is shown on standard error.
        watch: called after each batch, in the thread of the caller. What it raises ends the run.
        faces: what restores faces, if it is loaded already; `options.faces` must be its options.

    Raises:
        UsageError: a path, an option or a combination that cannot work, another run at work on the same output, or an
            unfinished one of another input or other settings; nothing was done.
        MediaError: the input cannot be decoded, or the output cannot be written.
        EngineError: the network cannot run.
    """
    source, target = Path(source), Path(target)
    options = options or VideoOptions()
    check_ends(source, target)
    began = time.monotonic()
    with open_source(source, options) as reader:
        info = reader.info
        width, height = options.size.resolve(info.width, info.height, upscaler.scale)
        _warn(reader)
        if options.faces is not None and faces is None:
            faces = FaceRestorer(options.faces, upscaler.device, progress=progress)
        with open_target(target, reader, (width, height), options, upscaler) as output:
            remembering = RememberingUpscaler(upscaler) if options.reuse and isinstance(upscaler, Upscaler) else None
            tiles = TileMemory() if remembering is None else remembering.memory
            transform = frame_transform(
                reader, (width, height), output.layout, output.colour, options, remembering or upscaler, faces
            )
            resumed = output.kept_frames + sum(part.frames for part in output.finished.values())
            free = left_free(
                upscaler,
                writer=output.held_bytes,
                layout=output.layout,
                size=(width, height),
                batch=transform.batch_for(reader.first_frame),
                name=source.name,
            )
            with free, _Reporter(reader, resumed, tiles, progress, watch) as reporter:
                if output.completion is None:
                    _make(reader, transform, output, reporter)
                done = output.finish()
        return VideoResult(
            path=target,
            frames=done.frames,
            seconds=time.monotonic() - began,
            width=width,
            height=height,
            damaged_packets=done.damaged_packets,
            dropped_streams=output.dropped,
            reused_frames=reporter.reused,
            reused_tiles=tiles.reused,
            resumed_frames=resumed,
        )


def frame_transform(
    reader: AnyReader,
    size: tuple[int, int],
    layout: PixelLayout,
    colour: Colour,
    options: VideoOptions,
    upscaler: PlanningUpscaler,
    faces: FaceRestorer | None = None,
) -> FrameTransform:
    """What happens to the frames of `reader` on their way to frames of `size`, `layout` and `colour`."""
    return FrameTransform(
        upscaler=upscaler,
        layout=layout,
        colour=colour,
        width=size[0],
        height=size[1],
        batch=options.batch,
        comparison=Comparison.displayed_by(reader.info.display_matrix) if options.compare else None,
        reuse=options.reuse,
        color_fix=options.color_fix,
        faces=None if faces is None else VideoFaces(faces),
    )


def _make(reader: AnyReader, transform: FrameTransform, output: FrameTarget, reporter: _Reporter) -> None:
    """Decode in one thread, upscale in this one, encode in another, until no part of the output is missing.

    Frames of parts that are there already are decoded too: only the whole row of them tells the times of the rest.
    """

    def encode(groups: Iterator[tuple[int, UpscaledGroup | _KeptFrame]]) -> None:
        for index, members in groupby(groups, key=itemgetter(0)):
            output.write(index, (frame for _, group in members for frame in group.frames()))

    decoded = 0
    ahead = QUEUED_BATCHES * transform.batch_for(reader.first_frame)
    with Prefetch(reader.frames(), ahead) as frames, Drain(encode, QUEUED_BATCHES) as sink, giving_up_pipes():
        for index, part in enumerate(cut(frames, output.part_frames)):
            if index in output.finished:
                decoded += _pass_over(part, output.finished[index], transform)
                continue
            for frame in output.kept(index, _passed_over(part, transform)):
                decoded += 1
                sink.put((index, _KeptFrame(frame)))
            for group in transform.groups(part):
                decoded += len(group)
                upscaled = transform(group)
                sink.put((index, upscaled))
                reporter(upscaled)
        sink.finish()
    output.complete(decoded, reader.damaged_packets)


@dataclass(frozen=True)
class _KeptFrame:
    """A frame that an earlier run computed, on its way to the encoder."""

    frame: Frame

    def frames(self) -> Iterator[Frame]:
        yield self.frame


def _passed_over(frames: Iterator[Frame], transform: FrameTransform) -> Iterator[Frame]:
    for frame in frames:
        transform.pass_over(frame)
        yield frame


def _pass_over(frames: Iterator[Frame], segment: Segment, transform: FrameTransform) -> int:
    """Use up the frames of a finished segment; returns their number.

    Raises:
        MediaError: they are not those that the segment was made of.
    """
    times = [frame.pts for frame in _passed_over(frames, transform)]
    if (len(times), times[0], times[-1]) != (segment.frames, segment.first, segment.last):
        raise MediaError(
            f"frames {segment.frames}, {segment.first} to {segment.last}, of an earlier run are now {len(times)}, "
            f"{times[0]} to {times[-1]}: the input does not give the same frames twice; begin anew with --restart"
        )
    return len(times)


def _warn(reader: AnyReader) -> None:
    info = reader.info
    if info.deinterlaced:
        _log.info("%s is interlaced: it is deinterlaced with bwdif", info.path)
    elif info.interlaced:
        _log.warning("%s is interlaced: its fields are upscaled as they are, without deinterlacing", info.path)
    if not info.colour.is_exact:
        _log.warning("%s: colour matrix %d is treated as BT.2020's", info.path, info.colour.matrix)
    if not reader.time_range.start and reader.shift:
        _log.warning("%s starts %.3f s before zero: all times are moved to start there", info.path, -reader.shift)


class _Reporter:
    """Shows progress and calls the caller's `watch`."""

    def __init__(
        self,
        reader: AnyReader,
        resumed: int,
        tiles: TileMemory,
        mode: ProgressMode,
        watch: Callable[[VideoProgress], None] | None,
    ) -> None:
        self._source = reader.path
        self._total = reader.expected_frames
        self._frames = resumed
        self._resumed = resumed
        self._watch = watch
        self._tiles = tiles
        self._shown = Progress(
            f"upscale {reader.path.name}", total=self._total, unit="frame", mode=mode, initial=resumed
        )
        self.reused = 0
        """Frames that showed what an earlier one showed."""

    def __enter__(self) -> Self:
        self._shown.__enter__()
        if self._resumed:
            _log.info("%s: %d frames were done before, going on with the rest", self._source, self._resumed)
            if is_script(self._source):
                _log.warning(
                    "%s: going on, for its text is the same: if what it reads has changed, begin anew with --restart",
                    self._source,
                )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._shown.__exit__(kind, error, trace)
        if kind is None and self.reused:
            _log.info("%s: %d of %d frames show what an earlier one showed", self._source, self.reused, self._frames)
        if kind is None and self._tiles.reused:
            _log.info(
                "%s: %d of %d tiles did not change since the frame before",
                self._source,
                self._tiles.reused,
                self._tiles.tiles,
            )

    def __call__(self, group: UpscaledGroup) -> None:
        """Tell of a group that went through the network."""
        self._frames += len(group.sources)
        self.reused += group.reused
        self._shown.update(len(group.sources), reused=self.reused, reused_tiles=self._tiles.reused)
        if self._watch is not None:
            self._watch(VideoProgress(frames=self._frames, total=self._total, group=group))
