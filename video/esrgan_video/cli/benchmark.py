"""`esrgan benchmark`: how fast and how exact a network runs here."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from esrgan.progress import ProgressMode
from esrgan_video.engine.backends.config import BACKEND_HELP, parse_backend

if TYPE_CHECKING:
    from esrgan_video.benchmark.run import BenchmarkResult


def add_parser(commands: Any, parents: Sequence[argparse.ArgumentParser]) -> None:
    """Add the command to `commands`."""
    parser = commands.add_parser(
        "benchmark",
        parents=parents,
        help="measure speed, memory and error on this machine",
        description="Measure a network on this machine: frames a second of the engine alone and from file to file, the "
        "share of what the processor does at its best, memory, time to the first frame, and the error against float32. "
        "The last line is made to be pasted into an issue. Other programs on the machine spoil the figures.",
    )
    parser.set_defaults(run=_run)
    parser.add_argument(
        "-n", "--model-name", "--model_name", "--model", dest="model", default="default", help="name or weights file"
    )
    parser.add_argument("--size", type=parse_size, default="320x180", help="of the frames (default: %(default)s)")
    parser.add_argument("--image", type=Path, help="also measure the error in the middle of this picture")
    parser.add_argument(
        "--seconds", type=float, default=6.0, help="about the time of each speed measurement (default: %(default)s)"
    )
    parser.add_argument("--backend", default="usual", help=BACKEND_HELP)
    parser.add_argument("--device", default="auto", help="auto, cpu, mps, cuda or cuda:N (default: %(default)s)")
    parser.add_argument("--dtype", default="auto", help="precision, as in `esrgan upscale` (default: %(default)s)")
    parser.add_argument("--exact", action="store_true", help="as in `esrgan upscale`")
    parser.add_argument("--threads", type=int, help="processor cores to use (default: all that this process may use)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument(
        "--progress", choices=get_args(ProgressMode), default="auto", help="bar, lines, json or none (default: auto)"
    )


def parse_size(text: str) -> tuple[int, int]:
    """`320x180` as columns and rows."""
    found = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size: use WIDTHxHEIGHT, as 320x180")
    return int(found[1]), int(found[2])


def _run(given: argparse.Namespace) -> int:
    from esrgan.errors import UsageError
    from esrgan_video.benchmark.run import benchmark
    from esrgan_video.engine.options import DEFAULT_OVERLAP, EXACT_OVERLAP, EngineOptions

    if given.exact and given.dtype not in ("auto", "float32"):
        raise UsageError(f"--exact and --dtype {given.dtype} contradict each other: use one")
    options = EngineOptions(
        backend=parse_backend(given.backend),
        device=given.device,
        dtype="float32" if given.exact else given.dtype,
        overlap=EXACT_OVERLAP if given.exact else DEFAULT_OVERLAP,
        threads=given.threads,
    )
    result = benchmark(
        given.model,
        options,
        size=given.size,
        picture=given.image,
        seconds=given.seconds,
        progress=given.progress,
    )
    if given.json:
        sys.stdout.write(json.dumps(result.to_json()) + "\n")
    else:
        sys.stdout.writelines(f"{name:<12}{value}\n" for name, value in _rows(result))
        sys.stdout.write(f"\n{result.line()}\n")
    return 0


def _rows(result: BenchmarkResult) -> Iterator[tuple[str, str]]:
    yield "network", f"{result.model}: {result.architecture} x{result.scale}, {result.parameters:,} parameters"
    yield "frames", f"{result.width}x{result.height} to {result.width * result.scale}x{result.height * result.scale}"
    yield "engine", f"{result.engine:.3g} frames/s, {result.backend} in {result.precision}"
    if result.peak is not None and result.share_of_peak is not None:
        done, most = (f"{rate / 1e9:,.0f}" for rate in (result.engine * result.flops_per_frame, result.peak))
        yield "", f"{done} GFLOP/s, {result.share_of_peak:.0%} of the {most} of a product of large matrices"
    share = result.end_to_end / result.engine
    yield "end to end", f"{result.end_to_end:.3g} frames/s, {share:.0%} of the engine, {result.frames} frames"
    yield "first frame", f"after {result.first_frame:.2f} s, weights read and checked"
    yield "memory", f"{result.peak_memory / 1e6:,.0f} MB at most"
    for error in result.errors:
        psnr = "equal to" if error.psnr is None else f"{error.psnr:.1f} dB against"
        yield "error", f"{error.picture}: {psnr} float32, at most {error.largest:.2g} of 255"
    yield "machine", f"{result.device}, {result.threads} threads"
