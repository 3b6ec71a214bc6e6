"""Architectures that are not ours, read by the optional package spandrel."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from esrgan.errors import WeightsError
from esrgan.weights.facts import LoadedNetwork, NetworkFacts
from esrgan.weights.layouts import shown

if TYPE_CHECKING:
    from spandrel import ArchRegistry, ImageModelDescriptor

logger = logging.getLogger(__name__)

FACE_SIDE = 512
"""Height and width of the faces that all networks of this kind were trained on."""

_OWN = ("ESRGAN", "Compact")
"""Architectures of spandrel that we read ourselves, more strictly."""

_CENTRED: Mapping[str, Mapping[str, bool]] = {
    "GFPGAN": {"return_rgb": False, "randomize_noise": False},
    "CodeFormer": {},
}
"""Face networks that work on -1..1, with the arguments of a call. GFPGAN draws new noise each time unless told to take
what its weights file holds: the same face would look different in each frame of a video."""

_LARGE_NUMBER = re.compile(r"\d{5}")

_LOAD_ERRORS = (LookupError, ValueError, TypeError, AttributeError, ArithmeticError, AssertionError, RuntimeError)

_EXPECTED = (
    "known here: RRDBNet as 'body.0.rdb1.conv1.weight' (BasicSR), 'RRDB_trunk.0.RDB1.conv1.weight' (2018) or "
    "'model.1.sub.0.RDB1.conv1.0.weight' (old), and SRVGGNetCompact as 'body.0.weight'"
)


class SpandrelNetwork(nn.Module):
    """A network of spandrel's behind the interface of ours.

    Shape: `(N, C, H, W)` -> `(N, C', H * scale, W * scale)`; the values are clamped to 0..1. Sizes
    that the network cannot take are padded inside.
    """

    def __init__(self, descriptor: ImageModelDescriptor[nn.Module]) -> None:
        super().__init__()
        self.inner = descriptor.model
        self.architecture = descriptor.architecture.id
        self._descriptor = descriptor

    def forward(self, x: Tensor) -> Tensor:
        """Run the network in evaluation mode, without gradients."""
        output = self._run(x)
        # spandrel computes in inference mode, whose tensors could not be changed in place outside it.
        return output if torch.is_inference_mode_enabled() else output.clone()

    def _run(self, x: Tensor) -> Tensor:
        output: Tensor = self._descriptor(x)
        return output


class CentredNetwork(SpandrelNetwork):
    """A network that was trained on -1..1, which spandrel leaves to its caller, behind 0..1."""

    def _run(self, x: Tensor) -> Tensor:
        image: Tensor = self.inner(x * 2 - 1, **_CENTRED[self.architecture])[0]
        return ((image + 1) / 2).clamp_(0, 1)


def load_other(state: Mapping[str, Tensor], *, faces: bool = False) -> LoadedNetwork:
    """The network of another architecture than ours.

    Args:
        state: its tensors.
        faces: take networks that restore aligned faces as well.

    Raises:
        WeightsError: spandrel is not installed, does not know the names, cannot load the tensors, or
            the network does not turn one whole image into one image.
    """
    for key in state:
        if _LARGE_NUMBER.search(key):  # spandrel would build that many layers
            raise WeightsError(f"{shown(key)} has a number that no layer of a real network has")
    try:
        import spandrel
    except ImportError as error:
        raise WeightsError(
            f'{_unknown(state)}; other architectures need an optional package: pip install "esrgan[spandrel]"'
        ) from error
    try:
        descriptor = spandrel.ModelLoader(device="cpu", registry=_registry()).load_from_state_dict(dict(state))
    except spandrel.UnsupportedModelError as error:
        raise WeightsError(f"{_unknown(state)}; nor is it an architecture that spandrel knows") from error
    except _LOAD_ERRORS as error:
        reason = str(error).split("\n", maxsplit=1)[0][:200]
        raise WeightsError(f"spandrel could not load these tensors: {type(error).__name__}: {reason}") from error
    name = descriptor.architecture.name
    if not isinstance(descriptor, spandrel.ImageModelDescriptor):
        raise WeightsError(f"{name} needs a mask besides the image: only networks from image to image are used here")
    if descriptor.purpose == "FaceSR":
        if not faces:
            raise WeightsError(
                f"{name} restores aligned faces: only networks for whole images are used here; for the faces in them "
                "there is --faces"
            )
        return LoadedNetwork(_wrapped(descriptor), replace(_facts(descriptor), face_side=FACE_SIDE))
    if descriptor.size_requirements.square:
        raise WeightsError(f"{name} takes square images only: such networks are not used here")
    if descriptor.tiling != spandrel.ModelTiling.SUPPORTED:
        logger.warning("%s sees the whole image at once: tiles change its result", name)
    return LoadedNetwork(_wrapped(descriptor), _facts(descriptor))


def _registry() -> ArchRegistry:
    import spandrel

    others = [
        support for support in spandrel.MAIN_REGISTRY.architectures("detection") if support.architecture.id not in _OWN
    ]
    registry = spandrel.ArchRegistry()
    registry.add(*others)
    with contextlib.suppress(ImportError):  # CodeFormer and others, whose licences forbid commercial use
        from spandrel_extra_arches import EXTRA_REGISTRY

        registry.add(*EXTRA_REGISTRY.architectures("detection"))
    return registry


def _wrapped(descriptor: ImageModelDescriptor[nn.Module]) -> SpandrelNetwork:
    kind = CentredNetwork if descriptor.architecture.id in _CENTRED else SpandrelNetwork
    network = kind(descriptor)
    network.eval().requires_grad_(False)
    return network


def _facts(descriptor: ImageModelDescriptor[nn.Module]) -> NetworkFacts:
    return NetworkFacts(
        architecture=descriptor.architecture.name,
        layout="spandrel",
        scale=descriptor.scale,
        in_channels=descriptor.input_channels,
        out_channels=descriptor.output_channels,
        size_multiple=descriptor.size_requirements.multiple_of,
        parameters=sum(parameter.numel() for parameter in descriptor.model.parameters()),
        supports_float16=descriptor.supports_half,
        supports_bfloat16=descriptor.supports_bfloat16,
        config=MappingProxyType({}),
    )


def _unknown(state: Mapping[str, Tensor]) -> str:
    names = ", ".join(shown(key) for key in list(state)[:3])
    return f"not a network that is known here: {len(state)} tensors, such as {names} ({_EXPECTED})"
