"""What `esrgan upscale` is to do: its arguments become a plan before anything is loaded."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from esrgan.errors import UsageError
from esrgan_video.engine.backends.config import parse_backend
from esrgan_video.engine.options import EXACT_OVERLAP

if TYPE_CHECKING:
    from esrgan_video.container import EncoderOptions
    from esrgan_video.engine import EngineOptions
    from esrgan_video.faces.options import FaceOptions
    from esrgan_video.options import VideoOptions
    from esrgan_video.size import OutputSize

DEFAULT_FOLDER = Path("results")
"""Where results go when no output is named, as in Real-ESRGAN."""
_ONE_OR_MANY = (".gif", ".apng")
"""Outputs that are written as animations are, also where there is one frame."""
_FACE_CHOICES = {
    "strength": "face_strength",
    "min_size": "face_min_size",
    "only_center": "face_only_center",
    "detector": "face_detector",
    "mask": "face_mask",
    "folder": "face_dir",
}
"""Fields of `FaceOptions` and the options that set them."""


@dataclass(frozen=True)
class Job:
    """One input and its output."""

    source: Path
    """What is read."""
    target: Path
    """Where the result goes."""
    is_video: bool
    """Whether it goes through the pipeline of video; else it is one image."""


@dataclass(frozen=True)
class UpscalePlan:
    """All that the arguments choose, checked."""

    jobs: Sequence[Job]
    """In the order in which they were named."""
    engine: EngineOptions
    """How the network runs."""
    video: VideoOptions
    """How videos are read and written; its size is that of images too."""

    @property
    def images(self) -> list[Job]:
        """The jobs that are images."""
        return [job for job in self.jobs if not job.is_video]

    @property
    def videos(self) -> list[Job]:
        """The jobs that are videos."""
        return [job for job in self.jobs if job.is_video]


def plan_upscale(given: argparse.Namespace) -> UpscalePlan:
    """Plan the call; makes the output folder, unless it is a dry run.

    Raises:
        UsageError: choices that contradict each other or are out of range, no input, or no such file.
    """
    from esrgan_video.size import OutputSize

    size = OutputSize(scale=given.scale, width=given.width, height=given.height)
    engine = _engine_options(given)
    video = _video_options(given, size)
    return UpscalePlan(_jobs(given), engine, video)


def _engine_options(given: argparse.Namespace) -> EngineOptions:
    from esrgan_video.engine import EngineOptions

    if given.gpu_id is not None and given.device is not None:
        raise UsageError(f"--gpu-id {given.gpu_id} and --device {given.device} both name a device: use one")
    for name, is_float32 in (("--fp32", given.fp32), ("--exact", given.exact)):
        if is_float32 and given.dtype not in ("auto", "float32"):
            raise UsageError(f"{name} and --dtype {given.dtype} contradict each other: use one")
    return EngineOptions(
        backend=parse_backend(given.backend),
        device=given.device or ("auto" if given.gpu_id is None else f"cuda:{given.gpu_id}"),
        dtype="float32" if given.fp32 or given.exact else given.dtype,
        tile=given.tile,
        overlap=max(given.tile_pad, EXACT_OVERLAP) if given.exact else given.tile_pad,
        batch=given.batch,
        pre_pad=given.pre_pad,
        tta=given.tta,
        threads=given.threads,
    )


def _video_options(given: argparse.Namespace, size: OutputSize) -> VideoOptions:
    from esrgan_video.container import TimeRange
    from esrgan_video.options import VideoOptions

    return VideoOptions(
        size=size,
        encoder=_encoder_options(given),
        batch=given.batch,
        time_range=TimeRange(start=given.start, end=given.end, frames=given.frames),
        deinterlace=given.deinterlace,
        rate=given.fps,
        quality=given.quality,
        pipe_format="nut" if given.ext.lstrip(".").lower() == "nut" else "y4m",
        drop_unsupported=given.drop_unsupported,
        strict=given.strict,
        restart=given.restart,
        segment_frames=given.segment_frames,
        compare=given.compare,
        reuse=given.reuse,
        color_fix=given.color_fix,
        faces=_face_options(given),
    )


def _face_options(given: argparse.Namespace) -> FaceOptions | None:
    from esrgan_video.faces.options import FaceOptions

    chosen = {field: value for field, name in _FACE_CHOICES.items() if (value := getattr(given, name)) is not None}
    if given.faces is not None:
        return FaceOptions(model=given.faces, **chosen)
    if chosen:
        first = _FACE_CHOICES[next(iter(chosen))].replace("_", "-")
        raise UsageError(f"--{first} is for faces: name what restores them with --faces MODEL (or --face-enhance)")
    return None


def _encoder_options(given: argparse.Namespace) -> EncoderOptions:
    from esrgan_video.container import EncoderOptions

    extra: dict[str, str] = {}
    for option in given.encoder_option:
        key, separator, value = option.partition("=")
        if not separator or not key:
            raise UsageError(f"--encoder-option takes KEY=VALUE, got {option!r}")
        extra[key] = value
    return EncoderOptions(codec=given.codec, crf=given.crf, preset=given.preset, pix_fmt=given.pix_fmt, extra=extra)


def _jobs(given: argparse.Namespace) -> list[Job]:
    from esrgan_video.inputs import expand_inputs, is_video, plan_outputs

    patterns = [*given.inputs, *given.input]
    if not patterns:
        raise UsageError("no input: name image or video files, a folder or a quoted pattern")
    if not 1 <= given.quality <= 100:
        raise UsageError(f"--quality must be 1 to 100, got {given.quality}")
    output = given.output or DEFAULT_FOLDER
    sources = expand_inputs(patterns)
    many = len(sources) > 1 or any(Path(pattern).is_dir() for pattern in patterns)
    pairs = plan_outputs(sources, output, suffix=given.suffix, ext=given.ext, many=many)
    if any(target != output for _, target in pairs) and not given.dry_run:
        _make_folder(output)
    return [Job(source, target, is_video(source) or target.suffix.lower() in _ONE_OR_MANY) for source, target in pairs]


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the output folder {folder}: {error.strerror}") from error
