"""Network interpolation on one image: a picture at one alpha, and a contact sheet of many."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from esrgan.errors import UsageError
from esrgan.weights import LoadedNetwork, interpolate, load_network
from esrgan_gradio.catalogue import Catalogue
from esrgan_gradio.device import Device
from esrgan_gradio.errors import naming
from esrgan_gradio.pictures import PictureResult, checked_number, resized, upscale_picture
from esrgan_gradio.workspace import Workspace, borrow
from esrgan_video.engine.options import DType
from esrgan_video.images import Pixels, StillImage, upscale_pixels, write_image
from esrgan_video.images.still import to_8_bit

ALPHAS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Shares of the second network on a contact sheet, as in the paper's figure."""
SHEET_CROP = 96
"""Side, in pixels of the input, of the part that a contact sheet shows."""
_COLUMNS = 3
_CELL = 384
"""Side of a picture on the sheet, in pixels."""
_LABEL, _GAP, _TOP = 44, 12, 96
_WEIGHTS_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt")


def checked_alpha(alpha: object) -> float:
    """A share that a visitor sent.

    Raises:
        UsageError: not a number from 0 to 1.
    """
    return checked_number(alpha, 0, 1, "alpha must be 0 to 1")


def chosen_network(
    device: Device, catalogue: Catalogue, workspace: Workspace, folder: Path, *, name: object, sent: object
) -> LoadedNetwork:
    """The uploaded weights if there are any, else the model of that name. Only for who has taken the device.

    Raises:
        UsageError: see `Workspace.admit` and `Catalogue.source`.
        WeightsError: weights that cannot be read, or that want to run code.
    """
    if sent is None:
        return device.network(catalogue.source(name))
    upload = workspace.admit(sent, "a weights file")
    suffix = upload.path.suffix.lower()
    if suffix not in _WEIGHTS_SUFFIXES:
        raise UsageError(f"{upload.name} is not a weights file: {', '.join(_WEIGHTS_SUFFIXES)}")
    path = borrow(upload, folder, suffix)
    try:
        with naming({path: upload.name}):
            return load_network(path)
    finally:
        path.unlink()


def blended_picture(
    device: Device,
    image: StillImage,
    networks: tuple[LoadedNetwork, LoadedNetwork],
    alpha: float,
    *,
    folder: Path,
    stem: str,
    show: bool = True,
) -> PictureResult:
    """`image` by the interpolated network; `before` is the picture of the first network.

    Raises:
        UsageError: networks that differ in more than their values.
    """
    mixed = device.place(interpolate(*networks, alpha))
    result = upscale_picture(image, mixed, scale=None, folder=folder, stem=f"{stem}_alpha{alpha:g}", show=show)
    if result.before is None or result.after is None:
        return result
    first = device.place(networks[0])
    with Image.open(result.after) as shown:
        width, height = shown.size
    write_shown(result.before, replace(image, pixels=upscale_pixels(image.pixels, first)), height, width)
    return result


def write_shown(path: Path, image: StillImage, height: int, width: int) -> None:
    """Write a PNG for the page, in the given size."""
    write_image(path, replace(image, pixels=resized(image.pixels, height, width)))


def contact_sheet(device: Device, image: StillImage, networks: tuple[LoadedNetwork, LoadedNetwork], path: Path) -> None:
    """Write a PNG of the middle of `image` by the network at each of `ALPHAS`, with labels.

    Raises:
        UsageError: networks that differ in more than their values.
    """
    crop = _middle(image.pixels)
    # The check of half precision takes longer than a picture of this size: the first network's holds for its kin.
    dtype = dtype_name(device.place(networks[0]).dtype)
    cells = [upscale_pixels(crop, device.place(interpolate(*networks, alpha), dtype=dtype)) for alpha in ALPHAS]
    rows = math.ceil(len(ALPHAS) / _COLUMNS)
    sheet = Image.new("RGB", (_COLUMNS * (_CELL + _GAP) + _GAP, rows * (_CELL + _LABEL + _GAP) + _TOP), (250, 250, 250))
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(26)
    for number, (alpha, cell) in enumerate(zip(ALPHAS, cells, strict=True)):
        left = _GAP + number % _COLUMNS * (_CELL + _GAP)
        top = _TOP + number // _COLUMNS * (_CELL + _LABEL + _GAP)
        pen.text((left + 2, top + 6), f"alpha {alpha:g}", (24, 24, 27), font)
        sheet.paste(_cell(cell), (left, top + _LABEL))
    sheet.save(path, "PNG")


def dtype_name(dtype: torch.dtype) -> DType:
    """The name of a precision in `EngineOptions`."""
    names: dict[torch.dtype, DType] = {torch.float16: "float16", torch.bfloat16: "bfloat16"}
    return names.get(dtype, "float32")


def _middle(pixels: Pixels) -> Pixels:
    height, width = pixels.shape[:2]
    top, left = max(0, height - SHEET_CROP) // 2, max(0, width - SHEET_CROP) // 2
    return np.ascontiguousarray(pixels[top : top + SHEET_CROP, left : left + SHEET_CROP])


def _cell(pixels: Pixels) -> Image.Image:
    """A picture for the sheet: on white where it is transparent, its longest side `_CELL`."""
    levels = to_8_bit(pixels).astype(np.float64)
    if levels.shape[2] in (2, 4):
        share = levels[:, :, -1:] / 255
        levels = levels[:, :, :-1] * share + 255 * (1 - share)
    picture = Image.fromarray(np.broadcast_to(levels.round(), (*levels.shape[:2], 3)).astype(np.uint8))
    ratio = _CELL / max(picture.size)
    return picture.resize(
        (max(1, round(picture.width * ratio)), max(1, round(picture.height * ratio))), Image.Resampling.BICUBIC
    )
