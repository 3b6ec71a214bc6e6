"""Reading still images. Files are made by Pillow, OpenCV, tifffile, or byte by byte."""

from __future__ import annotations

import contextlib
import io
import lzma
import struct
import tracemalloc
import zlib
from itertools import product

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, ImageOps

from esrgan.errors import MediaError, UsageError
from esrgan_video.images import read_image

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def noise(*shape, dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(rows, *, width, depth, colour, extra=b""):
    """A PNG whose rows of bytes are given, unfiltered."""
    header = struct.pack(">IIBBBBB", width, len(rows), depth, colour, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def png_16(pixels, extra=b""):
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[pixels.shape[2]]
    rows = [row.astype(">u2").tobytes() for row in pixels]
    return png(rows, width=pixels.shape[1], depth=16, colour=colour, extra=extra)


@pytest.fixture
def read(tmp_path):
    def read_bytes(data, name="some image %20 ü.bin"):
        path = tmp_path / name
        path.write_bytes(data)
        return read_image(path)

    return read_bytes


def encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize(("kind", "channels"), [*product(("PNG", "TIFF"), (1, 2, 3, 4)), ("BMP", 1), ("BMP", 3)])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (9, 1), (7, 5)])
def test_8_bit_pixels_come_as_stored(read, kind, channels, height, width):
    pixels = noise(height, width, channels)
    image = Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels)
    result = read(encoded(image, kind)).pixels
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, pixels)


@pytest.mark.parametrize("channels", [3, 4])
def test_lossless_webp_comes_as_stored(read, channels):
    pixels = noise(7, 5, channels)
    result = read(encoded(Image.fromarray(pixels), "WEBP", lossless=True, exact=True)).pixels
    np.testing.assert_array_equal(result, pixels)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_jpeg_is_what_pillow_decodes(read, mode):
    data = encoded(Image.fromarray(noise(17, 23, 3)).convert(mode), "JPEG")
    expected = np.atleast_3d(np.asarray(Image.open(io.BytesIO(data))))
    np.testing.assert_array_equal(read(data).pixels, expected)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (9, 1), (6, 7)])
def test_16_bit_png_comes_as_stored(read, channels, height, width):
    pixels = noise(height, width, channels, dtype=np.uint16)
    result = read(png_16(pixels)).pixels
    assert result.dtype == np.uint16
    np.testing.assert_array_equal(result, pixels)


@pytest.mark.parametrize(
    ("options", "channels"),
    [
        *product(
            (
                {},
                {"compression": "zlib"},
                {"compression": "zlib", "predictor": True},
                {"byteorder": ">"},
                {"bigtiff": True},
                {"tile": (16, 16)},
            ),
            (1, 2, 3, 4),
        ),
        *product(({"planarconfig": "separate"},), (2, 3, 4)),
    ],
    ids=str,
)
@pytest.mark.parametrize(("height", "width"), [(33, 21), (1, 1), (1, 9), (9, 1)])
def test_16_bit_tiff_comes_as_stored(read, channels, options, height, width):
    pixels = noise(height, width, channels, dtype=np.uint16)
    stored = np.moveaxis(pixels, 2, 0) if "planarconfig" in options else pixels
    file = io.BytesIO()
    tifffile.imwrite(
        file,
        stored[:, :, 0] if channels == 1 else stored,
        photometric="minisblack" if channels < 3 else "rgb",
        extrasamples=["unassalpha"] if channels in (2, 4) else None,
        metadata=None,
        **({"planarconfig": "contig"} if channels > 1 else {}) | options,
    )
    np.testing.assert_array_equal(read(file.getvalue()).pixels, pixels)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bit_tiff_in_lzw_comes_as_stored(read, channels):
    pixels = noise(33, 21, channels, dtype=np.uint16)
    order = [2, 1, 0, 3][:channels] if channels > 1 else [0]
    _, data = cv2.imencode(".tif", pixels[:, :, order], [cv2.IMWRITE_TIFF_COMPRESSION, 5])
    np.testing.assert_array_equal(read(data.tobytes()).pixels, pixels)


def test_white_is_zero_is_turned_round(read):
    pixels = noise(5, 6, dtype=np.uint16)
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, photometric="miniswhite", metadata=None)
    np.testing.assert_array_equal(read(file.getvalue()).pixels[:, :, 0], 65535 - pixels)


def test_premultiplied_alpha_is_divided_out(read):
    alpha = noise(20, 20, 1, dtype=np.uint16)
    alpha[0, :5] = 0
    straight = noise(20, 20, 3, dtype=np.uint16, seed=1)
    product = np.round(straight.astype(np.float64) * alpha / 65535).astype(np.uint16)
    file = io.BytesIO()
    tifffile.imwrite(
        file, np.concatenate((product, alpha), 2), photometric="rgb", extrasamples=["assocalpha"], metadata=None
    )
    result = read(file.getvalue()).pixels
    np.testing.assert_array_equal(result[:, :, 3:], alpha)
    expected = np.minimum(product / np.maximum(alpha, 1.0) * 65535, 65535)
    visible = alpha[:, :, 0] > 0
    assert np.abs(result[:, :, :3] - expected)[visible].max() <= 0.5


def test_1_bit_becomes_grey(read):
    bits = noise(5, 11) > 127
    np.testing.assert_array_equal(read(encoded(Image.fromarray(bits), "PNG")).pixels[:, :, 0], bits * np.uint8(255))


def test_palette_becomes_rgb_and_its_transparency_alpha(read):
    image = Image.fromarray(noise(9, 8, 3)).quantize(7)
    np.testing.assert_array_equal(read(encoded(image, "PNG")).pixels, np.asarray(image.convert("RGB")))
    alphas = bytes([0, 40, 255, 128, 255, 1, 77])
    result = read(encoded(image, "PNG", transparency=alphas)).pixels
    np.testing.assert_array_equal(result[:, :, :3], np.asarray(image.convert("RGB")))
    np.testing.assert_array_equal(result[:, :, 3], np.frombuffer(alphas, np.uint8)[np.asarray(image)])


@pytest.mark.parametrize(("depth", "peak"), [(1, 1), (2, 3), (4, 15), (8, 255)])
def test_transparent_grey_level_becomes_alpha(read, depth, peak):
    levels = np.array([0, peak, peak - 1 if peak > 1 else 0, 0, peak, peak, 0, 0])
    packed = int("".join(f"{level:0{depth}b}" for level in levels), 2).to_bytes(depth)
    data = png([packed], width=8, depth=depth, colour=0, extra=chunk(b"tRNS", struct.pack(">H", levels[2])))
    result = read(data).pixels[0]
    np.testing.assert_array_equal(result[:, 0], levels * 255 // peak)
    np.testing.assert_array_equal(result[:, 1], np.where(levels == levels[2], 0, 255))


def test_transparent_colour_of_16_bits_becomes_alpha(read):
    pixels = np.full((1, 3, 3), 500, np.uint16)
    pixels[0, 1] = 500, 500, 501
    data = png_16(pixels, chunk(b"tRNS", struct.pack(">HHH", 500, 500, 501)))
    np.testing.assert_array_equal(read(data).pixels[0, :, 3], [65535, 0, 65535])
    grey = png_16(pixels[:, :, 2:], chunk(b"tRNS", struct.pack(">H", 501)))
    np.testing.assert_array_equal(read(grey).pixels[0, :, 1], [65535, 0, 65535])


def test_interlaced_png_comes_as_stored(read):
    pixels = noise(19, 21, 3, dtype=np.uint16)
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    body = b"".join(
        b"\0" + row.astype(">u2").tobytes() for y, x, down, across in passes for row in pixels[y::down, x::across]
    )
    header = struct.pack(">IIBBBBB", 21, 19, 16, 2, 0, 0, 1)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")
    np.testing.assert_array_equal(read(data).pixels, pixels)


def test_plain_cmyk_is_converted_as_pillow_does(read):
    data = encoded(Image.fromarray(noise(9, 8, 3)).convert("CMYK"), "JPEG")
    np.testing.assert_array_equal(read(data).pixels, np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


def cmyk_profile():
    """An ICC profile that sees black ink only: L* falls from 100 to 0 with K (lut8Type, ICC.1:2022 section 10.11)."""
    identity = bytes(range(256))
    corners = b"".join(bytes([0 if corner & 1 else 255, 128, 128]) for corner in range(16))  # K varies fastest
    matrix = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    lut = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + matrix + identity * 4 + corners + identity * 3
    table = struct.pack(">I", 1) + struct.pack(">4sII", b"A2B0", 144, len(lut))
    header = struct.pack(">I4xI4s4s4s12x4s", 144 + len(lut), 0x02400000, b"prtr", b"CMYK", b"Lab ", b"acsp").ljust(
        68, b"\0"
    ) + struct.pack(">3i", *(round(value * 65536) for value in (0.9642, 1, 0.8249)))
    return header.ljust(128, b"\0") + table + lut


def test_cmyk_is_converted_through_its_profile(read):
    ink = np.zeros((16, 48, 4), np.uint8)
    ink[:, :, :3] = 90  # which the profile does not see
    ink[:, :16, 3], ink[:, 16:32, 3] = 255, 128
    data = encoded(Image.fromarray(ink, "CMYK"), "JPEG", quality=100, icc_profile=cmyk_profile())
    image = read(data)
    assert image.metadata.icc_profile is None
    lightness = (100 * (1 - 128 / 255) + 16) / 116
    middle = (1.055 * (lightness**3) ** (1 / 2.4) - 0.055) * 255
    for column, expected in ((8, 0), (24, middle), (40, 255)):
        np.testing.assert_allclose(image.pixels[8, column], expected, atol=2)


def test_profile_of_another_colour_space_is_left_out(read, caplog):
    assert read(encoded(Image.new("RGB", (3, 3)), "PNG", icc_profile=SRGB)).metadata.icc_profile == SRGB
    assert read(encoded(Image.new("L", (3, 3)), "PNG", icc_profile=SRGB)).metadata.icc_profile is None
    assert "ICC profile" in caplog.text


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_and_set_upright(read, kind, orientation):
    ramp = np.add.outer(np.arange(24) * 5, np.arange(40) * 3)
    image = Image.fromarray(np.stack((ramp, ramp[::-1], ramp[:, ::-1]), 2).astype(np.uint8))
    block = Image.Exif()
    block[274] = orientation
    block[271] = "Maker"
    data = encoded(image, kind, exif=block, **({"lossless": True} if kind == "WEBP" else {}))
    result = read(data)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(result.pixels, np.asarray(expected))
    kept = Image.Exif()
    kept.load(result.metadata.exif)
    assert kept.get(274, 1) == 1
    assert kept[271] == "Maker"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_to_16_bits(read, orientation):
    pixels = noise(4, 6, 3, dtype=np.uint16)
    block = Image.Exif()
    block[274] = orientation
    as_8_bit = Image.fromarray((pixels >> 8).astype(np.uint8))
    as_8_bit.getexif()[274] = orientation
    expected = np.asarray(ImageOps.exif_transpose(as_8_bit))
    result = read(png_16(pixels, chunk(b"eXIf", block.tobytes()[6:])))
    np.testing.assert_array_equal(result.pixels >> 8, expected)
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, photometric="rgb", metadata=None, extratags=[(274, "H", 1, orientation, True)])
    np.testing.assert_array_equal(read(file.getvalue()).pixels >> 8, expected)


def test_big_endian_exif_keeps_everything_but_the_orientation(read):
    entries = [(271, 2, 4, b"abc\0"), (274, 3, 1, struct.pack(">HH", 6, 0)), (305, 2, 4, b"xyz\0")]
    directory = struct.pack(">H", 3) + b"".join(struct.pack(">HHI4s", *entry) for entry in entries)
    block = b"MM\0*" + struct.pack(">I", 8) + directory + struct.pack(">I", 0) + b"maker note"
    result = read(png_16(noise(2, 3, 3, dtype=np.uint16), chunk(b"eXIf", block)))
    assert result.pixels.shape == (3, 2, 3)
    assert result.metadata.exif == block.replace(
        struct.pack(">HHIHH", 274, 3, 1, 6, 0), struct.pack(">HHIHH", 274, 3, 1, 1, 0)
    )


def test_exif_that_older_programs_hide_in_a_png_text_is_found(read):
    block = Image.Exif()
    block[274] = 3
    raw = block.tobytes()
    text = f"\nexif\n{len(raw):8}\n{raw[:30].hex()}\n{raw[30:].hex()}\n".encode()
    pixels = noise(2, 3, 3, dtype=np.uint16)
    result = read(png_16(pixels, chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text))))
    np.testing.assert_array_equal(result.pixels, pixels[::-1, ::-1])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP"])
def test_resolution_is_read(read, kind):
    dpi = read(encoded(Image.new("RGB", (3, 3)), kind, dpi=(300, 150))).metadata.dpi
    assert dpi == pytest.approx((300, 150), rel=1e-3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
def test_no_resolution_is_made_up(read, kind):
    block = Image.Exif()
    block[271] = "Maker"
    options = {} if kind == "BMP" else {"exif": block}
    data = encoded(Image.new("RGB", (3, 3)), kind, **options)
    assert (
        read(data).metadata.dpi is None
        if kind != "BMP"
        else read(data).metadata.dpi == pytest.approx((96, 96), rel=1e-3)
    )


def test_resolution_turns_with_the_image(read):
    block = Image.Exif()
    block[274] = 6
    data = encoded(Image.new("RGB", (3, 5)), "JPEG", exif=block, dpi=(300, 150))
    assert read(data).metadata.dpi == (150, 300)


def _animation(kind):
    frames = [Image.fromarray(noise(8, 8, 3, seed=seed)) for seed in range(3)]
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:])


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "TIFF"])
def test_several_frames_are_refused(read, kind):
    with pytest.raises(MediaError, match=r"one (frame|page)"):
        read(_animation(kind))


def test_thumbnail_page_is_no_second_image(read):
    file = io.BytesIO()
    pixels = noise(16, 16, 3)
    with tifffile.TiffWriter(file) as writer:
        writer.write(pixels, photometric="rgb", metadata=None)
        writer.write(pixels[::4, ::4], photometric="rgb", metadata=None, subfiletype=1)
    np.testing.assert_array_equal(read(file.getvalue()).pixels, pixels)


def test_photograph_with_previews_is_its_first_picture(read):
    frames = [Image.fromarray(noise(16, 16, 3, seed=seed)) for seed in range(2)]
    data = encoded(frames[0], "MPO", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(read(data).pixels, np.asarray(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int16, np.uint32])
def test_other_numbers_than_8_and_16_bits_are_refused(read, dtype):
    file = io.BytesIO()
    tifffile.imwrite(file, np.zeros((4, 4), dtype), metadata=None)
    with pytest.raises(MediaError, match=r"TIFF of .*16 bits"):
        read(file.getvalue())


def _samples():
    rgb = Image.fromarray(noise(40, 40, 3))
    tiff = io.BytesIO()
    tifffile.imwrite(tiff, noise(40, 40, 3, dtype=np.uint16), photometric="rgb", compression="zlib", rowsperstrip=8)
    lzw = cv2.imencode(".tif", noise(400, 40, 3, dtype=np.uint16), [cv2.IMWRITE_TIFF_COMPRESSION, 5])[1]
    plain = io.BytesIO()
    with tifffile.TiffWriter(plain) as writer:
        writer.write(noise(40, 40, 3, dtype=np.uint16), photometric="rgb", tile=(16, 16))
    return {
        "png": encoded(rgb, "PNG"),
        "png16": png_16(noise(40, 40, 3, dtype=np.uint16)),
        "jpeg": encoded(rgb, "JPEG", quality=95),
        "webp": encoded(rgb, "WEBP"),
        "tiff": encoded(rgb, "TIFF"),
        "tiff lzw": encoded(rgb, "TIFF", compression="tiff_lzw"),
        "tiff16": tiff.getvalue(),
        "tiff16 plain": plain.getvalue(),
        "tiff16 lzw": lzw.tobytes(),
        "bmp": encoded(rgb, "BMP"),
    }


@pytest.mark.parametrize("kind", _samples())
@pytest.mark.parametrize("part", [0.001, 0.02, 0.5, 0.9])
def test_truncated_file_is_one_line_with_its_name(read, kind, part):
    data = _samples()[kind]
    with pytest.raises(MediaError, match=r"cut %20\.x") as caught:
        read(data[: max(1, int(len(data) * part))], "cut %20.x")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", _samples())
def test_damaged_file_is_read_or_refused_but_nothing_else(read, kind):
    rng = np.random.default_rng(5)
    good = _samples()[kind]
    for _ in range(25):
        data = bytearray(good)
        header_only = rng.random() < 0.5
        for position in rng.integers(0, 120 if header_only else len(data), 4):
            data[position] = rng.integers(256)
        with contextlib.suppress(MediaError):
            assert read(bytes(data)).pixels.ndim == 3


@pytest.mark.parametrize("data", [b"", b"no image at all", b"\x89PNG\r\n\x1a\n", b"II*\0", b"GIF89a"])
def test_what_is_no_image_is_refused_by_name(read, data):
    with pytest.raises(MediaError, match="odd name"):
        read(data, "odd name")


def test_missing_file_is_a_mistake_in_the_call(tmp_path):
    with pytest.raises(UsageError, match="gone"):
        read_image(tmp_path / "gone.png")
    with pytest.raises(MediaError, match="directory"):
        read_image(tmp_path)


def test_too_many_pixels_are_refused_before_decoding(read):
    header = struct.pack(">IIBBBBB", 40000, 40000, 1, 0, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    with pytest.raises(MediaError, match="40000x40000"):
        read(data)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG", "WEBP", "BMP"])
def test_a_limit_on_pixels_is_held_against_the_header(tmp_path, kind):
    path = tmp_path / "picture"
    whole = encoded(Image.new("RGB", (40, 30)), kind)
    path.write_bytes(whole)
    assert read_image(path, max_pixels=1200).width == 40
    with pytest.raises(MediaError, match="40x30 pixels are more than the 1199 that are read"):
        read_image(path, max_pixels=1199)


def _black_tiff(*shape, **options):
    file = io.BytesIO()
    settings = {"photometric": "minisblack", "compression": "zlib", "metadata": None}
    tifffile.imwrite(file, np.zeros(shape, np.uint16), **settings | options)
    return file.getvalue()


def _with_tag(data, code, value):
    """The TIFF with another number in a tag."""
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        position = file.pages[0].tags[code].valueoffset
    return data[:position] + struct.pack("<I", value) + data[position + 4 :]


def _with_strip(packed, **options):
    """A TIFF whose only strip holds these bytes."""
    data = _black_tiff(64, 64, **options)
    return _with_tag(_with_tag(data, 279, len(packed)), 273, len(data)) + packed


_MUCH = 64_000_000
"""Bytes that a small file inflates to."""
_TOO_MUCH = {
    "160x160 pixels with 800 channels: save it with 4 or fewer": lambda: _black_tiff(
        160, 160, 800, planarconfig="contig", extrasamples=[0] * 799
    ),
    "150x150 pixels with 800 channels": lambda: _black_tiff(
        800, 150, 150, planarconfig="separate", extrasamples=[0] * 799
    ),
    "in tiles of 262144x64": lambda: _with_tag(_black_tiff(64, 64, tile=(64, 64)), 322, 2**18),
    "8 layers of 64x64 pixels": lambda: _black_tiff(8, 64, 64, volumetric=True, tile=(8, 64, 64)),
    "more than its pixels in a strip": lambda: _with_strip(zlib.compress(bytes(_MUCH))),
    "more than its pixels in a strip or": lambda: _with_strip(lzma.compress(bytes(_MUCH)), compression="lzma"),
    "more than its pixels in a strip or tile": lambda: _with_strip(
        lzma.compress(bytes(64 * 64 * 2)) + lzma.compress(bytes(_MUCH)), compression="lzma"
    ),
}


@pytest.mark.parametrize("words", _TOO_MUCH)
def test_a_small_tiff_takes_no_more_memory_than_a_picture_may(tmp_path, words):
    path = tmp_path / "small.tif"
    path.write_bytes(_TOO_MUCH[words]())
    tracemalloc.start()
    try:
        with pytest.raises(MediaError, match=words):
            read_image(path, max_pixels=1_000_000)
        assert tracemalloc.get_traced_memory()[1] < _MUCH / 4
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("compression", ["zlib", "lzma"])
def test_channels_beyond_the_picture_are_left_out(read, caplog, compression):
    pixels = noise(9, 7, 6, dtype=np.uint16)
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, photometric="rgb", extrasamples=[0, 0, 0], compression=compression, metadata=None)
    np.testing.assert_array_equal(read(file.getvalue()).pixels, pixels[:, :, :3])
    assert "3 channel(s) of unknown meaning" in caplog.text


def test_more_pixels_than_pillow_likes_are_read_without_a_warning(read, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    for data in _samples().values():
        assert read(data).pixels.shape[1:] == (40, 3)
    assert Image.MAX_IMAGE_PIXELS == 10


def test_real_images_are_what_opencv_reads(assets):
    files = sorted(path for path in (assets / "images").rglob("*") if path.suffix in (".png", ".jpg"))
    assert files
    for path in files:
        pixels = read_image(path).pixels
        expected = np.atleast_3d(cv2.imread(str(path), cv2.IMREAD_UNCHANGED))
        if expected.shape[2] > 2:
            expected = expected[:, :, [2, 1, 0, 3][: expected.shape[2]]]
        assert pixels.dtype == expected.dtype
        assert pixels.shape == expected.shape
        difference = np.abs(pixels.astype(int) - expected).max()
        assert difference <= (0 if path.suffix == ".png" else 4), path  # two JPEG decoders round differently
