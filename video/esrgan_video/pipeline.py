"""`upscale_video`: decode, upscale and encode at the same time."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from esrgan.errors import MediaError, UsageError
from esrgan.progress import Progress, ProgressMode
from esrgan_video.colour import Colour, PixelLayout, from_rgb, to_rgb
from esrgan_video.container import (
    EncoderOptions,
    EncoderPlan,
    Frame,
    TimeRange,
    VideoWriter,
    format_of,
    plan_encoder,
    plan_streams,
)
from esrgan_video.container.script import AnyReader, is_script, open_video, script_streams
from esrgan_video.container.target import check_paths, finished_under
from esrgan_video.prefetch import Drain, Prefetch
from esrgan_video.protocol import BatchUpscaler
from esrgan_video.size import OutputSize, resize

_log = logging.getLogger(__name__)

_QUEUED_BATCHES = 2
"""Batches that may wait before the network, and again before the encoder."""


class PassPlan(Protocol):
    """How an upscaler means to go through frames of one size."""

    @property
    def batch(self) -> int:
        """Frames in a pass or, where frames are cut into tiles, tiles in a pass."""
        ...

    @property
    def tile(self) -> int | None:
        """Side of a tile; `None` where frames stay whole."""
        ...


class PlanningUpscaler(BatchUpscaler, Protocol):
    """An upscaler that knows how many frames it likes at once; `esrgan_video.engine.Upscaler` is one."""

    def plan(self, height: int, width: int) -> PassPlan:
        """The plan for frames of `height` x `width`."""
        ...


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


def upscale_video(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    upscaler: PlanningUpscaler,
    size: OutputSize | None = None,
    encoder: EncoderOptions | None = None,
    batch: int | None = None,
    start: float | Fraction | None = None,
    end: float | Fraction | None = None,
    frames: int | None = None,
    progress: ProgressMode = "auto",
    drop_unsupported: bool = False,
) -> VideoResult:
    """Upscale a video file: every frame at its exact time, all other streams copied, colour and tags kept.

    The result appears under its name when it is complete; until then, and after a failure, what was there stays.

    Args:
        source: a file that FFmpeg can read. Its first video stream that is not cover art is upscaled.
        target: the file to write, `.mkv`, `.mp4`, `.mov` or `.webm`.
        upscaler: the network at work.
        size: of the output; by default the input's times the network's scale.
        encoder: codec, quality and pixel format; by default visually lossless at the input's depth.
        batch: frames that are handed to the upscaler at once; by default what it plans.
        start: first moment to keep, in seconds of the input. The output then begins at zero, with the first frame
            shown at `start` or later; sound and subtitles begin with the first packet after that frame's time.
        end: first moment to leave out, in seconds of the input.
        frames: number of frames to keep at most.
        progress: how progress is shown on standard error.
        drop_unsupported: leave out streams that the container cannot hold instead of refusing.

    Raises:
        UsageError: a path, an option or a combination that cannot work; nothing was done.
        MediaError: the input cannot be decoded, or the output cannot be written.
        EngineError: the network cannot run.
    """
    source, target = Path(source), Path(target)
    container = format_of(target)
    check_paths(source, target)
    if batch is not None and batch < 1:
        raise UsageError(f"--batch must be at least 1, got {batch}")
    time_range = TimeRange(start=_exact(start), end=_exact(end), frames=frames)
    began = time.monotonic()
    with open_video(source, time_range) as reader:
        info = reader.info
        width, height = (size or OutputSize()).resolve(info.width, info.height, upscaler.scale)
        encoder_plan = plan_encoder(encoder or EncoderOptions(), container, info)
        streams = (
            script_streams(container)
            if is_script(source)
            else plan_streams(source, info.stream_index, container, drop_unsupported=drop_unsupported)
        )
        _warn(reader, encoder_plan, milliseconds=container.milliseconds)
        job = _Job(upscaler, encoder_plan, width, height, batch)
        with (
            finished_under(target) as unfinished,
            VideoWriter(
                unfinished,
                name=target,
                info=info,
                size=(width, height),
                encoder=encoder_plan,
                streams=streams,
                time_range=time_range,
                shift=reader.shift,
                expected_end=_expected_end(reader),
            ) as writer,
        ):
            count = _run(reader, writer, job, progress)
        return VideoResult(
            path=target,
            frames=count,
            seconds=time.monotonic() - began,
            width=width,
            height=height,
            damaged_packets=reader.damaged_packets,
            dropped_streams=tuple(str(stream) for stream in streams.dropped),
        )


@dataclass(frozen=True)
class _Job:
    """What happens to each batch."""

    upscaler: PlanningUpscaler
    encoder: EncoderPlan
    width: int
    height: int
    batch: int | None

    def batch_for(self, frame: Frame) -> int:
        """Frames like `frame` that go through at once."""
        if self.batch is not None:
            return self.batch
        plan = self.upscaler.plan(frame.height, frame.width)
        return max(1, plan.batch) if plan.tile is None else 1


@dataclass(frozen=True)
class _Upscaled:
    """Frames whose new pixels may still be on their way to, or on, the device."""

    sources: list[Frame]
    planes: list[tuple[Tensor, ...]]
    layout: PixelLayout
    colour: Colour

    def frames(self) -> Iterator[Frame]:
        """The frames in memory; waits for the device."""
        for source, planes in zip(self.sources, self.planes, strict=True):
            yield Frame(
                planes=tuple(plane[0].cpu().numpy() for plane in planes),
                layout=self.layout,
                colour=self.colour,
                pts=source.pts,
                time_base=source.time_base,
                duration=source.duration,
            )


def _run(reader: AnyReader, writer: VideoWriter, job: _Job, progress: ProgressMode) -> int:
    """Decode in one thread, upscale in this one, encode in another; returns the number of frames written."""

    def encode(batches: Iterator[_Upscaled]) -> int:
        return writer.write(frame for batch in batches for frame in batch.frames())

    decoded = 0
    ahead = _QUEUED_BATCHES * job.batch_for(reader.first_frame)
    with (
        Prefetch(reader.frames(), ahead) as frames,
        Drain(encode, _QUEUED_BATCHES) as sink,
        Progress(f"upscale {reader.path.name}", total=reader.expected_frames, unit="frame", mode=progress) as shown,
    ):
        for group in _batches(frames, job):
            decoded += len(group)
            sink.put(_upscale(group, job))
            shown.update(len(group))
        written = sink.finish()
    if written != decoded:
        raise MediaError(f"{decoded} frames were decoded but {written} written: this is a bug, please report it")
    return written


def _batches(frames: Iterator[Frame], job: _Job) -> Iterator[list[Frame]]:
    """Consecutive frames of equal size, layout and colour, as many as go through at once."""
    group: list[Frame] = []
    limit = 1
    for frame in frames:
        if group and (len(group) == limit or not _alike(group[0], frame)):
            yield group
            group = []
        if not group:
            limit = job.batch_for(frame)
        group.append(frame)
    if group:
        yield group


def _alike(one: Frame, other: Frame) -> bool:
    return one.planes[0].shape == other.planes[0].shape and (one.layout, one.colour) == (other.layout, other.colour)


@torch.inference_mode()
def _upscale(group: list[Frame], job: _Job) -> _Upscaled:
    first = group[0]
    planes = [
        torch.from_numpy(np.stack([frame.planes[index] for frame in group])).to(job.upscaler.device)
        for index in range(first.layout.colour_planes)
    ]
    rgb = to_rgb(planes, first.layout, first.colour)
    inside = rgb.clamp(0, 1)
    beyond = rgb - inside
    large = job.upscaler(inside)  # (N, 3, sH, sW)
    results = [
        _finish(large[index : index + 1], beyond[index : index + 1], first, job) for index in range(len(group))
    ]  # one by one: a frame of the output may be large
    return _Upscaled(group, results, job.encoder.layout, job.encoder.colour)


def _finish(large: Tensor, beyond: Tensor, source: Frame, job: _Job) -> tuple[Tensor, ...]:
    """The network's output at its final size, as code values.

    The network works on 0..1. Super-white, super-black and colours out of gamut (`beyond`) go around it, so that they
    are in the output as they were in the input.
    """
    # Networks give channels-last memory; planes are what comes next.
    rgb = resize(large, job.height, job.width).contiguous().clamp_(0, 1)
    _add_enlarged(rgb, beyond)
    if source.layout.model == "grey":  # a network may tint what has no colour
        rgb = rgb.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    return from_rgb(rgb, job.encoder.layout, job.encoder.colour)


def _add_enlarged(large: Tensor, small: Tensor) -> None:
    """Add `small`, its pixels repeated, to `large` in place: `(1, C, H, W)` and `(1, C, h, w)`."""
    (height, width), (rows, columns) = large.shape[-2:], small.shape[-2:]
    if height % rows or width % columns:
        large += F.interpolate(small, size=(height, width), mode="nearest-exact")
    else:
        blocks = large.view(1, -1, rows, height // rows, columns, width // columns)
        blocks += small.unsqueeze(3).unsqueeze(5)


def _exact(seconds: float | Fraction | None) -> Fraction | None:
    # The shortest decimal that means this float: 0.1 is a tenth, not 0.1000000000000000055.
    return None if seconds is None else Fraction(str(seconds))


def _expected_end(reader: AnyReader) -> Fraction | None:
    if not reader.time_range.ends_early or reader.expected_frames is None:
        return None
    return reader.first_frame.time + reader.expected_frames / reader.info.rate


def _warn(reader: AnyReader, encoder: EncoderPlan, *, milliseconds: bool) -> None:
    info = reader.info
    if info.interlaced:
        _log.warning("%s is interlaced: its fields are upscaled as they are, without deinterlacing", info.path)
    if info.layout.alpha or info.metadata.get("alpha_mode", info.metadata.get("ALPHA_MODE")) == "1":
        _log.warning("%s has transparency, which is left out", info.path)
    if not info.colour.is_exact:
        _log.warning("%s: colour matrix %d is treated as BT.2020's", info.path, info.colour.matrix)
    if not reader.time_range.start and reader.shift:
        _log.warning("%s starts %.3f s before zero: all times are moved to start there", info.path, -reader.shift)
    if milliseconds and (info.time_base * 1000).denominator != 1:
        _log.info("%s: times are rounded to milliseconds, as the container stores them", info.path)
    _log.info("%s: encoding with %s, %s", info.path, encoder.encoder, encoder.pix_fmt)
