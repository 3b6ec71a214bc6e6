"""What the faces of a result depend on, for a run that goes on where another one was interrupted."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from esrgan.weights.face_files import DETECTORS, PARSER, resolve_face_model, resolve_face_part
from esrgan_video.faces.options import FaceOptions


def face_facts(options: FaceOptions | None) -> Mapping[str, str]:
    """What a result depends on: the choices, and a hash of each file."""
    if options is None:
        return {"faces": "left as they are"}
    files = {
        "face restorer": resolve_face_model(options.model, options.folder),
        "face detector": resolve_face_part(DETECTORS[options.detector], options.folder),
    }
    if options.mask == "parse":
        files["face parser"] = resolve_face_part(PARSER, options.folder)
    return {"faces": str(options), **{name: _hash(file) for name, file in files.items()}}


def _hash(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]
