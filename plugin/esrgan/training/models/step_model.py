"""What the steps of all our models share: precision, parts of a batch, the guard, averages and logs."""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from esrgan.errors import TrainingDiverged, UsageError
from esrgan.processor import multiplies_bfloat16
from esrgan.training.models.averaging import update_average
from esrgan.training.models.guard import MOST_IN_A_ROW, StepGuard
from esrgan.training.models.health import complaints
from esrgan.training.models.muon import Muon
from esrgan.training.models.step_options import Precision, StepOptions
from esrgan.training.models.stored_model import StoredModel

_log = logging.getLogger(__name__)

_AUTOCAST: dict[Precision, torch.dtype | None] = {
    "float32": None,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
_NO_SYNC_OF_BUFFERS: dict[str, Any] = (
    {"forward_sync_buffers": False}
    if "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters
    else {"broadcast_buffers": False}  # its name in older releases of torch
)
_FUSED = {"Adam": torch.optim.Adam, "AdamW": torch.optim.AdamW}
_OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {**_FUSED, "Muon": Muon}


class Part(NamedTuple):
    """A part of a batch; `(N, C, H, W)` and twice `(N, C, sH, sW)`, in 0..1."""

    lq: Tensor
    gt: Tensor
    target: Tensor
    """What the pixel and the perceptual loss compare with: `gt`, or a sharpened one."""


class StepModel(StoredModel):
    """Base of `PSNRModel` and `RaGANModel`. A subclass writes `optimize_parameters` out of its verbs:

        begin_step -> for each of parts: generate, content_loss, backward -> end_step

    Raises:
        UsageError: an impossible option.
    """

    step_options_type: ClassVar[type[StepOptions]] = StepOptions
    """The keys below `train:` that this model takes, beside BasicSR's."""
    generated: tuple[Tensor, Tensor]
    """The last input of the generator in training, and its output without a graph."""

    def __init__(self, opt: dict[str, Any]) -> None:
        self.step_options = self.step_options_type.from_section(opt.get("train") or {})
        self._losses: dict[str, Tensor] = {}
        self._checked = 0
        self._complained: set[str] = set()
        super().__init__(opt)

    # Setting up

    def init_training_settings(self) -> None:
        """Losses, optimisers and the average, as BasicSR does; then our own."""
        options = self.step_options
        if options.precision == "float16" and self.device.type != "cuda":
            raise UsageError("train:precision: float16 needs a CUDA device; use bfloat16 or float32 on the CPU")
        self._autocast_dtype = _AUTOCAST[options.precision]
        if self._autocast_dtype == torch.bfloat16 and self.device.type == "cpu" and not multiplies_bfloat16():
            _log.warning("train:precision: this processor has no bfloat16, in software it is far slower; using float32")
            self._autocast_dtype = None
        super().init_training_settings()
        if self.ema_decay > 0:
            self._arrange(self.net_g_ema)
        if options.compile:
            # In place: the names of the weights stay as they are.
            self.get_bare_model(self.net_g).compile()
        self.guard = StepGuard(
            self.device, loss_scale=options.precision == "float16", clip_grad_norm=options.clip_grad_norm
        )

    def model_to_device(self, net: nn.Module) -> nn.Module:
        """Move `net` to its device, and wrap it when there are several processes."""
        if not self.opt["dist"] and self.opt["num_gpu"] > 1:
            # One process with threads, as DataParallel has it, would forget the precision and what is compiled.
            count = self.opt["num_gpu"]
            raise UsageError(
                f"num_gpu: {count} GPUs need a process each: `torchrun --nproc_per_node {count} -m esrgan.training.cli "
                "train -opt ... --launcher pytorch`, or num_gpu: 1"
            )
        net = self._arrange(net)
        if not self.opt["dist"]:
            wrapped: nn.Module = super().model_to_device(net)
            return wrapped
        return DistributedDataParallel(
            net,
            device_ids=[torch.cuda.current_device()] if self.device.type == "cuda" else None,
            find_unused_parameters=self.opt.get("find_unused_parameters", False),
            # Copying the first process's running statistics before each pass would overwrite, in place, what the
            # backward pass of an earlier one still needs. They do not take part in training.
            **_NO_SYNC_OF_BUFFERS,
        )

    def _arrange(self, net: nn.Module) -> nn.Module:
        net = net.to(self.device)
        if self.step_options.channels_last:
            net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return net

    def get_optimizer(self, optim_type: str, params: Any, lr: float, **kwargs: Any) -> Optimizer:
        """An optimiser by name; one of torch's is fused unless the options say otherwise."""
        if optim_type not in _OPTIMIZERS:
            raise UsageError(f"train: optimiser type must be one of {', '.join(_OPTIMIZERS)}, got {optim_type!r}")
        if optim_type in _FUSED:
            kwargs = {"fused": True, **kwargs}
        try:
            optimizer = _OPTIMIZERS[optim_type](params, lr, **kwargs)
        except ValueError as error:  # a number out of range
            raise UsageError(f"train: {error}") from error
        optimizer.register_load_state_dict_post_hook(arrange_state)
        return optimizer

    def update_learning_rate(self, current_iter: int, warmup_iter: int = -1) -> None:
        """Set the learning rates of iteration `current_iter`, counted from 1."""
        with warnings.catch_warnings():
            # A generator that rests at first has a schedule that goes on all the same.
            warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
            super().update_learning_rate(current_iter, warmup_iter)

    # The verbs of a step

    def feed_data(self, data: Mapping[str, Tensor]) -> None:
        """Take a batch: `lq` `(N, C, H, W)` and, but for testing without it, `gt` `(N, C, sH, sW)`, in 0..1.

        Tensors of uint8, 0..255, become float32 in 0..1 on the device: a quarter of the bytes goes there.

        `gt_usm`, if it is there, is what the pixel and the perceptual loss compare with in place of `gt`.
        """
        memory_format = torch.channels_last if self.step_options.channels_last else torch.contiguous_format
        for name in ("lq", "gt", "gt_usm"):
            if name in data:
                there = data[name].to(self.device, non_blocking=True)
                if there.dtype == torch.uint8:
                    there = there.to(torch.float32).div_(255)
                setattr(self, name, there.contiguous(memory_format=memory_format))
        if "gt" in data and "gt_usm" not in data:
            self.gt_usm = self.gt

    def begin_step(self, *optimizers: Optimizer) -> None:
        """Forget the gradients and losses of the step before."""
        self._losses = {}
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)

    def parts(self, *networks: nn.Module) -> Iterator[Part]:
        """Each part of the batch. Processes exchange gradients of `networks` in the last only."""
        count = self.step_options.accumulate
        if len(self.lq) % count:
            raise UsageError(f"train:accumulate: {count} does not divide the batch of {len(self.lq)}")
        batch = (self.lq, self.gt, self.gt_usm)
        for index, tensors in enumerate(zip(*(tensor.chunk(count) for tensor in batch), strict=True)):
            with ExitStack() as stack:
                for network in networks:
                    if index + 1 < count and isinstance(network, DistributedDataParallel):
                        stack.enter_context(network.no_sync())
                yield Part(*tensors)

    def autocast(self) -> AbstractContextManager[None]:
        """Run networks in the precision of the options; float32 where a processor has no bfloat16."""
        dtype = self._autocast_dtype
        return torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not None)

    def generate(self, lq: Tensor) -> Tensor:
        """The generator's output, at least in float32."""
        with self.autocast():
            output = self.net_g(lq)  # (N, C, H * s, W * s)
        self.output = output.detach()
        self.generated = (lq, self.output)
        return at_least_float32(output)

    def content_loss(self, output: Tensor, gt: Tensor, prefix: str) -> Tensor | None:
        """The weighted pixel, perceptual and style losses of the options together, or `None` if there are none."""
        terms: dict[str, Tensor | None] = {}
        if self.cri_pix:
            terms["pix"] = self.cri_pix(output, gt)
        if self.cri_perceptual:
            with self.autocast():
                terms["percep"], terms["style"] = self.cri_perceptual(output, gt)
        present = {name: term for name, term in terms.items() if term is not None}
        self.record({f"{prefix}_{name}": term for name, term in present.items()})
        return torch.stack(list(present.values())).sum() if present else None

    def backward(self, loss: Tensor, **arguments: Any) -> None:
        """Add the gradient of this part's share of `loss`; `arguments` as of `Tensor.backward`."""
        share = self.guard.scaled(loss) / self.step_options.accumulate
        share.backward(**arguments)  # type: ignore[no-untyped-call]

    def record(self, values: Mapping[str, Tensor]) -> None:
        """Keep scalars for the log, averaged over the parts, where they are: on the device."""
        for name, value in values.items():
            share = value.detach() / self.step_options.accumulate
            self._losses[name] = self._losses[name] + share if name in self._losses else share

    def end_step(self, current_iter: int, optimizers: Sequence[Optimizer]) -> Tensor:
        """Let `optimizers` step, unless a value is not finite; returns whether they did not (boolean scalar).

        Raises:
            TrainingDiverged: ten steps in a row were skipped.
        """
        bad = self.guard.step(optimizers, self._losses.values())
        if self.ema_decay > 0 and self.optimizer_g in optimizers:
            self.model_ema(self.ema_decay)
        self._checked += 1
        # Reading the counter from a GPU waits for all of its work: seldom is often enough.
        if self.device.type == "cpu" or self._checked % MOST_IN_A_ROW == 0:
            self._stop_if_diverged(current_iter)
        return bad

    def _stop_if_diverged(self, current_iter: int) -> None:
        count = int(self.guard.skipped_in_a_row)
        if count >= MOST_IN_A_ROW:
            last = self.last_checkpoint
            raise TrainingDiverged(
                f"iteration {current_iter}: losses or gradients were not finite in {count} steps in a row. "
                + (f"The last good checkpoint is {last}. " if last else "No checkpoint was written yet. ")
                + "Go on from before with a lower learning rate, train:clip_grad_norm or precision: float32"
            )

    def model_ema(self, decay: float = 0.999) -> None:
        """Move the average of the generator's weights by one step; 0 copies the weights."""
        update_average(self.net_g_ema, self.get_bare_model(self.net_g), decay)

    # What the loop asks for

    def health(self) -> dict[str, Tensor]:
        """Scalars that tell whether training goes well; computed only when logged."""
        return {}

    def get_current_log(self) -> dict[str, float]:
        """Losses and health of the last step, averaged over all processes, which must all call this."""
        with torch.no_grad():
            values = {**self._losses, **self.health()}
            numbers = torch.stack([value.to(torch.float64) for value in values.values()])
            if self.opt["dist"]:
                distributed.all_reduce(numbers)
                numbers /= self.opt["world_size"]
        self.log_dict = dict(zip(values, numbers.tolist(), strict=True))
        self.log_dict.update({name: float(value) for name, value in self._counters().items()})
        self._complain(complaints(self.log_dict))
        return self.log_dict

    def _complain(self, found: dict[str, str]) -> None:
        """Warn of what was in order at the last line of the log, so that a warning comes once."""
        for name in found.keys() - self._complained:
            _log.warning(found[name])
        self._complained = set(found)

    def _counters(self) -> dict[str, Tensor]:
        counters = {"skipped_steps": self.guard.skipped}
        if self.guard.loss_scale is not None:
            counters["loss_scale"] = self.guard.loss_scale.value
        return counters

    def test(self) -> None:
        """Upscale `lq` with the averaged weights if there are any; in float32, and never compiled."""
        network = self.net_g_ema if hasattr(self, "net_g_ema") else self.get_bare_model(self.net_g)
        training = network.training
        network.eval()
        height, width = self.lq.shape[-2:]
        scale = self.opt["scale"]
        with torch.no_grad():
            padded = padded_to_multiple(self.lq, getattr(network, "unshuffle", 1))
            output = network.forward(padded)  # not __call__: every size would be compiled anew
        self.output = output[..., : height * scale, : width * scale]
        network.train(training)


def padded_to_multiple(images: Tensor, multiple: int) -> Tensor:
    """`(N, C, H, W)` with the last row and column repeated until both sides are multiples: a network that unshuffles
    pixels takes no others."""
    height, width = images.shape[-2:]
    below, right = -height % multiple, -width % multiple
    return functional.pad(images, (0, right, 0, below), mode="replicate") if below or right else images


def at_least_float32(x: Tensor) -> Tensor:
    """`x` in float32, or in float64 if it is."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def arrange_state(optimizer: Optimizer) -> None:
    """Make a loaded state fit an optimiser of another kind: fused or not, channels-last or not.

    Fused optimisers go through weights and state in the order of memory and do not compare layouts: a
    state that was saved without channels-last would be applied to the wrong weights.
    """
    fused = optimizer.defaults.get("fused")
    for group in optimizer.param_groups:
        group["fused"] = fused
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if name == "step" and fused:
                state[name] = torch.as_tensor(value, dtype=torch.float32, device=parameter.device)
            elif isinstance(value, Tensor) and value.shape == parameter.shape and value.stride() != parameter.stride():
                state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
