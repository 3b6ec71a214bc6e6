"""TIFF: structure and 16-bit pixels through tifffile, up to 8 bits and all their compressions through Pillow.

Source: TIFF 6.0 (Adobe 1992), and Exif 2.32 for the directories in it.
"""

from __future__ import annotations

import io
import logging
import lzma
import math
import struct
import zlib
from typing import Any, BinaryIO

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from esrgan.errors import MediaError
from esrgan_video.images import exif
from esrgan_video.images.colour import fitting_profile
from esrgan_video.images.modes import array_of
from esrgan_video.images.pillow import quiet_pillow
from esrgan_video.images.still import MAX_PIXELS, ImageMetadata, Pixels, StillImage, check_size

_log = logging.getLogger(__name__)

_ICC_PROFILE, _ORIENTATION = 34675, 274
_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 282, 283, 296
_CENTIMETRES_PER_INCH = 2.54

_TEXT_TAGS = (269, 270, 271, 272, 285, 305, 306, 315, 316, 33432)
"""DocumentName, ImageDescription, Make, Model, PageName, Software, DateTime, Artist, HostComputer, Copyright."""
_EXIF_DIRECTORIES = (34665, 34853)
"""EXIF's own fields, and the place."""

_CLASSIC_LIMIT = 2**32 - 2**25
"""Bytes of pixels from which a file is a BigTIFF, with offsets of 64 bits, for which no EXIF is written."""
_LONG = 4
"""Type of a tag that holds an offset."""

_REDUCED_OR_MASK = 1 | 4
"""Bits of NewSubfileType: a page that is a smaller copy or the mask of another."""
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB = 0, 1, 2
_UNSIGNED = (1, 4)
"""SampleFormat: unsigned, and undefined, which TIFF 6.0 says to read as unsigned."""
_PREMULTIPLIED, _STRAIGHT = 1, 2
"""ExtraSamples: kinds of alpha."""

_CHANNELS = 4
"""Channels that a picture of `max_pixels` may have; a smaller one may hold more, which are left out."""
_TILE_PIXELS = 2**20
"""Pixels that a tile may have where the picture may not: small pictures lie in tiles larger than they are."""
_UNCOMPRESSED, _LZMA = 1, 34925
_INFLATERS: dict[int, Any] = {
    8: zlib.decompressobj,
    32946: zlib.decompressobj,
    _LZMA: lzma.LZMADecompressor,
}
"""Compressions that tifffile has by itself and takes off whatever comes out: number -> what can stop before."""
_FILLED_UP = 2
"""How many times its pixels a strip may hold: some programs fill up the last one."""


def read_tiff(data: bytes, max_pixels: int = MAX_PIXELS) -> StillImage:
    """The image, upright.

    Raises:
        MediaError: damaged, several pages, floating point, a depth or colour space not handled, over `max_pixels`, or
            with more channels than that many pixels may have.
    """
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = _only_page(file)
        check_size(page.imagewidth, page.imagelength, max_pixels)
        _check(page, max_pixels)
        metadata = _metadata(page, data)
        if page.bitspersample == 16:
            stored = _tag(page, _ORIENTATION) or 1
            return StillImage(exif.upright(_decode_16(page, data), stored), metadata)
    with Image.open(io.BytesIO(data), formats=("TIFF",)) as image:
        image.load()  # Pillow turns a TIFF upright by itself
        return StillImage(array_of(image, metadata.icc_profile), metadata)


def _only_page(file: tifffile.TiffFile) -> tifffile.TiffPage:
    pages = [page for page in file.pages if isinstance(page, tifffile.TiffPage)]
    full = [page for page in pages if not page.subfiletype & _REDUCED_OR_MASK]
    if len(full) > 1:
        raise MediaError(f"a TIFF of {len(full)} pages: only images of one page are upscaled")
    return pages[0]


def _check(page: tifffile.TiffPage, max_pixels: int) -> None:
    """Refuse what cannot be read, or takes more memory than a picture may, before any pixel is decoded."""
    size, samples = f"{page.imagewidth}x{page.imagelength}", page.samplesperpixel
    if page.imagedepth > 1 or page.tiledepth > 1:
        raise MediaError(f"a TIFF of {page.imagedepth} layers of {size} pixels: only flat images are upscaled")
    if page.imagewidth * page.imagelength * samples > max_pixels * _CHANNELS:
        raise MediaError(f"a TIFF of {size} pixels with {samples} channels: save it with {_CHANNELS} or fewer first")
    if page.tilewidth * page.tilelength * samples > max(max_pixels, _TILE_PIXELS) * _CHANNELS:
        raise MediaError(
            f"a TIFF of {size} pixels in tiles of {page.tilewidth}x{page.tilelength}: save it in smaller ones first"
        )
    if page.sampleformat not in _UNSIGNED:
        raise MediaError("a TIFF of floating-point or signed values: convert it to 16 bits first")
    if page.bitspersample not in (1, 2, 4, 8, 16):
        raise MediaError(f"a TIFF of {page.bitspersample} bits a channel: convert it to 16 bits first")


def _name(value: int) -> str:
    """The name of an enumeration's member; unknown numbers have none."""
    return str(getattr(value, "name", value))


def _tag(page: tifffile.TiffPage, code: int) -> Any:
    tag = page.tags.get(code)
    return None if tag is None else tag.value


def _decode_16(page: tifffile.TiffPage, data: bytes) -> Pixels:
    colours = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3}.get(int(page.photometric))
    if colours is None:
        raise MediaError(f"a 16-bit TIFF in {_name(page.photometric)}: convert it to RGB first")
    pixels = _samples_16(page, data)
    if page.photometric == _WHITE_IS_ZERO:
        pixels = np.concatenate((65535 - pixels[:, :, :1], pixels[:, :, 1:]), axis=2)
    # One sample too many and not a word on it: alpha, as OpenCV among others writes it.
    kind = int(page.extrasamples[0]) if page.extrasamples else _STRAIGHT
    if kind not in (_PREMULTIPLIED, _STRAIGHT):
        if pixels.shape[2] > colours:
            _log.warning("the TIFF has %d channel(s) of unknown meaning: left out", pixels.shape[2] - colours)
        return pixels[:, :, :colours]
    pixels = pixels[:, :, : colours + 1]
    return _straight(pixels) if kind == _PREMULTIPLIED else pixels


def _samples_16(page: tifffile.TiffPage, data: bytes) -> NDArray[np.uint16]:
    """`(H, W, samples)` as stored."""
    if page.compression != _UNCOMPRESSED and page.compression not in _INFLATERS:
        return _samples_through_opencv(page, data).astype(np.uint16, copy=False)
    _check_strips(page, data)
    try:
        decoded = np.asarray(page.asarray())
        height, width, samples = page.imagelength, page.imagewidth, page.samplesperpixel
        if page.planarconfig == tifffile.PLANARCONFIG.SEPARATE:
            decoded = decoded.reshape(samples, height, width).transpose(1, 2, 0)
        decoded = decoded.reshape(height, width, samples)
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
        decoded = _samples_through_opencv(page, data)
    return decoded.astype(np.uint16, copy=False)


def _check_strips(page: tifffile.TiffPage, data: bytes) -> None:
    """Refuse strips and tiles of 16 bits that inflate to far more than their pixels."""
    if page.compression == _UNCOMPRESSED:
        return
    rows, *rest = page.chunks
    limit = _FILLED_UP * 2 * min(rows, max(page.imagelength, page.tilelength)) * math.prod(rest)
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False):
        inflater = _INFLATERS[page.compression]()
        held = len(inflater.decompress(memoryview(data)[offset : offset + count], limit + 1))
        # Behind one stream of LZMA there may be another, which would be read too.
        if held > limit or (page.compression == _LZMA and inflater.unused_data):
            raise MediaError("a TIFF that holds more than its pixels in a strip or tile: the image is damaged")


def _samples_through_opencv(page: tifffile.TiffPage, data: bytes) -> NDArray[Any]:
    """For LZW and other compressions that tifffile does not have by itself."""
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    expected = (page.imagelength, page.imagewidth, page.samplesperpixel)
    if decoded is None or decoded.dtype != np.uint16 or np.atleast_3d(decoded).shape != expected:
        raise MediaError(
            f"a 16-bit TIFF with {page.samplesperpixel} channel(s) in {_name(page.compression)} compression: "
            "save it with Deflate or without compression first"
        )
    planes = np.atleast_3d(decoded)
    return planes if planes.shape[2] < 3 else planes[:, :, [2, 1, 0, 3][: planes.shape[2]]]


def _straight(pixels: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Divide premultiplied colours by their alpha, rounded."""
    alpha = pixels[:, :, -1:].astype(np.uint64)
    divisor = np.maximum(alpha, 1)
    colours = np.minimum((pixels[:, :, :-1] * np.uint64(65535) + divisor // 2) // divisor, 65535)
    return np.concatenate((colours, alpha), axis=2).astype(np.uint16)


def _metadata(page: tifffile.TiffPage, data: bytes) -> ImageMetadata:
    profile = _tag(page, _ICC_PROFILE)
    return ImageMetadata(icc_profile=profile if isinstance(profile, bytes) else None, dpi=_dpi(page), exif=_exif(data))


def _dpi(page: tifffile.TiffPage) -> tuple[float, float] | None:
    unit = _tag(page, _RESOLUTION_UNIT)
    unit = 2 if unit is None else int(unit)
    across, down = _tag(page, _X_RESOLUTION), _tag(page, _Y_RESOLUTION)
    if unit not in (2, 3) or across is None or down is None or not (across[1] and down[1]):
        return None
    factor = _CENTIMETRES_PER_INCH if unit == 3 else 1.0
    return across[0] / across[1] * factor, down[0] / down[1] * factor


def _exif(data: bytes) -> bytes | None:
    """The fields that say something of the picture's origin, as a block of their own: a TIFF's stand among the rest."""
    source, block = Image.Exif(), Image.Exif()
    try:
        source.load_from_fp(io.BytesIO(data))
        for tag in _TEXT_TAGS:
            if tag in source:
                block[tag] = source[tag]
        for tag in _EXIF_DIRECTORIES:
            if tag in source:
                block[tag] = dict(source.get_ifd(tag))
        return exif.without_prefix(block.tobytes()) if len(block) else None
    except (SyntaxError, ValueError, TypeError, KeyError, AttributeError, OSError, struct.error) as error:
        _log.warning("EXIF in the TIFF cannot be read and is left out: %s", error)
        return None


def write_tiff(file: BinaryIO, image: StillImage) -> None:
    """Write `image` at its depth, compressed without loss (Deflate), with its ICC profile, resolution and EXIF.

    `file` must be open for reading, writing and seeking.
    """
    metadata = image.metadata
    channels = image.pixels.shape[2]
    block = _loaded(metadata.exif)
    tags: list[tuple[Any, ...]] = [(tag, "s", 0, str(block[tag]), True) for tag in _TEXT_TAGS if tag in block]
    is_big = image.pixels.nbytes > _CLASSIC_LIMIT
    found = {tag: block.get_ifd(tag) for tag in _EXIF_DIRECTORIES}
    directories = {tag: directory for tag, directory in found.items() if directory and not is_big}
    # tifffile writes no such tags: neighbours that nobody uses hold their places.
    tags += [(tag - 1, "I", 1, 0, True) for tag in directories]
    tifffile.imwrite(
        file,
        image.pixels[:, :, 0] if channels == 1 else image.pixels,
        bigtiff=is_big,
        byteorder="<",
        photometric="minisblack" if channels < 3 else "rgb",
        planarconfig="contig" if channels > 1 else None,
        extrasamples=["unassalpha"] if image.has_alpha else None,
        compression="zlib",
        predictor=True,
        iccprofile=fitting_profile(metadata.icc_profile, channels),
        resolution=metadata.dpi,
        resolutionunit="none" if metadata.dpi is None else "inch",
        software=False,
        metadata=None,
        extratags=tags,
    )
    _append_directories(file, directories)


def _loaded(block: bytes | None) -> Image.Exif:
    loaded = Image.Exif()
    if block is not None:
        try:
            with quiet_pillow("EXIF"):
                loaded.load(block)
                for tag in _EXIF_DIRECTORIES:
                    loaded.get_ifd(tag)
        except (SyntaxError, ValueError, TypeError, KeyError, OSError, struct.error) as error:
            _log.warning("EXIF cannot be read and is left out: %s", error)
            return Image.Exif()
    return loaded


def _append_directories(file: BinaryIO, directories: dict[int, dict[int, Any]]) -> None:
    """Put the directories behind the image and turn the tags before theirs into theirs."""
    for tag, content in directories.items():
        directory = ImageFileDirectory_v2(b"II*\0\x08\0\0\0", group=tag)
        for key, value in content.items():
            directory[key] = value
        end = file.seek(0, io.SEEK_END)
        offset = end + end % 2  # a directory begins on an even byte
        file.write(b"\0" * (offset - end) + directory.tobytes(offset))
        file.seek(0)
        with tifffile.TiffFile(file) as written:
            page = written.pages[0]
            assert isinstance(page, tifffile.TiffPage)
            position = page.tags[tag - 1].offset
        file.seek(position)
        file.write(struct.pack("<HHII", tag, _LONG, 1, offset))
