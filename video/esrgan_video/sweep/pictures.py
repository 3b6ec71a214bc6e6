"""A sweep as pictures: the plot of PSNR against NIQE, and crops beside one another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from esrgan.errors import FailedError, MissingExtraError
from esrgan.weights.atomic import written_beside
from esrgan_video.sweep.measure import BICUBIC, ORIGINAL, Swept

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PLOT_SUFFIXES = (".png", ".pdf", ".svg")
SHEET_SUFFIXES = (".png", ".jpg", ".webp")

_COLUMNS = 5
_LABEL = 16
"""Height of the text above a crop, in pixels."""


def require_matplotlib() -> None:
    """Raise `MissingExtraError` where it is not installed."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("a plot", "plot") from error


def write_plot(swept: Swept, file: Path) -> None:
    """Write the plane of distortion (PSNR on Y) and perception (NIQE), a point for each alpha.

    Raises:
        MissingExtraError: matplotlib is not installed.
        FailedError: `file` cannot be written.
    """
    require_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 5), dpi=120, layout="constrained")
    _draw(figure.subplots(), swept)
    try:
        with written_beside(file) as temporary:
            figure.savefig(temporary, format=file.suffix[1:].lower())
    except OSError as error:
        raise FailedError(f"{file} cannot be written: {error.strerror or error}") from error


def _draw(axes: Axes, swept: Swept) -> None:
    points = [
        (row.name, row.scores["psnr_y"], row.scores["niqe"])
        for row in swept.rows
        if {"psnr_y", "niqe"} <= row.scores.keys() and np.isfinite(row.scores["psnr_y"])
    ]
    blends = [(psnr, niqe) for name, psnr, niqe in points if name != BICUBIC]
    if blends:
        axes.plot(*zip(*blends, strict=True), marker="o", color="tab:blue", label="(1 − α) PSNR + α GAN")
    for name, psnr, niqe in points:
        axes.annotate(name, (psnr, niqe), xytext=(5, 5), textcoords="offset points", fontsize=8)
        if name == BICUBIC:
            axes.plot([psnr], [niqe], marker="s", linestyle="", color="tab:grey", label="bicubic")
    originals = [row.scores["niqe"] for row in swept.rows if row.name == ORIGINAL and "niqe" in row.scores]
    for niqe in originals:
        axes.axhline(niqe, linestyle="--", color="tab:green", label="the originals")
    axes.set_xlabel(f"PSNR on Y, border {swept.border} (dB; right is nearer to the original)")
    axes.set_ylabel("NIQE (lower looks more natural)")
    axes.set_title(f"{swept.images} image{'s'[: swept.images != 1]}, ×{swept.border}")
    if points or originals:
        axes.legend()


def write_sheet(swept: Swept, file: Path) -> None:
    """Write the crop of every row under its name, in rows of five.

    Raises:
        FailedError: `file` cannot be written.
    """
    side = swept.crops[0].shape[0]
    lines = -(-len(swept.crops) // _COLUMNS)
    sheet = Image.new("RGB", (_COLUMNS * (side + 4), lines * (side + _LABEL + 4)), "white")
    draw = ImageDraw.Draw(sheet)
    for index, (row, crop) in enumerate(zip(swept.rows, swept.crops, strict=True)):
        left, top = index % _COLUMNS * (side + 4), index // _COLUMNS * (side + _LABEL + 4)
        draw.text((left + 2, top + 2), row.name if row.alpha is None else f"alpha {row.name}", fill="black")
        sheet.paste(Image.fromarray(crop[..., ::-1]), (left, top + _LABEL))
    try:
        with written_beside(file) as temporary:
            sheet.save(temporary, format={".jpg": "JPEG", ".webp": "WEBP"}.get(file.suffix.lower(), "PNG"))
    except OSError as error:
        raise FailedError(f"{file} cannot be written: {error.strerror or error}") from error
