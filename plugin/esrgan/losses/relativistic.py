"""The relativistic average GAN (Jolicoeur-Martineau 2018), as in ESRGAN (arXiv:1809.00219, section 3.2).

With C(x) the discriminator's logits, x_r real and x_f generated images, σ the sigmoid and E[.] the mean
over the batch:

    D_Ra(x_r, x_f) = σ(C(x_r) − E[C(x_f)])      how much more real a real image is than the generated ones
    D_Ra(x_f, x_r) = σ(C(x_f) − E[C(x_r)])      and the other way round

The logarithms are softplus, which neither overflows nor loses digits: −log σ(z) = softplus(−z) and
−log(1 − σ(z)) = softplus(z).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from esrgan.losses.distributed import mean_over_ranks

Mean = Callable[[Tensor], Tensor]
"""E[.] of the equations: any shape -> a scalar."""


def relative_logits(real_logits: Tensor, fake_logits: Tensor, mean: Mean = torch.mean) -> tuple[Tensor, Tensor]:
    """The arguments of σ in D_Ra(x_r, x_f) and D_Ra(x_f, x_r); shapes as given."""
    return real_logits - mean(fake_logits), fake_logits - mean(real_logits)


def ragan_discriminator_loss(real_logits: Tensor, fake_logits: Tensor, *, mean: Mean = torch.mean) -> Tensor:
    """Equation (1): L_D = −E[log D_Ra(x_r, x_f)] − E[log(1 − D_Ra(x_f, x_r))].

    Args:
        real_logits: C(x_r), of any shape.
        fake_logits: C(x_f), of any shape.
        mean: E[.] inside D_Ra; with several processes `mean_over_ranks`. Not detached: gradients flow through it.

    Returns:
        A scalar, at least 0; 2 log 2 when the two sets cannot be told apart.
    """
    real, fake = relative_logits(real_logits, fake_logits, mean)
    return softplus(-real).mean() + softplus(fake).mean()


def ragan_generator_loss(real_logits: Tensor, fake_logits: Tensor, *, mean: Mean = torch.mean) -> Tensor:
    """Equation (2): L_G = −E[log(1 − D_Ra(x_r, x_f))] − E[log D_Ra(x_f, x_r)].

    The generator learns from both terms: the first contains x_f in its mean. Arguments and result as in
    `ragan_discriminator_loss`.
    """
    real, fake = relative_logits(real_logits, fake_logits, mean)
    return softplus(real).mean() + softplus(-fake).mean()


class RelativisticGANLoss(nn.Module):
    """Both losses with the weight λ of equation (3), the mean taken over all processes.

    The sums are those of the equations. The official code and BasicSR halve them: λ = 5e-3 there is
    `loss_weight` = 2.5e-3 here.

    Args:
        loss_weight: λ, for the generator only.

    Raises:
        ValueError: a negative weight.
    """

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        if not loss_weight >= 0:
            raise ValueError(f"RelativisticGANLoss: loss_weight must be at least 0, got {loss_weight}")
        self.loss_weight = loss_weight

    def generator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """λ L_G; a scalar."""
        return self.loss_weight * ragan_generator_loss(real_logits, fake_logits, mean=mean_over_ranks)

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """L_D; a scalar."""
        return ragan_discriminator_loss(real_logits, fake_logits, mean=mean_over_ranks)


class DetachedGANLoss(RelativisticGANLoss):
    """The losses of BasicSR's `ESRGANModel`: both halved, and L_D without gradients through the means.

    Each process takes the means over its own batch, as BasicSR does.
    """

    def generator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """λ L_G / 2; a scalar."""
        return self.loss_weight * ragan_generator_loss(real_logits, fake_logits) / 2

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """L_D / 2; a scalar."""
        return ragan_discriminator_loss(real_logits, fake_logits, mean=_detached_mean) / 2


def _detached_mean(values: Tensor) -> Tensor:
    return values.detach().mean()
