"""Whether the weights files that a run starts from fit its networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from esrgan.errors import EsrganError, WeightsError
from esrgan.training.models.pretrained import fill, read_weights
from esrgan.training.options.binding import thaw
from esrgan.training.options.run_options import OptionsFile
from esrgan.training.parts import full_name, registered
from esrgan.weights.files import is_safetensors


def require_fitting_weights(options: OptionsFile) -> None:
    """Raise for the first problem with a pretrained file.

    Raises:
        WeightsError: a file is missing, cannot be read, or is of another network.
    """
    if problems := weights_problems(options):
        raise WeightsError("\n".join(problems))


def weights_problems(options: OptionsFile) -> list[str]:
    """One line for every `path: pretrain_network_*` that its network cannot start from."""
    lines = []
    for key, file in options.run.path.pretrained.items():
        name = key.removeprefix("pretrain_")
        if file is not None and name in options.run.networks:
            problem = _problem(options, name, Path(file))
            lines += [f"path:{key}: {problem}"] if problem else []
    return lines


def _problem(options: OptionsFile, name: str, file: Path) -> str | None:
    label = name.removeprefix("network_")
    strict = options.run.path.strict.get(f"strict_load_{label}", True)
    wanted_key = options.run.path.param_key.get(f"param_key_{label}", "params")
    try:
        network = build_network(options, name)
        fill(network, read_weights(file, wanted_key), strict=strict)
        if not _reads_any_layout(options):
            _require_stock_layout(file, wanted_key, network)
    except EsrganError as error:
        text = str(error)
        return text if text.startswith(str(file)) else f"{file}: does not fit {name}: it {text}"
    return None


def build_network(options: OptionsFile, name: str) -> nn.Module:
    """One of the networks, with random weights, on the CPU.

    Raises:
        WeightsError: its arguments cannot work together.
    """
    component = options.run.networks[name]
    cls: Any = registered("arch")[full_name("arch", component.type) or component.type]
    try:
        network: nn.Module = cls(**thaw(component.arguments))
    except (ArithmeticError, AssertionError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise WeightsError(f"{name} cannot be built: {' '.join(str(error).split())}") from error
    return network


def _reads_any_layout(options: OptionsFile) -> bool:
    """This project's models read every known layout; BasicSR's own read theirs."""
    model = registered("model").get(full_name("model", options.run.model_type) or "")
    return model is not None and model.__module__.startswith("esrgan.")


def _require_stock_layout(file: Path, key: str | None, network: nn.Module) -> None:
    loaded = {} if is_safetensors(file) else torch.load(file, map_location="cpu", weights_only=True)
    state = loaded if key is None else loaded.get(key, loaded.get("params"))
    if not isinstance(state, dict) or not network.state_dict().keys() & {k.removeprefix("module.") for k in state}:
        raise WeightsError(
            f"{file}: BasicSR's own models cannot read this layout: `esrgan convert` makes a .pth that they can"
        )
