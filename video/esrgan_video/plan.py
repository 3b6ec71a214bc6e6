"""`VideoPlan`: everything about a video file to be written that is settled before the first frame."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

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
from esrgan_video.container.encoding import usual_threads
from esrgan_video.container.script import only_stream
from esrgan_video.engine import Upscaler
from esrgan_video.options import VideoOptions
from esrgan_video.protocol import PlanningUpscaler
from esrgan_video.segments import Job, input_facts, settings_facts, usual_segment_frames
from esrgan_video.sources import AnyReader

_log = logging.getLogger(__name__)

_FAST_NETWORK = 100_000
"""Weights of a network, divided by the pixels that it makes of one, under which it counts as fast. The small networks
that come with this project have 47,000, the larger ones 157,000, that of 23 blocks has a million. Measured times would
differ from run to run."""


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

    def with_threads(self, threads: int) -> VideoPlan:
        """The same with that many threads of the encoder."""
        return replace(self, video=replace(self.video, threads=threads))

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
        )


def plan_video(
    target: Path, reader: AnyReader, size: tuple[int, int], options: VideoOptions, upscaler: PlanningUpscaler
) -> VideoPlan:
    """Settle everything.

    Raises:
        UsageError: a container, encoder, option or stream that cannot be.
    """
    info, container = reader.info, format_of(target)
    encoder = plan_encoder(
        options.encoder, container, info, keeps_lines=size[1] == info.height, fast_network=_is_fast(upscaler)
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
            threads=usual_threads(encoder.encoder, size[1]),
        ),
    )


def _is_fast(upscaler: PlanningUpscaler) -> bool:
    """Whether the encoder's work would be a good part of the network's; the same on every machine."""
    return isinstance(upscaler, Upscaler) and upscaler.facts.parameters < _FAST_NETWORK * upscaler.scale**2
