"""Writing still images. Pillow, OpenCV and tifffile read back what was written."""

from __future__ import annotations

import io
import os
import struct
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from esrgan.errors import MediaError, UsageError
from esrgan_video.images import ImageMetadata, StillImage, read_image, write_image

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
NAME = "out %20 ü {}"


def noise(*shape, dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


def smooth(height, width, channels, dtype=np.uint8):
    """Waves, which every filter of PNG suits somewhere, with a little noise."""
    y, x, c = np.mgrid[:height, :width, :channels]
    waves = 0.5 + 0.45 * np.sin(x / 7 + c) * np.cos(y / 5 - c)
    grain = np.random.default_rng(0).uniform(-0.02, 0.02, waves.shape)
    return np.round((waves + grain).clip(0, 1) * np.iinfo(dtype).max).astype(dtype)


def exif_block():
    block = Image.Exif()
    block[271] = "Maker"
    block[306] = "2024:01:02 03:04:05"
    block[33432] = "© nobody".encode().decode("latin-1")
    directory = block.get_ifd(0x8769)
    directory[33437] = 2.8  # FNumber
    directory[36867] = "2024:01:02 03:04:05"  # DateTimeOriginal
    directory[40962], directory[40963] = 7, 5  # PixelXDimension, PixelYDimension
    block.get_ifd(0x8825)[1] = "N"  # GPSLatitudeRef
    return block.tobytes()[6:]


def opened(path):
    """The file in Pillow, which then holds no open file."""
    return Image.open(io.BytesIO(path.read_bytes()))


def by_opencv(path, channels):
    """Pixels in our order of channels, read by OpenCV."""
    read = np.atleast_3d(cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED))
    return read[:, :, {1: [0], 2: [0, 3], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[channels]]


@pytest.mark.parametrize("content", [noise, smooth])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 300), (300, 1), (67, 45)])
def test_png_keeps_every_bit(tmp_path, content, dtype, channels, height, width):
    pixels = content(height, width, channels, dtype=dtype)
    path = tmp_path / NAME.format("a.png")
    write_image(path, StillImage(pixels))
    read = by_opencv(path, channels)
    assert read.dtype == dtype
    np.testing.assert_array_equal(read, pixels)
    with opened(path) as image:
        image.load()
        assert image.info == {}
        if dtype == np.uint8:
            np.testing.assert_array_equal(np.atleast_3d(np.asarray(image)), pixels)


def test_png_of_many_stripes_keeps_every_bit(tmp_path):
    dots = noise(1, 700, 4) * (noise(1, 700, 4, seed=1) < 20)
    pixels = np.repeat(dots, 900, axis=0)  # 2.5 MB, filtered 1 MB at a time, each row best told by that above
    write_image(tmp_path / "a.png", StillImage(pixels))
    np.testing.assert_array_equal(np.asarray(opened(tmp_path / "a.png")), pixels)


def test_png_is_about_as_small_as_pillows(tmp_path):
    pixels = smooth(300, 400, 3)
    write_image(tmp_path / "a.png", StillImage(pixels))
    theirs = io.BytesIO()
    Image.fromarray(pixels).save(theirs, "PNG")
    assert (tmp_path / "a.png").stat().st_size < 1.05 * len(theirs.getvalue())


@pytest.mark.parametrize("suffix", [".tif", ".TIFF"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 300), (300, 1), (67, 45)])
def test_tiff_keeps_every_bit(tmp_path, suffix, dtype, channels, height, width):
    pixels = smooth(height, width, channels, dtype=dtype)
    path = tmp_path / NAME.format(f"a{suffix}")
    write_image(path, StillImage(pixels))
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        read = page.asarray().reshape(height, width, -1)
        assert page.compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        assert page.extrasamples == ((tifffile.EXTRASAMPLE.UNASSALPHA,) if channels in (2, 4) else ())
    assert read.dtype == dtype
    np.testing.assert_array_equal(read, pixels)
    if channels != 2 and (channels != 4 or dtype == np.uint16):  # OpenCV premultiplies in 8 bits
        np.testing.assert_array_equal(by_opencv(path, channels), pixels)
    if dtype == np.uint8:
        np.testing.assert_array_equal(np.atleast_3d(np.asarray(opened(path))), pixels)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    channels=st.integers(1, 4),
    deep=st.booleans(),
    suffix=st.sampled_from([".png", ".tif"]),
    seed=st.integers(0, 99),
)
def test_what_is_written_is_read_again(tmp_path, height, width, channels, deep, suffix, seed):
    pixels = noise(height, width, channels, dtype=np.uint16 if deep else np.uint8, seed=seed)
    write_image(tmp_path / f"a{suffix}", StillImage(pixels))
    again = read_image(tmp_path / f"a{suffix}").pixels
    assert again.dtype == pixels.dtype
    np.testing.assert_array_equal(again, pixels)


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".bmp"])
def test_16_bits_are_rounded_to_8_with_a_warning(tmp_path, caplog, suffix):
    levels = np.linspace(0, 65535, 64 * 64).astype(np.uint16).reshape(64, 64, 1)
    pixels = np.repeat(levels, 3, axis=2)
    path = tmp_path / f"a{suffix}"
    write_image(path, StillImage(pixels), quality=100, lossless=True)
    read = np.asarray(opened(path)).astype(float)
    assert "8 bits" in caplog.text
    error = np.abs(read - pixels / 257)
    assert error.max() <= (1.5 if suffix == ".jpg" else 0.5)


def test_jpeg_quality_decides_size_and_chroma(tmp_path):
    pixels = smooth(64, 64, 3)
    sizes = []
    for quality, sampling in ((50, 2), (89, 2), (90, 0), (95, 0)):
        path = tmp_path / f"{quality}.jpg"
        write_image(path, StillImage(pixels), quality=quality)
        with opened(path) as image:
            layers = [layer[1:3] for layer in image.layer]
        assert layers[0] == ((2, 2) if sampling == 2 else (1, 1))
        sizes.append(path.stat().st_size)
    assert sizes == sorted(sizes)


def test_webp_without_loss_keeps_hidden_colours_too(tmp_path):
    pixels = noise(9, 8, 4)
    pixels[:4, :, 3] = 0
    write_image(tmp_path / "a.webp", StillImage(pixels), lossless=True)
    np.testing.assert_array_equal(np.asarray(opened(tmp_path / "a.webp")), pixels)


@pytest.mark.parametrize("channels", [1, 2])
def test_grey_becomes_rgb_in_webp(tmp_path, channels):
    pixels = smooth(9, 8, channels)
    write_image(tmp_path / "a.webp", StillImage(pixels), lossless=True)
    read = np.asarray(opened(tmp_path / "a.webp"))
    np.testing.assert_array_equal(read[:, :, :3], np.repeat(pixels[:, :, :1], 3, axis=2))
    np.testing.assert_array_equal(read[:, :, 3:], pixels[:, :, 1:])


def grey_profile():
    """An ICC profile for linear grey (ICC.1:2022: a curve of no entries is the identity)."""
    white = struct.pack(">4s4x3i", b"XYZ ", *(round(value * 65536) for value in (0.9642, 1, 0.8249)))
    curve = struct.pack(">4s4xI", b"curv", 0)
    table = struct.pack(">I", 2) + struct.pack(">4sII4sII", b"wtpt", 156, 20, b"kTRC", 176, 12)
    size = 128 + len(table) + len(white) + len(curve)
    header = struct.pack(">I4xI4s4s4s12x4s", size, 0x02400000, b"mntr", b"GRAY", b"XYZ ", b"acsp").ljust(68, b"\0")
    return (header + white[8:]).ljust(128, b"\0") + table + white + curve


def test_profile_of_grey_is_applied_where_grey_becomes_rgb(tmp_path):
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    profile = grey_profile()
    write_image(tmp_path / "a.webp", StillImage(levels, ImageMetadata(icc_profile=profile)), lossless=True)
    with opened(tmp_path / "a.webp") as image:
        assert "icc_profile" not in image.info
        read = np.asarray(image).astype(float)
    linear = levels / 255
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055) * 255
    assert np.abs(read - srgb).max() <= 1
    write_image(tmp_path / "a.png", StillImage(levels, ImageMetadata(icc_profile=profile)))
    assert opened(tmp_path / "a.png").info["icc_profile"] == profile


def test_grey_jpeg_stays_grey(tmp_path):
    write_image(tmp_path / "a.jpg", StillImage(smooth(9, 8, 1)))
    assert opened(tmp_path / "a.jpg").mode == "L"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_metadata_is_kept(tmp_path, capfd, suffix, dtype):
    metadata = ImageMetadata(icc_profile=SRGB, dpi=(300.0, 150.0), exif=exif_block())
    path = tmp_path / f"a{suffix}"
    write_image(path, StillImage(smooth(20, 30, 3, dtype=dtype), metadata))
    if suffix == ".png" and dtype == np.uint16:
        assert cv2.imread(str(path), cv2.IMREAD_UNCHANGED) is not None
        assert capfd.readouterr().err == ""  # where libpng complains of chunks that it does not like
    with opened(path) as image:
        assert image.info["icc_profile"] == SRGB
        if suffix != ".webp":
            assert image.info["dpi"] == pytest.approx((300, 150), rel=1e-4)
        block = image.getexif()
        assert block[271] == "Maker"
        assert block[306] == "2024:01:02 03:04:05"
        directory = block.get_ifd(0x8769)
        assert directory[33437] == pytest.approx(2.8)
        assert directory[36867] == "2024:01:02 03:04:05"
        assert (directory[40962], directory[40963]) == (30, 20)  # the new size
        assert block.get_ifd(0x8825)[1] == "N"


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_metadata_survives_our_own_reading(tmp_path, suffix):
    metadata = ImageMetadata(icc_profile=SRGB, dpi=(300.0, 150.0))
    write_image(tmp_path / f"a{suffix}", StillImage(smooth(20, 30, 3), metadata))
    again = read_image(tmp_path / f"a{suffix}").metadata
    assert again.icc_profile == SRGB
    assert again.dpi == pytest.approx((300, 150), rel=1e-4)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".bmp"])
def test_damaged_exif_does_not_stop_the_writing(tmp_path, suffix):
    good = exif_block()
    for length in (8, 9, 12, 40, len(good) - 20):
        path = tmp_path / f"{length}{suffix}"
        write_image(path, StillImage(smooth(5, 6, 3), ImageMetadata(exif=good[:length])))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # values may be missing where the directories are whole
            assert opened(path).size == (6, 5)


def test_thumbnail_of_the_old_image_is_unlinked(tmp_path):
    directory = struct.pack("<HHHIHHI", 1, 271, 2, 4, 0x6261, 0x63, 0)[:-4]
    thumbnail = struct.pack("<H", 1) + struct.pack("<HHII", 513, 4, 1, 0) + struct.pack("<I", 0)
    block = b"II*\0" + struct.pack("<I", 8) + directory + struct.pack("<I", 8 + len(directory) + 4) + thumbnail
    write_image(tmp_path / "a.png", StillImage(smooth(5, 6, 3), ImageMetadata(exif=block)))
    written = opened(tmp_path / "a.png").getexif()
    assert written[271] == "abc"
    assert not written.get_ifd(Image.ExifTags.IFD.IFD1)


def test_colour_chunks_and_texts_of_a_png_are_kept_in_png(tmp_path):
    from PIL import PngImagePlugin

    texts = PngImagePlugin.PngInfo()
    texts.add_text("parameters", "a cat, 20 steps")
    texts.add_itxt("Title", "ü", zip=True)
    texts.add(b"gAMA", struct.pack(">I", 100000))
    Image.fromarray(smooth(5, 6, 3)).save(tmp_path / "a.png", pnginfo=texts)
    write_image(tmp_path / "b.png", read_image(tmp_path / "a.png"))
    info = opened(tmp_path / "b.png").info
    assert info["gamma"] == 1.0
    assert info["parameters"] == "a cat, 20 steps"
    assert info["Title"] == "ü"


def test_profile_takes_the_place_of_the_srgb_chunk(tmp_path):
    kept = ((b"sRGB", b"\0"), (b"gAMA", struct.pack(">I", 45455)))
    for profile, expected in ((SRGB, {"icc_profile", "gamma"}), (None, {"srgb", "gamma"})):
        metadata = ImageMetadata(icc_profile=profile, png_chunks=kept)
        write_image(tmp_path / "a.png", StillImage(smooth(5, 6, 3), metadata))
        assert set(opened(tmp_path / "a.png").info) == expected


def test_real_images_keep_depth_alpha_and_metadata(assets, tmp_path):
    for source in sorted((assets / "images").rglob("*.[pj]*g")):
        image = read_image(source)
        for suffix in (".png", ".tif"):
            path = tmp_path / f"{source.stem}{suffix}"
            write_image(path, image)
            again = read_image(path)
            np.testing.assert_array_equal(again.pixels, image.pixels)
            assert again.pixels.dtype == image.pixels.dtype
            assert again.metadata.icc_profile == image.metadata.icc_profile
            assert again.metadata.dpi == (image.metadata.dpi and pytest.approx(image.metadata.dpi, rel=1e-3))


@pytest.mark.parametrize("name", ["a.gif", "a", "a.png.bak", "a.jp2"])
def test_unknown_suffix_is_refused_with_what_is_known(tmp_path, name):
    with pytest.raises(UsageError, match=r"\.png.*\.webp"):
        write_image(tmp_path / name, StillImage(noise(2, 2, 3)))


@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".bmp"])
def test_alpha_is_not_dropped_silently(tmp_path, suffix, channels):
    with pytest.raises(UsageError, match=r"transparency; use \.png"):
        write_image(tmp_path / f"a{suffix}", StillImage(noise(2, 2, channels)))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [2, 4])
def test_alpha_that_is_opaque_everywhere_needs_no_place(tmp_path, channels, dtype):
    pixels = smooth(9, 8, channels, dtype=dtype)
    pixels[:, :, -1] = np.iinfo(dtype).max
    write_image(tmp_path / "a.bmp", StillImage(pixels))
    colours = pixels[:, :, :-1] if dtype == np.uint8 else np.round(pixels[:, :, :-1] / 257)
    np.testing.assert_array_equal(np.atleast_3d(np.asarray(opened(tmp_path / "a.bmp"))), colours)


@pytest.mark.parametrize(("suffix", "side"), [(".webp", 16384), (".jpg", 65536)])
def test_sides_that_the_format_cannot_hold_are_refused(tmp_path, suffix, side):
    with pytest.raises(UsageError, match=f"{side}.*png"):
        write_image(tmp_path / f"a{suffix}", StillImage(np.zeros((1, side, 3), np.uint8)))
    write_image(tmp_path / f"b{suffix}", StillImage(np.zeros((1, {16384: 16383, 65536: 65500}[side], 3), np.uint8)))


@pytest.mark.parametrize("quality", [0, 101])
def test_quality_out_of_range_is_refused(tmp_path, quality):
    with pytest.raises(UsageError, match=str(quality)):
        write_image(tmp_path / "a.jpg", StillImage(noise(2, 2, 3)), quality=quality)


def test_missing_folder_and_folder_as_file_are_refused(tmp_path):
    with pytest.raises(UsageError, match="no folder"):
        write_image(tmp_path / "none" / "a.png", StillImage(noise(2, 2, 3)))
    (tmp_path / "b.png").mkdir()
    with pytest.raises(UsageError, match="folder"):
        write_image(tmp_path / "b.png", StillImage(noise(2, 2, 3)))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".bmp"])
def test_failure_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(MediaError, match=r"a\..*No space left on device"):
        write_image(path, StillImage(noise(2, 2, 3)))
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b"old"


def test_full_disk_is_one_line():
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    from esrgan_video.images.png_encoder import write_png

    with pytest.raises(OSError, match="space"), Path("/dev/full").open("wb", buffering=0) as file:
        write_png(file, StillImage(noise(2, 2, 3)))


@pytest.mark.skipif(os.geteuid() == 0, reason="the administrator may write everywhere")
def test_read_only_folder_is_refused_in_one_line(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(MediaError, match="Permission denied"):
        write_image(tmp_path / "a.png", StillImage(noise(2, 2, 3)))


def test_link_is_written_through(tmp_path):
    (tmp_path / "real.png").touch()
    (tmp_path / "link.png").symlink_to(tmp_path / "real.png")
    write_image(tmp_path / "link.png", StillImage(noise(2, 2, 3)))
    assert (tmp_path / "link.png").is_symlink()
    assert opened(tmp_path / "real.png").size == (2, 2)
