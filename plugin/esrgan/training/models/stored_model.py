"""What all our models share about files: weights in and out, and the state to continue from."""

from __future__ import annotations

import copy
import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from basicsr.models.sr_model import SRModel  # noqa: TID253 - this module exists for BasicSR alone
from torch import Tensor, nn

from esrgan.errors import WeightsError
from esrgan.training.models.guard import StepGuard
from esrgan.training.models.pretrained import fill, read_weights, taken
from esrgan.training.models.schedules import continue_optimizer, continue_schedule
from esrgan.weights.atomic import written_beside

_log = logging.getLogger(__name__)

_NETWORKS = ("net_g", "net_d", "net_g_ema")


class StoredModel(SRModel):
    """BasicSR's `SRModel` that reads weights of any layout, writes them whole, and can be continued exactly."""

    guard: StepGuard

    def __init__(self, opt: dict[str, Any]) -> None:
        self.last_checkpoint: str | None = opt["path"].get("resume_state")
        super().__init__(opt)

    def load_network(
        self, net: nn.Module, load_path: str, strict: bool = True, param_key: str | None = "params"
    ) -> None:
        """Load a file of any known layout into `net`; `param_key` is preferred, not required.

        Raises:
            UsageError: there is no such file.
            WeightsError: the file cannot be read, or holds another network.
        """
        net = self.get_bare_model(net)
        _log.info("Loading %s from %s", type(net).__name__, load_path)
        state = read_weights(Path(load_path), param_key)
        try:
            left_out = fill(net, state, strict=strict)
        except WeightsError as error:
            raise WeightsError(f"{load_path}: does not fit {type(net).__name__} of the options: {error}") from error
        if left_out:
            _log.warning("%s: %d tensors do not fit and are left out: %s", load_path, len(left_out), left_out)

    def save(self, epoch: int, current_iter: int) -> None:
        """Write the networks and BasicSR's training state."""
        super().save(epoch, current_iter)
        self.last_checkpoint = str(self._network_file("net_g", current_iter))

    def save_network(
        self, net: nn.Module | list[nn.Module], net_label: str, current_iter: int, param_key: str | list[str] = "params"
    ) -> None:
        """Write `{net_label}_{current_iter}.pth`, whole or not at all; only the first process does.

        Raises:
            OSError, RuntimeError: the file cannot be written.
        """
        if self.opt.get("rank", 0) != 0:
            return
        networks = net if isinstance(net, list) else [net]
        keys = param_key if isinstance(param_key, list) else [param_key]
        states = {key: on_cpu(self.get_bare_model(one).state_dict()) for key, one in zip(keys, networks, strict=True)}
        with written_beside(self._network_file(net_label, current_iter)) as temporary:
            torch.save(states, temporary)

    def _network_file(self, label: str, current_iter: int) -> Path:
        name = "latest" if current_iter == -1 else current_iter
        return Path(self.opt["path"]["models"]) / f"{label}_{name}.pth"

    def training_state(self) -> dict[str, Any]:
        """All that the next step depends on inside the model, as copies on the CPU."""
        return {
            "networks": {name: on_cpu(network.state_dict()) for name, network in self._networks().items()},
            "optimizers": [on_cpu(optimizer.state_dict()) for optimizer in self.optimizers],
            "schedulers": [copy.deepcopy(scheduler.state_dict()) for scheduler in self.schedulers],
            "guard": self.guard.state_dict(),
        }

    def load_training_state(self, state: Mapping[str, Any], *, ignored: Collection[str] = ()) -> None:
        """Continue from what `training_state` gave, in a model of the same networks.

        Learning rates, betas and the like follow the options that this model was made of.

        Args:
            state: what `training_state` gave.
            ignored: `network_d` ...: networks that stay as they are, with their averages and optimisers.

        Raises:
            WeightsError: the state is of other networks or optimisers.
        """
        networks = taken(self._networks(), ignored)
        if networks.keys() != taken(state["networks"], ignored).keys():
            raise WeightsError(
                f"the training state has {', '.join(state['networks'])}, but the options make {', '.join(networks)}"
            )
        for name, network in networks.items():
            try:
                fill(network, state["networks"][name], strict=True)
            except WeightsError as error:
                raise WeightsError(f"{name} of the training state {error}") from error
        for kind in ("optimizers", "schedulers"):
            if len(getattr(self, kind)) != len(state[kind]):
                raise WeightsError(f"the training state has {len(state[kind])} {kind}, not {len(getattr(self, kind))}")
        anew = {id(getattr(self, name.replace("network_", "optimizer_", 1), None)) for name in ignored}
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            if id(optimizer) not in anew:
                continue_optimizer(optimizer, saved)
        for scheduler, saved in zip(self.schedulers, state["schedulers"], strict=True):
            continue_schedule(scheduler, saved, anew=id(scheduler.optimizer) in anew)
        self.guard.load_state_dict(state["guard"])

    def _networks(self) -> dict[str, nn.Module]:
        return {name: self.get_bare_model(getattr(self, name)) for name in _NETWORKS if hasattr(self, name)}


def on_cpu(value: Any) -> Any:
    """A copy of nested dictionaries, lists and tensors whose tensors are on the CPU, strides kept."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: on_cpu(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(on_cpu(part) for part in value)
    return value
