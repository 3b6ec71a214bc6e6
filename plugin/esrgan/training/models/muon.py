"""Muon: momentum whose steps are orthogonal matrices (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.adam import adam

_QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients of the Newton-Schulz iteration, chosen by Jordan et al. for the steepest slope at zero."""
_ITERATIONS = 5
_FEWEST = 8
"""Weights with fewer inputs or outputs than this have too few directions: Adam steps them."""


class Muon(Optimizer):
    """Muon for the weights of convolutions, Adam for biases, other vectors, and layers to and from images.

    A weight `(O, I, h, w)` is taken as the matrix `(O, I * h * w)`. Its step is the momentum with all singular values
    near 1, times 0.2 √max(O, I h w), so that it is as long as a step of Adam's (Liu et al. 2025, arXiv:2502.16982,
    section 2.2): learning rates of Adam can be kept, and three times as much is often better.

    Weights of one shape are computed together, and in float32, since not every processor has bfloat16.

    Args:
        params: tensors; not groups of them.
        lr: learning rate of both, unless `adam_lr` is given.
        momentum: of the average of gradients, as of Nesterov.
        adam_lr: learning rate of what Adam steps.
        betas: of Adam.
        eps: of Adam.

    Raises:
        ValueError: a number out of range, or no tensors.
    """

    _step_supports_amp_scaling = True
    """As fused optimisers do, `step` reads `found_inf` on the device, so that nothing waits for it."""

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        *,
        momentum: float = 0.9,
        adam_lr: float | None = None,
        betas: Sequence[float] = (0.9, 0.99),
        eps: float = 1e-8,
    ) -> None:
        for name, rate in (("lr", lr), ("adam_lr", adam_lr)):
            if rate is not None and not (rate >= 0 and math.isfinite(rate)):
                raise ValueError(f"Muon: {name} must be a number of at least 0, got {rate}")
        for name, value in (("momentum", momentum), ("betas", betas[0]), ("betas", betas[1])):
            if not 0 <= value < 1:
                raise ValueError(f"Muon: {name} must be at least 0 and under 1, got {value}")
        tensors = list(params)
        if not tensors:
            raise ValueError("Muon: there is nothing to train")
        matrices = [tensor for tensor in tensors if _is_matrix(tensor)]
        others = [tensor for tensor in tensors if not _is_matrix(tensor)]
        groups: list[dict[str, Any]] = [
            {"params": matrices, "orthogonal": True},
            {"params": others, "orthogonal": False, "lr": lr if adam_lr is None else adam_lr},
        ]
        # "fused" has a loaded state's `step` on the parameter's device, where Adam's fused step wants it.
        defaults = {"lr": lr, "momentum": momentum, "betas": tuple(betas), "eps": eps, "fused": True}
        super().__init__([group for group in groups if group["params"]], defaults)

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Take a step, unless the attribute `found_inf`, a scalar on the device, is there and is not 0."""
        if closure is not None:
            raise ValueError("Muon: a closure is not supported")
        found_inf: Tensor | None = getattr(self, "found_inf", None)
        bad = None if found_inf is None else found_inf > 0
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if group["orthogonal"]:
                self._step_matrices(parameters, group, bad)
            else:
                self._step_others(parameters, group, found_inf)
        return None

    def _step_matrices(self, parameters: list[Tensor], group: dict[str, Any], bad: Tensor | None) -> None:
        by_shape: dict[torch.Size, list[Tensor]] = {}
        for parameter in parameters:
            by_shape.setdefault(parameter.shape, []).append(parameter)
        for shape, alike in by_shape.items():
            momentum = [self._state(parameter, "momentum") for parameter in alike]
            gradients = torch.stack([parameter.grad.flatten(1) for parameter in alike if parameter.grad is not None])
            old = torch.stack([each.flatten(1) for each in momentum])
            averages = old.lerp(gradients, 1 - group["momentum"])
            steps = orthogonal(gradients.lerp(averages, group["momentum"]))  # (count, O, I * h * w)
            weights = torch.stack([parameter.flatten(1) for parameter in alike])
            new = weights - group["lr"] * 0.2 * math.sqrt(max(steps.shape[1:])) * steps
            if bad is not None:
                averages, new = torch.where(bad, old, averages), torch.where(bad, weights, new)
            results = [each.reshape(shape) for each in (*averages, *new)]
            torch._foreach_copy_([*momentum, *alike], results)

    def _step_others(self, parameters: list[Tensor], group: dict[str, Any], found_inf: Tensor | None) -> None:
        """Adam (Kingma & Ba 2015, algorithm 1), for all tensors in one launch."""
        beta1, beta2 = group["betas"]
        adam(
            parameters,
            [_laid_out_as(parameter, parameter.grad) for parameter in parameters if parameter.grad is not None],
            [self._state(parameter, "exp_avg") for parameter in parameters],
            [self._state(parameter, "exp_avg_sq") for parameter in parameters],
            [],
            [self._state(parameter, "step", scalar=True) for parameter in parameters],
            fused=True,
            found_inf=found_inf,
            amsgrad=False,
            beta1=beta1,
            beta2=beta2,
            lr=group["lr"],
            weight_decay=0,
            eps=group["eps"],
            maximize=False,
        )

    def _state(self, parameter: Tensor, name: str, *, scalar: bool = False) -> Tensor:
        state: dict[str, Tensor] = self.state[parameter]
        if name not in state:
            single = torch.zeros((), device=parameter.device)
            state[name] = single if scalar else torch.zeros_like(parameter)
        return state[name]


def orthogonal(matrices: Tensor) -> Tensor:
    """Each matrix U S Vᵀ as nearly U Vᵀ: singular values come out between about 0.7 and 1.2, or at 0 if they were.

    Args:
        matrices: `(N, rows, columns)`, floating-point.

    Returns:
        The same shape and type.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-12)  # no singular value is over 1 then
    a, b, c = _QUINTIC
    for _ in range(_ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    result: Tensor = x.mT if tall else x
    return result


def _is_matrix(tensor: Tensor) -> bool:
    return tensor.ndim >= 2 and min(tensor.shape[:2]) >= _FEWEST


def _laid_out_as(parameter: Tensor, gradient: Tensor) -> Tensor:
    """`gradient` in the order in memory of `parameter`, in which fused steps go through both."""
    if gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)
