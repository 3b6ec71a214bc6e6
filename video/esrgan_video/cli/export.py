"""`esrgan export`: a network for other programs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

OPEN = "dynamic"
"""What leaves a size open."""


def add_parser(commands: Any, parents: Sequence[argparse.ArgumentParser]) -> None:
    """Add the command to `commands`."""
    parser = commands.add_parser(
        "export",
        parents=parents,
        help="write a network as ONNX, for onnxruntime, OpenVINO, TensorRT and vs-mlrt",
        description="Write a network as ONNX: one input and one output, float32, planes of RGB in 0..1.",
    )
    parser.add_argument("weights", help="weights file or name")
    parser.add_argument("-o", "--output", type=Path, required=True, help="file to write: .onnx")
    parser.add_argument("--half", action="store_true", help="convolutions in float16; input and output stay float32")
    parser.add_argument(
        "--size", type=parse_size, default=None, metavar="HxW", help="height and width in pixels, or dynamic (default)"
    )
    parser.add_argument(
        "--batch", type=parse_batch, default=1, metavar="N", help="images in a pass, or dynamic (default: 1)"
    )
    parser.add_argument("--opset", type=int, default=17, help="version of the operators, 13 to 21 (default: 17)")
    parser.set_defaults(run=run)


def parse_size(text: str) -> tuple[int, int] | None:
    """`HxW`, or `None` for `dynamic`."""
    if text == OPEN:
        return None
    height, _, width = text.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size: use HxW, as 480x640, or {OPEN}")
    return int(height), int(width)


def parse_batch(text: str) -> int | None:
    """A number, or `None` for `dynamic`."""
    if text == OPEN:
        return None
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of images: use 1, 2 … or {OPEN}")
    return int(text)


def run(given: argparse.Namespace) -> int:
    """Run the command."""
    from esrgan.weights import MODELS, load_network
    from esrgan_video.export.model import ExportOptions, export_onnx

    options = ExportOptions(half=given.half, size=given.size, batch=given.batch, opset=given.opset)
    entry = MODELS.get(given.weights)
    written = export_onnx(
        load_network(given.weights),
        given.output,
        options,
        name=entry.name if entry else Path(given.weights).stem,
        licence=entry.licence if entry else "",
    )
    sys.stdout.write(f"{written}\n")
    return 0
