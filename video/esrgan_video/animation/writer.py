"""Writing animated GIF, APNG and WebP with FFmpeg's encoders, each frame with its own delay."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from esrgan.errors import MediaError, UsageError
from esrgan_video.animation.last_delay import set_last_apng_delay, set_last_gif_delay, set_webp_length
from esrgan_video.colour import PixelLayout
from esrgan_video.container.formats import reason
from esrgan_video.container.frame import Frame, to_av
from esrgan_video.container.info import VideoInfo

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

_log = logging.getLogger(__name__)


class AnimationWriter(ABC):
    """Writes one file. Subclasses are the formats.

    Args:
        path: the file to write.
        name: what messages call it.
        info: the input.
        size: width and height of the frames to come.
        options: of the encoder, by FFmpeg's names.

    Raises:
        UsageError: a size or rate that the format cannot hold, or an option that the encoder does not know.
        MediaError: the file cannot be written.
    """

    codec: str
    """FFmpeg's name of the encoder."""
    muxer: str
    """FFmpeg's name of the format."""
    largest_side: int
    """Pixels."""
    defaults: Mapping[str, str] = {}
    """Options of the encoder."""

    def __init__(
        self, path: Path, *, name: Path, info: VideoInfo, size: tuple[int, int], options: Mapping[str, str]
    ) -> None:
        self._path, self._name, self._info, self._size = path, name, info, size
        self._options = {**self.defaults, **options}
        if max(size) > self.largest_side:
            raise UsageError(
                f"cannot write {name}: {self.muxer} holds at most {self.largest_side} pixels a side, got "
                f"{size[0]}x{size[1]}"
            )
        self.time_base = self.unit(info)
        """Unit of the times in the file, in seconds."""

    @abstractmethod
    def unit(self, info: VideoInfo) -> Fraction:
        """A unit for the times of `info` that the format can hold."""

    @property
    @abstractmethod
    def layout(self) -> PixelLayout:
        """Planes that frames must have."""

    @property
    @abstractmethod
    def pix_fmt(self) -> str:
        """FFmpeg's pixel format that the encoder takes."""

    @abstractmethod
    def muxer_options(self, plays: int) -> dict[str, str]:
        """Options of the muxer for an animation that is shown `plays` times, 0 for ever."""

    @abstractmethod
    def finish(self, last: Frame) -> None:
        """Set in the finished file how long the last frame is shown."""

    def prepared(self, frames: Iterable[VideoFrame]) -> Iterator[VideoFrame]:
        """Frames of `layout` as the encoder takes them."""
        yield from frames

    def write(self, frames: Iterable[Frame]) -> int:
        """Encode all frames and finish the file; returns how many they were.

        Raises:
            MediaError: the file cannot be written.
        """
        import av

        last: Frame | None = None
        count = 0

        def counted() -> Iterator[VideoFrame]:
            nonlocal last, count
            for frame in self._timed(frames):
                last, count = frame, count + 1
                yield to_av(frame, self._source_format)

        try:
            with av.open(
                str(self._path.absolute()),
                "w",
                format=self.muxer,
                container_options=self.muxer_options(self._info.plays or 0),
            ) as output:
                stream: Any = output.add_stream(self.codec, self._info.rate, dict(self._options))
                context = stream.codec_context
                context.width, context.height = self._size
                context.pix_fmt, context.time_base = self.pix_fmt, self.time_base
                context.open()
                if context.options:
                    raise UsageError(f"{self.codec} does not know the option(s) {', '.join(context.options)}")
                for frame in self.prepared(counted()):
                    output.mux(stream.encode(frame))
                output.mux(stream.encode(None))
        except av.error.FFmpegError as error:
            raise MediaError(f"cannot write {self._name}: {reason(error)}") from error
        if last is not None:
            self.finish(last)
        return count

    @property
    def _source_format(self) -> str:
        return self.pix_fmt

    def _timed(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """The frames with times in the unit of the file: rounded one by one, strictly increasing, from zero."""
        previous, first = -1, Fraction(0)
        for frame in frames:
            if previous < 0:
                first = frame.time
            length = frame.duration * frame.time_base or 1 / self._info.rate
            pts = max(previous + 1, round((frame.time - first) / self.time_base))
            end = round((frame.time - first + length) / self.time_base)
            yield replace(frame, pts=pts, time_base=self.time_base, duration=max(1, end - pts))
            previous = pts


class GifWriter(AnimationWriter):
    """256 colours a frame, chosen for it and dithered; a pixel is transparent or not; hundredths of a second."""

    codec, muxer, largest_side = "gif", "gif", 65535
    _FASTEST, _SMOOTHEST = 100, 50
    """Frames per second that its times can tell apart, and that browsers show."""

    def unit(self, info: VideoInfo) -> Fraction:
        """Hundredths."""
        if info.rate > self._FASTEST:
            raise UsageError(f"{self._name}: a GIF holds at most {self._FASTEST} frames a second; use .webp or .apng")
        if info.rate > self._SMOOTHEST:
            _log.warning(
                "%s: browsers slow down a GIF of more than %d frames a second; .webp and .apng are shown as they are",
                self._name,
                self._SMOOTHEST,
            )
        return Fraction(1, 100)

    @property
    def layout(self) -> PixelLayout:
        """RGB, 8 bits."""
        return PixelLayout(model="rgb", bits=8, alpha=self._info.layout.alpha)

    @property
    def pix_fmt(self) -> str:
        """A palette."""
        return "pal8"

    @property
    def _source_format(self) -> str:
        return "bgra"

    def muxer_options(self, plays: int) -> dict[str, str]:
        """A GIF counts repetitions after the first time: -1 for none."""
        return {"loop": str(0 if plays == 0 else plays - 1 or -1)}

    def prepared(self, frames: Iterable[VideoFrame]) -> Iterator[VideoFrame]:
        """FFmpeg's palettegen and paletteuse, a palette for each frame."""
        import av
        from av.filter import Graph
        from av.video.frame import PictureType

        graph = Graph()
        width, height = self._size
        source = graph.add_buffer(width=width, height=height, format="bgra", time_base=self.time_base)
        split = graph.add("split")
        palette = graph.add("palettegen", "stats_mode=single")
        use = graph.add("paletteuse", "new=1:dither=sierra2_4a")
        sink = graph.add("buffersink")
        source.link_to(split)
        split.link_to(palette, 0, 0)
        split.link_to(use, 1, 0)
        palette.link_to(use, 0, 1)
        use.link_to(sink)
        graph.configure()

        def ready() -> Iterator[VideoFrame]:
            while True:
                try:
                    frame: Any = sink.pull()
                except (av.error.BlockingIOError, av.error.EOFError):
                    return
                frame.pict_type = PictureType.NONE
                yield frame

        for frame in frames:
            source.push(frame)
            yield from ready()
        source.push(None)
        yield from ready()

    def finish(self, last: Frame) -> None:
        """In hundredths."""
        set_last_gif_delay(self._path, last.duration)


class ApngWriter(AnimationWriter):
    """Without loss, 8 or 16 bits, grey or RGB, alpha; any time that is a fraction of 16 bits."""

    codec, muxer, largest_side = "apng", "apng", 2**31 - 1

    def unit(self, info: VideoInfo) -> Fraction:
        """That of the input: FFmpeg reduces each delay to the nearest fraction of 16 bits."""
        return info.time_base

    @property
    def layout(self) -> PixelLayout:
        """The input's colours and alpha, 8 or 16 bits."""
        source = self._info.layout
        return PixelLayout(
            model="grey" if source.model == "grey" else "rgb", bits=8 if source.bits == 8 else 16, alpha=source.alpha
        )

    @property
    def pix_fmt(self) -> str:
        """The packed format of `layout`, big-endian as PNG is."""
        deep = self.layout.bits == 16
        if self.layout.model == "grey":
            return "gray16be" if deep else "gray"
        if self.layout.alpha:
            return "rgba64be" if deep else "rgba"
        return "rgb48be" if deep else "rgb24"

    def muxer_options(self, plays: int) -> dict[str, str]:
        """A PNG counts from one."""
        return {"plays": str(plays)}

    def finish(self, last: Frame) -> None:
        """As a fraction."""
        set_last_apng_delay(self._path, last.duration * last.time_base)


class WebpWriter(AnimationWriter):
    """Without loss unless the options say otherwise, 8 bits, alpha, milliseconds."""

    codec, muxer, largest_side = "libwebp_anim", "webp", 16383
    defaults: Mapping[str, str] = {"lossless": "1"}

    def unit(self, info: VideoInfo) -> Fraction:  # noqa: ARG002 - there is one unit
        """Milliseconds."""
        return Fraction(1, 1000)

    @property
    def layout(self) -> PixelLayout:
        """RGB, 8 bits."""
        return PixelLayout(model="rgb", bits=8, alpha=self._info.layout.alpha)

    @property
    def pix_fmt(self) -> str:
        """Packed RGB."""
        return "bgra"

    def muxer_options(self, plays: int) -> dict[str, str]:
        """A WebP counts from one."""
        return {"loop": str(plays)}

    def finish(self, last: Frame) -> None:
        """By the length of the whole."""
        set_webp_length(self._path, last.pts + last.duration)


WRITERS: Mapping[str, type[AnimationWriter]] = {
    ".gif": GifWriter,
    ".apng": ApngWriter,
    ".png": ApngWriter,
    ".webp": WebpWriter,
}
"""By suffix."""
