"""`PictureReader`: pictures with times, read as `VideoReader` reads a video file."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from esrgan.errors import MediaError
from esrgan_video.closing import Closing
from esrgan_video.colour import Colour, PixelLayout, resolve_colour
from esrgan_video.container.fields import PROGRESSIVE
from esrgan_video.container.frame import Frame
from esrgan_video.container.info import VideoInfo
from esrgan_video.container.timing import Ticks, TimeRange
from esrgan_video.images import ImageMetadata, StillImage
from esrgan_video.pictures.planes import planes_of

_BT709_PRIMARIES, _SRGB_TRANSFER = 1, 13
_UNSPECIFIED = 2


@dataclass(frozen=True)
class Picture:
    """One picture and its time."""

    begin: Fraction
    """Seconds from the beginning."""
    duration: Fraction
    """Seconds on screen."""
    load: Callable[[], StillImage]
    """Reads it."""


@dataclass(frozen=True, kw_only=True)
class PictureSource:
    """What is known of pictures before they are read."""

    path: Path
    """The file, or the pattern of the files."""
    kind: str
    """Name of their format: what `VideoInfo.codec` says."""
    count: int
    """How many there are."""
    length: Fraction
    """Seconds from the first one's beginning to the last one's end."""
    time_base: Fraction
    """A unit, in seconds, that the times are whole multiples of, or nearly."""
    layout: PixelLayout
    """Has room for each of them."""
    pictures: Callable[[], Generator[Picture]]
    """Gives them in order, once."""
    plays: int | None = None
    """How often an animation is shown, 0 for ever; `None` for what is none."""
    first_number: int | None = None
    """Number of the first file; `None` where they have none."""


class PictureReader(Closing):
    """Reads pictures as frames: RGB or grey, full range, sRGB unless the file says otherwise.

    Args:
        source: the pictures.
        time_range: the part to read; with a start, the first frame of it is at zero.

    Raises:
        UsageError: a range in which there is no picture.
        MediaError: a picture that cannot be read.
    """

    damaged_packets = 0
    """Always 0: a picture that cannot be read is an error."""

    def __init__(self, source: PictureSource, time_range: TimeRange | None = None) -> None:
        self.path = source.path
        self.source = source
        """What was known before."""
        self.time_range = time_range or TimeRange()
        """The part that is read."""
        self._pictures = source.pictures()
        self._selected = self.time_range.select(self._pictures, lambda picture: picture.begin)
        try:
            first = next(self._selected, None)
            if first is None:
                raise self.time_range.nothing_in(self.path)
            self.shift = first.begin if self.time_range.start else Fraction(0)
            """Seconds that are taken off all times."""
            self._ticks = Ticks(source.time_base, self.shift)
            image = first.load()
            self._size = (image.width, image.height)
            self._colour = _colour(source.layout, image)
            self.first_frame: Frame = self._frame(first, image)
            self.info: VideoInfo = self._describe()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close what is open."""
        self._pictures.close()

    @property
    def expected_frames(self) -> int:
        """How many frames there will be: exact where all are shown equally long."""
        return self.time_range.expected_frames(self.source.count, length=self.source.length, rate=self.info.rate)

    def frames(self) -> Iterator[Frame]:
        """All frames, once.

        Raises:
            MediaError: a picture that cannot be read, or of another size than the first.
        """
        yield self.first_frame
        for picture in self._selected:
            yield self._frame(picture, picture.load())

    def _frame(self, picture: Picture, image: StillImage) -> Frame:
        if (image.width, image.height) != self._size:
            raise MediaError(
                f"{self.path}: a picture of {image.width}x{image.height} where the first has "
                f"{self._size[0]}x{self._size[1]}"
            )
        pts, duration = self._ticks.place(picture.begin, picture.duration)
        return Frame(
            planes=planes_of(image.pixels, self.source.layout),
            layout=self.source.layout,
            colour=self._colour,
            pts=pts,
            time_base=self.source.time_base,
            duration=duration,
            metadata=image.metadata,
        )

    def _describe(self) -> VideoInfo:
        return VideoInfo(
            path=self.path,
            stream_index=0,
            codec=self.source.kind,
            width=self._size[0],
            height=self._size[1],
            layout=self.source.layout,
            colour=self._colour,
            time_base=self.source.time_base,
            rate=(self.source.count / self.source.length).limit_denominator(1001),
            sample_aspect_ratio=None,
            display_matrix=None,
            mastering_display=None,
            light_level=None,
            interlaced=False,
            field_order=PROGRESSIVE,
            deinterlaced=False,
            start_time=Fraction(0),
            frames_from_header=self.source.count,
            metadata={},
            plays=self.source.plays,
            first_number=self.source.first_number,
            only_video=True,
        )


def _colour(layout: PixelLayout, image: StillImage) -> Colour:
    primaries, transfer = coding_of(image.metadata)
    return resolve_colour(
        pix_fmt=layout.pix_fmt,
        width=image.width,
        height=image.height,
        matrix=_UNSPECIFIED,
        color_range=0,
        primaries=primaries,
        transfer=transfer,
        chroma_location=0,
    )


def coding_of(metadata: ImageMetadata) -> tuple[int, int]:
    """Primaries and transfer by H.273's numbers: a PNG's cICP, sRGB where nothing is said, else unspecified."""
    for kind, content in metadata.png_chunks:
        if kind == b"cICP" and len(content) == 4:
            return content[0], content[1]
    return (_UNSPECIFIED, _UNSPECIFIED) if metadata.icc_profile else (_BT709_PRIMARIES, _SRGB_TRANSFER)
