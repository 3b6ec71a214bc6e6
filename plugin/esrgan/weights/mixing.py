"""Networks made of the weights of others: interpolation (Wang et al. 2018, section 3.4) and added differences."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping

import torch
from torch import Tensor

from esrgan.errors import UsageError
from esrgan.progress import ProgressMode
from esrgan.weights.facts import LoadedNetwork
from esrgan.weights.layouts import shown
from esrgan.weights.load import load_network
from esrgan.weights.others import SpandrelNetwork
from esrgan.weights.registry import gan_of
from esrgan.weights.save import state_dict_of


def interpolate(a: LoadedNetwork, b: LoadedNetwork, alpha: float) -> LoadedNetwork:
    """θ = (1 − α) θ_A + α θ_B for every parameter (eq. 4, with A the PSNR network and B the GAN network).

    Computed in float64 and rounded once, so α = 0 gives exactly A and α = 1 exactly B. Meaningful
    only where B was trained from A, as in the paper.

    Args:
        a: network for alpha 0; it is not changed.
        b: network for alpha 1, of the same architecture and configuration; it is not changed.
        alpha: share of `b`, 0 to 1.

    Raises:
        UsageError: `alpha` outside 0..1, or networks that differ; the message names the difference.
    """
    _check_alpha(alpha)
    _check_alike(a, b)
    theta_a, theta_b = state_dict_of(a), state_dict_of(b)
    return _with_weights(a, {key: _mix(theta_a[key], theta_b[key], alpha) for key in theta_a})


def add_difference(a: LoadedNetwork, b: LoadedNetwork, c: LoadedNetwork, alpha: float) -> LoadedNetwork:
    """θ = θ_A + α (θ_B - θ_C) for every parameter: what training made of C into B, carried over to its relative A.

    Computed in float64 and rounded once ("task arithmetic", Ilharco et al. 2023, arXiv:2212.04089). Meaningful only
    where A and B were both trained from C, or from networks close to it.

    Args:
        a: network that is to change; itself it is not changed.
        b: network after the training, of the same architecture and configuration; it is not changed.
        c: network before it; it is not changed.
        alpha: how much of the difference, 0 to 1.

    Raises:
        UsageError: `alpha` outside 0..1, or networks that differ; the message names the difference.
    """
    _check_alpha(alpha)
    _check_alike(a, b)
    _check_alike(a, c)
    theta_a, theta_b, theta_c = (state_dict_of(network) for network in (a, b, c))
    return _with_weights(a, {key: _add(theta_a[key], theta_b[key], theta_c[key], alpha) for key in theta_a})


def load_blend(
    a: str | os.PathLike[str],
    b: str | os.PathLike[str] | None = None,
    *,
    alpha: float,
    progress: ProgressMode = "auto",
) -> LoadedNetwork:
    """Load the network at `alpha` between two: `interpolate` of files or names.

    Args:
        a: file or name of the network for alpha 0.
        b: file or name of the network for alpha 1; `None` takes the GAN that was trained from `a`.
        alpha: share of `b`, 0 to 1.
        progress: how a download is shown.

    Raises:
        UsageError: `alpha` outside 0..1, networks that differ, no such file or name, or no GAN known for `a`.
        WeightsError: a file cannot be read, is refused, or cannot be downloaded.
    """
    b = gan_of(a) if b is None else b
    return interpolate(load_network(a, progress=progress), load_network(b, progress=progress), alpha)


def _with_weights(loaded: LoadedNetwork, weights: Mapping[str, Tensor]) -> LoadedNetwork:
    network = copy.deepcopy(loaded.network)
    target = network.inner if isinstance(network, SpandrelNetwork) else network
    target.load_state_dict(weights)
    return LoadedNetwork(network, loaded.facts)


def _mix(a: Tensor, b: Tensor, alpha: float) -> Tensor:
    if not a.is_floating_point():
        return a
    return ((1 - alpha) * a.to(torch.float64) + alpha * b.to(torch.float64)).to(a.dtype)


def _add(a: Tensor, b: Tensor, c: Tensor, alpha: float) -> Tensor:
    if not a.is_floating_point():
        return a
    return (a.to(torch.float64) + alpha * (b.to(torch.float64) - c.to(torch.float64))).to(a.dtype)


def _check_alpha(alpha: float) -> None:
    if not 0 <= alpha <= 1:
        raise UsageError(f"alpha must be 0 to 1, got {alpha}")


def _check_alike(a: LoadedNetwork, b: LoadedNetwork) -> None:
    if a.facts.architecture != b.facts.architecture:
        raise UsageError(f"cannot interpolate {a.facts.architecture} and {b.facts.architecture}: they must be the same")
    differences = [
        f"{field} is {a.facts.config.get(field)} and {b.facts.config.get(field)}"
        for field in sorted({*a.facts.config, *b.facts.config})
        if a.facts.config.get(field) != b.facts.config.get(field)
    ]
    if not differences:
        # Networks of other architectures have no config; their tensors must speak for them.
        differences = _tensor_differences(state_dict_of(a), state_dict_of(b))
    if differences:
        raise UsageError(f"cannot interpolate networks that differ: {'; '.join(differences[:5])}")


def _tensor_differences(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> list[str]:
    only_one = [f"only one has {shown(key)}" for key in sorted(a.keys() ^ b.keys())]
    shapes = [
        f"{shown(key)} is {tuple(a[key].shape)} and {tuple(b[key].shape)}"
        for key in sorted(a.keys() & b.keys())
        if a[key].shape != b[key].shape
    ]
    return only_one + shapes
