"""The first stage of ESRGAN: a generator trained for PSNR, with mixed precision on CPU and CUDA."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from basicsr.models.sr_model import SRModel

_AUTOCAST_DTYPES = {"float32": None, "bfloat16": torch.bfloat16}


class PSNRModel(SRModel):
    """BasicSR's `SRModel` with channels-last tensors, bfloat16 autocast and a fused Adam.

    YAML: `train.precision` is `float32` (default) or `bfloat16`. Weights, optimiser state and the
    loss stay in float32; only the network's forward and backward pass run in bfloat16, so no loss
    scaling is needed.

    Raises:
        ValueError: an unknown `train.precision`.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        precision = opt.get("train", {}).get("precision", "float32")
        if precision not in _AUTOCAST_DTYPES:
            raise ValueError(f"train:precision must be one of {', '.join(_AUTOCAST_DTYPES)}, got {precision!r}")
        self._autocast_dtype = _AUTOCAST_DTYPES[precision]
        super().__init__(opt)
        self.net_g.to(memory_format=torch.channels_last)

    def get_optimizer(self, optim_type: str, params: Any, lr: float, **kwargs: Any) -> torch.optim.Optimizer:
        if optim_type in ("Adam", "AdamW"):
            kwargs.setdefault("fused", True)
        return super().get_optimizer(optim_type, params, lr, **kwargs)

    def feed_data(self, data: dict[str, torch.Tensor]) -> None:
        super().feed_data(data)
        self.lq = self.lq.contiguous(memory_format=torch.channels_last)

    def optimize_parameters(self, current_iter: int) -> None:
        self.optimizer_g.zero_grad()
        dtype = self._autocast_dtype
        with torch.autocast(self.lq.device.type, dtype=dtype, enabled=dtype is not None):
            self.output = self.net_g(self.lq)  # (N, C, H * s, W * s)
        loss = self.cri_pix(self.output.float(), self.gt)
        loss.backward()
        self.optimizer_g.step()
        self.log_dict = self.reduce_loss_dict(OrderedDict(l_pix=loss))
        if self.ema_decay > 0:
            self.model_ema(decay=self.ema_decay)
