"""Files of face restoration that are known by name: restorers, detectors and a parser."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from esrgan.errors import UsageError, WeightsError
from esrgan.progress import ProgressMode
from esrgan.weights.download import Opener, open_https
from esrgan.weights.registry import MODELS, ModelEntry, file_of, find_model, resolve

DEFAULT_FACE_MODEL = "GFPGANv1.4"
"""The restorer that `--face-enhance` stands for."""

_GFPGAN = "https://github.com/TencentARC/GFPGAN/releases/download"
_FACEXLIB = "https://github.com/xinntao/facexlib/releases/download"


def _restorer(name: str, address: str, sha256: str, size: int | None, licence: str, text: str) -> ModelEntry:
    return ModelEntry(
        name=name,
        description=text,
        scale=1,
        file=address.rpartition("/")[2],
        licence=licence,
        address=address,
        sha256=sha256,
        size_bytes=size,
    )


_RESTORERS = (
    _restorer(
        DEFAULT_FACE_MODEL,
        f"{_GFPGAN}/v1.3.0/GFPGANv1.4.pth",
        "e2cd4703ab14f4d01fd1383a8a8b266f9a5833dacee8e6a79d3bf21a1b6be5ad",
        348632874,
        "Apache-2.0",
        "GFPGAN: restores faces, keeps who it is better than 1.3",
    ),
    _restorer(
        "GFPGANv1.3",
        f"{_GFPGAN}/v1.3.0/GFPGANv1.3.pth",
        "c953a88f2727c85c3d9ae72e2bd4846bbaf59fe6972ad94130e23e7017524a70",
        348632874,
        "Apache-2.0",
        "GFPGAN as Real-ESRGAN's --face_enhance uses it",
    ),
    _restorer(
        "CodeFormer",
        "https://github.com/sczhou/CodeFormer/releases/download/v0.1.0/codeformer.pth",
        "1009e537e0c2a07d4cabce6355f53cb66767cd4b4297ec7a4a64ca4b8a5684b7",
        376637898,
        "S-Lab 1.0: not for commercial use",
        "CodeFormer: for badly damaged faces; needs the package spandrel_extra_arches",
    ),
)


def _part(name: str, release: str, size: int, sha256: str, text: str) -> ModelEntry:
    file = f"{name}.pth"
    return ModelEntry(
        name=name,
        description=text,
        scale=1,
        file=file,
        licence="MIT",
        address=f"{_FACEXLIB}/{release}/{file}",
        sha256=sha256,
        size_bytes=size,
    )


MOBILENET_DETECTOR = _part(
    "detection_mobilenet0.25_Final",
    "v0.1.0",
    1789735,
    "2979b33ffafda5d74b6948cd7a5b9a7a62f62b949cef24e95fd15d2883a65220",
    "RetinaFace with a small MobileNet",
)
RESNET_DETECTOR = _part(
    "detection_Resnet50_Final",
    "v0.1.0",
    109497761,
    "6d1de9c2944f2ccddca5f5e010ea5ae64a39845a86311af6fdf30841b0a5a16d",
    "RetinaFace with a ResNet-50",
)
PARSER = _part(
    "parsing_parsenet",
    "v0.2.2",
    85331193,
    "3d558d8d0e42c20224f13cf5a29c79eba2d59913419f945545d8cf7b72920de2",
    "which pixels of an aligned face are skin, hair, background",
)

DETECTORS: Mapping[str, ModelEntry] = MappingProxyType({"mobilenet": MOBILENET_DETECTOR, "resnet50": RESNET_DETECTOR})
"""Networks that find faces, by the name of an option."""

FACE_MODELS: Mapping[str, ModelEntry] = MappingProxyType({entry.name: entry for entry in _RESTORERS})
"""Restorers of aligned faces by name."""

OTHER_NAMES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        MOBILENET_DETECTOR.name: ("mobilenet0.25_Final.pth", "detection_mobilenet0.25_Final.safetensors"),
        RESNET_DETECTOR.name: ("Resnet50_Final.pth", "detection_Resnet50_Final.safetensors"),
        PARSER.name: ("parsing_parsenet.safetensors",),
    }
)
"""Names under which the same networks are found in folders that were filled by hand."""


def check_face_model(source: str | os.PathLike[str]) -> None:
    """Refuse what is neither a file nor a known name, without downloading anything.

    Raises:
        UsageError: it is not.
    """
    models = {**FACE_MODELS, **MODELS}
    if find_model(os.fspath(source), models) is None and not Path(source).is_file():
        raise UsageError(
            f"{os.fspath(source)!r} is neither a weights file nor a network that restores faces: "
            f"{', '.join(FACE_MODELS)}, or one that upscales images"
        )


def resolve_face_model(
    source: str | os.PathLike[str],
    folder: Path | None = None,
    *,
    progress: ProgressMode = "auto",
    opener: Opener = open_https,
) -> Path:
    """The weights file that restores faces: a path, a name of `FACE_MODELS`, or one of the upscaling models.

    Args:
        source: path or name.
        folder: where a named file may lie already.
        progress: how a download is shown.
        opener: opens addresses; by default https only.

    Raises:
        UsageError: neither a file nor a known name.
        WeightsError: the file cannot be downloaded or is not the one expected.
    """
    entry = find_model(os.fspath(source), FACE_MODELS)
    if entry is not None and folder is not None and (folder / entry.file).is_file():
        return folder / entry.file
    with _naming_the_folder():
        return resolve(source, progress=progress, models={**FACE_MODELS, **MODELS}, opener=opener)


def resolve_face_part(
    entry: ModelEntry, folder: Path | None = None, *, progress: ProgressMode = "auto", opener: Opener = open_https
) -> Path:
    """The file of a detector or parser: from `folder` if one is named, else downloaded once.

    A file in the folder is taken as it is: it may be a conversion, or trained by its owner.

    Raises:
        UsageError: a folder without it.
        WeightsError: it cannot be downloaded or is not the one expected.
    """
    if folder is None:
        with _naming_the_folder():
            return file_of(entry, progress, opener)
    names = (entry.file, *OTHER_NAMES[entry.name])
    found = next((folder / name for name in names if (folder / name).is_file()), None)
    if found is None:
        raise UsageError(f"--face-dir {folder} has no {entry.file} (nor {', '.join(names[1:])})")
    return found


@contextlib.contextmanager
def _naming_the_folder() -> Iterator[None]:
    try:
        yield
    except WeightsError as error:
        raise WeightsError(f"{error}, or name its folder with --face-dir") from error
