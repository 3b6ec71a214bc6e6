"""The plan of a video run as a piece of the page: what will be kept, and what will not."""

from __future__ import annotations

import base64
import io
import shutil
from collections.abc import Iterator
from html import escape
from pathlib import Path

from PIL import Image

from esrgan_gradio.errors import naming
from esrgan_gradio.html import duration, table
from esrgan_gradio.services import Services
from esrgan_gradio.still import display_size, frame_rgb, to_image, upright
from esrgan_gradio.video_input import AUTOMATIC, Choice, VideoRequest, check_header, choose, open_upload
from esrgan_video.container import FORMATS, EncoderPlan, StreamDecision, VideoInfo, VideoReader, plan_encoder
from esrgan_video.size import OutputSize, resize

NO_PLAN = (
    '<div class="plan"><p class="note">'
    "What will be kept, converted or left out is said here before the work starts.</p></div>"
)
_THUMBNAIL = 256


def plan_page(services: Services, sent: object, network_scale: int, request: VideoRequest) -> str:
    """The plan for an uploaded video as HTML.

    Raises:
        EsrganError: what would end a run at its start as well.
    """
    folder = services.workspace.job()
    try:
        upload, path = open_upload(services.workspace, sent, folder)
        with naming({path: upload.name}):
            check_header(
                path, request, max_pixels=services.options.max_pixels, max_seconds=services.options.max_seconds
            )
            choice = choose(path, upload.path.suffix.lower(), request)
            encoder = plan_encoder(request.encoder, FORMATS[choice.suffix], choice.info)
            return _page(path, upload.name, network_scale, request, choice, encoder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _page(
    path: Path, name: str, network_scale: int, request: VideoRequest, choice: Choice, encoder: EncoderPlan
) -> str:
    info = choice.info
    width, height = OutputSize(scale=request.scale).resolve(info.width, info.height, network_scale)
    with VideoReader(path, request.time_range) as reader:
        frames = reader.expected_frames
        picture = to_image(
            resize(frame_rgb(reader.first_frame), *display_size(info.height, info.width, info, _THUMBNAIL))
        )
    count = "" if frames is None else f", {frames} frames, {duration(frames / float(info.rate))}"
    quality = encoder.options.get("crf")
    coding = f"{encoder.encoder}{f' at CRF {quality}' if quality else ''}, {encoder.pix_fmt}"
    lines = [
        f"<strong>{escape(name)}</strong>: {info.width} × {info.height}, {float(info.rate):.4g} frames/s{count}",
        f"becomes {width} × {height} in {choice.suffix.lstrip('.').upper()}, {escape(coding)}",
        *(f'<span class="note">{escape(note)}</span>' for note in _notes(choice.info, encoder, request)),
    ]
    lost = _lost(choice, request)
    rows = [(_stream(stream), _fate(stream)) for stream in choice.streams.streams]
    return (
        f'<div class="plan" role="status"><div class="head">{_thumbnail(upright(picture, info))}<div>'
        f"{''.join(f'<p>{line}</p>' for line in lines)}</div></div>"
        f"{table(rows)}{f'<p class=lost>{escape(lost)}</p>' if lost else ''}</div>"
    )


def _thumbnail(picture: Image.Image) -> str:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=85)
    data = base64.b64encode(file.getvalue()).decode()
    return f'<img alt="First frame of the video" src="data:image/jpeg;base64,{data}">'


def _notes(info: VideoInfo, encoder: EncoderPlan, request: VideoRequest) -> Iterator[str]:
    if request.trial_seconds:
        yield f"A trial: the first {duration(request.trial_seconds)} only."
    if info.layout.alpha:
        kept = "kept" if encoder.layout.alpha else "left out: this codec in this container has none"
        yield f"Its transparency is {kept}."
    if info.deinterlaced:
        yield "It is interlaced: its fields become whole pictures."
    yield "Frame times, colour tags, aspect ratio, rotation, chapters and tags are kept."


def _lost(choice: Choice, request: VideoRequest) -> str:
    if not choice.refused:
        return ""
    names = ", ".join(choice.refused)
    kind = choice.suffix.lstrip(".").upper()
    if request.drop_unsupported:
        return f"Will be left out, since {kind} cannot hold it: {names}."
    remedy = "choose Automatic or MKV" if request.container != AUTOMATIC else "nothing can hold it"
    return f"{kind} cannot hold {names}: {remedy}, or tick “Leave out what does not fit”."


def _stream(stream: StreamDecision) -> str:
    language = f", {stream.language}" if stream.language not in (None, "und") else ""
    return f"{stream.index} · {stream.kind}, {stream.codec}{language}"


def _fate(stream: StreamDecision) -> str:
    words = {"upscale": "upscaled", "copy": "kept as it is", "attach": "kept as an attachment"}
    if stream.action == "convert":
        return f"kept, converted to {stream.target}"
    if stream.action == "drop":
        return f"left out: {stream.reason}"
    return words[stream.action]
