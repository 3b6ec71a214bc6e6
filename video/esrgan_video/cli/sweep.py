"""`esrgan sweep`: blends of a PSNR-oriented network and a GAN, measured."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from esrgan.errors import UsageError
from esrgan.progress import ProgressMode
from esrgan_video.engine.options import TTA_HELP

if TYPE_CHECKING:
    from esrgan_video.sweep.measure import Crop, Swept

_MOST_ALPHAS = 101


def add_parser(commands: Any, parents: Sequence[argparse.ArgumentParser]) -> None:
    """Add the command to `commands`."""
    parser = commands.add_parser(
        "sweep",
        parents=parents,
        help="measure the blends of a PSNR-oriented network and a GAN",
        description="For each alpha: blend the networks, upscale the MATLAB-like bicubic LR of HR images, and measure "
        "PSNR and SSIM (on Y and RGB, border = scale) and NIQE. Prints a table and plots PSNR against NIQE.",
    )
    parser.add_argument("a", metavar="PSNR_WEIGHTS", help="weights file or name; alpha 0")
    parser.add_argument("b", metavar="GAN_WEIGHTS", help="weights file or name; alpha 1")
    parser.add_argument("images", metavar="IMAGES", type=Path, nargs="+", help="HR images, or folders of them")
    parser.add_argument("-o", "--output", type=Path, help="plot to write: .png, .pdf or .svg")
    parser.add_argument("--alphas", type=parse_alphas, default="0:1:0.1", help="START:STOP:STEP or a list, 0,0.5,1")
    parser.add_argument("--sheet", type=Path, help="picture to write with one crop of every result: .png, .jpg, .webp")
    parser.add_argument(
        "--crop", type=parse_crop, help="of the sheet: SIDE or LEFT,TOP,SIDE in pixels of the first image (160)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument("--device", default="auto", help="auto, cpu, mps, cuda or cuda:N")
    parser.add_argument("-x", "--tta", action="store_true", help=TTA_HELP)
    parser.add_argument(
        "--progress", choices=get_args(ProgressMode), default="auto", help="auto, bar, lines, json, none"
    )
    parser.set_defaults(run=run)


def parse_alphas(text: str) -> list[float]:
    """`0:1:0.25` (both ends included) or `0,0.3,1` as numbers in 0..1."""
    try:
        if ":" in text:
            start, stop, step = (float(part) for part in text.split(":"))
            count = math.floor((stop - start) / step + 1e-9) + 1
            alphas = [round(start + index * step, 9) for index in range(min(count, _MOST_ALPHAS + 1))]
        else:
            alphas = [float(part) for part in text.split(",")]
    except (ValueError, ZeroDivisionError, OverflowError):
        alphas = []
    if not alphas or len(alphas) > _MOST_ALPHAS or not all(0 <= alpha <= 1 for alpha in alphas):
        raise argparse.ArgumentTypeError(
            f"{text!r} must be START:STOP:STEP or numbers with commas, each 0 to 1, {_MOST_ALPHAS} at most"
        )
    return alphas


def parse_crop(text: str) -> Crop:
    """`SIDE` or `LEFT,TOP,SIDE` as whole numbers."""
    from esrgan_video.sweep.measure import Crop

    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 3) or min(numbers) < 0 or numbers[-1] < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be SIDE or LEFT,TOP,SIDE in pixels")
    return Crop(side=numbers[0]) if len(numbers) == 1 else Crop(left=numbers[0], top=numbers[1], side=numbers[2])


def run(given: argparse.Namespace) -> int:
    """Measure, print, and write the pictures that were asked for."""
    from esrgan.weights import load_network
    from esrgan_video.engine import EngineOptions
    from esrgan_video.sweep.measure import sweep
    from esrgan_video.sweep.pictures import (
        PLOT_SUFFIXES,
        SHEET_SUFFIXES,
        require_matplotlib,
        write_plot,
        write_sheet,
    )

    # What would fail at the end of minutes fails now.
    _require_output("-o", given.output, PLOT_SUFFIXES)
    _require_output("--sheet", given.sheet, SHEET_SUFFIXES)
    if given.output is not None:
        require_matplotlib()
    swept = sweep(
        load_network(given.a, progress=given.progress),
        load_network(given.b, progress=given.progress),
        _images(given.images),
        given.alphas,
        engine=EngineOptions(device=given.device, dtype="float32", tta=given.tta),
        crop=given.crop,
        progress=given.progress,
    )
    sys.stdout.write(as_json(swept) if given.json else as_table(swept))
    if given.output is not None:
        write_plot(swept, given.output)
    if given.sheet is not None:
        write_sheet(swept, given.sheet)
    return 0


def _require_output(option: str, file: Path | None, suffixes: tuple[str, ...]) -> None:
    if file is None:
        return
    if file.suffix.lower() not in suffixes:
        raise UsageError(f"{option} {file}: its suffix must be one of {', '.join(suffixes)}")
    if not file.parent.is_dir():
        raise UsageError(f"{option} {file}: the folder {file.parent} does not exist")
    if file.is_dir():
        raise UsageError(f"{option} {file}: is a folder")


def _images(given: Sequence[Path]) -> list[Path]:
    from esrgan.training.data.bicubic_folder import hr_images

    found: list[Path] = []
    for path in given:
        if not path.exists():
            raise UsageError(f"{path} does not exist")
        found += hr_images(path) if path.is_dir() else [path]
    return found


def as_table(swept: Swept) -> str:
    """Lines for a person."""
    from esrgan_video.sweep.measure import COLUMNS

    lines = [f"{swept.images} image{'s'[: swept.images != 1]}, x{swept.border}, border {swept.border}"]
    lines.append(f"{'alpha':<9}" + "".join(f"{name:>10}" for name in COLUMNS))
    for row in swept.rows:
        cells = (f"{row.scores[name]:>10.4f}" if name in row.scores else f"{'-':>10}" for name in COLUMNS)
        lines.append(f"{row.name:<9}" + "".join(cells))
    return "\n".join(lines) + "\n"


def as_json(swept: Swept) -> str:
    """One JSON object; `null` where a score is infinite, none where it could not be measured."""
    rows = [
        {
            "name": row.name,
            "alpha": row.alpha,
            **{name: value if math.isfinite(value) else None for name, value in row.scores.items()},
        }
        for row in swept.rows
    ]
    return json.dumps({"images": swept.images, "scale": swept.border, "border": swept.border, "rows": rows}) + "\n"
