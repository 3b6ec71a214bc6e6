"""`upscale_video`: decode, upscale and encode at the same time."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from esrgan.errors import MediaError
from esrgan.progress import Progress, ProgressMode
from esrgan_video.compare import Comparison
from esrgan_video.container.target import check_paths
from esrgan_video.options import VideoOptions
from esrgan_video.prefetch import Drain, Prefetch
from esrgan_video.protocol import PlanningUpscaler
from esrgan_video.sources import AnyReader, open_source
from esrgan_video.targets import FrameTarget, open_target
from esrgan_video.transform import FrameTransform, UpscaledGroup

_log = logging.getLogger(__name__)

_QUEUED_BATCHES = 2
"""Batches that may wait before the network, and again before the encoder."""


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


@dataclass(frozen=True, kw_only=True)
class VideoProgress:
    """How far a run has come."""

    frames: int
    """Frames that have been through the network."""
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
) -> VideoResult:
    """Upscale a video file: every frame at its exact time, all other streams copied, colour and tags kept.

    The result appears under its name when it is complete; until then, and after a failure, what was there stays.

    Args:
        source: a file that FFmpeg can read. Its first video stream that is not cover art is upscaled.
        target: the file to write, `.mkv`, `.mp4`, `.mov` or `.webm`.
        upscaler: the network at work.
        options: size, encoder, range and what else there is to choose.
        progress: how progress is shown on standard error.
        watch: called after each batch, in the thread of the caller. What it raises ends the run.

    Raises:
        UsageError: a path, an option or a combination that cannot work; nothing was done.
        MediaError: the input cannot be decoded, or the output cannot be written.
        EngineError: the network cannot run.
    """
    source, target = Path(source), Path(target)
    options = options or VideoOptions()
    check_paths(source, target)
    began = time.monotonic()
    with open_source(source, options) as reader:
        info = reader.info
        width, height = options.size.resolve(info.width, info.height, upscaler.scale)
        _warn(reader)
        reused = 0
        with (
            open_target(target, reader, (width, height), options) as output,
            Progress(f"upscale {source.name}", total=reader.expected_frames, unit="frame", mode=progress) as shown,
        ):
            transform = FrameTransform(
                upscaler=upscaler,
                layout=output.layout,
                colour=output.colour,
                width=width,
                height=height,
                batch=options.batch,
                comparison=Comparison.displayed_by(info.display_matrix) if options.compare else None,
                reuse=options.reuse,
                color_fix=options.color_fix,
            )

            def report(frames: int, group: UpscaledGroup) -> None:
                nonlocal reused
                reused += group.reused
                shown.update(len(group.sources), reused=reused)
                if watch is not None:
                    watch(VideoProgress(frames=frames, total=reader.expected_frames, group=group))

            count = _run(reader, output, transform, report)
        if reused:
            _log.info("%s: %d of %d frames show what an earlier one showed", source, reused, count)
        return VideoResult(
            path=target,
            frames=count,
            seconds=time.monotonic() - began,
            width=width,
            height=height,
            damaged_packets=reader.damaged_packets,
            dropped_streams=output.dropped,
            reused_frames=reused,
        )


def _run(
    reader: AnyReader,
    output: FrameTarget,
    transform: FrameTransform,
    report: Callable[[int, UpscaledGroup], None],
) -> int:
    """Decode in one thread, upscale in this one, encode in another; returns the number of frames written."""

    def encode(groups: Iterator[UpscaledGroup]) -> int:
        return output.write(frame for group in groups for frame in group.frames())

    decoded = 0
    ahead = _QUEUED_BATCHES * transform.batch_for(reader.first_frame)
    with Prefetch(reader.frames(), ahead) as frames, Drain(encode, _QUEUED_BATCHES) as sink:
        for group in transform.groups(frames):
            decoded += len(group)
            upscaled = transform(group)
            sink.put(upscaled)
            report(decoded, upscaled)
        written = sink.finish()
    if written != decoded:
        raise MediaError(f"{decoded} frames were decoded but {written} written: this is a bug, please report it")
    return written


def _warn(reader: AnyReader) -> None:
    info = reader.info
    if info.deinterlaced:
        _log.info("%s is interlaced: it is deinterlaced with bwdif", info.path)
    elif info.interlaced:
        _log.warning("%s is interlaced: its fields are upscaled as they are, without deinterlacing", info.path)
    if info.layout.alpha or info.metadata.get("alpha_mode", info.metadata.get("ALPHA_MODE")) == "1":
        _log.warning("%s has transparency, which is left out", info.path)
    if not info.colour.is_exact:
        _log.warning("%s: colour matrix %d is treated as BT.2020's", info.path, info.colour.matrix)
    if not reader.time_range.start and reader.shift:
        _log.warning("%s starts %.3f s before zero: all times are moved to start there", info.path, -reader.shift)
