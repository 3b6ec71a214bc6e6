"""Pillow's image modes as pixel arrays, and back."""

from __future__ import annotations

import numpy as np
from PIL import Image

from esrgan.errors import MediaError
from esrgan_video.images.colour import to_srgb
from esrgan_video.images.still import Pixels, to_8_bit

_AS = {
    "1": "L", "L": "L", "LA": "LA", "La": "LA", "PA": "RGBA", "RGB": "RGB", "RGBX": "RGB", "RGBA": "RGBA",
    "RGBa": "RGBA", "YCbCr": "RGB",
}  # fmt: skip


def array_of(image: Image.Image, icc_profile: bytes | None = None) -> Pixels:
    """Pixels of an image with at most 8 bits a channel; CMYK becomes sRGB through `icc_profile`.

    Raises:
        MediaError: a mode that is none of grey, palette, RGB and CMYK.
    """
    if image.mode == "CMYK":
        image = to_srgb(image, icc_profile)
    elif image.mode == "P":
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    elif image.mode in _AS:
        image = image if image.mode == _AS[image.mode] else image.convert(_AS[image.mode])
    else:
        raise MediaError(f"pixels of the kind {image.mode!r} are not handled: convert the image to RGB first")
    return np.atleast_3d(np.array(image))


def image_of(pixels: Pixels) -> Image.Image:
    """A Pillow image with 8 bits a channel."""
    narrow = to_8_bit(pixels)
    return Image.fromarray(narrow[:, :, 0] if narrow.shape[2] == 1 else narrow)
