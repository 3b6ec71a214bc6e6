"""Code values to RGB and back, after ITU-T H.273.

All computing is float32 and elementwise: no matrix product, since those may run in TF32 on a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from esrgan_video.colour.chroma import area_taps, downsample, upsample
from esrgan_video.colour.description import Colour, Matrix
from esrgan_video.colour.gamut import restore_gamut
from esrgan_video.colour.layout import PixelLayout
from esrgan_video.colour.native.codes import write_codes

_STRIP_PIXELS = 262_144
"""Pixels that are converted to code values at once, on a processor."""
_STRIP_STEP = 32
"""Rows of a strip are a multiple of this: of the dither's 8, where chroma has a quarter of the rows too."""
_NEIGHBOURS = 2
"""Rows of chroma beyond a strip that its own depend on, and one more."""


def to_rgb(planes: Sequence[Tensor], layout: PixelLayout, colour: Colour) -> Tensor:
    """RGB of frames.

    Args:
        planes: one tensor per plane, `(N, h, w)`, uint8 or uint16 as `layout.dtype`. An alpha plane is ignored.
        layout: what the planes are.
        colour: what their values mean.

    Returns:
        `(N, 3, H, W)` float32 on the planes' device. 0 is black and 1 is white, in the source's own
        transfer; values outside 0..1 (super-white, colours out of gamut) are kept.
    """
    scale = _Scale.of(layout, colour)
    if layout.model == "rgb":
        green, blue, red = (scale.luma_from_code(plane) for plane in planes[:3])
        return torch.stack((red, green, blue), 1)
    luma = scale.luma_from_code(planes[0])  # (N, H, W)
    if layout.model == "grey":
        return luma.unsqueeze(1).repeat(1, 3, 1, 1)
    chroma = scale.chroma_from_code(torch.stack((planes[1], planes[2]), 1))  # (N, 2, h, w)
    return rgb_from_yuv(luma, chroma, (layout.chroma_x, layout.chroma_y), colour)


def from_rgb(
    rgb: Tensor,
    layout: PixelLayout,
    colour: Colour,
    *,
    beyond: Tensor | None = None,
    alpha: Tensor | None = None,
    dither: bool = False,
) -> tuple[Tensor, ...]:
    """Code values of RGB frames: the inverse of `to_rgb`, rounded to nearest and clamped to what `layout` holds.

    Where the compiled part can do it, it does: values that lie in the middle between two codes, but for the last bits
    of a float32, may get the other one of the two.

    Args:
        rgb: `(N, 3, H, W)` float32.
        layout: planes to make.
        colour: what their values are to mean.
        beyond: `(N, 3, h, w)`, what `restore_gamut` is to do first. `rgb` may then be changed.
        alpha: `(N, H, W)` float32, 1 is opaque; by default all is. For layouts with an alpha plane, else ignored.
        dither: whether what lies between two codes becomes a fixed pattern of both (see `threshold_pattern`), so that
            the mean of a small area is kept: for sources of more bits than `layout` has.

    Returns:
        One tensor per plane, `(N, h, w)`, uint8 or uint16, on the same device, contiguous.
    """
    scale = _Scale.of(layout, colour, dither=dither)
    planes = _compiled_planes(rgb, layout, colour, scale, beyond)
    if planes is None:
        rgb = rgb if beyond is None else restore_gamut(rgb, beyond)
        planes = _joined([_colour_planes(*strip, layout, colour, scale) for strip in _strips(rgb, layout.chroma_y)])
    if layout.alpha:
        opaque = torch.full_like(planes[0], layout.peak)
        planes.append(opaque if alpha is None else scale.code_from_alpha(alpha))
    return tuple(planes)


def _compiled_planes(
    rgb: Tensor, layout: PixelLayout, colour: Colour, scale: _Scale, beyond: Tensor | None
) -> list[Tensor] | None:
    """The planes but for alpha, by the compiled part; `None` where it cannot make them."""
    if layout.model == "rgb" or rgb.device.type != "cpu":
        return None
    height, width = rgb.shape[-2:]
    shapes = layout.plane_shapes(height, width)[: layout.colour_planes]
    planes = [torch.empty((len(rgb), *shape), dtype=scale.dtype) for shape in shapes]
    spans = (scale.white - scale.black, scale.chroma_span, scale.chroma_span)
    weights = [[weight * span for weight in row] for row, span in zip(_rows_of_matrix(colour), spans, strict=True)]
    steps, siting = (layout.chroma_x, layout.chroma_y), colour.siting
    for index, picture in enumerate(rgb):
        done = write_codes(
            picture,
            [plane[index] for plane in planes],
            weights=weights,
            offsets=(scale.black, scale.middle, scale.middle),
            peak=scale.peak,
            black=scale.black,
            taps=(area_taps(steps[0], siting[0]), area_taps(steps[1], siting[1])),
            step=steps,
            beyond=None if beyond is None else beyond[index],
            thresholds=threshold_pattern(8, 8, rgb.device) if scale.dither else None,
        )
        if not done:
            return None
    return planes


def _rows_of_matrix(colour: Colour) -> tuple[tuple[float, float, float], ...]:
    """Weights of R, G and B in the three components."""
    if colour.matrix == Matrix.YCGCO:
        return (0.25, 0.5, 0.25), (-0.25, 0.5, -0.25), (0.5, 0.0, -0.5)
    kr, kb = colour.kr_kb
    kg = 1 - kr - kb
    blue, red = 2 * (1 - kb), 2 * (1 - kr)
    return (kr, kg, kb), (-kr / blue, -kg / blue, 0.5), (0.5, -kg / red, -kb / red)


def _strips(rgb: Tensor, step: int) -> Iterator[tuple[Tensor, int, int]]:
    """Rows of `rgb` with neighbours above and below, and how many rows these are.

    The steps of the conversion go over all values one after the other: strips that stay in the processor's cache take
    half the time that whole large frames do.
    """
    height, width = rgb.shape[-2:]
    rows = max(1, _STRIP_PIXELS // width // _STRIP_STEP) * _STRIP_STEP
    if rgb.device.type != "cpu" or rows >= height:
        yield rgb, 0, 0
        return
    for start in range(0, height, rows):
        above = min(start, _NEIGHBOURS * step)
        below = min(max(0, height - start - rows), _NEIGHBOURS * step)
        yield rgb[..., start - above : start + rows + below, :], above, below


def _colour_planes(
    rgb: Tensor, above: int, below: int, layout: PixelLayout, colour: Colour, scale: _Scale
) -> list[Tensor]:
    """The planes of `rgb` but for `above` rows at its top and `below` rows at its end, and for alpha."""
    inner = slice(above, rgb.shape[-2] - below)
    if layout.model == "rgb":
        return [scale.code_from_luma(rgb[:, channel, inner]) for channel in (1, 2, 0)]
    luma = _luma(rgb, colour)  # (N, h, W)
    planes = [scale.code_from_luma(luma[:, inner])]
    if layout.model == "yuv":
        chroma = _chroma(rgb, luma, (layout.chroma_x, layout.chroma_y), colour)
        first, last = above // layout.chroma_y, -(-below // layout.chroma_y)
        codes = scale.code_from_chroma(chroma[:, :, first : chroma.shape[2] - last])
        planes += [codes[:, 0].contiguous(), codes[:, 1].contiguous()]
    return planes


def _joined(strips: list[list[Tensor]]) -> list[Tensor]:
    """Planes of strips, put together: `(N, h, w)` each."""
    return strips[0] if len(strips) == 1 else [torch.cat(parts, 1) for parts in zip(*strips, strict=True)]


def rgb_from_yuv(luma: Tensor, chroma: Tensor, step: tuple[int, int], colour: Colour) -> Tensor:
    """RGB of E'Y, E'PB and E'PR.

    Args:
        luma: `(N, H, W)` float32, 0 black and 1 white.
        chroma: `(N, 2, h, w)` float32, -0.5..0.5.
        step: luma samples per chroma sample, horizontally and vertically.
        colour: matrix and chroma location.

    Returns:
        `(N, 3, H, W)` float32.
    """
    height, width = luma.shape[-2:]
    chroma = upsample(chroma, height, width, step, colour.siting)
    return _rgb_from_components(luma, chroma[:, 0], chroma[:, 1], colour)


def yuv_from_rgb(rgb: Tensor, step: tuple[int, int], colour: Colour) -> tuple[Tensor, Tensor]:
    """The inverse of `rgb_from_yuv`: luma `(N, H, W)` and chroma `(N, 2, h, w)`."""
    luma = _luma(rgb, colour)
    return luma, _chroma(rgb, luma, step, colour)


def threshold_pattern(height: int, width: int, device: torch.device) -> Tensor:
    """What ordered dither adds before rounding: `(height, width)` float32, evenly spread in -0.5..0.5, mean zero.

    Bayer's matrix of 8 x 8 (B. E. Bayer, "An optimum method for two-level rendition of continuous-tone pictures",
    1973), repeated. It is less than half a code, so values that are codes stay as they are; and the same for all
    frames, so still pictures stay still.
    """
    matrix = torch.zeros(1, 1, device=device)
    for _ in range(3):
        matrix = torch.cat((torch.cat((4 * matrix, 4 * matrix + 2), 1), torch.cat((4 * matrix + 3, 4 * matrix + 1), 1)))
    side = matrix.shape[0]
    pattern = ((matrix + 0.5) / side**2 - 0.5).repeat(-(-height // side), -(-width // side))
    return pattern[:height, :width]


@dataclass(frozen=True)
class _Scale:
    """Code values against values of E'Y in 0..1 and E'PB, E'PR in -0.5..0.5."""

    black: float
    white: float
    middle: float
    chroma_span: float
    peak: int
    dtype: torch.dtype
    dither: bool

    @classmethod
    def of(cls, layout: PixelLayout, colour: Colour, *, dither: bool = False) -> _Scale:
        dtype = torch.uint8 if layout.bits == 8 else torch.uint16
        middle = float(1 << (layout.bits - 1))
        if colour.full_range:
            return cls(0.0, layout.peak, middle, layout.peak, layout.peak, dtype, dither)
        unit = float(1 << (layout.bits - 8))
        return cls(16 * unit, 235 * unit, middle, 224 * unit, layout.peak, dtype, dither)

    def luma_from_code(self, code: Tensor) -> Tensor:
        return code.to(torch.float32).sub_(self.black).div_(self.white - self.black)

    def chroma_from_code(self, code: Tensor) -> Tensor:
        return code.to(torch.float32).sub_(self.middle).div_(self.chroma_span)

    def code_from_luma(self, luma: Tensor) -> Tensor:
        return self._code(luma.mul(self.white - self.black).add_(self.black))

    def code_from_chroma(self, chroma: Tensor) -> Tensor:
        return self._code(chroma.mul(self.chroma_span).add_(self.middle))

    def code_from_alpha(self, alpha: Tensor) -> Tensor:
        return self._code(alpha.mul(self.peak))  # whatever the range of the colours

    def _code(self, value: Tensor) -> Tensor:
        if self.dither:
            value.add_(threshold_pattern(value.shape[-2], value.shape[-1], value.device))
        # NaN has no integer: it becomes black here rather than whatever the machine's cast gives.
        return value.round_().nan_to_num_(nan=self.black).clamp_(0, self.peak).to(self.dtype)


def _rgb_from_components(luma: Tensor, blue_difference: Tensor, red_difference: Tensor, colour: Colour) -> Tensor:
    """H.273's equations of luma and differences solved for R, G and B: `(N, H, W)` -> `(N, 3, H, W)`."""
    rgb = luma.new_empty((luma.shape[0], 3, *luma.shape[1:]))
    red, green, blue = rgb.unbind(1)
    if colour.matrix == Matrix.YCGCO:  # the second plane is Cg, the third Co
        base = luma - blue_difference
        torch.add(base, red_difference, out=red)
        torch.add(luma, blue_difference, out=green)
        torch.sub(base, red_difference, out=blue)
        return rgb
    kr, kb = colour.kr_kb
    kg = 1 - kr - kb
    torch.add(luma, red_difference, alpha=2 * (1 - kr), out=red)
    torch.add(luma, blue_difference, alpha=2 * (1 - kb), out=blue)
    torch.add(luma, red_difference, alpha=-2 * (1 - kr) * kr / kg, out=green)
    green.add_(blue_difference, alpha=-2 * (1 - kb) * kb / kg)
    return rgb


def _luma(rgb: Tensor, colour: Colour) -> Tensor:
    red, green, blue = rgb.unbind(1)
    kr, kb = (0.25, 0.25) if colour.matrix == Matrix.YCGCO else colour.kr_kb
    return torch.mul(red, kr).add_(green, alpha=1 - kr - kb).add_(blue, alpha=kb)


def _chroma(rgb: Tensor, luma: Tensor, step: tuple[int, int], colour: Colour) -> Tensor:
    """Second and third component, -0.5..0.5: `(N, 2, h, w)`."""
    return downsample(_full_chroma(rgb, luma, colour), step, colour.siting)


def _full_chroma(rgb: Tensor, luma: Tensor, colour: Colour) -> Tensor:
    """Second and third component at the size of luma: `(N, 2, H, W)`."""
    red, green, blue = rgb.unbind(1)
    chroma = rgb.new_empty((rgb.shape[0], 2, *rgb.shape[2:]))
    second, third = chroma.unbind(1)
    if colour.matrix == Matrix.YCGCO:
        torch.sub(green, luma, out=second)
        torch.sub(red, blue, out=third).mul_(0.5)
        return chroma
    kr, kb = colour.kr_kb
    torch.sub(blue, luma, out=second).div_(2 * (1 - kb))
    torch.sub(red, luma, out=third).div_(2 * (1 - kr))
    return chroma
