"""The one place where weights files are opened. Nothing in a file is ever run."""

from __future__ import annotations

import os
import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from esrgan.errors import UsageError, WeightsError
from esrgan.weights.layouts import shown
from esrgan.weights.unwrap import find_state_dict, strip_prefixes

SUFFIXES = (".pth", ".pt", ".ckpt", ".safetensors")
"""Usual endings of weights files. The content decides how a file is read, not its name."""

_MAX_BYTES = 8 * 2**30
"""Largest unpacked size that is read: over ten times the largest network known here."""

_PICKLE_ERRORS = (
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
    ArithmeticError,
    AssertionError,
    MemoryError,
    struct.error,
    zipfile.BadZipFile,
)
"""What a damaged or hostile pickle was seen to raise inside `torch.load`, or may raise."""

_WANTS_CODE = re.compile(r"[Uu]nsupported (?:global|GLOBAL|class)|not an allowed global|Trying to (?:call|instantiate)")
_GLOBAL_NAME = re.compile(r"GLOBAL ([\w.]+)")


def read_state_dict(path: str | os.PathLike[str], *, prefer: str | None = None) -> dict[str, Tensor]:
    """Read the named tensors of a weights file, without wrappers and prefixes.

    `.pth`, `.pt`, `.ckpt` (zip and legacy) and `.safetensors`, told apart by their content. Of a
    checkpoint with several networks the generator is taken, averaged weights (`params_ema`) preferred.

    Args:
        path: the file.
        prefer: the dictionary inside a checkpoint to take if there is one of that name.

    Returns:
        Name -> tensor on the CPU. Floating-point tensors are float32, whatever the file's type, and
        finite; integer tensors, which some architectures have, are as in the file.

    Raises:
        UsageError: there is no such file.
        WeightsError: not weights, damaged, wants to run code, or holds values that are not finite.
    """
    file = Path(path)
    try:
        if not file.exists():
            raise UsageError(f"{file}: there is no such weights file")
        if file.is_dir():
            raise WeightsError("is a folder, not a weights file")
        loaded = _read(file)
        if prefer is not None and isinstance(loaded, Mapping) and isinstance(loaded.get(prefer), Mapping):
            loaded = loaded[prefer]
        state = strip_prefixes(find_state_dict(loaded))
        return {key: _to_float32(key, tensor) for key, tensor in state.items()}
    except OSError as error:
        raise WeightsError(f"{file}: cannot be read: {error.strerror or error}") from error
    except WeightsError as error:
        raise WeightsError(f"{file}: {error}") from error


def is_safetensors(file: Path) -> bool:
    """Whether a weights file is of this format, by its content."""
    with file.open("rb") as stream:
        return stream.read(9)[8:] == b"{"


def _read(file: Path) -> object:
    with file.open("rb") as stream:
        start = stream.read(512)
    if not start:
        raise WeightsError("is empty")
    if start[:4] == b"PK\x03\x04":
        _check_zip(file)
        return _read_torch(file)
    if start[8:9] == b"{":
        return _read_safetensors(file)
    if start[:1] == b"\x80":
        return _read_torch(file)
    raise WeightsError(_what_else(start))


def _what_else(start: bytes) -> str:
    text = start.lstrip().lower()
    if text.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the weights: fetch the file itself with `git lfs pull`"
    if text.startswith((b"<!doctype", b"<html")):
        return "is a web page, not weights: the download went wrong"
    return f"is not a weights file ({', '.join(SUFFIXES)}): it begins with {start[:12]!r}"


def _check_zip(file: Path) -> None:
    """Refuse archives that are not plain checkpoints before anything is unpacked."""
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error) as error:
        raise WeightsError("is damaged or incomplete (a zip archive without its end)") from error
    names = {entry.filename.partition("/")[2] for entry in entries}
    if "constants.pkl" in names:
        raise WeightsError("is a TorchScript archive, which holds code; only tensors are read: save the state_dict")
    if "data.pkl" not in names:
        raise WeightsError("is a zip archive, but not a PyTorch checkpoint")
    if sum(entry.file_size for entry in entries) > _MAX_BYTES:
        raise WeightsError(f"unpacks to more than {_MAX_BYTES >> 30} GiB")


def _read_torch(file: Path) -> object:
    try:
        with file.open("rb") as stream, warnings.catch_warnings():
            # What is wrong with the file is said once, by the error.
            warnings.filterwarnings("ignore", message="Detected pickle protocol", category=UserWarning)
            return torch.load(stream, map_location="cpu", weights_only=True)
    except _PICKLE_ERRORS as error:
        raise WeightsError(_pickle_message(error)) from error


def _pickle_message(error: BaseException) -> str:
    text = str(error)
    if "Unsupported operand" in text:
        return "is damaged, or a pickle of more than plain tensors, which is refused"
    if not _WANTS_CODE.search(text):
        return f"is damaged, incomplete or not a PyTorch checkpoint ({type(error).__name__})"
    names = [name for name in _GLOBAL_NAME.findall(text) if not name.startswith("torch.serialization")]
    wanted = f" {names[0]}" if names else ""
    return (
        f"wants to run code{wanted}, which is refused: only plain tensors are read from a pickle. "
        "Get the weights as .safetensors, or save only their state_dict where you trust the file"
    )


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file, device="cpu")
    except (SafetensorError, ValueError, KeyError, RuntimeError, AttributeError, MemoryError) as error:
        raise WeightsError(f"is a damaged or incomplete safetensors file: {error}") from error


def _to_float32(key: str, tensor: Tensor) -> Tensor:
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
        raise WeightsError(f"{shown(key)} is not a plain tensor (sparse, quantised or without values)")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise WeightsError(f"{shown(key)} has shape {tuple(tensor.shape)}, more values than the file stores for it")
    tensor = tensor.detach()
    if not tensor.is_floating_point():
        return tensor
    tensor = tensor.to(torch.float32)
    if not tensor.isfinite().all():
        raise WeightsError(f"{shown(key)} holds values that are not finite (NaN or infinity)")
    return tensor
