"""Standard output as the place where the upscaled frames go."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from esrgan_video.container import Frame, OutputVideo
from esrgan_video.frame_target import FrameTarget, WholeTarget, refuse_encoder, report_other_streams
from esrgan_video.options import VideoOptions
from esrgan_video.pipes.output import standard_output
from esrgan_video.pipes.writer import raw_plan, report_untold, write_nut, write_y4m, y4m_layout
from esrgan_video.protocol import PlanningUpscaler
from esrgan_video.sources import AnyReader


@contextlib.contextmanager
def open_pipe_target(
    path: Path,  # noqa: ARG001 - as every target
    reader: AnyReader,
    size: tuple[int, int],
    options: VideoOptions,
    upscaler: PlanningUpscaler,  # noqa: ARG001
) -> Iterator[FrameTarget]:
    """Raw video that goes to standard output as it is made; see `open_target`.

    Raises:
        UsageError: an option of video encoders.
    """
    refuse_encoder(options.encoder, "raw video has")
    dropped = report_other_streams(reader, "a pipe holds only the video")
    info, is_y4m = reader.info, options.pipe_format == "y4m"
    layout = y4m_layout(info.layout) if is_y4m else info.layout
    video = OutputVideo.of(info, raw_plan(info, layout), *size)
    report_untold(options.pipe_format, video, alpha=info.layout.alpha)

    def write_all(frames: Iterable[Frame]) -> int:
        with standard_output() as file:
            return (write_y4m if is_y4m else write_nut)(file, video, frames)

    yield WholeTarget(
        layout=layout,
        colour=video.plan.colour,
        write_all=write_all,
        dropped=dropped,
    )
