"""The facts of a `Job`: input, settings, weights and versions."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Protocol, runtime_checkable

from esrgan import __version__
from esrgan_video.container import OutputVideo, TimeRange
from esrgan_video.container.script import is_script
from esrgan_video.faces.facts import face_facts
from esrgan_video.inputs import sequence_of
from esrgan_video.options import VideoOptions
from esrgan_video.protocol import PlanningUpscaler
from esrgan_video.segments.job import UNTOLD

_END_BYTES = 1 << 20
"""Bytes at the beginning and at the end of a large file that are looked at."""
_SEEN_OTHERWISE = frozenset({"size", "encoder", "faces"})
"""Options that are compared by what they lead to, or with the files that they name."""
_PACKAGES = ("torch", "av")


@runtime_checkable
class Identified(Protocol):
    """An upscaler that can say what its results depend on; `esrgan_video.engine.Upscaler` is one."""

    @property
    def identity(self) -> Mapping[str, str]:
        """Weights, precision, tiles and so on, by names that a user understands."""
        ...


def input_facts(source: Path) -> dict[str, str]:
    """What tells an input from another one.

    A large file is told by its size, its time of change, and its first and last megabyte; a script by its text, since
    saving it anew changes nothing; numbered files by all their sizes and times of change. Pipes and devices have
    nothing that could be compared: they are `UNTOLD`.
    """
    pattern = sequence_of(source)
    if pattern is not None:
        listed = [(number, *_size_and_change(pattern.file(number))) for number in pattern.numbers()]
        digest = hashlib.sha256(repr(listed).encode()).hexdigest()
        return {"input's files": f"{len(listed)} with digest {digest[:16]}"}
    if not source.is_file():
        return dict(UNTOLD)
    size, changed = _size_and_change(source)
    if is_script(source):
        return {"input's text": _ends(source, size)}
    return {"input's size": f"{size} bytes", "input's time of change": changed, "input's content": _ends(source, size)}


def settings_facts(options: VideoOptions, video: OutputVideo, upscaler: PlanningUpscaler) -> dict[str, str]:
    """What the result depends on beside the input."""
    plan = video.plan
    facts = {
        "output size": f"{video.width}x{video.height}",
        "encoder": plan.encoder,
        "pixel format": plan.pix_fmt,
        "colour": str(plan.colour),
        "encoder options": " ".join(f"{key}={value}" for key, value in sorted(plan.options.items())),
    }
    for option in fields(options):
        if option.metadata.get("affects_result", True) and option.name not in _SEEN_OTHERWISE:
            facts[option.name.replace("_", " ")] = _in_words(getattr(options, option.name))
    facts.update(face_facts(options.faces))
    facts["scale"], facts["device"] = f"x{upscaler.scale}", upscaler.device.type
    facts.update(upscaler.identity if isinstance(upscaler, Identified) else {"network": type(upscaler).__qualname__})
    facts["version of esrgan"] = __version__
    return {**facts, **{f"version of {package}": _version(package) for package in _PACKAGES}}


def _size_and_change(file: Path) -> tuple[int, str]:
    status = file.stat()
    return status.st_size, str(datetime.fromtimestamp(status.st_mtime, UTC))


def _in_words(value: object) -> str:
    if isinstance(value, TimeRange):
        parts = (("start", value.start), ("end", value.end), ("frames", value.frames))
        return ", ".join(f"{name} {part}" for name, part in parts if part is not None) or "all"
    return str(value)


def _ends(source: Path, size: int) -> str:
    """Hash of a small file, or of a large one's beginning and end."""
    found = hashlib.sha256()
    with source.open("rb") as file:
        found.update(file.read(_END_BYTES))
        if size > _END_BYTES:
            file.seek(max(_END_BYTES, size - _END_BYTES))
            found.update(file.read(_END_BYTES))
    return found.hexdigest()[:16]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
