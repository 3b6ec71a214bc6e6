"""The guard of a training step: all optimisers move, or none, and nothing waits for the device to decide."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, distributed
from torch.optim import Optimizer

MOST_IN_A_ROW = 10
"""So many skipped steps in a row mean that training has diverged."""


class LossScale:
    """A power of two that lifts the small gradients of float16 above zero.

    The rule is that of `torch.amp.GradScaler`: halve after a gradient that is not finite, double after
    2000 good steps. `GradScaler` decides for each optimiser alone; here one decision holds for all.
    """

    INITIAL = 2.0**16
    GROWTH_INTERVAL = 2000

    def __init__(self, device: torch.device) -> None:
        self.value = torch.full((), self.INITIAL, device=device)
        self.good_steps = torch.zeros((), dtype=torch.int64, device=device)

    def update(self, bad: Tensor) -> None:
        """Adapt to a step that was `bad` (boolean scalar) or not."""
        good = torch.where(bad, 0, self.good_steps + 1)
        grow = good == self.GROWTH_INTERVAL
        larger = torch.where(grow, self.value * 2, self.value)
        self.value = torch.where(bad, self.value / 2, larger)
        self.good_steps = torch.where(grow, 0, good)


class StepGuard:
    """Scales losses, clips gradients, and skips a step whose loss or gradient is not finite.

    Args:
        device: of the networks.
        loss_scale: whether float16 needs one.
        clip_grad_norm: largest norm of the gradient of one optimiser's parameters, `None` for any.
    """

    def __init__(self, device: torch.device, *, loss_scale: bool = False, clip_grad_norm: float | None = None) -> None:
        self.loss_scale = LossScale(device) if loss_scale else None
        self.clip_grad_norm = clip_grad_norm
        self.skipped = torch.zeros((), dtype=torch.int64, device=device)
        self.skipped_in_a_row = torch.zeros((), dtype=torch.int64, device=device)

    def scaled(self, loss: Tensor) -> Tensor:
        """What to go backward from in place of `loss`."""
        return loss if self.loss_scale is None else loss * self.loss_scale.value

    def step(self, optimizers: Sequence[Optimizer], losses: Iterable[Tensor]) -> Tensor:
        """Step all of `optimizers`, unless a loss or gradient, on any process, is not finite.

        Args:
            optimizers: their parameters hold gradients of scaled losses.
            losses: scalars.

        Returns:
            A boolean scalar on the device: whether the step was skipped.
        """
        norms = [self._prepare(optimizer) for optimizer in optimizers]
        values = torch.stack([value.detach().to(self.skipped.device, torch.float32) for value in (*norms, *losses)])
        bad = ~values.isfinite().all()
        if distributed.is_available() and distributed.is_initialized():
            flag = bad.to(torch.float32)
            distributed.all_reduce(flag, distributed.ReduceOp.MAX)
            bad = flag > 0
        for optimizer in optimizers:
            _step_unless(bad, optimizer)
        if self.loss_scale is not None:
            self.loss_scale.update(bad)
        self.skipped = self.skipped + bad
        self.skipped_in_a_row = (self.skipped_in_a_row + 1) * bad
        return bad

    def _prepare(self, optimizer: Optimizer) -> Tensor:
        """Unscale and clip the gradients in place; returns their norm before clipping."""
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if self.loss_scale is not None and gradients:
            torch._foreach_mul_(gradients, 1 / self.loss_scale.value)
        norm = torch.nn.utils.get_total_norm(gradients)
        if self.clip_grad_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(parameters, self.clip_grad_norm, norm)
        return norm

    def state_dict(self) -> dict[str, Any]:
        """Counters and scale, as numbers."""
        scale = self.loss_scale
        return {
            "skipped": int(self.skipped),
            "skipped_in_a_row": int(self.skipped_in_a_row),
            "loss_scale": None if scale is None else float(scale.value),
            "good_steps": None if scale is None else int(scale.good_steps),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state_dict`. A scale that the other precision does not have is left as it is."""
        self.skipped.fill_(state["skipped"])
        self.skipped_in_a_row.fill_(state["skipped_in_a_row"])
        if self.loss_scale is not None and state["loss_scale"] is not None:
            self.loss_scale.value.fill_(state["loss_scale"])
            self.loss_scale.good_steps.fill_(state["good_steps"])


def _step_unless(bad: Tensor, optimizer: Optimizer) -> None:
    if getattr(optimizer, "_step_supports_amp_scaling", False):
        # Fused optimisers read the flag on the device: the step is queued without waiting for `bad`.
        optimizer.grad_scale, optimizer.found_inf = None, bad.to(torch.float32)  # type: ignore[attr-defined]
        try:
            optimizer.step()
        finally:
            del optimizer.grad_scale, optimizer.found_inf  # type: ignore[attr-defined]
    elif not bad:
        optimizer.step()
