"""The one place that knows matrix, range, depth and chroma siting: code values to RGB and back.

- `PixelLayout`: how many planes, how deep, how subsampled (`esrgan_video.colour.layout`).
- `Colour`: what the code values mean (`esrgan_video.colour.description`).
- `to_rgb`, `from_rgb`: planes to float RGB in 0..1 and back (`esrgan_video.colour.convert`).
- `split_gamut`, `restore_gamut`: what lies outside 0..1, around the network (`esrgan_video.colour.gamut`).
"""

from esrgan_video.colour.convert import from_rgb, to_rgb
from esrgan_video.colour.description import Colour, Matrix, guess_matrix, resolve_colour
from esrgan_video.colour.gamut import restore_gamut, split_gamut
from esrgan_video.colour.layout import PixelLayout

__all__ = [
    "Colour",
    "Matrix",
    "PixelLayout",
    "from_rgb",
    "guess_matrix",
    "resolve_colour",
    "restore_gamut",
    "split_gamut",
    "to_rgb",
]
