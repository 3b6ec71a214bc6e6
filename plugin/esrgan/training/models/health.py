"""Signs that adversarial training goes wrong, cheap enough for every line of the log."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from esrgan.losses.relativistic import relative_logits

_SATURATED = math.log(0.99 / 0.01)
"""Relative logit beyond which σ is over 0.99 (or under 0.01)."""
_COARSE = 8
"""Side, in LR pixels, of the squares over which colours are averaged: no detail is left in them."""

MOST_SATURATED = 0.95
"""Share of saturated outputs above which the generator learns next to nothing."""
MOST_DRIFT = 0.04
"""Mean colour difference (of 1) above which pictures look tinted; ten levels of 255."""


def saturated_share(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Share of D_Ra outputs over 0.99 or under 0.01; a scalar in 0..1.

    There σ is flat: the discriminator is sure of almost everything and gives the generator no direction.
    """
    real, fake = relative_logits(real_logits, fake_logits)
    return (torch.cat([real.flatten(), fake.flatten()]).abs() > _SATURATED).float().mean()


def colour_drift(output: Tensor, lr: Tensor) -> Tensor:
    """Mean absolute difference of the low-pass output and the low-pass input; a scalar, 0 when colours agree.

    Shape: `(N, C, sH, sW)` and `(N, C, H, W)`, values in 0..1.
    """
    scale = output.shape[-1] // lr.shape[-1]
    side = min(_COARSE, *lr.shape[-2:])
    return (F.avg_pool2d(output.float(), side * scale) - F.avg_pool2d(lr.float(), side)).abs().mean()


def complaints(values: Mapping[str, float]) -> dict[str, str]:
    """Name -> sentence for the user, of each logged value that is out of the ordinary."""
    found = {}
    if (saturated := values.get("d_saturated", 0.0)) > MOST_SATURATED:
        found["d_saturated"] = (
            f"{saturated:.0%} of the discriminator's outputs are saturated: the generator learns next to nothing. "
            "Lower the discriminator's learning rate (train:optim_d:lr), or start from better generator weights"
        )
    if (drift := values.get("colour_drift", 0.0)) > MOST_DRIFT:
        found["colour_drift"] = (
            f"the output's colours are off by {drift * 255:.0f} of 255 levels on average: "
            "raise the weight of the pixel loss (train:pixel_opt:loss_weight), or continue from an earlier checkpoint"
        )
    return found
