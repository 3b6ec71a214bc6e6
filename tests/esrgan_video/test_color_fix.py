"""The colour fix: low frequencies of the input, detail of the network; against SciPy's filters in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from clip_tools import Clip, decode, planes, video_options, write_clip
from esrgan.weights import save_network
from esrgan_video import OutputSize, upscale_image, upscale_video
from esrgan_video.cli.main import main
from esrgan_video.color_fix import SIGMA, low_pass, match_low_frequencies
from esrgan_video.container import EncoderOptions
from esrgan_video.images.upscale import upscale_pixels
from esrgan_video.size import resize
from network_tools import small_rrdb

SIZES = [(48, 64, 192, 256), (47, 61, 120, 200), (40, 40, 40, 40), (50, 70, 21, 33), (1, 1, 4, 4), (3, 100, 12, 400)]
CAST = torch.tensor([0.08, -0.05, 0.02]).view(1, 3, 1, 1)


def textured(height: int, width: int) -> torch.Tensor:
    """Noise over smooth colours: `(1, 3, height, width)` within 0.2..0.8."""
    generator = torch.Generator().manual_seed(height * 1000 + width)
    rows = torch.linspace(0, 3, height)[:, None]
    columns = torch.linspace(0, 5, width)[None]
    smooth = torch.stack([torch.sin(rows + columns + phase) for phase in (0, 1, 2)])
    return (0.5 + 0.2 * smooth + 0.1 * (torch.rand(3, height, width, generator=generator) - 0.5))[None]


def blurred(picture: torch.Tensor, sigma: float) -> np.ndarray:
    return gaussian_filter(picture.double().numpy(), sigma, axes=(2, 3), mode="nearest")


@pytest.mark.parametrize("size", SIZES)
def test_an_output_that_agrees_with_its_input_stays_as_it_is(size):
    large = textured(*size[2:])
    small = resize(large, *size[:2])
    torch.testing.assert_close(match_low_frequencies(large, small), large, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", SIZES)
def test_a_constant_cast_is_removed_entirely_up_to_the_borders(size):
    large = textured(*size[2:])
    small = resize(large, *size[:2])
    tinted = large + CAST
    before = tinted.clone()
    torch.testing.assert_close(match_low_frequencies(tinted, small), large, rtol=0, atol=1e-6)
    assert torch.equal(tinted, before)


def test_a_cast_that_changes_over_the_picture_is_removed_and_detail_stays():
    ideal = textured(384, 512)
    small = resize(ideal, 96, 128)
    rows, columns = torch.linspace(0, 1, 384)[:, None], torch.linspace(0, 1, 512)[None]
    cast = CAST * (1 + torch.cos(2 * np.pi * (rows + columns)))  # waves of 64 and more input pixels
    tinted = (ideal + cast) * 1.05
    fixed = match_low_frequencies(tinted, small)
    wide = 4 * 8.0  # of what counts as low, in output pixels
    target = blurred(ideal, wide)
    assert np.abs(blurred(tinted, wide) - target).max() > 30 / 255
    assert np.abs(blurred(fixed, wide) - target).max() < 6 / 255
    change = fixed - tinted
    assert change.abs().max() > 30 / 255
    assert np.abs(change.double().numpy() - blurred(change, 1.5)).max() < 0.2 / 255  # it has no detail of its own


@pytest.mark.parametrize(("period", "share"), [(8, 0.0001), (16, 0.07), (32, 0.5), (128, 0.96)])
def test_of_a_wave_in_the_input_as_much_comes_back_as_the_gaussian_lets_through(period, share):
    assert abs(np.exp(-2 * (np.pi * SIGMA / period) ** 2) - share) < 0.01
    wave = torch.sin(2 * np.pi * torch.arange(512) / period).expand(1, 1, 64, 512).contiguous()
    seen = match_low_frequencies(torch.zeros(1, 1, 128, 1024), wave)[0, 0, 64, 256:-256]
    assert abs(seen.abs().max().item() - share) < 0.02


@pytest.mark.parametrize("shape", [(1, 3, 40, 60), (2, 1, 7, 9), (1, 1, 1, 1), (1, 2, 1, 90)])
def test_the_low_pass_is_scipys_gaussian_weighted_by_what_lies_inside(shape):
    picture = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    options = {"sigma": SIGMA, "axes": (2, 3), "mode": "constant", "truncate": 3.0}
    inside = gaussian_filter(np.ones(shape), **options)
    expected = gaussian_filter(picture.double().numpy(), **options) / inside
    np.testing.assert_allclose(low_pass(picture).numpy(), expected, rtol=0, atol=1e-6)


# The front ends


@pytest.fixture
def tinting(make_upscaler):
    class Tinting(make_upscaler):
        def __call__(self, batch):
            return super().__call__(batch) + CAST

    return Tinting


def test_a_video_gets_its_colours_back(tmp_path, tinting, make_upscaler):
    source = write_clip(tmp_path / "in.mkv", Clip(codec="ffv1", pix_fmt="yuv444p10le", times=range(3), options={}))
    paths = {}
    for name, upscaler, fix in (("plain", make_upscaler(), False), ("off", tinting(), False), ("on", tinting(), True)):
        paths[name] = tmp_path / f"{name}.mkv"
        options = video_options(encoder=EncoderOptions(codec="ffv1"), color_fix=fix)
        upscale_video(source, paths[name], upscaler=upscaler, options=options, progress="none")
    plain, off, on = (np.array([planes(frame) for frame in decode(path)]).astype(int) for path in paths.values())
    assert np.abs(off - plain).max() > 40
    # Repeated pixels are not what bicubic resampling calls equal, and noise is strong: a few codes of 1023.
    assert np.abs(on - plain).mean() < 2
    assert np.abs(on.mean((0, 2, 3)) - plain.mean((0, 2, 3))).max() < 1


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("size", [None, OutputSize(scale=1.3)])
def test_an_image_gets_its_colours_back_and_alpha_is_not_touched(channels, dtype, size, tinting, make_upscaler):
    peak = np.iinfo(dtype).max
    generator = np.random.default_rng(channels)
    pixels = generator.integers(peak // 5, peak * 4 // 5, (40, 50, channels)).astype(dtype)
    plain = upscale_pixels(pixels, make_upscaler(), size).astype(float)
    off = upscale_pixels(pixels, tinting(), size).astype(float)
    on = upscale_pixels(pixels, tinting(), size, color_fix=True).astype(float)
    colours = channels - (channels in (2, 4))
    assert np.array_equal(on[..., colours:], off[..., colours:])
    means = [np.array(picture[..., :colours].mean((0, 1))) / peak for picture in (plain, off, on)]
    assert np.abs(means[1] - means[0]).max() > 0.01
    assert np.abs(means[2] - means[0]).max() < 0.002


def test_without_the_option_nothing_changes(make_upscaler):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    assert np.array_equal(upscale_pixels(pixels, make_upscaler()), pixels.repeat(2, 0).repeat(2, 1))


def test_the_command_has_it_for_images_and_videos(tmp_path):
    weights = save_network(small_rrdb(), tmp_path / "weights.safetensors")
    image = tmp_path / "in.png"
    upscale_image_source = np.random.default_rng(0).integers(0, 256, (24, 30, 3)).astype(np.uint8)
    from PIL import Image

    Image.fromarray(upscale_image_source).save(image)
    clip = write_clip(tmp_path / "in.mkv", Clip(codec="ffv1", size=(32, 24), times=range(2), options={}))
    for source, suffix in ((image, ".png"), (clip, ".mkv")):
        call = ["upscale", str(source), "-n", str(weights), "--fp32", "--progress", "none"]
        call += ["--codec", "ffv1"] if suffix == ".mkv" else []
        results = []
        for number, more in enumerate(([], ["--color-fix"])):
            target = tmp_path / f"{number}{suffix}"
            assert main([*call, "-o", str(target), *more]) == 0
            results.append(target)
        before, after = (_mean(path) for path in results)
        wanted = _mean(source)
        assert abs(after - wanted) < 4 < abs(before - wanted)


def _mean(path) -> float:
    """Of the luma of the first frame."""
    return float(planes(decode(path)[0].reformat(format="gray"))[0].mean())


def test_an_image_is_fixed_as_its_pixels_are(tmp_path, tinting):
    from PIL import Image

    pixels = np.random.default_rng(0).integers(50, 200, (24, 30, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "in.png")
    upscale_image(tmp_path / "in.png", tmp_path / "out.png", upscaler=tinting(), color_fix=True)
    expected = upscale_pixels(pixels, tinting(), color_fix=True)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out.png")), expected)
