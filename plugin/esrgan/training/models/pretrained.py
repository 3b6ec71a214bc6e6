"""Weights from files into networks in training: whatever layout a file has, and whichever wrapper."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from torch import Tensor, nn

from esrgan.errors import WeightsError
from esrgan.weights.files import read_state_dict
from esrgan.weights.layouts import detect, shown, to_canonical


def read_weights(path: Path, key: str | None) -> dict[str, Tensor]:
    """The tensors of a file under BasicSR's names.

    Args:
        path: a weights file of any layout that `esrgan.weights` reads.
        key: `params`, `params_ema` ...: which dictionary of a BasicSR checkpoint to take. A file without it
            gives what it has.

    Raises:
        UsageError: there is no such file.
        WeightsError: the file cannot be read.
    """
    state = read_state_dict(path, prefer=key)
    layout = detect(state)
    return state if layout is None else to_canonical(state, layout)


def taken[T](networks: Mapping[str, T], ignored: Collection[str]) -> dict[str, T]:
    """Those of a model's networks (`net_g`, `net_g_ema`, ...) that come from a checkpoint.

    Args:
        networks: by the attribute of the model.
        ignored: `network_g` ...: those that do not, with their averages.
    """
    left = {name.replace("network_", "net_", 1) for name in ignored}
    return {name: value for name, value in networks.items() if name.removesuffix("_ema") not in left}


def fill(network: nn.Module, state: Mapping[str, Tensor], *, strict: bool) -> list[str]:
    """Copy `state` into `network`.

    Args:
        network: changed in place.
        state: its tensors by name.
        strict: refuse a file that does not fit exactly; else take what fits.

    Returns:
        Names of the network that the file did not fill, and of the file that the network does not have.

    Raises:
        WeightsError: `strict`, and a tensor is missing, of another shape, or not of this network.
    """
    wanted = network.state_dict()
    fitting = {key: tensor for key, tensor in state.items() if key in wanted and wanted[key].shape == tensor.shape}
    left_out = sorted((wanted.keys() | state.keys()) - fitting.keys())
    if strict and left_out:
        raise WeightsError(_misfit(left_out[0], state, wanted))
    network.load_state_dict(fitting, strict=False)
    return left_out


def _misfit(key: str, state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str:
    if key not in state:
        return f"has no {shown(key)}, which the network needs"
    if key not in wanted:
        return f"has {shown(key)}, which is not part of the network"
    return f"{shown(key)} has shape {tuple(state[key].shape)}, but the network's is {tuple(wanted[key].shape)}"
