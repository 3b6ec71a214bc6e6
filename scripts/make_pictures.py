"""Make `docs/before_after.png`, the picture of the README: a reduced photograph, bicubic, and the shipped network.

The photograph is NASA's portrait of Eileen Collins (public domain), which comes with scikit-image.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from skimage import data

from esrgan_video import Upscaler

SCALE = 4
BOX = (72, 0, 328, 256)
"""Part of the photograph that is shown: left, top, right, bottom; multiples of the scale."""
SHOWN = 1
LABEL_HEIGHT = 26


def main() -> None:
    """Draw the picture."""
    photograph = Image.fromarray(data.astronaut())
    small = photograph.resize((photograph.width // SCALE, photograph.height // SCALE), Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(np.asarray(small).copy()).permute(2, 0, 1)[None] / 255
    result = Upscaler("default")(pixels)[0].clamp(0, 1).permute(1, 2, 0).cpu().numpy()
    panels = (
        ("input, enlarged", small.resize(photograph.size, Image.Resampling.NEAREST)),
        ("bicubic", small.resize(photograph.size, Image.Resampling.BICUBIC)),
        ("esrgan upscale", Image.fromarray((result * 255).round().astype(np.uint8))),
        ("photograph", photograph),
    )
    side = (BOX[2] - BOX[0]) * SHOWN
    sheet = Image.new("RGB", (len(panels) * side, side + LABEL_HEIGHT), "white")
    pen = ImageDraw.Draw(sheet)
    for number, (label, picture) in enumerate(panels):
        sheet.paste(picture.crop(BOX).resize((side, side), Image.Resampling.NEAREST), (number * side, LABEL_HEIGHT))
        pen.text((number * side + 6, 4), label, "black", ImageFont.load_default(15))
    target = Path(__file__).resolve().parent.parent / "docs" / "before_after.png"
    target.parent.mkdir(exist_ok=True)
    sheet.save(target, optimize=True)


if __name__ == "__main__":
    main()
