"""From whatever a checkpoint holds to one flat dictionary of named tensors."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from esrgan.errors import WeightsError
from esrgan.weights.layouts import detect, shown

_MAX_DEPTH = 8

_WRAPPERS = (
    # Averaged weights come first: they are the ones to use.
    "params_ema",
    "params-ema",
    "g_ema",
    "params",
    "state_dict",
    "model_state_dict",
    "netG",
    "net_g",
    "generator",
    "model",
    "net",
    "network",
)

_SHARED_PREFIXES = ("module.", "_orig_mod.", "netG.", "net_g.")
"""Added by wrappers of whole networks; never part of an architecture's own names."""

_OWNER_PREFIXES = (
    "params_ema.",
    "params.",
    "generator_ema.",
    "net_g_ema.",
    "g_ema.",
    "generator.",
    "netG.",
    "net_g.",
    "model.",
    "net.",
    "network.",
)
"""Parts of a larger object. Also names inside other architectures: taken off only if what is left is ours."""


def find_state_dict(loaded: object) -> dict[str, Tensor]:
    """The named tensors inside the dictionaries of a checkpoint, averaged weights preferred.

    Raises:
        WeightsError: no dictionary of tensors is found.
    """
    for _ in range(_MAX_DEPTH):
        if not isinstance(loaded, Mapping):
            raise WeightsError(f"holds {_article(loaded)}, not a dictionary of tensors")
        inner = _inner(loaded)
        if inner is None:
            return _tensors(loaded)
        loaded = inner
    raise WeightsError(f"holds more than {_MAX_DEPTH} dictionaries inside each other")


def strip_prefixes(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take off prefixes of wrappers (`module.`, `_orig_mod.`) and of owners (`generator.`, `netG.`, `model.`).

    Of a checkpoint that also holds a discriminator or losses, only the generator is kept; its average
    (`generator_ema.`) where there is one.
    """
    return _strip(dict(state), depth=0)


def _inner(loaded: Mapping[object, object]) -> Mapping[object, object] | None:
    for name in _WRAPPERS:
        value = loaded.get(name)
        if isinstance(value, Mapping) and value:
            return value
    if any(isinstance(value, Tensor) for value in loaded.values()):
        return None
    dictionaries = [value for value in loaded.values() if isinstance(value, Mapping) and value]
    return dictionaries[0] if len(dictionaries) == 1 else None


def _tensors(loaded: Mapping[object, object]) -> dict[str, Tensor]:
    tensors = {key: value for key, value in loaded.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if tensors:
        return tensors
    if "optimizers" in loaded:
        raise WeightsError("is a training state (optimisers and schedulers); the weights are in net_g_*.pth beside it")
    names = ", ".join(shown(str(key)) for key in list(loaded)[:5])
    raise WeightsError(f"holds no named tensors, only {names or 'an empty dictionary'}")


def _article(loaded: object) -> str:
    return f"a {type(loaded).__name__}"


def _strip(state: dict[str, Tensor], *, depth: int) -> dict[str, Tensor]:
    state = _strip_shared(state)
    if detect(state) is not None or depth == _MAX_DEPTH:
        return state
    for prefix in _OWNER_PREFIXES:
        part = {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}
        if part:
            found = _strip(part, depth=depth + 1)
            if detect(found) is not None:
                return found
    return state


def _strip_shared(state: dict[str, Tensor]) -> dict[str, Tensor]:
    for _ in range(_MAX_DEPTH):
        # Counters beside the network, such as n_averaged of torch's AveragedModel, have no prefix.
        names = [key for key, tensor in state.items() if tensor.ndim > 0]
        prefix = next((p for p in _SHARED_PREFIXES if names and all(name.startswith(p) for name in names)), None)
        if prefix is None:
            break
        state = {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}
    return state
