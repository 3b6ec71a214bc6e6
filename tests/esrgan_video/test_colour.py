"""Planes to RGB and back, against float64 formulas of H.273 and against swscale."""

from __future__ import annotations

import itertools

import av
import numpy as np
import pytest
import torch

from colour_reference import KR_KB, reference_from_rgb, reference_to_rgb
from esrgan.errors import MediaError
from esrgan_video.colour import (
    Colour,
    Matrix,
    PixelLayout,
    convert,
    from_rgb,
    guess_matrix,
    resolve_colour,
    split_gamut,
    to_rgb,
)
from esrgan_video.colour.native import codes as native_codes

SUBSAMPLINGS = {"444": (1, 1), "422": (2, 1), "420": (2, 2), "440": (1, 2), "411": (4, 1), "410": (4, 4)}


def yuv(subsampling: str, bits: int = 8) -> PixelLayout:
    chroma_x, chroma_y = SUBSAMPLINGS[subsampling]
    return PixelLayout(model="yuv", bits=bits, chroma_x=chroma_x, chroma_y=chroma_y)


def random_planes(layout: PixelLayout, height: int, width: int, seed: int = 0) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    shapes = layout.plane_shapes(height, width)
    return [generator.integers(0, layout.peak + 1, shape).astype(layout.dtype) for shape in shapes]


def tensors(planes: list[np.ndarray]) -> list[torch.Tensor]:
    return [torch.from_numpy(plane)[None] for plane in planes]


@pytest.fixture
def in_torch(monkeypatch):
    monkeypatch.setattr(native_codes, "find_kernels", lambda: ())


@pytest.fixture(params=["torch", "fastest kernel", "slowest kernel"])
def way(request, monkeypatch):
    """Each way to code values: in torch, and by the first and the last kernel of this processor."""
    kernels = native_codes.find_kernels()
    if request.param != "torch" and not kernels:
        pytest.skip("the conversion was not compiled")
    chosen = {"torch": (), "fastest kernel": kernels[:1], "slowest kernel": kernels[-1:]}[request.param]
    monkeypatch.setattr(native_codes, "find_kernels", lambda: chosen)


CASES = [
    *itertools.product([1, 6, 9], [False, True], ["420", "422", "444"], [8, 10], [0]),
    *itertools.product([4, 5, 7, 8], [False], ["444"], [8], [0]),
    *itertools.product([1], [False], ["420", "440", "410"], [8, 16], [1, 2, 3, 4, 5, 6]),
    (6, False, "411", 8, 1),
]


@pytest.mark.parametrize(("matrix", "full_range", "subsampling", "bits", "location"), CASES)
@pytest.mark.parametrize(("height", "width"), [(8, 12), (7, 9), (1, 1), (1, 6), (5, 1)])
def test_rgb_equals_a_float64_reference(matrix, full_range, subsampling, bits, location, height, width):
    layout = yuv(subsampling, bits)
    colour = Colour(matrix=matrix, full_range=full_range, chroma_location=location)
    planes = random_planes(layout, height, width)
    rgb = to_rgb(tensors(planes), layout, colour)
    assert rgb.dtype == torch.float32
    np.testing.assert_allclose(rgb[0].numpy(), reference_to_rgb(planes, layout, colour), atol=2e-6)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(("matrix", "full_range", "subsampling", "bits", "location"), CASES)
@pytest.mark.parametrize(("height", "width"), [(8, 12), (7, 9), (1, 1), (1, 6), (5, 1)])
def test_codes_equal_a_float64_reference(matrix, full_range, subsampling, bits, location, height, width):
    assert_codes_equal(matrix, full_range, subsampling, bits, location, height, width)


def assert_codes_equal(matrix, full_range, subsampling, bits, location, height, width):
    layout = yuv(subsampling, bits)
    colour = Colour(matrix=matrix, full_range=full_range, chroma_location=location)
    rgb = np.random.default_rng(1).uniform(-0.05, 1.05, (3, height, width)).astype(np.float32)
    planes = from_rgb(torch.from_numpy(rgb)[None], layout, colour)
    expected = reference_from_rgb(rgb.astype(np.float64), layout, colour)
    for plane, reference in zip(planes, expected, strict=True):
        assert plane[0].numpy().dtype == layout.dtype
        # Rounded to nearest: half a code, and what float32 leaves of it at 16 bits.
        assert np.abs(plane[0].numpy().astype(np.float64) - reference).max() <= 0.5 + 2.0 ** (layout.bits - 21)


@pytest.mark.usefixtures("in_torch")
@pytest.mark.parametrize(("matrix", "full_range", "subsampling", "bits", "location"), CASES)
@pytest.mark.parametrize("height", [64, 67, 97, 129])
def test_codes_of_large_frames_that_are_converted_in_strips_equal_it_too(
    matrix, full_range, subsampling, bits, location, height, monkeypatch
):
    monkeypatch.setattr(convert, "_STRIP_PIXELS", 1)
    assert_codes_equal(matrix, full_range, subsampling, bits, location, height, 6)


@pytest.mark.usefixtures("in_torch")
@pytest.mark.parametrize("subsampling", ["444", "420", "410"])
def test_strips_do_not_shift_the_dither(subsampling, monkeypatch):
    layout, colour = yuv(subsampling), Colour(matrix=1, full_range=False, chroma_location=1)
    rgb = torch.rand(2, 3, 131, 24)
    whole = from_rgb(rgb, layout, colour, dither=True)
    monkeypatch.setattr(convert, "_STRIP_PIXELS", 1)
    for plane, other in zip(from_rgb(rgb, layout, colour, dither=True), whole, strict=True):
        assert torch.equal(plane, other)


BAYER = np.array([[0]])
for _ in range(3):
    BAYER = np.block([[4 * BAYER, 4 * BAYER + 2], [4 * BAYER + 3, 4 * BAYER + 1]])


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("dither", [False, True])
@pytest.mark.parametrize("scale", [None, (1, 1), (2, 4), (3, 5)])
@pytest.mark.parametrize(("bits", "near"), [(8, 1e-3), (10, 1e-3), (12, 1e-3), (16, 0.03)])
@pytest.mark.parametrize(("subsampling", "location"), [("420", 1), ("420", 3), ("422", 2), ("444", 0), ("410", 6)])
def test_codes_are_the_nearest_ones_but_for_ties(subsampling, location, bits, near, scale, dither):
    """The exact value, rounded; where it is `near` the middle between two codes, either of the two."""
    layout, colour = yuv(subsampling, bits), Colour(matrix=9, full_range=False, chroma_location=location)
    rows, columns = scale or (1, 1)
    rgb = np.random.default_rng(4).uniform(-0.1, 1.1, (3, 35 * rows, 43 * columns)).astype(np.float32)
    small = np.random.default_rng(5).uniform(-0.2, 1.2, (1, 3, 35, 43)).astype(np.float32)
    beyond = None if scale is None else split_gamut(torch.from_numpy(small))[1]
    exact = rgb.astype(np.float64)
    if beyond is not None:
        exact = exact.clip(0, 1) + beyond[0].numpy().astype(np.float64).repeat(rows, 1).repeat(columns, 2)
    planes = from_rgb(torch.from_numpy(rgb)[None], layout, colour, beyond=beyond, dither=dither)
    for plane, reference in zip(planes, reference_from_rgb(exact, layout, colour), strict=True):
        tiles = [-(-side // 8) for side in reference.shape]
        threshold = (np.tile(BAYER, tiles)[: reference.shape[0], : reference.shape[1]] + 0.5) / 64 - 0.5
        value = (reference + threshold * dither).clip(0, layout.peak)
        assert np.abs(plane[0].numpy() - value).max() <= 0.5 + near


@pytest.mark.parametrize("dither", [False, True])
def test_kernels_threads_and_batches_give_the_same_codes(dither, monkeypatch):
    kernels = native_codes.find_kernels()
    if not kernels:
        pytest.skip("the conversion was not compiled")
    layout, colour = yuv("420", 10), Colour(matrix=1, full_range=False, chroma_location=3)
    rgb, threads = torch.rand(2, 3, 67, 45), torch.get_num_threads()
    expected = from_rgb(rgb, layout, colour, dither=dither)
    try:
        for kernel, count in itertools.product(kernels, (1, 3)):
            torch.set_num_threads(count)
            monkeypatch.setattr(native_codes, "find_kernels", lambda kernel=kernel: (kernel,))
            for index in range(2):
                alone = from_rgb(rgb[index : index + 1], layout, colour, dither=dither)
                assert all(torch.equal(one[0], both[index]) for one, both in zip(alone, expected, strict=True))
    finally:
        torch.set_num_threads(threads)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("bits", [8, 9, 10, 12, 14, 16])
@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", [*KR_KB, 8])
def test_every_code_survives_the_way_there_and_back(matrix, full_range, bits):
    layout, colour = yuv("444", bits), Colour(matrix=matrix, full_range=full_range)
    planes = tensors(random_planes(layout, 64, 64))
    returned = from_rgb(to_rgb(planes, layout, colour), layout, colour)
    assert all(torch.equal(before, after) for before, after in zip(planes, returned, strict=True))


@pytest.mark.parametrize("location", range(7))
@pytest.mark.parametrize("subsampling", SUBSAMPLINGS)
def test_flat_patches_survive_subsampling(subsampling, location):
    layout, colour = yuv(subsampling), Colour(matrix=1, full_range=False, chroma_location=location)
    for codes in np.random.default_rng(2).integers(0, 256, (20, 3)):
        planes = [
            torch.full((1, *shape), int(code), dtype=torch.uint8)
            for shape, code in zip(layout.plane_shapes(9, 11), codes, strict=True)
        ]
        returned = from_rgb(to_rgb(planes, layout, colour), layout, colour)
        assert all(torch.equal(before, after) for before, after in zip(planes, returned, strict=True))


@pytest.mark.parametrize("bits", [8, 10, 16])
def test_planar_rgb_is_gbr_order_and_exact(bits):
    layout = PixelLayout(model="rgb", bits=bits)
    colour = Colour(matrix=0, full_range=True)
    planes = random_planes(layout, 5, 7)
    rgb = to_rgb(tensors(planes), layout, colour)
    green, blue, red = (plane / layout.peak for plane in planes)
    np.testing.assert_allclose(rgb[0].numpy(), np.stack([red, green, blue]), atol=1e-6)
    assert all(
        np.array_equal(plane[0].numpy(), before)
        for plane, before in zip(from_rgb(rgb, layout, colour), planes, strict=True)
    )


def test_grey_is_three_equal_channels_and_comes_back():
    layout, colour = PixelLayout(model="grey", bits=10), Colour(matrix=1, full_range=False)
    planes = random_planes(layout, 6, 6)
    rgb = to_rgb(tensors(planes), layout, colour)
    assert torch.equal(rgb[:, 0], rgb[:, 1])
    assert torch.equal(rgb[:, 0], rgb[:, 2])
    assert np.array_equal(from_rgb(rgb, layout, colour)[0][0].numpy(), planes[0])


@pytest.mark.usefixtures("way")
def test_not_a_number_is_black_in_luma_too():
    layout, colour = yuv("444"), Colour(matrix=1, full_range=False)
    rgb = torch.tensor([float("nan"), 0.5, 3e38, -3e38]).view(1, 1, 1, 4).repeat(1, 3, 1, 1)
    for beyond in (None, torch.zeros(1, 3, 1, 4)):
        luma = from_rgb(rgb.clone(), layout, colour, beyond=beyond)[0][0, 0]
        assert luma.tolist() == ([16, 126, 255, 0] if beyond is None else [16, 126, 235, 16])


def test_not_a_number_becomes_black_and_infinity_the_peak():
    layout, colour = PixelLayout(model="rgb", bits=8), Colour(matrix=0, full_range=True)
    rgb = torch.tensor([float("nan"), float("inf"), -float("inf")]).view(1, 3, 1, 1)
    green, blue, red = from_rgb(rgb, layout, colour)
    assert (red.item(), green.item(), blue.item()) == (0, 255, 0)


def test_alpha_is_ignored_in_and_opaque_out():
    layout = PixelLayout(model="yuv", bits=10, chroma_x=2, chroma_y=2, alpha=True)
    colour = Colour(matrix=1, full_range=False)
    planes = tensors(random_planes(layout, 6, 6))
    assert torch.equal(to_rgb(planes, layout, colour), to_rgb(planes[:3], yuv("420", 10), colour))
    assert from_rgb(torch.zeros(1, 3, 6, 6), layout, colour)[3].eq(1023).all()


@pytest.mark.parametrize(
    ("pix_fmt", "matrix", "full_range"),
    [("yuv444p", 1, False), ("yuv444p", 6, False), ("yuv444p", 1, True), ("yuv444p10le", 9, False)],
)
def test_rgb_agrees_with_swscale(pix_fmt, matrix, full_range):
    layout, colour = PixelLayout.of(pix_fmt), Colour(matrix=matrix, full_range=full_range)
    rgb_codes = np.random.default_rng(3).integers(10, 246, (16, 16, 3), dtype=np.uint8)
    inside = torch.from_numpy(rgb_codes).permute(2, 0, 1)[None] / 255
    planes = [plane[0].numpy() for plane in from_rgb(inside, layout, colour)]
    frame = av.VideoFrame(16, 16, pix_fmt)
    for target, plane in zip(frame.planes, planes, strict=True):
        rows = np.frombuffer(target, np.uint8).reshape(-1, target.line_size)
        rows[:, : plane.shape[1] * plane.itemsize] = plane.view(np.uint8)
    frame.colorspace, frame.color_range = matrix, 2 if full_range else 1
    theirs = frame.reformat(format="gbrpf32le", dst_color_range=2, threads=1).to_ndarray(format="gbrpf32le")
    theirs /= 65280 / 65535  # swscale widens 8 bits to 16 by a shift, so that its white is not quite 1
    ours = to_rgb([torch.from_numpy(plane)[None] for plane in planes], layout, colour)[0].permute(1, 2, 0).numpy()
    assert np.abs(ours - theirs).max() < 2e-4


@pytest.mark.parametrize(
    "pix_fmt",
    [
        "nv12",
        "nv21",
        "p010le",
        "yuyv422",
        "uyvy422",
        "y210le",
        "rgb24",
        "bgr0",
        "rgba",
        "rgb48be",
        "x2rgb10le",
        "yuv420p10be",
        "yuv444p10msble",
        "v30xle",
        "p416le",
        "ayuv64le",
    ],
)
def test_packed_formats_fit_their_planar_layout_without_loss(pix_fmt):
    layout = PixelLayout.of(pix_fmt)
    frame = av.VideoFrame(34, 22, layout.pix_fmt)
    planes = random_planes(layout, 22, 34)
    for target, plane in zip(frame.planes, planes, strict=True):
        rows = np.frombuffer(target, np.uint8).reshape(-1, target.line_size)
        rows[:, : plane.shape[1] * plane.itemsize] = plane.view(np.uint8)
    returned = frame.reformat(format=pix_fmt, threads=1).reformat(format=layout.pix_fmt, threads=1)
    for target, plane in zip(returned.planes, planes, strict=True):
        rows = np.frombuffer(target, np.uint8).reshape(-1, target.line_size)
        assert np.array_equal(np.ascontiguousarray(rows[:, : plane.shape[1] * plane.itemsize]).view(plane.dtype), plane)


@pytest.mark.parametrize(
    ("pix_fmt", "expected"),
    [
        ("yuvj420p", "yuv420p"), ("yuv410p", "yuv410p"), ("yuv411p", "yuv411p"), ("gray12le", "gray12le"),
        ("gbrap10le", "gbrap10le"), ("pal8", "gbrap"), ("monob", "gray"), ("rgb565le", "gbrp"),
        ("grayf32le", "gray16le"), ("xyz12le", "gbrp16le"), ("yuva420p10le", "yuva420p10le"),
    ],
)  # fmt: skip
def test_layout_of_a_pixel_format(pix_fmt, expected):
    assert PixelLayout.of(pix_fmt).pix_fmt == expected


@pytest.mark.parametrize("pix_fmt", ["cuda", "no_such_format"])
def test_frames_that_cannot_be_read_are_refused_by_name(pix_fmt):
    with pytest.raises(MediaError, match=pix_fmt):
        PixelLayout.of(pix_fmt)


def tags(**given: int | str):
    unspecified = {"pix_fmt": "yuv420p", "width": 640, "height": 480, "matrix": 2, "color_range": 0}
    return resolve_colour(**{**unspecified, "primaries": 2, "transfer": 2, "chroma_location": 0, **given})


def test_unspecified_tags_are_filled_in_as_players_do():
    assert tags().matrix == Matrix.SMPTE170M
    assert tags(height=720, width=1280).matrix == Matrix.BT709
    assert tags(height=534, width=1280).matrix == Matrix.BT709
    assert tags(primaries=9).matrix == tags(transfer=18).matrix == Matrix.BT2020_NCL
    assert not tags().full_range
    assert tags(pix_fmt="yuvj420p").full_range
    assert tags(pix_fmt="gray").full_range
    assert tags(pix_fmt="rgb24", matrix=1).matrix == Matrix.RGB
    assert tags(matrix=0).matrix == Matrix.SMPTE170M  # YUV planes tagged as RGB
    assert guess_matrix(1024, 577) == Matrix.BT709


def test_given_tags_are_kept():
    colour = tags(matrix=9, color_range=2, primaries=9, transfer=16, chroma_location=3)
    assert (colour.matrix, colour.full_range, colour.primaries, colour.transfer, colour.chroma_location) == (
        9,
        True,
        9,
        16,
        3,
    )


def test_colour_changes_with_the_model_only():
    rgb = Colour(matrix=0, full_range=True, primaries=1, transfer=13)
    assert rgb.for_layout(PixelLayout(model="rgb", bits=10)) == rgb
    as_yuv = rgb.for_layout(yuv("444"))
    assert (as_yuv.matrix, as_yuv.full_range, as_yuv.primaries, as_yuv.transfer) == (1, False, 1, 13)
    limited = Colour(matrix=9, full_range=False, primaries=9, transfer=18, chroma_location=3)
    assert limited.for_layout(yuv("420", 10)) == limited
    assert limited.for_layout(PixelLayout(model="rgb", bits=10)).matrix == 0


def test_unknown_matrices_say_so():
    assert not Colour(matrix=14, full_range=False).is_exact  # ICtCp
    assert Colour(matrix=14, full_range=False).kr_kb == KR_KB[9]
    assert Colour(matrix=1, full_range=False).is_exact
