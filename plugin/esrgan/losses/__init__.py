"""Losses of ESRGAN in plain torch: relativistic average GAN and features before activation."""

from __future__ import annotations

from esrgan.losses.distributed import mean_over_ranks
from esrgan.losses.perceptual import PerceptualLoss
from esrgan.losses.relativistic import (
    DetachedGANLoss,
    RelativisticGANLoss,
    ragan_discriminator_loss,
    ragan_generator_loss,
)

__all__ = [
    "DetachedGANLoss",
    "PerceptualLoss",
    "RelativisticGANLoss",
    "mean_over_ranks",
    "ragan_discriminator_loss",
    "ragan_generator_loss",
]
