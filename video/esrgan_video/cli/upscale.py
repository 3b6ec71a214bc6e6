"""`esrgan upscale`: images and video, one or many."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from esrgan.errors import EsrganError, UsageError, one_line
from esrgan.progress import Progress, ProgressMode
from esrgan_video.cli.times import parse_time
from esrgan_video.cli.upscale_plan import DEFAULT_FOLDER, Job, UpscalePlan, plan_upscale
from esrgan_video.engine.backends.config import BACKEND_HELP
from esrgan_video.engine.options import DEFAULT_OVERLAP, EXACT_OVERLAP, TTA_HELP, DType
from esrgan_video.pipes.names import PIPE, path_of

if TYPE_CHECKING:
    from esrgan.weights import LoadedNetwork
    from esrgan_video.engine import EngineOptions, Upscaler
    from esrgan_video.export.int8 import Calibration
    from esrgan_video.faces.restorer import FaceRestorer
    from esrgan_video.options import VideoOptions
    from esrgan_video.size import OutputSize

_log = logging.getLogger(__name__)

DTYPE_HELP = (
    "precision of the convolutions; int8, with --backend openvino, is for RRDBNet: it is calibrated on some frames of "
    "the input, and its PSNR against float32 there is printed (default: %(default)s)"
)
FACE_NAMES = ("GFPGANv1.4", "GFPGANv1.3", "CodeFormer")
"""Restorers that are known by name, the usual one first: those of `esrgan.weights.face_files`, which loads torch."""


def add_parser(commands: Any, parents: Sequence[argparse.ArgumentParser]) -> None:
    """Add the command to `commands`."""
    parser = commands.add_parser(
        "upscale",
        parents=parents,
        help="upscale images and video files",
        description="Upscale images and video. Several inputs, a folder or a quoted pattern go to an output folder.",
    )
    parser.set_defaults(run=run)
    _add_files(parser.add_argument_group("files"))
    _add_model(parser.add_argument_group("model and size"))
    _add_faces(parser.add_argument_group("faces"))
    _add_engine(parser.add_argument_group("engine"))
    _add_video(parser.add_argument_group("video"))


def _add_files(group: Any) -> None:
    group.add_argument(
        "inputs",
        nargs="*",
        help="image or video files, folders, numbered files (in/%%05d.png), - for a pipe, or quoted patterns",
    )
    group.add_argument("-i", "--input", action="append", default=[], help="the same, by name")
    group.add_argument(
        "-o",
        "--output",
        type=path_of,
        help=f"file, numbered files (out/%%05d.png), - for a pipe, or folder (default: {DEFAULT_FOLDER}/)",
    )
    group.add_argument("--suffix", default="out", help="added to names in an output folder (default: %(default)s)")
    group.add_argument(
        "--ext",
        default="auto",
        help="extension of files in an output folder; auto keeps the input's. Of a pipe: y4m (default) or nut",
    )
    group.add_argument(
        "--compare", action="store_true", help="left half: the input enlarged by bicubic; right half: the result"
    )
    group.add_argument("--quality", type=int, default=95, help="of JPEG and WebP, 1 to 100 (default: %(default)s)")
    group.add_argument(
        "--progress", choices=get_args(ProgressMode), default="auto", help="bar, lines, json or none (default: auto)"
    )
    group.add_argument(
        "--dry-run",
        action="store_true",
        help="say what would be done with videos, and what time, memory and disk it would take; write nothing",
    )
    group.add_argument("--json", action="store_true", help="with --dry-run: a line of JSON for each input")


def _add_model(group: Any) -> None:
    group.add_argument(
        "-n",
        "--model-name",
        "--model_name",
        "--model",
        dest="model",
        default="default",
        help="name (see `esrgan info`) or weights file",
    )
    group.add_argument(
        "--alpha",
        type=float,
        help="share of the model's GAN partner, or of --interpolate: 0 is faithful, 1 is sharp",
    )
    group.add_argument(
        "--interpolate", metavar="WEIGHTS", help="with --alpha: the second network (default: the model's GAN partner)"
    )
    group.add_argument(
        "-s", "--outscale", "--scale", dest="scale", type=float, help="output scale, any number (default: the model's)"
    )
    group.add_argument("--width", type=int, help="output width in pixels; alone it keeps the aspect ratio")
    group.add_argument("--height", type=int, help="output height in pixels; alone it keeps the aspect ratio")
    group.add_argument(
        "--color-fix",
        "--color_fix",
        action="store_true",
        help="give the result the low frequencies of the input, for networks that tint or shift brightness",
    )


def _add_faces(group: Any) -> None:
    group.add_argument(
        "--faces",
        metavar="MODEL",
        help=f"restore faces with this network: a weights file, or one of {', '.join(FACE_NAMES)}",
    )
    group.add_argument(
        "--face-enhance",
        "--face_enhance",
        dest="faces",
        action="store_const",
        const=FACE_NAMES[0],
        help=f"the same as --faces {FACE_NAMES[0]}",
    )
    group.add_argument("--face-strength", type=float, help="share of the restored face, 0 to 1 (default: 1)")
    group.add_argument(
        "--face-min-size", type=int, help="leave smaller faces alone, in pixels of the input (default: 16)"
    )
    group.add_argument(
        "--face-only-center",
        "--only-center",
        "--only_center_face",
        action="store_true",
        default=None,
        help="restore only the face nearest to the centre",
    )
    group.add_argument(
        "--face-detector",
        choices=("mobilenet", "resnet50"),
        help="network that finds faces: the small, fast one (default), or the large one",
    )
    group.add_argument(
        "--face-mask",
        choices=("soft", "parse"),
        help="where the restored face is used: a soft oval (default), or only what a parser takes for face",
    )
    group.add_argument("--face-dir", type=Path, help="folder with the files of detector, parser and named restorers")


def _add_engine(group: Any) -> None:
    group.add_argument("--device", help="auto, cpu, mps, cuda or cuda:N (default: auto)")
    group.add_argument("--backend", default="usual", help=BACKEND_HELP)
    group.add_argument("-g", "--gpu-id", "--gpu_id", type=int, help="number of the CUDA device: --device cuda:N")
    group.add_argument("--dtype", choices=get_args(DType), default="auto", help=DTYPE_HELP)
    group.add_argument("--fp32", action="store_true", help="the same as --dtype float32")
    group.add_argument(
        "--exact",
        action="store_true",
        help="what the float32 network gives, to far less than a code value: --dtype float32 and tiles that overlap by "
        f"at least {EXACT_OVERLAP} pixels",
    )
    group.add_argument("-t", "--tile", type=int, help="tile side in input pixels; 0 never cuts (default: by memory)")
    group.add_argument(
        "--tile-pad",
        "--tile_pad",
        type=int,
        default=DEFAULT_OVERLAP,
        help="pixels that tiles overlap (default: %(default)s)",
    )
    group.add_argument(
        "--pre-pad",
        "--pre_pad",
        type=int,
        default=0,
        help="pixels that a frame is mirrored by beyond its border first: 4 keep flat, vivid areas free of a tint "
        "there (default: %(default)s)",
    )
    group.add_argument("--batch", type=int, help="frames in one pass (default: by size and memory)")
    group.add_argument("-x", "--tta", action="store_true", help=TTA_HELP)
    group.add_argument("--threads", type=int, help="processor cores to use (default: all that this process may use)")


def _add_video(group: Any) -> None:
    group.add_argument(
        "--codec", help="h264, hevc, av1, vp9, ffv1, prores or an encoder's name (default: by container)"
    )
    group.add_argument("--crf", type=float, help="quality of the encoder, lower is better")
    group.add_argument("--preset", help="speed preset of the encoder (h264: fast, and veryfast with small networks)")
    group.add_argument("--pix-fmt", "--pix_fmt", help="pixel format (default: the input's depth and sampling)")
    group.add_argument(
        "--encoder-option", action="append", default=[], metavar="KEY=VALUE", help="any option of the encoder"
    )
    fields = group.add_mutually_exclusive_group()
    fields.add_argument(
        "--deinterlace",
        choices=("frame", "field", "off"),
        default="frame",
        help="make one progressive frame of each interlaced one (default), or one of each field, or none",
    )
    fields.add_argument(
        "--keep-interlaced", action="store_const", const="off", dest="deinterlace", help="the same as --deinterlace off"
    )
    group.add_argument(
        "--fps",
        type=parse_rate,
        help="frames a second of numbered image files, as 24, 23.976 or 24000/1001 (default: 25)",
    )
    group.add_argument("--start", type=parse_time, help="start of a trial: seconds or [HH:]MM:SS[.fraction]")
    group.add_argument("--end", type=parse_time, help="end of a trial, in the input's time")
    group.add_argument("--frames", type=int, help="number of frames of a trial")
    group.add_argument("--strict", action="store_true", help="stop at the first damaged packet or frame of the input")
    group.add_argument(
        "--restart", action="store_true", help="begin anew instead of going on with an unfinished output"
    )
    group.add_argument(
        "--segment-frames", type=int, help="frames that are safe together from a crash (default: a minute's work)"
    )
    group.add_argument(
        "--drop-unsupported", action="store_true", help="leave out streams that the container cannot hold"
    )
    group.add_argument(
        "--no-reuse",
        dest="reuse",
        action="store_false",
        help="compute frames again that show what one of the last few showed (the output is the same)",
    )


_VISIBLE_PSNR = 40
"""dB against float32 under which most people see the difference where they look for it."""
_NTSC_RATES = {f"{rate * 1000 / 1001:.{digits}f}": rate for rate in (24, 30, 48, 60, 120) for digits in (2, 3)}
"""What people write for the rates that are whole numbers times 1000/1001."""


def parse_rate(text: str) -> Fraction:
    """`24`, `23.976` or `24000/1001` frames a second, exactly; 23.976, 29.97 and their like are n * 1000/1001."""
    try:
        rate = Fraction(_NTSC_RATES[text] * 1000, 1001) if text in _NTSC_RATES else Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise argparse.ArgumentTypeError(f"{text!r} is not a frame rate: use 24, 23.976 or 24000/1001") from None
    if rate <= 0:
        raise argparse.ArgumentTypeError(f"a frame rate must be more than 0, got {text}")
    return rate


def run(given: argparse.Namespace) -> int:
    """Run the command; one failed input among several does not stop the others."""
    from esrgan_video.engine import Upscaler
    from esrgan_video.faces.restorer import FaceRestorer

    if given.json and not given.dry_run:
        raise UsageError("--json is for --dry-run; progress in JSON is --progress json")
    plan = plan_upscale(given)
    model, engine, video = _model(given), plan.engine, plan.video
    if engine.dtype == "int8":
        engine = _calibrated(model, plan)
    upscaler = Upscaler(model, engine)
    _log.info(
        "%s x%d on %s in %s by %s",
        upscaler.facts.architecture,
        upscaler.scale,
        upscaler.device,
        upscaler.precision,
        upscaler.backend,
    )
    if engine.calibration is not None:
        bare = replace(engine, tta=False, pre_pad=0)  # the figure is of 8 bits alone
        _say_precision(engine.calibration, upscaler if engine == bare else Upscaler(model, bare))
    faces = None if video.faces is None else FaceRestorer(video.faces, upscaler.device, progress=given.progress)
    if given.dry_run:
        return _forecast(plan.jobs, given, upscaler, video, faces)
    alone = len(plan.jobs) == 1
    failures = _run_images(plan.images, given, upscaler, video.size, faces, alone=alone)
    for job in plan.videos:
        failures += _attempt(lambda job=job: _run_video(job, given, upscaler, video, faces), alone=alone)  # type: ignore[misc]
    if failures:
        sys.stderr.write(f"esrgan: {failures} of {len(plan.jobs)} inputs failed\n")
    return 1 if failures else 0


def _say_precision(calibration: Calibration, upscaler: Upscaler) -> None:
    """What 8 bits come to, said before hours are spent on them."""
    found = calibration.psnr(upscaler)
    advice = "" if found >= _VISIBLE_PSNR else ", which can be seen: leave --dtype out for at least 50"
    sys.stderr.write(f"esrgan: int8: {found:.1f} dB against float32 in {len(calibration.crops)} frames{advice}\n")


def _forecast(
    jobs: Sequence[Job],
    given: argparse.Namespace,
    upscaler: Upscaler,
    options: VideoOptions,
    faces: FaceRestorer | None,
) -> int:
    """Print what would be done; one input that cannot be done does not stop the others."""
    failures = 0
    for job in jobs:
        failures += _attempt(
            lambda job=job: _print_forecast(job, given, upscaler, options, faces),  # type: ignore[misc]
            alone=len(jobs) == 1,
        )
    return 1 if failures else 0


def _print_forecast(
    job: Job, given: argparse.Namespace, upscaler: Upscaler, options: VideoOptions, faces: FaceRestorer | None
) -> None:
    from esrgan_video.cli.dry_run import as_json, as_table
    from esrgan_video.dry_run import dry_run
    from esrgan_video.images import check_target

    as_lines = given.json or given.progress == "json"
    makes_folder = job.target != (given.output or DEFAULT_FOLDER)
    if not job.is_video:
        if job.target.parent.is_dir() or not makes_folder:
            check_target(job.target, source=job.source)
        record = {"event": "dry-run", "input": {"path": str(job.source)}, "output": {"path": str(job.target)}}
        table = f"{'input':<11}{job.source}\n{'output':<11}{job.target}\n"
    else:
        forecast = dry_run(
            job.source, job.target, upscaler=upscaler, options=options, makes_folder=makes_folder, faces=faces
        )
        record, table = as_json(forecast), as_table(forecast)
    sys.stdout.write(json.dumps(record) + "\n" if as_lines else table)


def _run_images(
    jobs: Sequence[Job],
    given: argparse.Namespace,
    upscaler: Upscaler,
    size: OutputSize,
    faces: FaceRestorer | None,
    *,
    alone: bool,
) -> int:
    from esrgan_video.images import upscale_image

    failures = 0
    if not jobs:
        return 0
    with Progress("upscale", total=len(jobs), unit="image", mode=given.progress) as progress:
        for job in jobs:
            failures += _attempt(
                lambda job=job: upscale_image(  # type: ignore[misc]
                    job.source,
                    job.target,
                    upscaler=upscaler,
                    size=size,
                    quality=given.quality,
                    compare=given.compare,
                    color_fix=given.color_fix,
                    faces=faces,
                ),
                alone=alone,
            )
            progress.update()
    for job in jobs if not failures else ():
        sys.stdout.write(f"{job.target}\n")
    return failures


def _run_video(
    job: Job, given: argparse.Namespace, upscaler: Upscaler, options: VideoOptions, faces: FaceRestorer | None
) -> None:
    from esrgan_video.pipeline import upscale_video

    result = upscale_video(
        job.source, job.target, upscaler=upscaler, options=options, progress=given.progress, faces=faces
    )
    _log.info("%d frames in %.1f s, %.2f frames/s", result.frames, result.seconds, result.frames / result.seconds)
    if job.target != PIPE:
        sys.stdout.write(f"{job.target}\n")


def _attempt(work: Callable[[], object], *, alone: bool) -> int:
    """Run `work`; returns 1 if it failed and others wait, raises if it was the only one."""
    try:
        work()
    except EsrganError as error:
        if alone:
            raise
        sys.stderr.write(f"esrgan: {one_line(error)}\n")
        return 1
    return 0


def _model(given: argparse.Namespace) -> LoadedNetwork:
    from esrgan.weights import load_blend, load_network

    if given.alpha is None:
        if given.interpolate is not None:
            raise UsageError(f"--interpolate {given.interpolate} wants --alpha, its share from 0 to 1")
        return load_network(given.model, progress=given.progress)
    return load_blend(given.model, given.interpolate, alpha=given.alpha, progress=given.progress)


def _calibrated(network: LoadedNetwork, plan: UpscalePlan) -> EngineOptions:
    """The options with what the network sees in some frames of the inputs."""
    from esrgan_video.export.int8 import calibrate, check_int8
    from esrgan_video.sampling import sample

    check_int8(network)
    images, videos = ([job.source for job in jobs] for jobs in (plan.images, plan.videos))
    return replace(plan.engine, calibration=calibrate(network, sample(images, videos, plan.video)))
