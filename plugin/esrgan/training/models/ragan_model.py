"""The second stage of ESRGAN: adversarial training with the relativistic average discriminator."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import torch
from basicsr.models.srgan_model import SRGANModel  # noqa: TID253 - this module exists for BasicSR alone
from torch import Tensor

from esrgan.errors import UsageError
from esrgan.losses.relativistic import DetachedGANLoss, RelativisticGANLoss
from esrgan.training.models.health import colour_drift, saturated_share
from esrgan.training.models.step_model import Part, StepModel, at_least_float32
from esrgan.training.models.step_options import RaGANOptions


class Logits(NamedTuple):
    """C(x_r) and C(x_f), at least in float32."""

    real: Tensor
    fake: Tensor


class RaGANModel(StepModel, SRGANModel):
    """ESRGAN's adversarial training (arXiv:1809.00219, section 3) inside BasicSR.

    Both networks step from the same weights, so one discriminator pass for each set of images serves
    both losses: the gradients are those of separate passes. The default losses are the paper's, whose
    means carry gradients; `train:detached: true` takes those of BasicSR's `ESRGANModel`.

    YAML: BasicSR's keys for `ESRGANModel`, with `gan_opt: {type: RelativisticGANLoss_esrgan}`, and the
    fields of `RaGANOptions`.

    Raises:
        UsageError: an impossible option.
    """

    step_options_type: ClassVar[type[RaGANOptions]] = RaGANOptions
    step_options: RaGANOptions
    cri_gan: Any

    def init_training_settings(self) -> None:
        """Networks, losses and optimisers, as in BasicSR's `SRGANModel`."""
        train = self.opt["train"]
        if not train.get("gan_opt"):
            raise UsageError("train:gan_opt is missing: give it the type RelativisticGANLoss_esrgan")
        if train.get("ldl_opt"):
            raise UsageError("train:ldl_opt: RaGANModel_esrgan does not have this loss; take the key out")
        super().init_training_settings()
        if not isinstance(self.cri_gan, RelativisticGANLoss):
            raise UsageError(
                "train:gan_opt:type must be RelativisticGANLoss_esrgan for RaGANModel_esrgan, "
                f"got {train['gan_opt']['type']!r}"
            )
        if self.step_options.detached:
            self.cri_gan = DetachedGANLoss(self.cri_gan.loss_weight)
        self._discriminator_weights = list(self.net_d.parameters())
        self._logits: Logits | None = None

    def optimize_parameters(self, current_iter: int) -> None:
        """One iteration on the batch of `feed_data`.

        Raises:
            TrainingDiverged: ten iterations in a row were not finite.
        """
        options = self.step_options
        generator_learns = current_iter % options.net_d_iters == 0 and current_iter > options.net_d_init_iters
        optimizers = [self.optimizer_g, self.optimizer_d] if generator_learns else [self.optimizer_d]
        statistics = self._running_statistics()
        self.begin_step(self.optimizer_g, self.optimizer_d)
        for part in self.parts(self.net_g, self.net_d):
            logits = self.generator_step(part) if generator_learns else self._logits_without_generator(part)
            self.discriminator_step(logits)
        skipped = self.end_step(current_iter, optimizers)
        for current, before in statistics:
            current.copy_(torch.where(skipped, before, current))

    def generator_step(self, part: Part) -> Logits:
        """Equation (3), into the generator's gradients: L_percep + λ L_G + η L_1.

        Returns:
            The logits of the HR images and of the output, with the graph between them and the discriminator's weights.
        """
        output, gt, target = self._shifted(self.generate(part.lq), part.gt, part.target)
        fake = output.detach().requires_grad_()  # where the graph of the losses ends and the generator's begins
        content = self.content_loss(fake, target, "l_g")
        if content is not None:
            self.backward(content)
        logits = self._judge(gt, fake)
        adversarial = self.cri_gan.generator(*logits)
        self.record({"l_g_gan": adversarial})
        self.backward(adversarial, inputs=[fake], retain_graph=True)
        output.backward(fake.grad)  # type: ignore[no-untyped-call]
        return logits

    def discriminator_step(self, logits: Logits) -> None:
        """Equation (1), into the discriminator's gradients: L_D."""
        loss = self.cri_gan.discriminator(*logits)
        self.record({"l_d": loss, "out_d_real": logits.real.mean(), "out_d_fake": logits.fake.mean()})
        self.backward(loss, inputs=self._discriminator_weights)
        self._logits = Logits(logits.real.detach(), logits.fake.detach())

    def _logits_without_generator(self, part: Part) -> Logits:
        with torch.no_grad():
            output, gt = self._shifted(self.generate(part.lq), part.gt)
        return self._judge(gt, output)

    def _shifted(self, *images: Tensor) -> tuple[Tensor, ...]:
        """The same crop of each of `images`, at a random offset under `loss_shift`."""
        shift = self.step_options.loss_shift
        if not shift:
            return images
        height, width = (side - shift for side in images[0].shape[-2:])
        if height < 1 or width < 1:
            raise UsageError(f"train:loss_shift: {shift} leaves nothing of a patch of {height + shift}")
        top, left = torch.randint(shift, (2,)).tolist()
        return tuple(image[..., top : top + height, left : left + width] for image in images)

    def _judge(self, real: Tensor, fake: Tensor) -> Logits:
        # Two passes, not one over both sets: batch normalisation must not mix them.
        with self.autocast():
            real_logits, fake_logits = self.net_d(real), self.net_d(fake)
        return Logits(at_least_float32(real_logits), at_least_float32(fake_logits))

    def _running_statistics(self) -> list[tuple[Tensor, Tensor]]:
        """Floating-point buffers of both networks and their values before the step.

        Batch normalisation keeps what it sees, and one image that is not finite would stay in it for ever.
        """
        buffers = [*self.get_bare_model(self.net_g).buffers(), *self.get_bare_model(self.net_d).buffers()]
        return [(buffer, buffer.clone()) for buffer in buffers if buffer.is_floating_point()]

    def health(self) -> dict[str, Tensor]:
        """Colour drift, and the share of saturated discriminator outputs."""
        if self._logits is None:
            return {}
        lq, output = self.generated
        return {"d_saturated": saturated_share(*self._logits), "colour_drift": colour_drift(output, lq)}
