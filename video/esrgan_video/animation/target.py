"""Animated images as the place where the upscaled frames go."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from esrgan_video.animation.writer import WRITERS
from esrgan_video.container.output_path import finished_under
from esrgan_video.frame_target import FrameTarget, WholeTarget, refuse_encoder, report_other_streams
from esrgan_video.options import VideoOptions
from esrgan_video.protocol import PlanningUpscaler
from esrgan_video.sources import AnyReader


@contextlib.contextmanager
def open_animation_target(
    path: Path,
    reader: AnyReader,
    size: tuple[int, int],
    options: VideoOptions,
    upscaler: PlanningUpscaler,  # noqa: ARG001 - as every target
) -> Iterator[FrameTarget]:
    """A GIF, APNG or WebP that is written in one go; see `open_target`.

    Raises:
        UsageError: an option of video encoders, an unknown one, or a size or rate that the format cannot hold.
    """
    suffix = path.suffix.lower()
    refuse_encoder(replace(options.encoder, extra={}), f"{suffix} has")
    dropped = report_other_streams(reader, f"{suffix} holds only pictures")
    with finished_under(path) as unfinished:
        writer = WRITERS[suffix](unfinished, name=path, info=reader.info, size=size, options=options.encoder.extra)
        yield WholeTarget(
            layout=writer.layout,
            colour=replace(reader.info.colour.for_layout(writer.layout), full_range=True),
            write_all=writer.write,
            dropped=dropped,
        )
