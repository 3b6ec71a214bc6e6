"""`dry_run`: what `upscale_video` would do, and what that would take, found out without writing anything."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path

import torch

from esrgan.errors import UsageError
from esrgan.system_memory import available_bytes
from esrgan_video.animation.writer import WRITERS
from esrgan_video.container import TimeRange, VideoEncoder, VideoReader
from esrgan_video.container.encoder_memory import encoder_bytes
from esrgan_video.container.output_path import real_place
from esrgan_video.engine.memory import peak_memory
from esrgan_video.faces.restorer import FaceRestorer
from esrgan_video.inputs import sequence_of
from esrgan_video.options import VideoOptions
from esrgan_video.pipeline import frame_transform
from esrgan_video.pipes.names import PIPE
from esrgan_video.plan import VideoPlan, plan_video
from esrgan_video.protocol import PlanningUpscaler
from esrgan_video.segments import unfinished_job
from esrgan_video.sources import AnyReader, open_source
from esrgan_video.targets import check_ends
from esrgan_video.transform import FrameTransform
from esrgan_video.working_set import left_free

_GROUPS = 3
"""Batches that are tried: the first is slow, since everything is new."""
_ENOUGH_SECONDS = 20.0
"""Time after which no further batch is tried."""
_COPIES = 2
"""The video lies on the disk twice while the segments are joined."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What would be done, and what it would take."""

    plan: VideoPlan
    """Input, output and all that is settled."""
    frames: int | None
    """Frames that there will be, as far as the header tells."""
    finished_frames: int
    """Frames that an earlier run has left done."""
    changes: tuple[str, ...]
    """Why what an earlier run has left cannot be continued."""
    frames_per_second: float
    """Speed of the slowest stage, network or encoder, where no frame shows what another one showed."""
    tried_frames: int
    """Frames that this was measured with."""
    memory: int
    """Bytes that a run is expected to take at most."""
    memory_free: int
    """Bytes that were free before it."""
    device_memory: int | None
    """Bytes that the network took at most on a device with memory of its own."""
    bytes_per_frame: float
    """Of the encoded video."""
    other_bytes: int
    """Bytes that the streams beside the video have at most."""
    disk_free: int
    """Bytes that are free where the output goes."""

    @property
    def frames_left(self) -> int | None:
        """Frames that are not done."""
        return None if self.frames is None else max(0, self.frames - self.finished_frames)

    @property
    def segments(self) -> int | None:
        """Segments that there will be."""
        return None if self.frames is None else -(-self.frames // self.plan.job.segment_frames)

    @property
    def seconds(self) -> float | None:
        """Time that is left to compute."""
        return None if self.frames_left is None else self.frames_left / self.frames_per_second

    @property
    def disk_needed(self) -> int | None:
        """Bytes that are on the disk at most."""
        return None if self.frames is None else round(self.frames * self.bytes_per_frame) * _COPIES + self.other_bytes


def dry_run(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    upscaler: PlanningUpscaler,
    options: VideoOptions | None = None,
    makes_folder: bool = False,
    faces: FaceRestorer | None = None,
) -> Forecast:
    """Find out what `upscale_video` with these arguments would do, by computing a few frames.

    Args:
        source: as `upscale_video`.
        target: a video file.
        upscaler: the network at work.
        options: as `upscale_video`.
        makes_folder: whether the folder of `target` will be made before, where it is missing.
        faces: as `upscale_video`.

    Raises:
        UsageError: a path, an option or a combination that cannot work, or an output that is no video file.
        MediaError: the input cannot be decoded.
        EngineError: the network cannot run.
    """
    source, target = Path(source), Path(target)
    options = options or VideoOptions()
    if PIPE in (source, target):
        raise UsageError("--dry-run needs files: a pipe can be read only once")
    if sequence_of(target) is not None or target.suffix.lower() in WRITERS:
        raise UsageError(f"--dry-run is for video files as output, got {target}")
    place = real_place(target).parent
    folder = _existing(place)
    if folder == place or not makes_folder:
        check_ends(source, target)
    with open_source(source, options) as reader:
        if options.faces is not None and faces is None:
            faces = FaceRestorer(options.faces, upscaler.device)
        size = options.size.resolve(reader.info.width, reader.info.height, upscaler.scale)
        plan = plan_video(target, reader, size, options, upscaler)
        plan = plan.settled(plan.job)
        with plan.muxer(Path(os.devnull)):
            pass  # the header shows what the container cannot hold
        every = replace(options, reuse=False)  # few frames do not tell how many of all will be reused
        transform = frame_transform(
            reader, size, plan.video.plan.layout, plan.video.plan.colour, every, upscaler, faces
        )
        encoder = encoder_bytes(plan.video)
        memory_free = available_bytes()
        batch = transform.batch_for(reader.first_frame)
        free = left_free(upscaler, writer=encoder, layout=transform.layout, size=size, batch=batch, name=source.name)
        with free, _in_the_middle(reader, options, _GROUPS * batch) as tried:
            trial = _try(transform, tried.frames(), plan)
        earlier = None if options.restart else unfinished_job(target)
        has_others = any(stream.action in ("copy", "convert", "attach") for stream in plan.streams.streams)
        return Forecast(
            plan=plan,
            frames=reader.expected_frames,
            finished_frames=0 if earlier is None else earlier.frames,
            changes=() if earlier is None else tuple(earlier.changes(plan.job)),
            frames_per_second=trial.frames / trial.seconds,
            tried_frames=trial.frames,
            memory=trial.memory + encoder,
            memory_free=memory_free,
            device_memory=_peak_device_memory(upscaler.device),
            bytes_per_frame=trial.size / trial.encoded,
            other_bytes=source.stat().st_size if has_others else 0,
            disk_free=shutil.disk_usage(folder).free,
        )


@dataclass(frozen=True)
class _Trial:
    frames: int
    """Frames that were timed."""
    seconds: float
    """Time of the slowest stage for them."""
    encoded: int
    """Frames that were encoded."""
    size: int
    """Bytes that this gave."""
    memory: int
    """Bytes that the process took at most, with all these frames in it, before any was encoded."""


def _in_the_middle(reader: AnyReader, options: VideoOptions, count: int) -> AnyReader:
    """What reads `count` frames from the middle of a video, for it may begin with black or a title; else `reader`.

    Only video files can be sought in: a script, for one, would have to make all the frames before.
    """
    number = min((reader.expected_frames or 0) // 2, (reader.expected_frames or 0) - count)
    rate, whole = reader.info.rate, options.time_range
    if isinstance(reader, VideoReader) and rate and number > 0:
        # Where times are uneven, there may be no frame after this moment.
        with suppress(UsageError):
            part = TimeRange(start=(whole.start or 0) + (number - Fraction(1, 2)) / rate, end=whole.end)
            return open_source(reader.path, replace(options, time_range=part))
    return reader


def _try(transform: FrameTransform, frames: Iterable[object], plan: VideoPlan) -> _Trial:
    """Compute and encode a few frames, as a run does."""
    groups = transform.groups(iter(frames))  # type: ignore[arg-type]
    done, times, began = [], [], time.monotonic()
    for group in islice(groups, _GROUPS):
        start = time.monotonic()
        done.append(list(transform(group).frames()))
        times.append(time.monotonic() - start)
        if time.monotonic() - began > _ENOUGH_SECONDS:
            break
    memory = peak_memory()
    start = time.monotonic()
    sizes = [packet.size for packet in VideoEncoder(plan.video).packets(frame for group in done for frame in group)]
    encoding = (time.monotonic() - start) / len(sizes)
    timed = slice(1, None) if len(times) > 1 else slice(None)
    count = sum(map(len, done[timed]))
    return _Trial(count, max(sum(times[timed]), encoding * count, 1e-6), len(sizes), sum(sizes), memory)


def _peak_device_memory(device: torch.device) -> int | None:
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


def _existing(folder: Path) -> Path:
    """`folder`, or the nearest one above it that exists."""
    return next((parent for parent in (folder, *folder.absolute().parents) if parent.is_dir()), folder)
