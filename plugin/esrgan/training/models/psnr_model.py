"""The first stage of ESRGAN: a generator trained for PSNR, with mixed precision on CPU and CUDA.

What `PSNRModel` and `RaGANModel` offer to the training loop, beyond BasicSR's models:

- `training_state() -> dict`: everything that the next step depends on inside the model: `networks`
  (`net_g`, `net_d`, `net_g_ema` at full precision), `optimizers`, `schedulers`, `guard` (loss scale and
  skipped steps). Copies on the CPU that `torch.load(weights_only=True)` reads. Random states and the
  sampler's position are the loop's.
- `load_training_state(state)`: the inverse, after construction; it needs no pretrained files.
- `last_checkpoint`: the path that `TrainingDiverged` names; `save` sets it, and so may a loop that writes
  checkpoints of its own.
- `get_current_log() -> dict[str, float]`: the only place where losses and health values are read
  from the device. Under DDP every process must call it at the same iteration.

YAML keys under `train`, beside BasicSR's: the fields of `PSNRModel.step_options_type` and
`RaGANModel.step_options_type`, which are the dataclasses of `esrgan.training.models.step_options`.
`accumulate` must divide `batch_size_per_gpu`; float16 needs CUDA.
"""

from __future__ import annotations

from esrgan.training.models.step_model import StepModel


class PSNRModel(StepModel):
    """BasicSR's `SRModel` with the step of this project: pixel loss, and perceptual loss if there is one.

    YAML: BasicSR's keys for `SRModel`, and the fields of `StepOptions`.

    Raises:
        UsageError: an impossible option.
    """

    def optimize_parameters(self, current_iter: int) -> None:
        """One iteration on the batch of `feed_data`.

        Raises:
            TrainingDiverged: ten iterations in a row were not finite.
        """
        self.begin_step(self.optimizer_g)
        for part in self.parts(self.net_g):
            loss = self.content_loss(self.generate(part.lq), part.target, "l")
            assert loss is not None  # BasicSR refuses options without any
            self.backward(loss)
        self.end_step(current_iter, [self.optimizer_g])
