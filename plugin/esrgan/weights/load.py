"""From a file or a name to a network and its facts."""

from __future__ import annotations

import os
from collections.abc import Mapping

from torch import Tensor

from esrgan.errors import WeightsError
from esrgan.progress import ProgressMode
from esrgan.weights.build import build_network
from esrgan.weights.facts import LoadedNetwork
from esrgan.weights.files import read_state_dict
from esrgan.weights.layouts import ForeignKeysError, detect, to_canonical
from esrgan.weights.others import load_other
from esrgan.weights.registry import resolve
from esrgan.weights.unwrap import strip_prefixes


def load_network(source: str | os.PathLike[str] = "default", *, progress: ProgressMode = "auto") -> LoadedNetwork:
    """Load a network from a weights file or by a name of the registry.

    Args:
        source: path of a `.pth`, `.pt`, `.ckpt` or `.safetensors` file, or a name of `registry.MODELS`;
            `default` is the network that is installed with the package.
        progress: how a download is shown.

    Returns:
        The network on the CPU in float32, in evaluation mode, its parameters without gradients.

    Raises:
        UsageError: neither a file nor a known name.
        WeightsError: the file cannot be read, is refused, or cannot be downloaded.
    """
    path = resolve(source, progress=progress)
    state = read_state_dict(path)
    try:
        return _network(state)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error


def load_face_network(path: str | os.PathLike[str]) -> LoadedNetwork:
    """Load a network that takes an aligned face: one that restores faces, or any that upscales images.

    Args:
        path: of the weights file.

    Returns:
        As `load_network`; `facts.face_side` tells the two kinds apart.

    Raises:
        UsageError: there is no such file.
        WeightsError: the file cannot be read or is refused.
    """
    state = read_state_dict(path)
    try:
        return _network(state, faces=True)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error


def network_from_state_dict(state: Mapping[str, Tensor]) -> LoadedNetwork:
    """The network that named tensors of any known layout belong to; the tensors are copied.

    Architecture and hyper-parameters come from the names and shapes alone. What names and shapes
    cannot tell is read as the common case: first-layer channels of 4 or 16 times the output's are a
    pixel-unshuffle.

    Raises:
        WeightsError: not a network that is known, or a tensor that is missing, of the wrong shape, or
            one too many; the message names it.
    """
    return _network({key: tensor.detach().clone() for key, tensor in strip_prefixes(state).items()})


def _network(state: Mapping[str, Tensor], *, faces: bool = False) -> LoadedNetwork:
    layout = detect(state)
    if layout is None:
        return load_other(state, faces=faces)
    try:
        canonical = to_canonical(state, layout)
    except ForeignKeysError as error:
        # Another architecture may contain an RRDB trunk; if none does, the foreign key is the mistake.
        try:
            return load_other(state, faces=faces)
        except WeightsError:
            raise error from None
    return build_network(canonical, layout)
