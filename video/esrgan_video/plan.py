"""`VideoPlan`: everything about a video file to be written that is settled before the first frame."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from esrgan.system_memory import available_bytes
from esrgan_video.container import (
    ContainerFormat,
    OutputVideo,
    StreamPlan,
    VideoInfo,
    VideoMuxer,
    format_of,
    plan_encoder,
    plan_streams,
)
from esrgan_video.container.encoder import has_usual_speed
from esrgan_video.container.encoder_memory import fitting_lookahead, with_lookahead
from esrgan_video.container.encoding import usual_threads
from esrgan_video.container.script import only_stream
from esrgan_video.engine import Upscaler
from esrgan_video.engine.cores import usable_cores
from esrgan_video.engine.memory import LEAST_BYTES
from esrgan_video.options import VideoOptions
from esrgan_video.protocol import PlanningUpscaler
from esrgan_video.segments import Job, input_facts, settings_facts, usual_segment_frames
from esrgan_video.sources import AnyReader
from esrgan_video.working_set import frame_bytes

_log = logging.getLogger(__name__)

_FAST_NETWORK = 100_000
"""Weights of a network, divided by the pixels that it makes of one, under which it counts as fast. The small networks
that come with this project have 47,000, the larger ones 157,000, that of 23 blocks has a million. Measured times would
differ from run to run."""
_ENCODER_WEIGHTS = 5_000
"""What x264 computes for a pixel at its usual presets, as weights of a network: 1,000 were measured with calm pictures,
four times as many with lively ones. On a processor, it gets as many threads as that makes of the cores. Each further
one would hold frames of its own, and take the network's cores when there is little to do."""


@dataclass(frozen=True, kw_only=True)
class VideoPlan:
    """What is read, what becomes of it, and what is written."""

    target: Path
    """The output."""
    options: VideoOptions
    """What the caller chose."""
    container: ContainerFormat
    """Of the output."""
    info: VideoInfo
    """The input's video."""
    shift: Fraction
    """Seconds that are taken off all times."""
    video: OutputVideo
    """The output's video."""
    streams: StreamPlan
    """What becomes of each stream."""
    job: Job
    """What a later run is compared with."""

    def settled(self, job: Job) -> VideoPlan:
        """The same with the encoder's threads and lookahead as they were settled when `job` began."""
        return replace(self, video=_settled(self.video, job.threads, job.lookahead))

    def muxer(self, path: Path, end: Fraction | None = None) -> VideoMuxer:
        """What writes the output, under the name `path`; `end` is in seconds."""
        return VideoMuxer(
            path,
            name=self.target,
            info=self.info,
            video=self.video,
            streams=self.streams,
            time_range=self.options.time_range,
            shift=self.shift,
            end=end if self.options.time_range.ends_early else None,
            strict=self.options.strict,
        )


def plan_video(
    target: Path, reader: AnyReader, size: tuple[int, int], options: VideoOptions, upscaler: PlanningUpscaler
) -> VideoPlan:
    """Settle everything.

    Raises:
        UsageError: a container, encoder, option or stream that cannot be.
    """
    info, container = reader.info, format_of(target)
    weights = _weights_per_pixel(upscaler)
    encoder = plan_encoder(
        options.encoder,
        container,
        info,
        keeps_lines=size[1] == info.height,
        fast_network=weights is not None and weights < _FAST_NETWORK,
    )
    streams = (
        only_stream(container, info.codec)
        if info.only_video
        else plan_streams(info.path, info.stream_index, container, drop_unsupported=options.drop_unsupported)
    )
    video = OutputVideo.of(info, encoder, *size)
    if container.milliseconds and (info.time_base * 1000).denominator != 1:
        _log.info("%s: times are rounded to milliseconds, as the container stores them", info.path)
    _log.info("%s: encoding with %s, %s", info.path, encoder.encoder, encoder.pix_fmt)
    threads = usual_threads(encoder.encoder, size[1])
    if weights is not None and upscaler.device.type == "cpu" and has_usual_speed(options.encoder, encoder):
        threads = min(threads, math.ceil(usable_cores() * _ENCODER_WEIGHTS / weights))
    return VideoPlan(
        target=target,
        options=options,
        container=container,
        info=info,
        shift=reader.shift,
        video=video,
        streams=streams,
        job=Job(
            facts={**input_facts(reader.path), **settings_facts(options, video, upscaler)},
            segment_frames=options.segment_frames or usual_segment_frames(upscaler.device.type, *size),
            threads=threads,
            lookahead=_lookahead(_settled(video, threads, None)),
        ),
    )


def _weights_per_pixel(upscaler: PlanningUpscaler) -> float | None:
    """Weights of the network for each pixel of its output; `None` where there is no network to be seen."""
    return upscaler.facts.parameters / upscaler.scale**2 if isinstance(upscaler, Upscaler) else None


def _settled(video: OutputVideo, threads: int, lookahead: int | None) -> OutputVideo:
    return with_lookahead(replace(video, threads=threads), lookahead)


def _lookahead(video: OutputVideo) -> int | None:
    """See `fitting_lookahead`, for the memory that is free now."""
    frames = frame_bytes(video.plan.layout, (video.width, video.height), batch=1)
    lookahead = fitting_lookahead(video, available_bytes() - frames - LEAST_BYTES)
    if lookahead is not None:
        _log.info("%s looks ahead %d frames instead of more: memory is short", video.plan.encoder, lookahead)
    return lookahead
