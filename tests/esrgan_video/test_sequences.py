"""Numbered image files in and out, read back with OpenCV, Pillow and PyAV."""

from __future__ import annotations

import argparse
import time
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from clip_tools import Clip, Tags, times, video_options, write_clip
from esrgan.errors import EngineError, UsageError
from esrgan_video import upscale_video
from esrgan_video.cli.upscale import parse_rate
from esrgan_video.container import EncoderOptions
from esrgan_video.inputs import expand_inputs, is_video, output_path, sequence_of
from esrgan_video.sequences.pattern import SequencePattern

LOSSLESS = EncoderOptions(codec="ffv1")


def noise(number, shape=(6, 9, 3), dtype=np.uint8):
    """Unlike for each number; never zero, so that no alpha hides a colour."""
    generator = np.random.default_rng(number)
    return generator.integers(1, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def write_files(pattern, numbers, shape=(6, 9, 3), dtype=np.uint8):
    """Files whose names Python's own `%` makes; returns their pixels in OpenCV's order."""
    made = []
    Path(str(pattern) % numbers[0]).parent.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        made.append(noise(number, shape, dtype))
        if str(pattern).endswith(".tif") and shape[2:] == (4,):  # OpenCV does not say that the fourth is alpha
            tifffile.imwrite(
                str(pattern) % number, made[-1][..., [2, 1, 0, 3]], photometric="rgb", extrasamples=["unassalpha"]
            )
        else:
            assert cv2.imwrite(str(pattern) % number, made[-1])
    return made


def run(source, target, upscaler, **given):
    return upscale_video(source, target, upscaler=upscaler, options=video_options(**given), progress="none")


def repeated(pixels):
    return pixels.repeat(2, 0).repeat(2, 1)


def read(path):
    """Pixels in OpenCV's order; it multiplies a TIFF's colours by alpha, tifffile does not."""
    if path.suffix == ".tif":
        pixels = tifffile.imread(path)
        return pixels if pixels.ndim == 2 else pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# Names


@pytest.mark.parametrize("name", ["%d.png", "%05d.png", "a b_%03d.png", "50%%_%04d_x.tif", "%%d%d.png", "%%%02d%%.png"])
@pytest.mark.parametrize("number", [0, 7, 123456])
def test_names_are_those_of_printf(name, number):
    pattern = SequencePattern.parse(Path("in") / name)
    assert pattern is not None
    assert pattern.file(number) == Path("in") / (name % number)
    assert SequencePattern.parse(Path(str(pattern))) == pattern


def test_other_percent_signs_are_themselves():
    pattern = SequencePattern.parse(Path("100% sure") / "5% of x%y_%02d 9%.png")
    assert pattern is not None
    assert pattern.file(3) == Path("100% sure") / "5% of x%y_03 9%.png"


@pytest.mark.parametrize("name", ["plain.png", "100%.png", "a%%d.png", "clip%02d.mkv"])
def test_names_without_a_number_are_files(name, tmp_path):
    assert sequence_of(tmp_path / name) is None


def test_two_numbers_are_refused(tmp_path):
    with pytest.raises(UsageError, match="2 numbers"):
        sequence_of(tmp_path / "%d_%d.png")


def test_only_the_names_that_the_pattern_makes_are_found(tmp_path):
    for name in ("001.png", "2.png", "0003.png", "004.PNG", "1005.png", "x006.png", "007.png.bak"):
        (tmp_path / name).touch()
    assert SequencePattern(tmp_path, "", 3, ".png").numbers() == [1, 1005]
    assert SequencePattern(tmp_path, "", 0, ".png").numbers() == [2, 1005]


def test_a_file_of_that_very_name_wins(tmp_path):
    literal = tmp_path / "%03d.png"
    assert is_video(literal)
    write_files(tmp_path / "%03d.png", [1, 2])
    assert expand_inputs([literal]) == [literal]
    Image.new("RGB", (4, 4)).save(literal)
    assert sequence_of(literal) is None
    assert not is_video(literal)


@pytest.mark.parametrize(
    ("ext", "expected"),
    [("auto", "%03d_out.png"), ("tif", "%03d_out.tif"), ("mkv", "shots_out.mkv"), ("gif", "shots_out.gif")],
)
def test_the_result_in_a_folder_is_named_after_the_files_or_their_folder(ext, expected, tmp_path):
    assert output_path(tmp_path / "shots" / "%03d.png", tmp_path, ext=ext) == tmp_path / expected


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("24", Fraction(24)),
        ("12.5", Fraction(25, 2)),
        ("23.976", Fraction(24000, 1001)),
        ("23.98", Fraction(24000, 1001)),
        ("29.97", Fraction(30000, 1001)),
        ("119.88", Fraction(120000, 1001)),
        ("24000/1001", Fraction(24000, 1001)),
    ],
)
def test_frame_rates_are_exact(text, rate):
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["0", "-1", "fast", "1/0", ""])
def test_what_is_no_frame_rate_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError):
        parse_rate(text)


# Files to files


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_depth_colour_and_alpha_are_kept(suffix, dtype, channels, tmp_path, nearest):
    shape = (6, 9) if channels == 1 else (6, 9, channels)
    pixels = write_files(tmp_path / "my in 100%%" / f"a %03d.{suffix}", [9, 10, 11], shape, dtype)
    target = tmp_path / "new" / "out" / f"b%%_%04d.{suffix}"
    result = run(tmp_path / "my in 100%" / f"a %03d.{suffix}", target, nearest, batch=2)
    assert result.frames == 3
    assert names(target.parent) == [f"b%_{number:04d}.{suffix}" for number in (9, 10, 11)]
    for number, before in zip((9, 10, 11), pixels, strict=True):
        after = read(target.parent / f"b%_{number:04d}.{suffix}")
        assert after.dtype == dtype
        if channels == 4:  # alpha that is not flat is upscaled as a picture of its own
            np.testing.assert_array_equal(after[..., 3], repeated(before[..., 3]))
        np.testing.assert_array_equal(after[..., :3], repeated(before)[..., :3])


@pytest.mark.parametrize("suffix", ["jpg", "webp", "bmp"])
def test_other_image_formats_are_written(suffix, tmp_path, nearest):
    flat = np.full((8, 8, 3), (200, 60, 90), np.uint8)
    for number in range(2):
        Image.fromarray(flat).save(tmp_path / f"{number}.png")
    run(tmp_path / "%d.png", tmp_path / "out" / f"%d.{suffix}", nearest)
    for number in range(2):
        with Image.open(tmp_path / "out" / f"{number}.{suffix}") as image:
            assert image.size == (16, 16)
            assert abs(np.array(image.convert("RGB")).astype(int) - flat[0, 0]).max() <= 3


def test_each_file_keeps_its_profile_and_texts(tmp_path, nearest):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for number in range(3):
        Image.fromarray(noise(number)).save(tmp_path / f"{number}.png", icc_profile=profile, dpi=(300 + number, 300))
    run(tmp_path / "%d.png", tmp_path / "out" / "%d.png", nearest)
    for number in range(3):
        with Image.open(tmp_path / "out" / f"{number}.png") as image:
            assert image.info["icc_profile"] == profile
            assert round(image.info["dpi"][0]) == 300 + number


def test_files_of_mixed_depth_and_channels_become_what_holds_them_all(tmp_path, nearest, caplog):
    grey = noise(0, (6, 9))
    deep = noise(1, (6, 9, 4), np.uint16)
    cv2.imwrite(str(tmp_path / "0.png"), grey)
    cv2.imwrite(str(tmp_path / "1.png"), deep)
    run(tmp_path / "%d.png", tmp_path / "out" / "%d.png", nearest)
    first, second = (read(tmp_path / "out" / f"{number}.png") for number in range(2))
    assert first.dtype == second.dtype == np.uint16
    np.testing.assert_array_equal(first[..., 0], repeated(grey).astype(np.uint16) * 257)
    np.testing.assert_array_equal(first[..., 3], 65535)
    np.testing.assert_array_equal(second[..., :3], repeated(deep)[..., :3])
    assert "1 channels of 8 bits, 4 channels of 16 bits" in caplog.text


def test_a_range_keeps_the_numbers_of_the_files(tmp_path, nearest):
    write_files(tmp_path / "%03d.png", list(range(10, 30)))
    run(tmp_path / "%03d.png", tmp_path / "out" / "%03d.png", nearest, rate=Fraction(10), start="0.5", frames=3)
    assert names(tmp_path / "out") == ["015.png", "016.png", "017.png"]
    np.testing.assert_array_equal(read(tmp_path / "out" / "015.png"), repeated(noise(15)))


# What is wrong is said before the work


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ([1, 2, 4], ["1 file is missing", "003.png"]),
        ([1, 5, 9, 11], ["7 files are missing", "002.png to 004.png", "006.png to 008.png", "010.png"]),
        ([1, 3, 5, 7, 9], ["4 files are missing", "006.png, …"]),
    ],
)
def test_gaps_are_named_in_one_line(numbers, said, tmp_path, nearest):
    write_files(tmp_path / "%03d.png", numbers)
    with pytest.raises(UsageError) as caught:
        run(tmp_path / "%03d.png", tmp_path / "out.mkv", nearest)
    assert all(part in str(caught.value) for part in said), str(caught.value)
    assert "\n" not in str(caught.value)
    assert nearest.batches == []


def test_files_of_another_size_are_named(tmp_path, nearest):
    write_files(tmp_path / "%d.png", [1, 2])
    cv2.imwrite(str(tmp_path / "3.png"), noise(3, (6, 8, 3)))
    with pytest.raises(UsageError, match=r"3\.png has 8x6 pixels where 1\.png has 9x6 \(1 of 3 files differ\)"):
        run(tmp_path / "%d.png", tmp_path / "out.mkv", nearest)
    assert nearest.batches == []


@pytest.mark.parametrize("folder", ["", "missing"])
def test_no_file_is_one_line(folder, tmp_path, nearest):
    with pytest.raises(UsageError, match="no file"):
        run(tmp_path / folder / "%d.png", tmp_path / "out.mkv", nearest)


def test_a_rate_is_for_files_alone(plain, tmp_path, nearest):
    with pytest.raises(UsageError, match="--fps 24"):
        run(plain, tmp_path / "out.mkv", nearest, rate=Fraction(24))


@pytest.mark.parametrize("target", ["%d.png", "%02d.png", "1.png"])
def test_the_input_is_not_written_over(target, tmp_path, nearest):
    (pixels,) = write_files(tmp_path / "%d.png", [1])
    with pytest.raises(UsageError, match=r"input|one of the files"):
        run(tmp_path / "%d.png", tmp_path / target, nearest)
    np.testing.assert_array_equal(read(tmp_path / "1.png"), pixels)


def test_one_image_for_all_frames_is_refused_with_what_would_do(plain, tmp_path, nearest):
    with pytest.raises(UsageError, match=r"out\.jpg cannot hold the frames.*out_%05d\.jpg"):
        run(plain, tmp_path / "out.jpg", nearest)


def test_choices_of_a_video_encoder_are_refused(plain, tmp_path, nearest):
    with pytest.raises(UsageError, match="leave out --codec, --crf"):
        run(plain, tmp_path / "%d.png", nearest, encoder=EncoderOptions(codec="h264", crf=3))


# Files to video and back


@pytest.mark.parametrize("rate", [None, Fraction(24), Fraction(30000, 1001), Fraction(5, 2)])
def test_files_become_a_video_of_that_rate(rate, tmp_path, nearest):
    write_files(tmp_path / "%02d.png", [3, 4, 5, 6], (8, 10, 3))
    run(tmp_path / "%02d.png", tmp_path / "out.mp4", nearest, rate=rate, encoder=EncoderOptions(preset="ultrafast"))
    assert times(tmp_path / "out.mp4") == [number / (rate or Fraction(25)) for number in range(4)]
    with av.open(str(tmp_path / "out.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.width, context.height) == (20, 16)
        assert (context.color_primaries, context.color_trc, context.colorspace) == (1, 13, 1)  # sRGB as BT.709


def test_deep_files_become_a_deep_video_and_come_back(tmp_path, identity):
    pixels = write_files(tmp_path / "in" / "%d.png", [1, 2], (6, 9, 4), np.uint16)
    run(tmp_path / "in" / "%d.png", tmp_path / "middle.mkv", identity, encoder=LOSSLESS)
    with av.open(str(tmp_path / "middle.mkv")) as container:
        assert container.streams.video[0].codec_context.pix_fmt == "gbrap16le"
    run(tmp_path / "middle.mkv", tmp_path / "out" / "%02d.png", identity)
    for number, before in zip((1, 2), pixels, strict=True):
        np.testing.assert_array_equal(read(tmp_path / "out" / f"{number:02d}.png"), before)


@pytest.mark.parametrize(("pix_fmt", "dtype", "peak"), [("gray", np.uint8, 255), ("gray10le", np.uint16, 1023)])
def test_frames_of_a_video_become_files_counted_from_one(pix_fmt, dtype, peak, tmp_path, nearest):
    planes = [[noise(number, (6, 9), np.uint16).astype(np.uint32) * peak // 65535] for number in range(3)]
    planes = [[plane.astype(dtype) for plane in frame] for frame in planes]
    source = write_clip(
        tmp_path / "in.mkv",
        Clip(codec="ffv1", pix_fmt=pix_fmt, size=(9, 6), times=[0, 1, 7], planes=planes, options={}),
    )
    run(source, tmp_path / "out" / "%06d.png", nearest)
    assert names(tmp_path / "out") == ["000001.png", "000002.png", "000003.png"]
    for number, (plane,) in enumerate(planes, 1):
        written = read(tmp_path / "out" / f"{number:06d}.png")
        exact = repeated(plane.astype(np.float64)) * np.iinfo(dtype).max / peak
        assert written.dtype == dtype
        assert abs(written - exact).max() <= 0.51  # rounded to the nearest, in float32


@pytest.mark.parametrize(
    ("matrix", "turn"),
    [
        ((0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30), lambda picture: np.rot90(picture, -1)),
        ((-65536, 0, 0, 0, -65536, 0, 0, 0, 1 << 30), lambda picture: np.rot90(picture, 2)),
        ((0, -65536, 0, 65536, 0, 0, 0, 0, 1 << 30), np.rot90),
        ((65536, 0, 0, 0, -65536, 0, 0, 0, 1 << 30), lambda picture: picture[::-1]),
        ((0, 65536, 0, 65536, 0, 0, 0, 0, 1 << 30), np.transpose),
        ((0, -65536, 0, -65536, 0, 0, 0, 0, 1 << 30), lambda picture: np.rot90(picture, 2).T),
    ],
)
def test_frames_that_a_player_turns_become_upright_files(matrix, turn, tmp_path, nearest):
    plane = noise(0, (6, 9))
    clip = Clip(codec="ffv1", pix_fmt="gray", size=(9, 6), times=[0], planes=[[plane]], options={}, matrix=matrix)
    source = write_clip(tmp_path / "in.mkv", clip)
    run(source, tmp_path / "%d.png", nearest)
    np.testing.assert_array_equal(read(tmp_path / "1.png"), turn(repeated(plane)))


def test_streams_that_files_cannot_hold_are_named(rich, tmp_path, nearest, caplog):
    result = run(rich, tmp_path / "out" / "%d.png", nearest, frames=2)
    assert len(result.dropped_streams) >= 4
    assert all(stream in caplog.text for stream in result.dropped_streams)
    assert "audio, aac, eng" in caplog.text


def test_the_coding_of_hdr_goes_into_the_png_and_comes_back(tmp_path, identity):
    planes = [[noise(number, (6, 9), np.uint16) >> 6 for number in range(3)]]
    source = write_clip(
        tmp_path / "in.mkv",
        Clip(codec="ffv1", pix_fmt="gbrp10le", size=(9, 6), times=[0], planes=planes, options={}),
    )
    with av.open(str(source)) as container:
        assert container.streams.video[0].codec_context.color_trc == 2
    tagged = write_clip(
        tmp_path / "hdr.mkv",
        Clip(
            codec="ffv1",
            pix_fmt="gbrp10le",
            size=(9, 6),
            times=[0],
            planes=planes,
            options={},
            tags=Tags(matrix=0, color_range=2, primaries=9, transfer=16),
        ),
    )
    run(source, tmp_path / "plain" / "%d.png", identity)
    run(tagged, tmp_path / "hdr" / "%d.png", identity)
    assert b"cICP" not in (tmp_path / "plain" / "1.png").read_bytes()
    assert b"cICP" + bytes((9, 16, 0, 1)) in (tmp_path / "hdr" / "1.png").read_bytes()
    run(tmp_path / "hdr" / "%d.png", tmp_path / "back.mkv", identity, encoder=LOSSLESS)
    with av.open(str(tmp_path / "back.mkv")) as container:
        context = container.streams.video[0].codec_context
        assert (context.color_primaries, context.color_trc) == (9, 16)


# A second run


class Failing:
    """Passes on `good` batches, then fails, when `parts` are in the journal beside the files."""

    def __init__(self, upscaler, good=99, folder=None, parts=0):
        self._upscaler, self._good, self._folder, self._parts = upscaler, good, folder, parts
        self.scale, self.device, self.plan = upscaler.scale, upscaler.device, upscaler.plan

    @property
    def identity(self):
        return {"network": "nearest"}

    def __call__(self, batch):
        self._good -= 1
        if self._good < 0:
            until = time.monotonic() + 20
            while self._recorded() < self._parts and time.monotonic() < until:
                time.sleep(0.01)
            raise EngineError("out of luck")
        return self._upscaler(batch)

    def _recorded(self):
        return sum(path.read_text().count('"segment"') for path in self._folder.glob(".*/journal.jsonl"))


def test_a_second_run_makes_only_what_is_missing(tmp_path, nearest, make_upscaler):
    pixels = write_files(tmp_path / "%03d.png", list(range(20)))
    target = tmp_path / "out" / "%03d.png"
    with pytest.raises(EngineError, match="the same command goes on from there"):
        run(tmp_path / "%03d.png", target, Failing(nearest, 8, target.parent, 2), batch=1, segment_frames=3)
    assert len([name for name in names(target.parent) if name.endswith(".png")]) >= 6
    (target.parent / "001.png").unlink()  # someone's doing: that part is made again
    again = make_upscaler()
    result = run(tmp_path / "%03d.png", target, Failing(again), batch=1, segment_frames=3)
    assert (result.frames, result.resumed_frames) == (20, 3)
    assert len(again.batches) == 17
    assert names(target.parent) == [f"{number:03d}.png" for number in range(20)]
    for number, before in enumerate(pixels):
        np.testing.assert_array_equal(read(target.parent / f"{number:03d}.png"), repeated(before))


def test_other_settings_do_not_continue_an_unfinished_run(tmp_path, nearest):
    write_files(tmp_path / "%03d.png", list(range(9)))
    target = tmp_path / "out" / "%03d.jpg"
    given = {"batch": 1, "segment_frames": 3}
    with pytest.raises(EngineError):
        run(tmp_path / "%03d.png", target, Failing(nearest, 4, target.parent, 1), quality=90, **given)
    with pytest.raises(UsageError, match=r"quality \(90 before, now 80\).*--restart"):
        run(tmp_path / "%03d.png", target, Failing(nearest), quality=80, **given)
    assert run(tmp_path / "%03d.png", target, Failing(nearest), quality=80, restart=True, **given).frames == 9
    assert names(target.parent) == [f"{number:03d}.jpg" for number in range(9)]


def test_files_of_a_longer_run_before_are_named(tmp_path, nearest, caplog):
    write_files(tmp_path / "%d.png", list(range(5)))
    run(tmp_path / "%d.png", tmp_path / "out" / "%d.png", nearest)
    assert "earlier run" not in caplog.text
    (tmp_path / "4.png").unlink()
    run(tmp_path / "%d.png", tmp_path / "out" / "%d.png", nearest)
    assert "1 file(s) of an earlier run follow, from 4.png on" in caplog.text
