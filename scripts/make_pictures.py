"""Make the pictures of the shipped networks: `docs/before_after.png`, `lite_pair.png`, `standard_pair.png` and
`lite_real.png`.

The photographs come with scikit-image: NASA's portrait of Eileen Collins (public domain), a cat by Stéfan van der Walt
and a cup of coffee by Rachel Michetti (both CC0).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from skimage import data

from esrgan.weights import load_blend, load_network
from esrgan_video import Upscaler

DOCS = Path(__file__).resolve().parent.parent / "docs"
SCALE = 4
LABEL_HEIGHT = 26

Box = tuple[int, int, int, int]
"""Part of a photograph that is shown: left, top, right, bottom; multiples of the scale."""


@dataclass(frozen=True)
class Column:
    """Pictures of one kind, one for each row."""

    label: str
    crops: list[Image.Image]


def main() -> None:
    """Draw all."""
    psnr = Upscaler(load_network("default"))
    astronaut = [(data.astronaut(), (72, 0, 328, 256))]
    columns = [
        Column("input, enlarged", [enlarged(*one, Image.Resampling.NEAREST) for one in astronaut]),
        Column("bicubic", [enlarged(*one, Image.Resampling.BICUBIC) for one in astronaut]),
        Column("esrgan upscale", [upscaled(*one, psnr) for one in astronaut]),
        Column("photograph", [photograph(*one) for one in astronaut]),
    ]
    sheet(columns).save(DOCS / "before_after.png", optimize=True)

    rows = [
        (data.astronaut(), (160, 64, 320, 224)),
        (data.chelsea(), (140, 80, 300, 240)),
        (data.coffee(), (240, 60, 400, 220)),
    ]
    for name, file in (("default", "lite_pair.png"), ("rrdb-standard-x4-psnr", "standard_pair.png")):
        blends = {alpha: Upscaler(load_blend(name, alpha=alpha)) for alpha in (0.0, 0.5, 1.0)}
        columns = [
            Column("bicubic", [enlarged(*row, Image.Resampling.BICUBIC) for row in rows]),
            Column("PSNR: alpha 0", [upscaled(*row, blends[0.0]) for row in rows]),
            Column("alpha 0.5", [upscaled(*row, blends[0.5]) for row in rows]),
            Column("GAN: alpha 1", [upscaled(*row, blends[1.0]) for row in rows]),
            Column("photograph", [photograph(*row) for row in rows]),
        ]
        sheet(columns).save(DOCS / file, optimize=True)

    real = Upscaler(load_network("rrdb-lite-x4-real"))
    frames = [(encoded(reduced(pixels)), box) for pixels, box in rows]
    columns = [
        Column("H.264, enlarged", [enlarge(frame, box, Image.Resampling.BICUBIC) for frame, box in frames]),
        Column("default", [upscale(frame, box, psnr) for frame, box in frames]),
        Column("rrdb-lite-x4-real", [upscale(frame, box, real) for frame, box in frames]),
        Column("photograph", [photograph(*row) for row in rows]),
    ]
    sheet(columns).save(DOCS / "lite_real.png", optimize=True)


def photograph(pixels: np.ndarray, box: Box) -> Image.Image:
    """The part of the photograph itself."""
    return Image.fromarray(pixels).crop(box)


def reduced(pixels: np.ndarray) -> Image.Image:
    """The photograph at a quarter of its size; what does not fill whole pixels is cut off."""
    whole = Image.fromarray(pixels)
    width, height = (side // SCALE * SCALE for side in whole.size)
    return whole.crop((0, 0, width, height)).resize((width // SCALE, height // SCALE), Image.Resampling.BICUBIC)


def encoded(picture: Image.Image) -> Image.Image:
    """The picture after a lossy way through a video file."""
    stored = io.BytesIO()
    with av.open(stored, "w", format="matroska") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "22"})
        stream.width, stream.height = (side // 2 * 2 for side in picture.size)
        stream.pix_fmt = "yuv420p"
        frame = av.VideoFrame.from_image(picture.crop((0, 0, stream.width, stream.height)))
        container.mux([*stream.encode(frame), *stream.encode(None)])
    stored.seek(0)
    with av.open(stored) as container:
        return next(container.decode(video=0)).to_image()


def enlarged(pixels: np.ndarray, box: Box, method: Image.Resampling) -> Image.Image:
    """The part, reduced and enlarged again by a filter."""
    return enlarge(reduced(pixels), box, method)


def enlarge(small: Image.Image, box: Box, method: Image.Resampling) -> Image.Image:
    """The part of a small picture that is enlarged by a filter."""
    return small.resize((small.width * SCALE, small.height * SCALE), method).crop(box)


def upscaled(pixels: np.ndarray, box: Box, upscaler: Upscaler) -> Image.Image:
    """The part, reduced and upscaled."""
    return upscale(reduced(pixels), box, upscaler)


def upscale(small: Image.Image, box: Box, upscaler: Upscaler) -> Image.Image:
    """The part of a small picture that is upscaled."""
    batch = torch.from_numpy(np.asarray(small).copy()).permute(2, 0, 1)[None] / 255
    result = upscaler(batch)[0].clamp(0, 1).permute(1, 2, 0).cpu().numpy()
    return Image.fromarray((result * 255).round().astype(np.uint8)).crop(box)


def sheet(columns: Sequence[Column]) -> Image.Image:
    """Columns beside each other under their labels."""
    side = columns[0].crops[0].width
    drawn = Image.new("RGB", (len(columns) * side, LABEL_HEIGHT + len(columns[0].crops) * side), "white")
    pen = ImageDraw.Draw(drawn)
    for number, column in enumerate(columns):
        pen.text((number * side + 6, 4), column.label, "black", ImageFont.load_default(15))
        for row, crop in enumerate(column.crops):
            drawn.paste(crop, (number * side, LABEL_HEIGHT + row * side))
    return drawn


if __name__ == "__main__":
    main()
