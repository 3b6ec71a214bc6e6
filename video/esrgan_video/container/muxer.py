"""`VideoMuxer`: packets of the upscaled video, every other stream, and all tags, into one file."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from esrgan.errors import MediaError, UsageError
from esrgan_video.closing import Closing
from esrgan_video.container.copier import PacketCopier
from esrgan_video.container.ebml import store_pixel_shape
from esrgan_video.container.encoding import OutputVideo
from esrgan_video.container.formats import open_input, reason
from esrgan_video.container.geometry import scaled_display_matrix
from esrgan_video.container.info import VideoInfo, main_video_stream
from esrgan_video.container.plan import StreamDecision, StreamPlan, add_copy, is_picture
from esrgan_video.container.script import NothingToCopy
from esrgan_video.container.subtitles import prepare
from esrgan_video.container.tags import container_tags, moved_chapters, stream_tags, tags_without_place, video_tags
from esrgan_video.container.timing import TimeRange

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

_log = logging.getLogger(__name__)

_PICTURE_FILES = {"png": ("cover.png", "image/png"), "mjpeg": ("cover.jpg", "image/jpeg")}


class VideoMuxer(Closing):
    """Writes one file: the packets it is given, and from the input everything that `streams` says.

    Opening opens an encoder, for the codec's headers, and writes the file's header, so that everything that cannot
    work fails before the first frame. One thread at a time may use a muxer.

    Args:
        path: the file to write.
        name: what messages call it.
        info: the input's video.
        video: the video that the packets make.
        streams: what becomes of the input's streams.
        time_range: the part of the input that the frames come from.
        shift: seconds that were taken off the frames' times.
        end: where the output ends, in seconds, if that is before the input's end: chapters are cut there.
        strict: stop at the first damaged packet of the other streams instead of leaving it out.

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
        video: OutputVideo,
        streams: StreamPlan,
        time_range: TimeRange,
        shift: Fraction,
        end: Fraction | None = None,
        strict: bool = False,
    ) -> None:
        import av

        self._path = path
        self._name = name
        self._info = info
        self._output_video = video
        self._streams = streams
        self._range = time_range
        self._copier = (
            NothingToCopy() if info.only_video else PacketCopier(info.path, streams, time_range, shift, strict=strict)
        )
        try:
            tags = container_tags(self._copier.tags)
            self._output: OutputContainer = av.open(
                str(path.absolute()), "w", format=streams.container.muxer, container_options=self._muxer_options(tags)
            )
            self._video = self._add_streams()
            self._output.metadata.update(tags)
            self._output.set_chapters(moved_chapters(self._copier.chapters, shift, end))
            video.open(self._video.codec_context)
            self._write_header()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give up the file, unless `write` has finished it."""
        self._copier.close()
        if hasattr(self, "_output"):
            with contextlib.suppress(Exception):  # the file is thrown away: nothing is lost by a failing trailer
                self._output.close()

    @property
    def extradata(self) -> bytes:
        """The codec's headers, as the encoder of this machine makes them."""
        return self._video.codec_context.extradata or b""

    def write(self, packets: Iterable[Packet[Any]]) -> int:
        """Write all packets in their order and the other streams with them, and finish the file.

        Args:
            packets: of the video, in order of decoding, with `pts`, `dts`, `duration` and `time_base` set.

        Returns:
            The number of packets.

        Raises:
            MediaError: the file cannot be written, or with `strict`, a packet of another stream is damaged.
        """
        import av

        count, end = 0, 0
        unit = self._output_video.time_base
        try:
            for packet in packets:
                count += 1
                end = max(end, (packet.pts or 0) + (packet.duration or 0))
                self._mux_video(packet)
            # The copier knows an end in seconds itself; where frames were counted, the last one's end is it.
            for other in self._copier.rest(end * unit if count == self._range.frames else None):
                self._output.mux_one(other)
            self._output.close()
            self._check_pixel_shape()
        except av.error.FFmpegError as error:
            raise MediaError(f"cannot write {self._name}: {reason(error)}") from error
        self._copier.report()
        return count

    def _check_pixel_shape(self) -> None:
        """Add what the muxer could not write: VP9 and AV1 leave the shape of pixels to the container."""
        sar = self._output_video.sample_aspect_ratio
        if sar is None or sar == 1 or not self._streams.container.milliseconds:
            return
        with open_input(self._path) as written:
            stream = main_video_stream(written)
            if stream is not None and stream.sample_aspect_ratio == sar:
                return
        try:
            store_pixel_shape(self._path, sar)
        except MediaError as error:  # too little to throw a finished video away for
            _log.warning("%s", error)

    def _mux_video(self, packet: Packet[Any]) -> None:
        stamp = packet.dts if packet.dts is not None else packet.pts
        for other in self._copier.until((stamp or 0) * self._output_video.time_base):
            self._output.mux_one(other)
        packet.stream = self._video
        self._output.mux_one(packet)

    def _muxer_options(self, tags: dict[str, str]) -> dict[str, str]:
        has_picture = any(
            decision.action == "copy" and is_picture(self._copier.source(decision.index))
            for decision in self._streams.streams
        )
        is_mp4 = self._streams.container.muxer in ("mp4", "mov")
        lost = tags_without_place(tags) if is_mp4 else []
        # The free form has no place for cover art, and few players show titles from it.
        if lost and not has_picture:
            return {"movflags": "+use_metadata_tags"}
        if lost:
            suffix = self._streams.container.suffix
            _log.warning("%s: beside cover art %s has no place for the tags %s", self._name, suffix, ", ".join(lost))
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
        planned = self._output_video
        try:
            video: Any = self._output.add_stream(planned.plan.encoder, planned.rate, dict(planned.plan.options))
        except ValueError:
            raise self._refused_codec() from None
        planned.configure(video.codec_context)
        if self._info.display_matrix is not None:
            sizes = (self._info.width, self._info.height), (planned.width, planned.height)
            video.set_display_matrix(scaled_display_matrix(self._info.display_matrix, *sizes))
        video.metadata.update(video_tags(self._info.metadata))
        video.disposition = source.disposition
        return cast("VideoStream", video)

    def _add_subtitles(self, decision: StreamDecision, source: Any) -> None:
        target = self._output.add_stream(str(decision.target))
        prepare(target, source.time_base)
        target.metadata.update(stream_tags(source.metadata))
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
        return UsageError(
            f"{suffix} cannot hold video of {self._output_video.plan.encoder}: use another --codec, or .mkv"
        )
