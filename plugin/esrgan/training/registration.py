"""Registers this project's parts with BasicSR: the target of the `basicsr.plugins` entry point."""

from __future__ import annotations

from esrgan.training.compat import patch_torchvision

SUFFIX = "esrgan"
"""BasicSR already has a `RRDBNet`; ours is `RRDBNet_esrgan` in YAML."""


def register() -> None:
    """Make this project's networks, losses and models known to BasicSR, each as `Name_esrgan`.

    Networks: RRDBNet, SRVGGNetCompact, VGGStyleDiscriminator, UNetDiscriminatorSN. Losses: PerceptualLoss,
    RelativisticGANLoss. Models: PSNRModel, RaGANModel. Sets: BicubicFolderDataset, DegradedDataset,
    PairedMemoryDataset. A second call does nothing.
    """
    patch_torchvision()
    from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY, MODEL_REGISTRY

    from esrgan.archs.compact import SRVGGNetCompact
    from esrgan.archs.discriminators import UNetDiscriminatorSN, VGGStyleDiscriminator
    from esrgan.archs.rrdbnet import RRDBNet
    from esrgan.losses import PerceptualLoss, RelativisticGANLoss
    from esrgan.training.data.bicubic_folder import BicubicFolderDataset
    from esrgan.training.data.degraded_set import DegradedDataset
    from esrgan.training.data.memory_set import PairedMemoryDataset
    from esrgan.training.models.psnr_model import PSNRModel
    from esrgan.training.models.ragan_model import RaGANModel

    parts = (
        (ARCH_REGISTRY, RRDBNet, SRVGGNetCompact, VGGStyleDiscriminator, UNetDiscriminatorSN),
        (LOSS_REGISTRY, PerceptualLoss, RelativisticGANLoss),
        (MODEL_REGISTRY, PSNRModel, RaGANModel),
        (DATASET_REGISTRY, BicubicFolderDataset, DegradedDataset, PairedMemoryDataset),
    )
    for registry, *classes in parts:
        for part in classes:
            if f"{part.__name__}_{SUFFIX}" not in registry:
                registry.register(part, suffix=SUFFIX)
