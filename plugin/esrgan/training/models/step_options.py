"""What a training step does, out of the `train:` section of an options file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, Self

from esrgan.errors import UsageError

Precision = Literal["float32", "bfloat16", "float16"]

_PRECISIONS = ("float32", "bfloat16", "float16")


@dataclass(frozen=True, kw_only=True)
class StepOptions:
    """Keys below `train:` that every model of this project takes, beside BasicSR's own.

    Raises:
        UsageError: an impossible value; the message names the key.
    """

    precision: Precision = "float32"
    """Of the networks' forward and backward passes. Weights, optimisers and losses stay in float32."""
    channels_last: bool = True
    """Keep the channels of a pixel together in memory: faster on CPUs and on tensor cores."""
    compile: bool = False
    """Compile the generator with `torch.compile`: worth its minutes on long runs.

    The discriminator is left as it is: on a CPU it was not faster compiled (0.144 s against 0.134 s a step), and torch
    goes twice through a compiled backward pass only with a switch that is not public.
    """
    accumulate: int = 1
    """Equal parts into which a batch is cut, to save memory. Batch statistics are then those of a part."""
    clip_grad_norm: float | None = None
    """Largest norm of a network's whole gradient; longer ones are scaled down to it."""

    def __post_init__(self) -> None:
        if self.precision not in _PRECISIONS:
            raise UsageError(f"train:precision must be one of {', '.join(_PRECISIONS)}, got {self.precision!r}")
        if self.accumulate < 1:
            raise UsageError(f"train:accumulate must be at least 1, got {self.accumulate}")
        clip = self.clip_grad_norm
        if clip is not None and not (clip > 0 and math.isfinite(clip)):
            raise UsageError(f"train:clip_grad_norm must be a number above 0, got {clip}")

    @classmethod
    def from_section(cls, train: Mapping[str, Any]) -> Self:
        """The options in a `train:` section, whose other keys are left alone."""
        given: dict[str, Any] = {
            # An options file may say 2.0 for a whole number.
            field.name: int(train[field.name]) if field.type == "int" else train[field.name]
            for field in fields(cls)
            if train.get(field.name) is not None
        }
        return cls(**given)


@dataclass(frozen=True, kw_only=True)
class RaGANOptions(StepOptions):
    """Keys below `train:` for adversarial training.

    Raises:
        UsageError: an impossible value; the message names the key.
    """

    detached: bool = False
    """Take the losses of BasicSR's `ESRGANModel`: halved, and L_D without gradients through its means."""
    net_d_iters: int = 1
    """The generator takes a step every so many iterations."""
    net_d_init_iters: int = 0
    """Iterations at the beginning in which only the discriminator learns."""
    loss_shift: int = 0
    """Crop output and target at a random offset under this, in HR pixels and along each axis, before all losses.

    VGG19 and the discriminators reduce images by strides, and patches always begin at an LR pixel. So every weight of
    the upsampler meets the same phase of those strides, and learns their pattern: a fine grid. The sides of what
    remains, `gt_size - loss_shift`, must suit the discriminator: 8 is good for all of ours.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.net_d_iters < 1:
            raise UsageError(f"train:net_d_iters must be at least 1, got {self.net_d_iters}")
        if self.net_d_init_iters < 0:
            raise UsageError(f"train:net_d_init_iters must be at least 0, got {self.net_d_init_iters}")
        if self.loss_shift < 0:
            raise UsageError(f"train:loss_shift must be at least 0, got {self.loss_shift}")
