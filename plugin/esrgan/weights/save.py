"""Writing networks, for others and for ourselves."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Literal

import safetensors.torch
import torch
from torch import Tensor

from esrgan.errors import UsageError, WeightsError
from esrgan.weights.atomic import written_beside
from esrgan.weights.facts import LoadedNetwork
from esrgan.weights.layouts import shown
from esrgan.weights.others import SpandrelNetwork

SaveLayout = Literal["safetensors", "basicsr"]
SaveDtype = Literal["float32", "float16", "bfloat16"]

_SUFFIXES: dict[SaveLayout, tuple[str, ...]] = {"safetensors": (".safetensors",), "basicsr": (".pth", ".pt", ".ckpt")}
_DTYPES: dict[SaveDtype, torch.dtype] = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}


def state_dict_of(loaded: LoadedNetwork) -> dict[str, Tensor]:
    """The tensors of a network under their canonical names; not copied."""
    network = loaded.network.inner if isinstance(loaded.network, SpandrelNetwork) else loaded.network
    return dict(network.state_dict())


def save_network(
    loaded: LoadedNetwork,
    path: str | os.PathLike[str],
    *,
    layout: SaveLayout | None = None,
    dtype: SaveDtype = "float32",
) -> Path:
    """Write the weights of a network to `path`, whole or not at all.

    Args:
        loaded: the network; it is not changed.
        path: the file to write; one that exists is replaced.
        layout: `safetensors`, with the architecture and its arguments as metadata; or `basicsr`, a
            PyTorch checkpoint whose `params` and `params_ema` are the same tensors, so that BasicSR
            and Real-ESRGAN load it under either key. By default the suffix of `path` decides.
        dtype: type of the stored numbers.

    Raises:
        UsageError: suffix and layout do not fit, or the folder does not exist.
        WeightsError: a value too large for `dtype`, or the file cannot be written.
    """
    file = Path(path)
    layout = _layout_for(file, layout)
    state = {key: _converted(key, tensor, dtype) for key, tensor in state_dict_of(loaded).items()}
    try:
        with written_beside(file) as temporary:
            if layout == "safetensors":
                # Not save_file: it makes files that only their owner may read.
                temporary.write_bytes(safetensors.torch.save(state, _metadata(loaded)))
            else:
                torch.save({"params": state, "params_ema": state}, temporary)
    except (OSError, RuntimeError) as error:
        raise WeightsError(f"{file}: cannot be written: {error}") from error
    return file


def _layout_for(file: Path, layout: SaveLayout | None) -> SaveLayout:
    known = ", ".join(suffix for suffixes in _SUFFIXES.values() for suffix in suffixes)
    suffix = file.suffix.lower()
    if not file.parent.is_dir():
        raise UsageError(f"{file}: the folder {file.parent} does not exist")
    if file.is_dir():
        raise UsageError(f"{file}: is a folder; give the name of a file to write")
    if layout is None:
        layout = next((name for name, suffixes in _SUFFIXES.items() if suffix in suffixes), None)
        if layout is None:
            raise UsageError(f"{file}: the suffix says no format; use one of {known}")
    elif layout not in _SUFFIXES:
        raise UsageError(f"layout {layout!r} is not known; use {' or '.join(_SUFFIXES)}")
    if suffix not in _SUFFIXES[layout]:
        raise UsageError(f"{file}: the {layout} layout is written as {' or '.join(_SUFFIXES[layout])}")
    return layout


def _converted(key: str, tensor: Tensor, dtype: SaveDtype) -> Tensor:
    if dtype not in _DTYPES:
        raise UsageError(f"dtype {dtype!r} is not known; use {', '.join(_DTYPES)}")
    tensor = tensor.detach().cpu()
    if tensor.is_floating_point():
        tensor = tensor.to(_DTYPES[dtype])
        if not tensor.isfinite().all():
            raise WeightsError(f"{shown(key)} holds a value that {dtype} cannot: write float32 or bfloat16")
    # A copy of its own: safetensors refuses tensors that share memory.
    return tensor.clone(memory_format=torch.contiguous_format)


def _metadata(loaded: LoadedNetwork) -> dict[str, str]:
    facts = loaded.facts
    return {
        "format": "pt",
        "architecture": facts.architecture,
        "scale": str(facts.scale),
        "config": json.dumps(dict(facts.config)),
    }
