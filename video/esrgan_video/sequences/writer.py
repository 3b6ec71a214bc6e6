"""`SequenceWriter`: frames as numbered image files."""

from __future__ import annotations

import logging
from dataclasses import replace

from esrgan.errors import UsageError
from esrgan_video.colour import Colour, PixelLayout
from esrgan_video.container.frame import Frame
from esrgan_video.container.geometry import orientation
from esrgan_video.container.info import VideoInfo
from esrgan_video.images import ImageMetadata, StillImage, check_target, image_format, write_image
from esrgan_video.images.exif import upright
from esrgan_video.pictures import pixels_of
from esrgan_video.sequences.pattern import SequencePattern

_log = logging.getLogger(__name__)

FIRST_NUMBER = 1
"""Number of the first file, where the input has none."""
_PLAIN_CODINGS = (1, 2)
"""Primaries, and transfers, that readers of images take sRGB for: BT.709's and unspecified ones."""
_SRGB_TRANSFER = 13


class SequenceWriter:
    """Writes each frame into a file of its own, which has its name only when it is whole.

    PNG and TIFF get 16 bits where the input has more than 8. What image files of the input said (ICC profile, EXIF,
    resolution, texts) is kept as `write_image` keeps it. Frames that a player would turn are turned.

    Args:
        pattern: names of the files.
        first: number of the first.
        info: the input.
        size: width and height of the frames to come.
        quality: of JPEG and WebP, 1 to 100.

    Raises:
        UsageError: as `check_target`, or the folder cannot be made.
    """

    def __init__(
        self, pattern: SequencePattern, *, first: int, info: VideoInfo, size: tuple[int, int], quality: int
    ) -> None:
        self._pattern, self._first, self._info, self._quality = pattern, first, info, quality
        self._make_folder()
        check_target(pattern.file(first), width=size[0], height=size[1])
        self._format = image_format(pattern.file(first))
        self._turn = orientation(info.display_matrix)
        self._report()

    @property
    def layout(self) -> PixelLayout:
        """Planes that frames must have: RGB or grey of 8 or 16 bits."""
        source = self._info.layout
        return PixelLayout(
            model="grey" if source.model == "grey" else "rgb",
            bits=16 if source.bits > 8 and self._format.deep else 8,
            alpha=source.alpha and self._format.alpha,
        )

    @property
    def colour(self) -> Colour:
        """Full range, in the input's own primaries and transfer."""
        return replace(self._info.colour.for_layout(self.layout), full_range=True)

    def write(self, place: int, frame: Frame) -> None:
        """Write the file at `place`, counted from 0.

        Raises:
            MediaError: it cannot be written.
        """
        pixels = upright(pixels_of(frame), self._turn)
        image = StillImage(pixels, frame.metadata or self._metadata())
        write_image(self._pattern.file(self._first + place), image, quality=self._quality)

    def report_rest(self, count: int) -> None:
        """Log files that follow the `count` that were written, and so seem to belong to them."""
        behind = [number for number in self._pattern.numbers() if number >= self._first + count]
        if behind:
            _log.warning(
                "%s: %d file(s) of an earlier run follow, from %s on",
                self._pattern,
                len(behind),
                self._pattern.file(behind[0]).name,
            )

    def _make_folder(self) -> None:
        try:
            self._pattern.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot make the folder {self._pattern.folder}: {error.strerror}") from error

    def _metadata(self) -> ImageMetadata:
        """For a PNG, primaries and transfer that are not sRGB's, as cICP (PNG, third edition, section 11.3.2.6)."""
        colour = self._info.colour
        if colour.primaries in _PLAIN_CODINGS and colour.transfer in (*_PLAIN_CODINGS, _SRGB_TRANSFER):
            return ImageMetadata()
        return ImageMetadata(png_chunks=((b"cICP", bytes((colour.primaries, colour.transfer, 0, 1))),))

    def _report(self) -> None:
        info, name = self._info, self._format.name
        if info.layout.alpha and not self._format.alpha:
            _log.warning("%s has transparency, which %s does not hold: it is left out", info.path, name)
        if info.layout.bits > 8 and not self._format.deep:
            _log.warning("%s has %d bits, %s holds 8; .png and .tif keep them", info.path, info.layout.bits, name)
        if info.sample_aspect_ratio not in (None, 1):
            _log.warning("%s has pixels of shape %s, which image files do not say", info.path, info.sample_aspect_ratio)
