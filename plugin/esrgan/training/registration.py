"""Registers this project's parts with BasicSR: the target of the `basicsr.plugins` entry point."""

from __future__ import annotations

from esrgan.training.compat import patch_torchvision

SUFFIX = "esrgan"
"""BasicSR already has a `RRDBNet`; ours is `RRDBNet_esrgan` in YAML."""


def register() -> None:
    """Make `RRDBNet_esrgan`, `SRVGGNetCompact_esrgan` and `PSNRModel_esrgan` known to BasicSR.

    A second call does nothing.
    """
    patch_torchvision()
    from basicsr.utils.registry import ARCH_REGISTRY, MODEL_REGISTRY

    from esrgan.archs.compact import SRVGGNetCompact
    from esrgan.archs.rrdbnet import RRDBNet
    from esrgan.training.psnr_model import PSNRModel

    parts = ((ARCH_REGISTRY, RRDBNet), (ARCH_REGISTRY, SRVGGNetCompact), (MODEL_REGISTRY, PSNRModel))
    for registry, part in parts:
        if f"{part.__name__}_{SUFFIX}" not in registry:
            registry.register(part, suffix=SUFFIX)
