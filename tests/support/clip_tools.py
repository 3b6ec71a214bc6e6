"""Making clips and reading them back with PyAV alone: what the video tests compare the project with."""

from __future__ import annotations

import hashlib
import io
import itertools
import wave
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.stream import Disposition

from esrgan_video import VideoOptions
from esrgan_video.container import TimeRange


@dataclass(frozen=True, kw_only=True)
class Tags:
    """Colour tags by FFmpeg's numbers; the defaults are what FFmpeg calls unspecified."""

    matrix: int = 2
    color_range: int = 0
    primaries: int = 2
    transfer: int = 2
    location: int = 0

    def apply(self, target: Any) -> None:
        target.colorspace, target.color_range = self.matrix, self.color_range
        target.color_primaries, target.color_trc = self.primaries, self.transfer
        name = "chroma_location" if isinstance(target, av.VideoFrame) else "chroma_sample_location"
        setattr(target, name, self.location)


@dataclass(frozen=True, kw_only=True)
class Clip:
    """What `write_clip` makes: moving noise with one tone per sound track."""

    codec: str = "libx264"
    pix_fmt: str = "yuv420p"
    size: tuple[int, int] = (64, 48)
    times: Sequence[int] = tuple(range(30))
    time_base: Fraction = Fraction(1, 25)
    rate: Fraction = Fraction(25)
    options: Mapping[str, str] = field(default_factory=lambda: {"preset": "ultrafast", "bf": "2"})
    tags: Tags = Tags()
    sar: Fraction | None = None
    matrix: Sequence[int] | None = None
    audio: Sequence[str] = ()
    audio_start: int = 0
    subtitles: Sequence[tuple[int, int, str]] = ()
    subtitle_codec: str = "subrip"
    attachments: Mapping[str, tuple[str, bytes]] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    video_metadata: Mapping[str, str] = field(default_factory=dict)
    chapters: Sequence[tuple[int, int, str]] = ()
    muxer: str | None = None
    muxer_options: Mapping[str, str] = field(default_factory=dict)
    last_duration: int = 0
    """Ticks that the last frame is shown, where that is not the rest of its period (without B-frames only)."""
    planes: Sequence[Sequence[np.ndarray]] | None = None
    """Code values of each frame instead of noise."""


def write_clip(path: Path, clip: Clip) -> Path:
    with av.open(str(path), "w", format=clip.muxer, container_options=dict(clip.muxer_options)) as output:
        video = output.add_stream(clip.codec, clip.rate, dict(clip.options))
        context = video.codec_context
        context.width, context.height = clip.size
        context.pix_fmt, context.time_base = clip.pix_fmt, clip.time_base
        clip.tags.apply(context)
        if clip.sar:
            context.sample_aspect_ratio = clip.sar
        if clip.matrix:
            video.set_display_matrix(clip.matrix)
        video.metadata.update(clip.video_metadata)
        sounds = [_add_audio(output, codec, number) for number, codec in enumerate(clip.audio)]
        text = _add_subtitles(output, clip) if clip.subtitles else None
        for name, (mime_type, data) in clip.attachments.items():
            output.add_attachment(name, mime_type, data)
        output.metadata.update(clip.metadata)
        milliseconds = Fraction(1, 1000)
        output.set_chapters(
            [
                {"id": number + 1, "start": start, "end": end, "time_base": milliseconds, "metadata": {"title": title}}
                for number, (start, end, title) in enumerate(clip.chapters)
            ]
        )
        for number, time in enumerate(clip.times):
            frame = make_frame(clip, number)
            frame.pts, frame.time_base = time, clip.time_base
            output.mux(_lengthened(video.encode(frame), clip))
        output.mux(_lengthened(video.encode(None), clip))
        seconds = float((clip.times[-1] + 1) * clip.time_base)
        for number, sound in enumerate(sounds):
            _write_tone(output, sound, 330 * (number + 1), seconds, clip.audio_start)
        for start, end, line in clip.subtitles:
            packet = av.Packet(line.encode())
            packet.stream, packet.time_base = text, milliseconds
            packet.pts = packet.dts = start
            packet.duration = end - start
            output.mux(packet)
    return path


def _lengthened(made: list[Any], clip: Clip) -> list[Any]:
    for packet in made:
        if clip.last_duration and packet.pts == clip.times[-1]:
            packet.duration = clip.last_duration
    return made


def make_frame(clip: Clip, number: int) -> av.VideoFrame:
    """Frame `number`: the given planes, or noise that moves by a pixel a frame, each frame unlike all others."""
    frame = av.VideoFrame(*clip.size, clip.pix_fmt)
    for index, target in enumerate(frame.planes):
        rows = np.frombuffer(target, np.uint8).reshape(-1, target.line_size)
        if clip.planes is not None:
            plane = clip.planes[number][index]
            rows[:, : plane.shape[1] * plane.itemsize] = np.ascontiguousarray(plane).view(np.uint8)
            continue
        bits = frame.format.components[0].bits
        generator = np.random.default_rng(index)
        coarse = generator.integers(
            40 << (bits - 8), 200 << (bits - 8), (-(-target.height // 4), -(-target.width // 4))
        )
        plane = np.roll(coarse.repeat(4, 0).repeat(4, 1), number, 1)[: target.height, : target.width]
        plane = plane.astype(np.uint8 if bits == 8 else np.uint16)
        rows[:, : plane.shape[1] * plane.itemsize] = np.ascontiguousarray(plane).view(np.uint8)
    clip.tags.apply(frame)
    return frame


def _add_audio(output: Any, codec: str, number: int) -> Any:
    stream = output.add_stream(codec, 48000)
    stream.layout = "stereo"
    stream.metadata.update({"language": ("eng", "fra", "deu")[number], "title": f"Track {number}"})
    if number:
        stream.disposition = Disposition.comment
    return stream


def _add_subtitles(output: Any, clip: Clip) -> Any:
    stream = output.add_mux_stream(clip.subtitle_codec)
    stream.time_base = Fraction(1, 1000)
    stream.metadata.update({"language": "ger", "title": "Untertitel"})
    return stream


def _write_tone(output: Any, stream: Any, pitch: int, seconds: float, start: int) -> None:
    samples = int(seconds * 48000)
    tone = (np.sin(2 * np.pi * pitch * np.arange(samples) / 48000) * 0.3).astype(np.float32)
    planar = stream.codec_context.format.is_planar
    for first in range(0, samples, 1024):
        part = np.stack([tone[first : first + 1024]] * 2)
        array = part if planar else np.ascontiguousarray(part.T).reshape(1, -1)
        if "s16" in stream.codec_context.format.name:
            array = (array * 32767).astype(np.int16)
        elif "s32" in stream.codec_context.format.name:
            array = (array * (1 << 30)).astype(np.int32)
        frame = av.AudioFrame.from_ndarray(array, format=stream.codec_context.format.name, layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = 48000, start + first, Fraction(1, 48000)
        output.mux(stream.encode(frame))
    output.mux(stream.encode(None))


def main_video(container: Any) -> Any:
    return next(stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic)


def decode(path: Path) -> list[av.VideoFrame]:
    """All frames of the main video, the decoder emptied at the end, damage skipped."""
    frames = []
    with av.open(str(path)) as container:
        for packet in container.demux(main_video(container)):
            try:
                frames += packet.decode()
            except av.error.InvalidDataError:
                continue
    return frames


def times(path: Path) -> list[Fraction]:
    """Times of presentation of the main video's frames, in seconds."""
    return [
        Fraction(frame.pts) * Fraction(frame.time_base.numerator, frame.time_base.denominator) for frame in decode(path)
    ]


def packets(path: Path, index: int) -> list[tuple[Fraction, bytes]]:
    """Time and payload of each packet of stream `index`."""
    with av.open(str(path)) as container:
        stream = container.streams[index]
        unit = Fraction(stream.time_base.numerator, stream.time_base.denominator)
        return [
            ((packet.pts if packet.pts is not None else packet.dts or 0) * unit, bytes(packet))
            for packet in container.demux(stream)
            if packet.size
        ]


def digest(path: Path, index: int) -> str:
    """Hash of all payloads of a stream, and of where they are cut."""
    result = hashlib.sha256()
    for _, payload in packets(path, index):
        result.update(len(payload).to_bytes(4, "big") + payload)
    return result.hexdigest()


def planes(frame: av.VideoFrame) -> list[np.ndarray]:
    """Code values of a planar frame, without padding."""
    wide = frame.format.components[0].bits > 8
    found = []
    for plane in frame.planes:
        rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[:, : plane.width * (1 + wide)]
        found.append(np.ascontiguousarray(rows).view(np.uint16 if wide else np.uint8))
    return found


def streams(path: Path) -> list[tuple[str, str | None, str | None, str | None]]:
    """Type, codec, language and title of each stream."""
    with av.open(str(path)) as container:
        return [
            (
                stream.type,
                stream.codec_context.name if stream.codec_context else None,
                stream.language,
                stream.metadata.get("title", stream.metadata.get("name")),
            )
            for stream in container.streams
        ]


def small_png() -> bytes:
    """A red square."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (255, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def wav(path: Path) -> Path:
    """A tenth of a second of silence."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(1600))
    return path


def increasing(values: Iterable[Any]) -> bool:
    listed = list(values)
    return all(before < after for before, after in itertools.pairwise(listed))


def video_options(*, start: Any = None, end: Any = None, frames: int | None = None, **given: Any) -> VideoOptions:
    """`VideoOptions` with the parts of its time range written beside the rest; times are seconds."""
    whole = [None if moment is None else Fraction(str(moment)) for moment in (start, end)]
    return VideoOptions(time_range=TimeRange(start=whole[0], end=whole[1], frames=frames), **given)
