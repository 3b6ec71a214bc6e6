"""A test pattern of known colours from file to file, against H.273's equations in float64.

Colours are patches with hard edges and ramps along both sides. The network is the identity, or repeats pixels.
"""

from __future__ import annotations

from itertools import product

import av
import numpy as np
import pytest

from clip_tools import Clip, Tags, decode, planes, video_options, write_clip
from colour_reference import reference_from_rgb, reference_to_rgb
from esrgan_video import upscale_video
from esrgan_video.colour import Colour, PixelLayout
from esrgan_video.container import EncoderOptions
from esrgan_video.container.frame import from_av

COLOURS = np.array(
    [[0, 0, 0], [1, 1, 1], [0.5, 0.5, 0.5], [0.75, 0, 0], [0, 0.75, 0], [0, 0, 0.75], [0.75, 0.75, 0], [0, 0.75, 0.75],
     [0.75, 0, 0.75], [1, 0, 0], [0, 1, 0], [0, 0, 1], [0.05, 0.1, 0.07], [0.9, 0.6, 0.5]]
)  # fmt: skip
SIDE = 16
WIDTH = SIDE * len(COLOURS)
EDGE = 4
"""Pixels around an edge in which subsampled chroma blends."""


def pattern() -> tuple[np.ndarray, np.ndarray]:
    """`(3, H, W)` RGB, and `(H, W)`: what no edge is near."""
    patches = COLOURS.repeat(SIDE, 0)[None].repeat(SIDE, 0)
    along = np.linspace([0.1, 0.8, 0.3], [0.9, 0.2, 0.6], WIDTH)[None].repeat(SIDE, 0)
    down = np.linspace([0.9, 0.1, 0.2], [0.2, 0.7, 0.9], 2 * SIDE)[:, None].repeat(WIDTH, 1)
    blocks = [patches, along, down]
    inside = np.zeros((sum(len(block) for block in blocks), WIDTH), bool)
    top = 0
    for block in blocks:
        rows = slice(top + EDGE, top + len(block) - EDGE)
        columns = np.arange(WIDTH) % SIDE if block is patches else np.arange(WIDTH)
        inside[rows] = (columns >= EDGE) & (columns < (SIDE if block is patches else WIDTH) - EDGE)
        top += len(block)
    return np.concatenate(blocks).transpose(2, 0, 1), inside


def repeated(picture: np.ndarray, scale: int) -> np.ndarray:
    return picture.repeat(scale, -1).repeat(scale, -2)


def codes(rgb: np.ndarray, layout: PixelLayout, colour: Colour) -> list[np.ndarray]:
    return [plane.round().astype(layout.dtype) for plane in reference_from_rgb(rgb, layout, colour)]


def coarse(mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Samples of a plane all of whose pixels are in `mask`."""
    step_y, step_x = mask.shape[0] // shape[0], mask.shape[1] // shape[1]
    return mask.reshape(shape[0], step_y, shape[1], step_x).all((1, 3))


def clip_of(made: list[np.ndarray], layout: PixelLayout, tags: Tags) -> Clip:
    size = made[0].shape[::-1]
    return Clip(codec="ffv1", pix_fmt=layout.pix_fmt, size=size, tags=tags, times=[0], options={}, planes=[made])


def run(source, target, upscaler, encoder):
    upscale_video(source, target, upscaler=upscaler, options=video_options(encoder=encoder), progress="none")
    return decode(target)[0]


@pytest.mark.parametrize("scale", [1, 2], ids=["identity", "nearest"])
@pytest.mark.parametrize(
    ("matrix", "full", "subsampling", "bits"),
    [*product([6, 1, 9], [False, True], ["420", "422", "444"], [8, 10])],
)
def test_known_colours_come_back(matrix, full, subsampling, bits, scale, tmp_path, make_upscaler):
    steps = {"420": (2, 2), "422": (2, 1), "444": (1, 1)}[subsampling]
    layout = PixelLayout(model="yuv", bits=bits, chroma_x=steps[0], chroma_y=steps[1])
    colour = Colour(matrix=matrix, full_range=full, chroma_location=1)
    tolerance = 1 if bits == 8 else 2
    rgb, inside = pattern()
    made = codes(rgb, layout, colour)
    tags = Tags(matrix=matrix, color_range=2 if full else 1, primaries=1, transfer=1, location=1)
    source = write_clip(tmp_path / "in.mkv", clip_of(made, layout, tags))
    seen = []

    class Watched(make_upscaler):
        def __call__(self, batch):
            seen.append(batch.numpy().copy())
            return super().__call__(batch)

    frame = run(source, tmp_path / "out.mkv", Watched(scale=scale), EncoderOptions(codec="ffv1"))
    np.testing.assert_allclose(seen[0][0], reference_to_rgb(made, layout, colour).clip(0, 1), atol=2e-6)
    assert frame.format.name.replace("yuvj", "yuv") == layout.pix_fmt
    assert (frame.colorspace, frame.color_range) == (matrix, 2 if full else 1)
    known = reference_from_rgb(repeated(rgb, scale), layout, colour)
    computed = reference_from_rgb(repeated(reference_to_rgb(made, layout, colour), scale), layout, colour)
    for ours, expected, exact in zip(planes(frame), known, computed, strict=True):
        smooth = coarse(repeated(inside, scale), ours.shape)
        assert smooth.mean() > 0.3
        assert np.abs(ours - expected)[smooth].max() <= tolerance
        assert np.abs(ours - exact).max() <= 0.51  # at edges too: what the equations give, rounded


@pytest.mark.parametrize("bits", [10, 12])
def test_rgb_becomes_limited_bt709_by_the_equations(bits, tmp_path, identity):
    layout = PixelLayout(model="rgb", bits=bits)
    rgb, _ = pattern()
    red, green, blue = (rgb * layout.peak).round().astype(np.uint16)
    source = write_clip(tmp_path / "in.mkv", clip_of([green, blue, red], layout, Tags()))
    encoder = EncoderOptions(codec="ffv1", pix_fmt=f"yuv444p{bits}le")
    frame = run(source, tmp_path / "out.mkv", identity, encoder)
    assert (frame.colorspace, frame.color_range) == (1, 1)
    exact = np.stack([red, green, blue]) / layout.peak
    expected = reference_from_rgb(exact, PixelLayout(model="yuv", bits=bits), Colour(matrix=1, full_range=False))
    for ours, theirs in zip(planes(frame), expected, strict=True):
        assert np.abs(ours - theirs).max() <= 0.51


def test_yuv_becomes_rgb_by_the_equations(tmp_path, identity):
    layout = PixelLayout(model="yuv", bits=10, chroma_x=2, chroma_y=2)
    colour = Colour(matrix=9, full_range=False, chroma_location=3)
    made = codes(pattern()[0], layout, colour)
    source = write_clip(tmp_path / "in.mkv", clip_of(made, layout, Tags(matrix=9, color_range=1, location=3)))
    frame = run(source, tmp_path / "out.mkv", identity, EncoderOptions(codec="ffv1", pix_fmt="gbrp10le"))
    red, green, blue = reference_to_rgb(made, layout, colour).clip(0, 1) * 1023
    for ours, theirs in zip(planes(frame), (green, blue, red), strict=True):
        assert np.abs(ours - theirs).max() <= 0.51


@pytest.mark.parametrize(
    ("pix_fmt", "shifts", "bits"),
    [("rgb565le", (11, 5, 0), (5, 6, 5)), ("bgr565le", (0, 5, 11), (5, 6, 5)), ("rgb555le", (10, 5, 0), (5, 5, 5)),
     ("bgr555le", (0, 5, 10), (5, 5, 5))],
)  # fmt: skip
def test_white_of_five_bits_is_white(pix_fmt, shifts, bits):
    """Codes of a few bits stand for code / peak: 31 of 31 is white, and not 248 of 255."""
    values = np.arange(1 << sum(bits), dtype=np.uint16).reshape(-1, 256)
    frame = av.VideoFrame(256, len(values), pix_fmt)
    np.frombuffer(frame.planes[0], np.uint16).reshape(len(values), -1)[:, :256] = values
    green, blue, red = from_av(frame, pts=0, time_base=1).planes
    for plane, shift, depth in zip((red, green, blue), shifts, bits, strict=True):
        expected = ((values >> shift) & ((1 << depth) - 1)) / ((1 << depth) - 1) * 255
        assert np.abs(plane - expected).max() < 1


@pytest.mark.parametrize(
    ("pix_fmt", "dtype"), [("grayf32le", "<f4"), ("gbrpf32le", "<f4"), ("gbrapf16le", "<f2"), ("gbrpf32be", ">f4")]
)
def test_float_pictures_keep_their_values(pix_fmt, dtype):
    values = np.linspace(-0.1, 1.1, 4096).astype(dtype).reshape(16, 256)
    frame = av.VideoFrame(256, 16, pix_fmt)
    for number, plane in enumerate(frame.planes):
        np.frombuffer(plane, dtype).reshape(16, -1)[:, :256] = np.roll(values, number)
    made = from_av(frame, pts=0, time_base=1)
    assert made.layout.bits == 16
    for number, plane in enumerate(made.planes):
        assert np.abs(plane / 65535 - np.roll(values, number).clip(0, 1)).max() < 1e-5
