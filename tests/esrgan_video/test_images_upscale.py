"""Upscaling still images, with networks whose results numpy can foretell."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from esrgan.archs.rrdbnet import RRDBNet
from esrgan.errors import EngineError, MediaError, UsageError
from esrgan_video.images import ImageMetadata, StillImage, read_image, upscale_image, upscale_pixels
from esrgan_video.images.still import check_pixels
from esrgan_video.size import OutputSize


class Fake:
    """An upscaler that enlarges with `mode` and counts the batches that it was given."""

    def __init__(self, scale=2, mode="nearest"):
        self.scale = scale
        self.device = torch.device("cpu")
        self.mode = mode
        self.batches = []

    def __call__(self, batch):
        assert batch.dtype == torch.float32
        assert batch.ndim == 4
        assert batch.shape[1] == 3
        self.batches.append(batch)
        return F.interpolate(batch, scale_factor=self.scale, mode=self.mode)


class Noisy(Fake):
    """Nearest neighbours with a pattern of +-3 % on top: what is exact in the end was made so."""

    def __call__(self, batch):
        large = super().__call__(batch)
        return large + 0.03 * torch.sin(torch.arange(large.shape[-1]) * 1.7)


class Network(Fake):
    """A tiny ESRGAN with random weights."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.network = RRDBNet(scale=2, num_feat=4, num_block=1, num_grow_ch=4, unshuffle=1).eval()

    def __call__(self, batch):
        with torch.inference_mode():
            return self.network(batch) + super().__call__(batch)


def noise(*shape, dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 7), (7, 1), (6, 5)])
def test_every_level_comes_through_exactly(dtype, channels, height, width):
    pixels = noise(height, width, channels, dtype=dtype)
    if channels in (2, 4):
        pixels[:, :, -1] |= 1  # no invisible colours
    result = upscale_pixels(pixels, Fake(3))
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, pixels.repeat(3, 0).repeat(3, 1))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_all_levels_there_are_come_through_exactly(dtype):
    pixels = np.arange(np.iinfo(dtype).max + 1, dtype=dtype).reshape(16, -1, 1)
    np.testing.assert_array_equal(upscale_pixels(pixels, Fake(1)), pixels)


@pytest.mark.parametrize(("dtype", "peak"), [(np.uint8, 255), (np.uint16, 65535)])
def test_output_is_clamped_and_rounded_half_to_even(dtype, peak):
    wanted = np.array([-0.5, -1e-4, 0.4 / peak, 0.5 / peak, 1.5 / peak, 2.49 / peak, 1 - 0.51 / peak, 1.0, 1.0001, 7.0])

    def upscaler(_):
        return torch.from_numpy(wanted.astype(np.float32)).expand(1, 3, 1, -1)

    upscaler.scale = 1
    result = upscale_pixels(np.zeros((1, len(wanted), 3), dtype), upscaler)
    expected = np.rint(np.clip(wanted, 0, 1) * peak)  # as BasicSR's tensor2img does
    assert result[0, :, 0].tolist() == expected.tolist() == [0, 0, 0, 0, 2, 2, peak - 1, peak, peak, peak]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_rgb_is_the_networks_output(dtype):
    pixels = noise(9, 7, 3, dtype=dtype)
    peak = np.iinfo(dtype).max
    network = Network()
    planes = torch.from_numpy(pixels.astype(np.float64) / peak).float().permute(2, 0, 1)[None]
    expected = network(planes)[0].permute(1, 2, 0).double().numpy().clip(0, 1) * peak
    assert np.abs(upscale_pixels(pixels, network) - expected).max() <= 0.5 + 1e-6 * peak


def test_grey_is_the_mean_of_the_networks_output():
    pixels = noise(9, 7, 1)
    network = Network()
    planes = torch.from_numpy(np.repeat(pixels / 255, 3, 2)).float().permute(2, 0, 1)[None]
    output = network(planes)[0].double().numpy()
    assert output.std(axis=0).max() > 1e-3  # the channels do differ
    expected = output.mean(axis=0).clip(0, 1) * 255
    assert np.abs(upscale_pixels(pixels, network)[:, :, 0] - expected).max() <= 0.5001


def test_colours_do_not_depend_on_alpha_where_all_is_visible():
    pixels = noise(9, 7, 4)
    pixels[:, :, 3] |= 1
    network = Network()
    result = upscale_pixels(pixels, network)
    np.testing.assert_array_equal(result[:, :, :3], upscale_pixels(pixels[:, :, :3], network))
    alpha = upscale_pixels(pixels[:, :, 3:], network)
    np.testing.assert_array_equal(result[:, :, 3:], alpha)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_constant_alpha_is_kept_without_computing(level):
    pixels = noise(5, 6, 4)
    pixels[:, :, 3] = level
    network = Network()
    result = upscale_pixels(pixels, network, OutputSize(width=11, height=13))
    assert (result[:, :, 3] == level).all()
    assert len(network.batches) == 1


def test_flat_parts_of_alpha_stay_exact():
    pixels = np.full((16, 24, 4), 200, np.uint8)
    pixels[:, :12, 3] = 0
    pixels[:, 12:, 3] = 255
    alpha = upscale_pixels(pixels, Noisy())[:, :, 3]
    assert (alpha[:, : 2 * 11] == 0).all()
    assert (alpha[:, 2 * 13 :] == 255).all()
    untouched = upscale_pixels(pixels[:, :, 3:], Noisy())[:, :, 0]
    assert (untouched[:, : 2 * 11] != 0).any()  # the network alone does not do this
    np.testing.assert_array_equal(alpha[:, 22:26], untouched[:, 22:26])


def _disc(dtype, hidden):
    """A soft-edged white disc; the colour where alpha is 0 is `hidden`."""
    peak = np.iinfo(dtype).max
    y, x = np.mgrid[:32, :32] - 15.5
    alpha = (12 - np.hypot(x, y)).clip(0, 1)
    pixels = np.full((32, 32, 4), peak, dtype)
    pixels[:, :, 3] = np.round(alpha * peak)
    pixels[pixels[:, :, 3] == 0, :3] = hidden
    return pixels


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("size", [OutputSize(), OutputSize(scale=2.6), OutputSize(scale=0.7)])
def test_no_dark_fringe_around_a_white_disc_on_transparent_black(dtype, size):
    peak = np.iinfo(dtype).max
    pixels = _disc(dtype, hidden=0)
    result = upscale_pixels(pixels, Fake(4, "bicubic"), size)
    visible = result[:, :, 3] > 0
    assert 0.3 < visible.mean() < 0.6
    assert result[visible][:, :3].min() >= peak * 254 / 255


def test_invisible_colours_take_the_nearest_visible_one():
    rng = np.random.default_rng(3)
    pixels = noise(21, 17, 4)
    pixels[:, :, 3] = np.where(rng.random((21, 17)) < 0.1, 255, 0)
    upscaler = Fake(1)
    upscale_pixels(pixels, upscaler)
    filled = np.round(upscaler.batches[0][0].permute(1, 2, 0).numpy() * 255)
    seen_y, seen_x = np.nonzero(pixels[:, :, 3])
    for y in range(21):
        for x in range(17):
            distances = np.hypot(seen_y - y, seen_x - x)
            sources = np.flatnonzero(distances <= distances.min() * 1.08)  # the transform is near to Euclid
            assert (filled[y, x] == pixels[seen_y[sources], seen_x[sources], :3]).all(axis=1).any()


@pytest.mark.parametrize("shape", [(1, 9), (9, 1), (1, 1), (2, 2)])
@pytest.mark.parametrize("channels", [2, 4])
def test_thin_images_with_alpha_are_upscaled(shape, channels):
    pixels = noise(*shape, channels)
    pixels[0, 0, -1] = 0
    pixels[-1, -1, -1] = 255
    result = upscale_pixels(pixels, Fake(2))
    assert result.shape == (2 * shape[0], 2 * shape[1], channels)
    visible = pixels[:, :, -1] > 0
    np.testing.assert_array_equal(result[::2, ::2][visible], pixels[visible])


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (OutputSize(), (20, 28)),
        (OutputSize(scale=1.5), (8, 11)),
        (OutputSize(scale=7.3), (37, 51)),
        (OutputSize(width=3), (2, 3)),
        (OutputSize(width=9, height=50), (50, 9)),
        (OutputSize(scale=0.01), (1, 1)),
    ],
)
def test_output_has_the_size_asked_for(channels, size, expected):
    result = upscale_pixels(noise(5, 7, channels), Fake(4), size)
    assert result.shape == (*expected, channels)


def test_resampling_is_that_of_the_networks_output():
    pixels = noise(8, 10, 3)
    large = pixels.repeat(4, 0).repeat(4, 1).astype(np.float32)
    planes = [Image.fromarray(large[:, :, c]).resize((25, 20), Image.Resampling.BICUBIC) for c in range(3)]
    expected = np.stack([np.asarray(plane) for plane in planes], 2).clip(0, 255)
    assert np.abs(upscale_pixels(pixels, Fake(4), OutputSize(scale=2.5)) - expected).max() <= 0.5 + 1e-3


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 5), np.uint8), np.zeros((0, 4, 3), np.uint8), np.zeros((4, 4, 3))],
)
def test_what_is_no_image_is_refused_with_its_shape(pixels):
    with pytest.raises(UsageError, match=str(pixels.shape[0])):
        check_pixels(pixels)
    with pytest.raises(UsageError):
        upscale_pixels(pixels, Fake())
    with pytest.raises(UsageError):
        StillImage(pixels)


def _write(path, pixels, **options):
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(path, **options)


def test_file_becomes_a_larger_file_with_its_metadata(tmp_path):
    source, target = tmp_path / "in %d ü.png", tmp_path / "out %s é.tif"
    block = Image.Exif()
    block[274], block[271] = 6, "Maker"
    pixels = noise(4, 6, 3)
    _write(source, pixels, dpi=(300, 300), exif=block)
    returned = upscale_image(source, target, upscaler=Fake(2))
    written = read_image(target)
    expected = np.rot90(pixels, -1).repeat(2, 0).repeat(2, 1)
    np.testing.assert_array_equal(written.pixels, expected)
    np.testing.assert_array_equal(returned.pixels, expected)
    assert written.metadata.dpi == pytest.approx((300, 300), rel=1e-3)
    with Image.open(target) as image:
        assert image.getexif()[271] == "Maker"
        assert image.getexif().get(274, 1) == 1


def test_real_images_keep_depth_channels_and_profile(assets, tmp_path):
    for source in sorted((assets / "images").rglob("*.[pj]*g")):
        before = read_image(source)
        target = tmp_path / f"{source.stem}_out.png"
        upscale_image(source, target, upscaler=Fake(2), size=OutputSize(scale=0.5))
        after = read_image(target)
        assert after.pixels.dtype == before.pixels.dtype
        assert after.pixels.shape[2] == before.pixels.shape[2]
        assert after.metadata.icc_profile == before.metadata.icc_profile
        assert (after.width, after.height) == OutputSize(scale=0.5).resolve(before.width, before.height, 2)


@pytest.mark.parametrize("way", ["itself", "symlink", "hardlink", "other spelling"])
def test_input_is_never_overwritten(tmp_path, way):
    source = tmp_path / "a.png"
    _write(source, noise(4, 6, 3))
    target = {"itself": source, "other spelling": tmp_path / "." / ".." / tmp_path.name / "a.png"}.get(
        way, tmp_path / "b.png"
    )
    if way == "symlink":
        target.symlink_to(source)
    if way == "hardlink":
        os.link(source, target)
    content = source.read_bytes()
    with pytest.raises(UsageError, match="it is the input"):
        upscale_image(source, target, upscaler=Fake())
    assert source.read_bytes() == content


@pytest.mark.parametrize(
    ("channels", "target", "size"),
    [
        (4, "b.jpg", OutputSize()),
        (3, "b.gif", OutputSize()),
        (3, "none/b.png", OutputSize()),
        (3, "b.webp", OutputSize(width=16384)),
        (3, "b.jpg", OutputSize(height=70000)),
    ],
)
def test_what_cannot_be_written_is_refused_before_the_network_runs(tmp_path, channels, target, size):
    _write(tmp_path / "a.png", noise(4, 6, channels))
    upscaler = Fake()
    with pytest.raises(UsageError):
        upscale_image(tmp_path / "a.png", tmp_path / target, upscaler=upscaler, size=size)
    assert not upscaler.batches
    assert list(tmp_path.iterdir()) == [tmp_path / "a.png"]


def test_quality_is_checked_before_the_network_runs(tmp_path):
    _write(tmp_path / "a.png", noise(4, 6, 3))
    upscaler = Fake()
    with pytest.raises(UsageError, match="101"):
        upscale_image(tmp_path / "a.png", tmp_path / "b.jpg", upscaler=upscaler, quality=101)
    assert not upscaler.batches


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), EngineError),
        (torch.OutOfMemoryError(), EngineError),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), EngineError),
        (RuntimeError("something else"), RuntimeError),
    ],
)
def test_too_little_memory_is_an_error_with_the_size(error, expected):
    def upscaler(_):
        raise error

    upscaler.scale = 4
    with pytest.raises(expected, match="6x5" if expected is EngineError else "else"):
        upscale_pixels(noise(5, 6, 3), upscaler)


def test_unreadable_input_leaves_no_output(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(MediaError, match=r"a\.png"):
        upscale_image(tmp_path / "a.png", tmp_path / "b.png", upscaler=Fake())
    assert list(tmp_path.iterdir()) == [tmp_path / "a.png"]


def test_metadata_defaults_to_none():
    assert StillImage(noise(2, 2, 3)).metadata == ImageMetadata()
