"""A forecast as a table for people, and as JSON for programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from esrgan_video.colour import Colour
    from esrgan_video.container import StreamDecision
    from esrgan_video.dry_run import Forecast

_DONE = {"upscale": "upscaled", "copy": "copied", "convert": "converted", "attach": "attached", "drop": "left out"}
_MATRICES = {
    0: "RGB", 1: "BT.709", 4: "FCC", 5: "BT.601", 6: "BT.601", 7: "SMPTE 240M", 8: "YCgCo", 9: "BT.2020", 10: "BT.2020",
}  # fmt: skip
_TRANSFERS = {1: "BT.709", 6: "BT.601", 13: "sRGB", 14: "BT.2020", 15: "BT.2020", 16: "PQ", 18: "HLG"}


def as_table(forecast: Forecast) -> str:
    """Lines of a name and what there is to say of it."""
    return "".join(f"{name:<11}{line}\n" for name, line in _rows(forecast))


def as_json(forecast: Forecast) -> dict[str, Any]:
    """The same as numbers and names; sizes in bytes, times in seconds."""
    plan = forecast.plan
    info, video, colour = plan.info, plan.video, plan.video.plan.colour
    return {
        "event": "dry-run",
        "input": {
            "path": str(info.path),
            "codec": info.codec,
            "width": info.width,
            "height": info.height,
            "pixel_format": info.layout.pix_fmt,
            "bits": info.layout.bits,
            "frames_per_second": float(info.rate),
            "interlaced": info.interlaced,
            "deinterlaced": info.deinterlaced,
            "alpha": info.layout.alpha,
        },
        "output": {
            "path": str(plan.target),
            "container": plan.container.suffix.lstrip("."),
            "width": video.width,
            "height": video.height,
            "pixel_format": video.plan.pix_fmt,
            "alpha": video.plan.layout.alpha,
            "bits": video.plan.layout.bits,
            "matrix": colour.matrix,
            "primaries": colour.primaries,
            "transfer": colour.transfer,
            "full_range": colour.full_range,
            "chroma_location": colour.chroma_location,
            "encoder": video.plan.encoder,
            "encoder_options": dict(video.plan.options),
            "encoder_threads": video.threads,
        },
        "streams": [_stream_record(stream) for stream in plan.streams.streams],
        "frames": forecast.frames,
        "finished_frames": forecast.finished_frames,
        "changes": list(forecast.changes),
        "segments": forecast.segments,
        "segment_frames": plan.job.segment_frames,
        "frames_per_second": round(forecast.frames_per_second, 3),
        "tried_frames": forecast.tried_frames,
        "seconds": None if forecast.seconds is None else round(forecast.seconds, 1),
        "memory": forecast.memory,
        "memory_free": forecast.memory_free,
        "device_memory": forecast.device_memory,
        "disk_needed": forecast.disk_needed,
        "disk_free": forecast.disk_free,
    }


def _stream_record(stream: StreamDecision) -> dict[str, Any]:
    return {
        "index": stream.index,
        "kind": stream.kind,
        "codec": stream.codec,
        "language": stream.language,
        "action": stream.action,
        "target": stream.target,
        "reason": stream.reason,
    }


def _rows(forecast: Forecast) -> Iterator[tuple[str, str]]:
    plan = forecast.plan
    info, video = plan.info, plan.video
    count = "an unknown number of" if forecast.frames is None else f"about {forecast.frames}"
    yield "input", f"{info.path}"
    yield "", f"{info.codec}, {info.width}x{info.height}, {info.layout.pix_fmt}, {float(info.rate):.3f} frames/s"
    yield "output", f"{plan.target}"
    yield "", f"{video.width}x{video.height}, {video.plan.pix_fmt}, {video.plan.layout.bits} bits"
    yield "colour", _colour(video.plan.colour)
    if info.interlaced:
        yield "fields", "become whole pictures (bwdif)" if info.deinterlaced else "stay woven as they are"
    if info.layout.alpha:
        yield "alpha", "kept" if video.plan.layout.alpha else "left out"
    options = " ".join(f"{key}={value}" for key, value in video.plan.options.items())
    yield "encoder", f"{video.plan.encoder} {options}".rstrip()
    for number, stream in enumerate(plan.streams.streams):
        yield "" if number else "streams", _stream(stream)
    yield "frames", f"{count}, {_segments(forecast)}"
    if forecast.changes:
        yield "unfinished", f"an earlier run cannot be continued: {'; '.join(forecast.changes)}; use --restart"
    elif forecast.finished_frames:
        yield "unfinished", f"{forecast.finished_frames} frames are done, the run would go on from there"
    speed = f"{forecast.frames_per_second:.3g} frames/s, measured with {forecast.tried_frames} frames"
    yield "time", speed if forecast.seconds is None else f"about {_time(forecast.seconds)} ({speed})"
    device = "" if forecast.device_memory is None else f", {_size(forecast.device_memory)} on the device"
    yield "memory", f"about {_size(forecast.memory)}{device}, {_size(forecast.memory_free)} free"
    needed = "unknown" if forecast.disk_needed is None else f"about {_size(forecast.disk_needed)}"
    yield "disk", f"{needed} needed while it works, {_size(forecast.disk_free)} free"


def _segments(forecast: Forecast) -> str:
    each = forecast.plan.job.segment_frames
    return f"in segments of {each}" if forecast.segments is None else f"{forecast.segments} segment(s) of up to {each}"


def _stream(stream: StreamDecision) -> str:
    done = _DONE[stream.action] + (f" to {stream.target}" if stream.target else "")
    return f"{stream}: {done}" + (f" ({stream.reason})" if stream.reason else "")


def _colour(colour: Colour) -> str:
    matrix = _MATRICES.get(colour.matrix, f"matrix {colour.matrix}")
    transfer = _TRANSFERS.get(colour.transfer, "unspecified" if colour.transfer == 2 else str(colour.transfer))
    return f"{matrix}, {'full' if colour.full_range else 'limited'} range, transfer {transfer}"


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
