"""`VideoWriter`: encoded video, every other stream, and all tags, into one file."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast

from esrgan.errors import MediaError, UsageError
from esrgan_video.container.copier import PacketCopier
from esrgan_video.container.ebml import store_pixel_shape
from esrgan_video.container.encoder import EncoderPlan
from esrgan_video.container.formats import open_input, reason
from esrgan_video.container.frame import Frame, tag, to_av
from esrgan_video.container.geometry import scaled_display_matrix, scaled_sample_aspect_ratio
from esrgan_video.container.info import VideoInfo, main_video_stream
from esrgan_video.container.plan import StreamDecision, StreamPlan, add_copy, is_picture
from esrgan_video.container.script import SCRIPT_CODEC, NothingToCopy
from esrgan_video.container.subtitles import prepare
from esrgan_video.container.tags import container_tags, moved_chapters, needs_free_form_tags, video_tags
from esrgan_video.container.timing import TimeRange

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

_log = logging.getLogger(__name__)

_LONGEST_DELAY = 32
"""Frames by which an encoder's decoding times may precede the first frame, generously."""

_PICTURE_FILES = {"png": ("cover.png", "image/png"), "mjpeg": ("cover.jpg", "image/jpeg")}


class VideoWriter:
    """Writes one file: the frames it is given, and from the input everything that `streams` says.

    Opening opens the encoder and writes the header, so that everything that cannot work fails before the first
    frame. One thread at a time may use a writer.

    Args:
        path: the file to write.
        name: what messages call it.
        info: the input's video.
        size: width and height of the frames to come.
        encoder: how they are encoded.
        streams: what becomes of the input's streams.
        time_range: the part of the input that the frames come from.
        shift: seconds that were taken off the frames' times.
        expected_end: where the output will end, in seconds, if that is before the input's end: chapters are cut there.

    Raises:
        UsageError: the encoder refuses the size or an option, or the container refuses the codec.
        MediaError: the file cannot be written.
    """

    def __init__(
        self,
        path: Path,
        *,
        name: Path,
        info: VideoInfo,
        size: tuple[int, int],
        encoder: EncoderPlan,
        streams: StreamPlan,
        time_range: TimeRange,
        shift: Fraction,
        expected_end: Fraction | None = None,
    ) -> None:
        import av

        self._path = path
        self._name = name
        self._info = info
        self._size = size
        self._encoder = encoder
        self._streams = streams
        self._range = time_range
        self._usual_duration = max(1, round(1 / (info.rate * info.time_base)))
        self._durations: dict[int, int] = {}
        self._sent = (0, 0, 0)  # first and last time, number of frames
        self._packets = 0
        self._copier = (
            NothingToCopy() if info.codec == SCRIPT_CODEC else PacketCopier(info.path, streams, time_range, shift)
        )
        try:
            tags = container_tags(self._copier.tags)
            self._output: OutputContainer = av.open(
                str(path), "w", format=streams.container.muxer, container_options=self._muxer_options(tags)
            )
            self._video = self._add_streams()
            self._output.metadata.update(tags)
            self._output.set_chapters(moved_chapters(self._copier.chapters, shift, expected_end))
            self._open_encoder()
            self._write_header()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give up the file, unless `write` has finished it."""
        self._copier.close()
        if hasattr(self, "_output"):
            with contextlib.suppress(Exception):  # the file is thrown away: nothing is lost by a failing trailer
                self._output.close()

    def write(self, frames: Iterator[Frame]) -> int:
        """Encode all frames, copy the other streams, and finish the file; returns the number of frames.

        Raises:
            MediaError: the file cannot be written, or the encoder did not give one packet per frame.
        """
        import av

        count, end = 0, Fraction(0)
        try:
            for frame in frames:
                self._write_frame(frame)
                count += 1
                end = (frame.pts + self._duration(frame)) * frame.time_base
            for packet in self._video.encode(None):
                self._mux_video(packet)
            if self._packets != count:
                raise MediaError(f"{self._encoder.encoder} made {self._packets} packets of {count} frames")
            # The copier knows an end in seconds itself; where frames were counted, the last one's end is it.
            for other in self._copier.until(end if count == self._range.frames else None):
                self._output.mux_one(other)
            self._output.close()
            self._check_pixel_shape()
        except av.error.FFmpegError as error:
            raise MediaError(f"cannot write {self._name}: {reason(error)}") from error
        self._copier.report()
        return count

    def _check_pixel_shape(self) -> None:
        """Add what the muxer could not write: VP9 and AV1 leave the shape of pixels to the container."""
        if self._sar in (None, 1) or not self._streams.container.milliseconds:
            return
        with open_input(self._path) as written:
            stream = main_video_stream(written)
            if stream is not None and stream.sample_aspect_ratio == self._sar:
                return
        try:
            store_pixel_shape(self._path, Fraction(self._sar))
        except MediaError as error:  # too little to throw a finished video away for
            _log.warning("%s", error)

    def _write_frame(self, frame: Frame) -> None:
        self._durations[frame.pts] = self._duration(frame)
        first, _, count = self._sent
        self._sent = (first if count else frame.pts, frame.pts, count + 1)
        for packet in self._video.encode(to_av(frame, self._encoder.pix_fmt)):
            self._mux_video(packet)

    def _duration(self, frame: Frame) -> int:
        return frame.duration or self._usual_duration

    def _mux_video(self, packet: Packet[VideoStream]) -> None:
        if packet.pts is not None:
            packet.duration = self._durations.pop(packet.pts, 0)
            self._repair_decoding_time(packet, packet.pts)
        self._packets += 1
        stamp = packet.dts if packet.dts is not None else packet.pts
        for other in self._copier.until((stamp or 0) * self._info.time_base):
            self._output.mux_one(other)
        self._output.mux_one(packet)

    def _repair_decoding_time(self, packet: Packet[VideoStream], pts: int) -> None:
        """Replace a decoding time that cannot be: x265 gives any number where a video is shorter than its lookahead."""
        first, last, count = self._sent
        earliest = first - (last - first) - _LONGEST_DELAY * self._usual_duration
        if packet.dts is not None and not earliest <= packet.dts <= pts:
            packet.dts = first - (count - self._packets)  # increasing, and before every frame

    def _muxer_options(self, tags: dict[str, str]) -> dict[str, str]:
        has_picture = any(is_picture(self._copier.source(decision.index)) for decision in self._streams.streams)
        is_mp4 = self._streams.container.muxer in ("mp4", "mov")
        # The free form has no place for cover art, and few players show titles from it.
        if is_mp4 and needs_free_form_tags(tags) and not has_picture:
            return {"movflags": "+use_metadata_tags"}
        return {}

    def _add_streams(self) -> VideoStream:
        video: VideoStream | None = None
        for decision in self._streams.streams:
            source = self._copier.source(decision.index)
            match decision.action:
                case "upscale":
                    video = self._add_video(source)
                case "copy":
                    target = add_copy(self._output, source)
                    if source.type != "attachment":
                        self._copier.connect(decision.index, target, is_picture=is_picture(source))
                case "convert":
                    self._add_subtitles(decision, source)
                case "attach":
                    self._attach_picture(decision, source)
                case "drop":
                    pass
        if video is None:
            raise ValueError("the plan has no stream to upscale")
        return video

    def _add_video(self, source: Any) -> VideoStream:
        rate = self._info.rate.limit_denominator(1 << 30)
        try:
            video: Any = self._output.add_stream(self._encoder.encoder, rate, dict(self._encoder.options))
        except ValueError:
            raise self._refused_codec() from None
        context = video.codec_context
        context.width, context.height = self._size
        context.pix_fmt = self._encoder.pix_fmt
        context.time_base = self._info.time_base
        context.thread_type = "AUTO"  # PyAV's own choice makes x264 cut each frame into slices
        tag(context, self._encoder.colour)
        source_size = (self._info.width, self._info.height)
        self._sar = scaled_sample_aspect_ratio(self._info.sample_aspect_ratio, source_size, self._size)
        if self._sar is not None:
            context.sample_aspect_ratio = self._sar
        if self._info.display_matrix is not None:
            video.set_display_matrix(scaled_display_matrix(self._info.display_matrix, source_size, self._size))
        video.metadata.update(video_tags(self._info.metadata))
        video.disposition = source.disposition
        return cast("VideoStream", video)

    def _add_subtitles(self, decision: StreamDecision, source: Any) -> None:
        target = self._output.add_stream(str(decision.target))
        prepare(target, source.time_base)
        target.metadata.update(source.metadata)
        target.disposition = source.disposition
        target.codec_context.open()
        self._copier.connect(decision.index, target, to_subtitles=True)

    def _attach_picture(self, decision: StreamDecision, source: Any) -> None:
        with open_input(self._info.path) as container:
            packets = container.demux(container.streams[decision.index])
            data = next((bytes(packet) for packet in packets if packet.size), b"")
        name, mime_type = _PICTURE_FILES.get(decision.codec, ("cover", "application/octet-stream"))
        tags = source.metadata
        self._output.add_attachment(tags.get("filename", name), tags.get("mimetype", mime_type), data)

    def _open_encoder(self) -> None:
        import av

        context = self._video.codec_context
        if self._encoder.encoder == "libsvtav1":
            os.environ.setdefault("SVT_LOG", "1")  # its log goes to the terminal; there is no other switch
        try:
            context.open()
        except av.error.FFmpegError as error:
            raise UsageError(self._encoder_refusal(error)) from error
        if context.options:
            raise UsageError(f"{self._encoder.encoder} does not know the option(s) {', '.join(context.options)}")

    def _encoder_refusal(self, error: Exception) -> str:
        width, height = self._size
        layout = self._encoder.layout
        said = f"{self._encoder.encoder} does not take {width}x{height} in {self._encoder.pix_fmt}"
        if width % layout.chroma_x or height % layout.chroma_y:
            even = (width + width % 2, height + height % 2)
            return (
                f"{said}: sides must be even; use --width {even[0]} --height {even[1]}, or --pix-fmt yuv444p, "
                "which takes any size"
            )
        options = " ".join(f"{key}={value}" for key, value in self._encoder.options.items())
        return f"{said} with the options {options}: {reason(error)}"

    def _write_header(self) -> None:
        import av

        try:
            self._output.start_encoding()
        except (av.error.InvalidDataError, av.error.ArgumentError) as error:
            raise self._refused_codec() from error
        except av.error.FFmpegError as error:
            raise MediaError(f"cannot write {self._name}: {reason(error)}") from error

    def _refused_codec(self) -> UsageError:
        suffix = self._streams.container.suffix
        return UsageError(f"{suffix} cannot hold video of {self._encoder.encoder}: use another --codec, or .mkv")
