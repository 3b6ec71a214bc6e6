"""`--compare`: the left half is Pillow's bicubic enlargement of the input, the right half the result."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from clip_tools import Clip, decode, digest, main_video, planes, times, write_clip
from esrgan_video import OutputSize, VideoOptions, upscale_image, upscale_video
from esrgan_video.container import EncoderOptions

LOSSLESS = EncoderOptions(codec="ffv1")
LINE = 2
PEAK = 1023
MATRICES = {  # FFmpeg's layout; what a player does to the stored picture
    "upright": (None, lambda picture: picture),
    "turned by 90": ((0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30), lambda picture: np.rot90(picture, -1)),
    "turned by 180": ((-65536, 0, 0, 0, -65536, 0, 0, 0, 1 << 30), lambda picture: np.rot90(picture, 2)),
    "turned by 270": ((0, -65536, 0, 65536, 0, 0, 0, 0, 1 << 30), np.rot90),
    "mirrored": ((-65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30), lambda picture: picture[:, ::-1]),
}


def bicubic(plane, width, height):
    """Pillow's, in float."""
    return np.array(Image.fromarray(plane.astype(np.float32), "F").resize((width, height), Image.Resampling.BICUBIC))


def rgb_clip(path, size=(33, 20), frames=3, **given):
    generator = np.random.default_rng(3)
    pictures = [
        [generator.integers(0, PEAK + 1, (size[1], size[0]), dtype=np.uint16) for _ in range(3)] for _ in range(frames)
    ]
    return write_clip(
        path,
        Clip(codec="ffv1", pix_fmt="gbrp10le", size=size, times=range(frames), planes=pictures, options={}, **given),
    )


def compared(source, target, upscaler, size=None, **given):
    options = VideoOptions(encoder=LOSSLESS, compare=True, size=size or OutputSize(), **given)
    return upscale_video(source, target, upscaler=upscaler, options=options, progress="none")


@pytest.mark.parametrize("display", MATRICES)
def test_left_as_displayed_is_bicubic_and_right_is_the_result(display, tmp_path, nearest):
    matrix, turn = MATRICES[display]
    source = rgb_clip(tmp_path / "in.mkv", matrix=matrix)
    compared(source, tmp_path / "out.mkv", nearest)
    for small, large in zip(decode(source), decode(tmp_path / "out.mkv"), strict=True):
        for before, after in zip(planes(small), planes(large), strict=True):
            seen = turn(after)
            left, right = turn(bicubic(before, 66, 40)), turn(before.repeat(2, 0).repeat(2, 1))
            begin = (seen.shape[1] - LINE) // 2
            assert abs(seen[:, :begin].astype(float) - np.clip(left, 0, PEAK)[:, :begin]).max() <= 0.51
            np.testing.assert_array_equal(seen[:, begin : begin + LINE], PEAK)
            np.testing.assert_array_equal(seen[:, begin + LINE :], right[:, begin + LINE :])


@pytest.mark.parametrize("width", [33, 50, 41])
def test_any_size_is_compared_at_that_size(width, tmp_path, nearest):
    source = rgb_clip(tmp_path / "in.mkv")
    compared(source, tmp_path / "out.mkv", nearest, OutputSize(width=width, height=31))
    first = planes(decode(tmp_path / "out.mkv")[0])[0]
    begin = (width - LINE) // 2
    expected = np.clip(bicubic(planes(decode(source)[0])[0], width, 31), 0, PEAK)
    assert first.shape == (31, width)
    assert abs(first[:, :begin].astype(float) - expected[:, :begin]).max() <= 0.51


def test_times_sound_and_shape_are_those_of_the_usual_output(tmp_path, nearest):
    clip = Clip(times=[0, 1, 5, 6, 20], audio=["aac"], sar=Fraction(4, 3))
    source = write_clip(tmp_path / "in.mkv", clip)
    compared(source, tmp_path / "compared.mkv", nearest)
    upscale_video(
        source, tmp_path / "usual.mkv", upscaler=nearest, options=VideoOptions(encoder=LOSSLESS), progress="none"
    )
    assert times(tmp_path / "compared.mkv") == times(tmp_path / "usual.mkv")
    assert digest(tmp_path / "compared.mkv", 1) == digest(source, 1)
    with av.open(tmp_path / "compared.mkv") as container:
        assert main_video(container).sample_aspect_ratio == Fraction(4, 3)


def test_grey_video_stays_grey(tmp_path, nearest):
    source = write_clip(tmp_path / "in.mkv", Clip(codec="ffv1", pix_fmt="gray", options={}))
    compared(source, tmp_path / "out.mkv", nearest)
    assert decode(tmp_path / "out.mkv")[0].format.name == "gray"


@pytest.mark.parametrize(("mode", "depth"), [("L", 8), ("RGB", 8), ("RGBA", 8), ("L", 16)])
def test_an_image_is_split_likewise(mode, depth, tmp_path, nearest):
    channels = len(mode) if mode != "L" else 1
    dtype = np.uint8 if depth == 8 else np.uint16
    pixels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (9, 13, channels), dtype=dtype)
    Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels).save(tmp_path / "in.png")
    upscale_image(tmp_path / "in.png", tmp_path / "out.png", upscaler=nearest, compare=True)
    written = np.array(Image.open(tmp_path / "out.png")).reshape(18, 26, channels)
    for channel in range(channels):
        expected = np.clip(bicubic(pixels[:, :, channel], 26, 18), 0, np.iinfo(dtype).max)
        tolerance = 0.51 if depth == 8 else 1.0  # float32 has 24 bits
        assert abs(written[:, :12, channel].astype(float) - expected[:, :12]).max() <= tolerance
        np.testing.assert_array_equal(written[:, 12:14, channel], np.iinfo(dtype).max)
    opaque = written[:, 14:, :3] if channels == 4 else written[:, 14:]
    if channels != 4:  # colours under partial alpha are the network's own business
        np.testing.assert_array_equal(opaque, pixels[:, :, :3].repeat(2, 0).repeat(2, 1)[:, 14:])
