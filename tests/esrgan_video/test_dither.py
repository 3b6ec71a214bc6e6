"""Where depth falls, small areas keep their mean; everywhere else, codes are rounded to nearest."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clip_tools import Clip, Tags, decode, planes, video_options, write_clip
from esrgan_video import upscale_video
from esrgan_video.colour import Colour, PixelLayout, from_rgb
from esrgan_video.colour.convert import threshold_pattern
from esrgan_video.container import EncoderOptions

HEIGHT, WIDTH = 64, 512


def run(source, target, upscaler, pix_fmt, **given):
    options = video_options(encoder=EncoderOptions(codec="ffv1", pix_fmt=pix_fmt), **given)
    upscale_video(source, target, upscaler=upscaler, options=options, progress="none")
    return decode(target)


def ramp(low: float, high: float, dtype=np.uint16) -> np.ndarray:
    """Steps that are wide enough to be seen as bands."""
    return np.round(np.linspace(low, high, WIDTH)).astype(dtype)[None].repeat(HEIGHT, 0)


def ten_bit_clip(path, count=1):
    luma = ramp(400, 432)
    chroma = [ramp(480, 520)[: HEIGHT // 2, ::2], ramp(560, 530)[: HEIGHT // 2, ::2]]
    made = [luma, *chroma]
    tags = Tags(matrix=1, color_range=1, location=1)
    clip = Clip(codec="ffv1", pix_fmt="yuv420p10le", size=(WIDTH, HEIGHT), times=range(count), options={}, tags=tags,
                planes=[made] * count)  # fmt: skip
    return write_clip(path, clip), made


def area_means(plane: np.ndarray, side: int) -> np.ndarray:
    """Means of areas of `side` x `side` at every place."""
    return np.lib.stride_tricks.sliding_window_view(plane.astype(float), (side, side)).mean((2, 3))


@pytest.mark.parametrize("scale", [1, 2])
def test_a_ramp_of_ten_bits_keeps_its_local_means_in_eight(scale, tmp_path, make_upscaler):
    source, made = ten_bit_clip(tmp_path / "in.mkv")
    ours = planes(run(source, tmp_path / "out.mkv", make_upscaler(scale=scale), "yuv420p")[0])
    for plane, wide in zip(ours, made, strict=True):
        exact = wide.repeat(scale, 0).repeat(scale, 1) / 4
        expected = area_means(exact, 8)
        assert np.abs(area_means(plane, 8) - expected).max() < 0.25
        assert np.abs(area_means(np.round(exact), 8) - expected).max() > 0.25  # what rounding would do
        assert np.abs(plane - exact).max() <= 1


def test_codes_that_fit_are_not_touched(tmp_path, identity):
    made = [np.repeat(np.arange(64, 940, 4, dtype=np.uint16)[None], 32, 0)] + [np.full((32, 219), 512, np.uint16)] * 2
    clip = Clip(codec="ffv1", pix_fmt="yuv444p10le", size=(219, 32), times=[0], options={}, planes=[made],
                tags=Tags(matrix=1, color_range=1))  # fmt: skip
    ours = planes(run(write_clip(tmp_path / "in.mkv", clip), tmp_path / "out.mkv", identity, "yuv444p")[0])
    for plane, wide in zip(ours, made, strict=True):
        np.testing.assert_array_equal(plane, wide // 4)


def test_the_pattern_is_the_same_in_every_frame_batch_and_run(tmp_path, make_upscaler):
    source, _ = ten_bit_clip(tmp_path / "in.mkv", count=3)
    first = run(source, tmp_path / "a.mkv", make_upscaler(batch=2), "yuv420p", reuse=False)
    again = run(source, tmp_path / "b.mkv", make_upscaler(batch=3), "yuv420p", reuse=False)
    later = run(source, tmp_path / "c.mkv", make_upscaler(), "yuv420p", start=0.04)
    for frame in [*first, *again, *later]:
        assert all(np.array_equal(*pair) for pair in zip(planes(frame), planes(first[0]), strict=True))


@pytest.mark.parametrize(
    ("source_format", "peak", "target_format", "top"),
    [("gray16le", 65535, "gray", 255), ("gbrp14le", 16383, "gbrp10le", 1023), ("gray12le", 4095, "gray10le", 1023)],
)
def test_any_depth_to_any_lower_one(source_format, peak, target_format, top, tmp_path, identity):
    values = ramp(0.3 * peak, 0.33 * peak)
    made = [values] * (3 if source_format.startswith("gbr") else 1)
    clip = Clip(codec="ffv1", pix_fmt=source_format, size=(WIDTH, HEIGHT), times=[0], options={}, planes=[made],
                tags=Tags(color_range=2))  # fmt: skip
    ours = planes(run(write_clip(tmp_path / "in.mkv", clip), tmp_path / "out.mkv", identity, target_format)[0])
    expected = area_means(values / peak * top, 8)
    for plane in ours:
        assert np.abs(area_means(plane, 8) - expected).max() < 0.25


def test_eight_bits_to_eight_bits_are_rounded(tmp_path, make_upscaler):
    class Brighter(make_upscaler):
        def __call__(self, batch):
            return super().__call__(batch) + 0.3 / 255

    made = [np.full((48, 64), 100, np.uint8)]
    clip = Clip(codec="ffv1", pix_fmt="gray", times=[0], options={}, planes=[made], tags=Tags(color_range=2))
    ours = planes(run(write_clip(tmp_path / "in.mkv", clip), tmp_path / "out.mkv", Brighter(), "gray")[0])
    assert (ours[0] == 100).all()


def test_opacity_is_dithered_as_colours_are(tmp_path, identity):
    alpha = ramp(500, 540)
    made = [np.full((HEIGHT, WIDTH), value, np.uint16) for value in (400, 512, 512)] + [alpha]
    clip = Clip(codec="ffv1", pix_fmt="yuva444p10le", size=(WIDTH, HEIGHT), times=[0], options={}, planes=[made],
                tags=Tags(matrix=1, color_range=1))  # fmt: skip
    ours = planes(run(write_clip(tmp_path / "in.mkv", clip), tmp_path / "out.mkv", identity, "yuva444p")[0])
    assert np.abs(area_means(ours[3], 8) - area_means(alpha / 1023 * 255, 8)).max() < 0.25


def test_the_pattern_has_every_level_once_and_no_mean():
    pattern = threshold_pattern(16, 24, torch.device("cpu")).numpy()
    levels = (np.arange(64) + 0.5) / 64 - 0.5
    for y in range(0, 16, 8):
        for x in range(0, 24, 8):
            np.testing.assert_allclose(np.sort(pattern[y : y + 8, x : x + 8].ravel()), levels, atol=1e-7)
    assert np.abs(area_means(pattern, 2)).max() <= 1 / 8  # already in areas of 2 x 2
    assert threshold_pattern(3, 5, torch.device("cpu")).shape == (3, 5)


@pytest.mark.parametrize("full_range", [False, True])
def test_extremes_stay_in_range(full_range):
    layout, colour = PixelLayout(model="yuv", bits=8), Colour(matrix=1, full_range=full_range)
    rgb = torch.tensor([-0.5, 0, 1, 1.5]).view(1, 1, 2, 2).repeat(1, 3, 8, 8)
    luma = from_rgb(rgb, layout, colour, dither=True)[0][0]
    black, white = (0, 255) if full_range else (16, 235)
    assert (luma[::2, 1::2] == black).all()
    assert (luma[1::2, ::2] == white).all()
