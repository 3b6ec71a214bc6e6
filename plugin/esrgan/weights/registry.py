"""Weights that are known by name: a few are installed with the package, the others are downloaded once."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from esrgan.errors import UsageError, WeightsError
from esrgan.progress import ProgressMode
from esrgan.weights.download import Opener, fetch, open_https
from esrgan.weights.files import SUFFIXES

DEFAULT = "default"
"""Name of the network that is installed with the package."""

_SHIPPED_FOLDER = Path(__file__).resolve().parent / "models"
_RELEASES = "https://github.com/xinntao/Real-ESRGAN/releases/download"
_BSD = "BSD-3-Clause"
_OWN_LICENCE = "Apache-2.0; trained on BSDS500, which is for research"


@dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """Weights that can be asked for by name."""

    name: str
    description: str
    scale: int
    """For listings; the network's own scale is read from its weights."""
    file: str
    """Name of the file, in the package or in the cache."""
    licence: str
    address: str | None = None
    """Where it is published; `None` for a file inside the package."""
    sha256: str | None = None
    """Checksum in hexadecimal; always given where there is an address."""
    size_bytes: int | None = None
    """Exact size of the published file, where known."""
    gan: str | None = None
    """Name of the network that adversarial training made of this one: the other end of an interpolation."""

    def __post_init__(self) -> None:
        if self.address is not None and self.sha256 is None:
            raise ValueError(f"model {self.name!r} has an address but no sha256")


def _published(name: str, release: str, size_bytes: int | None, sha256: str, scale: int, text: str) -> ModelEntry:
    return ModelEntry(
        name=name,
        description=text,
        scale=scale,
        file=f"{name}.pth",
        licence=_BSD,
        address=f"{_RELEASES}/{release}/{name}.pth",
        sha256=sha256,
        size_bytes=size_bytes,
    )


_ENTRIES = (
    ModelEntry(
        name=DEFAULT,
        description="small RRDBNet trained for PSNR on bicubic x4; installed with the package",
        scale=4,
        file="rrdb-lite-x4-psnr.safetensors",
        licence=_OWN_LICENCE,
        gan="rrdb-lite-x4-gan",
    ),
    ModelEntry(
        name="rrdb-lite-x4-gan",
        description="the default network after adversarial training: sharper; installed with the package",
        scale=4,
        file="rrdb-lite-x4-gan.safetensors",
        licence=_OWN_LICENCE,
    ),
    ModelEntry(
        name="rrdb-lite-x4-real",
        description="the small network for noisy and compressed video and photographs; installed with the package",
        scale=4,
        file="rrdb-lite-x4-real.safetensors",
        licence=_OWN_LICENCE,
    ),
    ModelEntry(
        name="rrdb-lite-x2-psnr",
        description="the small network for x2, at a quarter of the work; installed with the package",
        scale=2,
        file="rrdb-lite-x2-psnr.safetensors",
        licence=_OWN_LICENCE,
    ),
    ModelEntry(
        name="rrdb-standard-x4-psnr",
        description="three times as large as the default network, for clean pictures; installed with the package",
        scale=4,
        file="rrdb-standard-x4-psnr.safetensors",
        licence=_OWN_LICENCE,
        gan="rrdb-standard-x4-gan",
    ),
    ModelEntry(
        name="rrdb-standard-x4-gan",
        description="rrdb-standard-x4-psnr after adversarial training: sharper; installed with the package",
        scale=4,
        file="rrdb-standard-x4-gan.safetensors",
        licence=_OWN_LICENCE,
    ),
    _published(
        "ESRGAN_SRx4_DF2KOST_official-ff704c30",
        "v0.1.1",
        None,
        "ff704c30ff560305e48ed1f4db895e525ab6bc81a46fafe80c0094a271c806d9",
        4,
        "ESRGAN of the paper: 23 blocks, clean bicubic images",
    ),
    _published(
        "RealESRGAN_x4plus",
        "v0.1.0",
        67040989,
        "4fa0d38905f75ac06eb49a7951b426670021be3018265fd191d2125df9d682f1",
        4,
        "Real-ESRGAN for photographs: 23 blocks",
    ),
    _published(
        "RealESRNet_x4plus",
        "v0.1.1",
        67040989,
        "a820b9bde89a874d7599d545567308ce6c128fc8754a53208eda016d40aa81df",
        4,
        "Real-ESRGAN before the adversarial stage: smoother, no invented texture",
    ),
    _published(
        "RealESRGAN_x2plus",
        "v0.2.1",
        67061725,
        "49fafd45f8fd7aa8d31ab2a22d14d91b536c34494a5cfe31eb5d89c2fa266abb",
        2,
        "Real-ESRGAN for photographs, x2",
    ),
    _published(
        "RealESRGAN_x4plus_anime_6B",
        "v0.2.2.4",
        17938799,
        "f872d837d3c90ed2e05227bed711af5671a6fd1c9f7d7e91c911a61f155e99da",
        4,
        "Real-ESRGAN for drawings: 6 blocks",
    ),
    _published(
        "realesr-animevideov3",
        "v0.2.5.0",
        2504012,
        "b8a8376811077954d82ca3fcf476f1ac3da3e8a68a4f4d71363008000a18b75d",
        4,
        "SRVGGNetCompact for anime video: small and fast",
    ),
    _published(
        "realesr-general-x4v3",
        "v0.2.5.0",
        4885111,
        "8dc7edb9ac80ccdc30c3a5dca6616509367f05fbc184ad95b731f05bece96292",
        4,
        "SRVGGNetCompact for photographs and video, removes noise",
    ),
    _published(
        "realesr-general-wdn-x4v3",
        "v0.2.5.0",
        4885111,
        "1641f8c4464b9f097c9fdda5589273713f67cf59f3d909e0bd688f0cee269dca",
        4,
        "as realesr-general-x4v3, keeps noise; interpolate the two to choose how much",
    ),
)

MODELS: Mapping[str, ModelEntry] = MappingProxyType({entry.name: entry for entry in _ENTRIES})
"""All weights by name, the installed ones first."""

ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "rrdb-lite-x4-psnr": DEFAULT,
        "ESRGAN_x4": "ESRGAN_SRx4_DF2KOST_official-ff704c30",
        "ESRGAN_SRx4_DF2KOST_official": "ESRGAN_SRx4_DF2KOST_official-ff704c30",
    }
)
"""Other names that people type."""


def cache_folder() -> Path:
    """Where downloads are kept: the environment variable ESRGAN_CACHE, or the user's cache folder."""
    if chosen := os.environ.get("ESRGAN_CACHE"):
        return Path(chosen)
    import platformdirs

    return platformdirs.user_cache_path("esrgan", appauthor=False)


def find_model(name: str, models: Mapping[str, ModelEntry] = MODELS) -> ModelEntry | None:
    """The entry of a name or alias; the case of letters and a suffix such as `.pth` do not matter."""
    names = {key.casefold(): key for key in models}
    names |= {alias.casefold(): key for alias, key in ALIASES.items() if key in models}
    folded = name.casefold()
    stem = next((folded.removesuffix(suffix) for suffix in SUFFIXES if folded.endswith(suffix)), folded)
    key = names.get(folded, names.get(stem))
    return None if key is None else models[key]


def gan_of(source: str | os.PathLike[str], models: Mapping[str, ModelEntry] = MODELS) -> str:
    """The name of the network that adversarial training made of the one named `source`.

    Raises:
        UsageError: a file, or a model that has no such partner.
    """
    entry = find_model(os.fspath(source), models)
    if entry is None or entry.gan is None:
        pairs = ", ".join(f"{entry.name} ({entry.gan})" for entry in models.values() if entry.gan) or "none"
        raise UsageError(
            f"{os.fspath(source)!r} has no GAN partner that is known by name: name a second network. "
            f"Models with a partner: {pairs}"
        )
    return entry.gan


def resolve(
    source: str | os.PathLike[str],
    *,
    progress: ProgressMode = "auto",
    models: Mapping[str, ModelEntry] = MODELS,
    opener: Opener = open_https,
) -> Path:
    """The file that a path or a name of the registry stands for, downloaded if need be.

    A path that exists wins over a name where it looks like one (a folder or a suffix of weights in it);
    a bare name is looked up first.

    Args:
        source: path or name.
        progress: how a download is shown.
        models: the registry to look in.
        opener: opens addresses; by default https only.

    Raises:
        UsageError: neither a file nor a known name; the message has the nearest names.
        WeightsError: the file cannot be downloaded or is not the one expected.
    """
    text = os.fspath(source)
    is_bare = isinstance(source, str) and not any(mark in text for mark in (os.sep, os.altsep) if mark)
    looks_like_path = not is_bare or text.lower().endswith(SUFFIXES)
    if looks_like_path and _exists(text):
        return Path(text)
    entry = find_model(text, models) if is_bare else None
    if entry is not None:
        return file_of(entry, progress, opener)
    if text and _exists(text):
        return Path(text)
    raise UsageError(_not_found(text, models, is_bare=is_bare))


def _exists(text: str) -> bool:
    try:
        return Path(text).exists()
    except OSError:  # a name that the file system cannot have
        return False


def file_of(entry: ModelEntry, progress: ProgressMode = "auto", opener: Opener = open_https) -> Path:
    """The file of an entry, downloaded if need be.

    Raises:
        WeightsError: it cannot be downloaded, is not the one expected, or is missing from the installation.
    """
    if entry.address is None or entry.sha256 is None:
        file = _SHIPPED_FOLDER / entry.file
        if not file.is_file():
            raise WeightsError(
                f"{file}: the weights of {entry.name!r} are missing from this installation: reinstall it"
            )
        return file
    return fetch(
        entry.address,
        cache_folder() / entry.file,
        sha256=entry.sha256,
        size_bytes=entry.size_bytes,
        progress=progress,
        opener=opener,
    )


def _not_found(text: str, models: Mapping[str, ModelEntry], *, is_bare: bool) -> str:
    if not is_bare:
        return f"{text}: there is no such weights file"
    folded = {name.casefold(): name for name in (*models, *ALIASES)}
    near = [folded[name] for name in difflib.get_close_matches(text.casefold(), folded, n=3, cutoff=0.5)]
    hint = f"nearest names: {', '.join(near)}" if near else f"known names: {', '.join(models)}"
    return f"{text!r} is neither a weights file nor a known model; {hint}"
