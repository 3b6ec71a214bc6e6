"""RRDBNet: the generator of ESRGAN (Wang et al. 2018, arXiv:1809.00219, section 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from esrgan.archs.dense_training import dense_residual

RESIDUAL_SCALE = 0.2
"""β of the paper (section 3.1): the residuals are scaled before they join the main path."""

INIT_SCALE = 0.1
"""Factor on the MSRA initialisation ("smaller initialisation", section 3.1)."""

NEGATIVE_SLOPE = 0.2
"""Of the leaky ReLUs."""


def _conv_dtype(layer: nn.Conv2d) -> torch.dtype:
    """What `layer` computes in: under autocast its type, else that of the weights."""
    device = layer.weight.device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):  # it knows no meta device
        return torch.get_autocast_dtype(device)
    return layer.weight.dtype


def _conv(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """Apply `layer` in the precision that it computes in, which may be lower than that of the trunk."""
    result: Tensor = layer(x.to(_conv_dtype(layer)))
    return result


def _trunk_dtype(layer: nn.Conv2d) -> torch.dtype:
    """The residual trunk is never under float32: sums of many small terms are where half precision loses."""
    return torch.promote_types(layer.weight.dtype, torch.float32)


def scale_initialisation(module: nn.Module, factor: float = INIT_SCALE) -> None:
    """Initialise every convolution in `module` with MSRA (He et al. 2015) times `factor`; biases are zero."""
    for layer in module.modules():
        # A layer on the meta device has no values yet: a loader builds it only for its shapes.
        if isinstance(layer, nn.Conv2d) and not layer.weight.is_meta:
            nn.init.kaiming_normal_(layer.weight)
            with torch.no_grad():
                layer.weight.mul_(factor)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class ResidualDenseBlock(nn.Module):
    """Five 3x3 convolutions, each of which sees the outputs of all before it (Fig. 4, right).

    `plus=True` is the block of ESRGAN+ (Rakotonirina & Rasoanaivo 2020): a 1x1 convolution of the
    input joins the second layer, and the second layer joins the fourth.

    In training mode it can be differentiated once, and keeps a third of the memory (`dense_training.py`).

    Shape: `(N, num_feat, H, W)` -> `(N, num_feat, H, W)`.
    """

    def __init__(self, num_feat: int = 64, num_grow_ch: int = 32, *, plus: bool = False) -> None:
        super().__init__()
        self.conv1x1 = nn.Conv2d(num_feat, num_grow_ch, 1, bias=False) if plus else None
        self.conv1 = nn.Conv2d(num_feat, num_grow_ch, 3, padding=1)
        self.conv2 = nn.Conv2d(num_feat + num_grow_ch, num_grow_ch, 3, padding=1)
        self.conv3 = nn.Conv2d(num_feat + 2 * num_grow_ch, num_grow_ch, 3, padding=1)
        self.conv4 = nn.Conv2d(num_feat + 3 * num_grow_ch, num_grow_ch, 3, padding=1)
        self.conv5 = nn.Conv2d(num_feat + 4 * num_grow_ch, num_feat, 3, padding=1)

    def residual(self, x: Tensor) -> Tensor:
        """The block without its skip connection: the term that β scales."""
        x = x.to(_conv_dtype(self.conv1))
        layers = (self.conv1, self.conv2, self.conv3, self.conv4, self.conv5)
        # A layer that was wrapped or given a parametrisation does more than its weight says.
        plain = self.conv1x1 is None and all(type(layer) is nn.Conv2d for layer in layers)
        if self.training and torch.is_grad_enabled() and plain:
            weights = [layer.weight.to(x.dtype) for layer in layers]
            biases = [layer.bias.to(x.dtype) for layer in layers if layer.bias is not None]
            return dense_residual(x, weights, biases, NEGATIVE_SLOPE)
        x1 = F.leaky_relu(self.conv1(x), NEGATIVE_SLOPE, inplace=True)  # (N, G, H, W), as are x2, x3 and x4
        x2 = F.leaky_relu(self.conv2(torch.cat((x, x1), 1)), NEGATIVE_SLOPE, inplace=True)
        if self.conv1x1 is not None:
            x2 = x2 + self.conv1x1(x)
        x3 = F.leaky_relu(self.conv3(torch.cat((x, x1, x2), 1)), NEGATIVE_SLOPE, inplace=True)
        x4 = F.leaky_relu(self.conv4(torch.cat((x, x1, x2, x3), 1)), NEGATIVE_SLOPE, inplace=True)
        if self.conv1x1 is not None:
            x4 = x4 + x2
        return _conv(self.conv5, torch.cat((x, x1, x2, x3, x4), 1))  # (N, C, H, W)

    def forward(self, x: Tensor) -> Tensor:
        """The block."""
        return x + RESIDUAL_SCALE * self.residual(x)


class RRDB(nn.Module):
    """Residual-in-residual dense block: three dense blocks inside one more residual (Fig. 4, left).

    Shape: `(N, num_feat, H, W)` -> `(N, num_feat, H, W)`.
    """

    def __init__(self, num_feat: int = 64, num_grow_ch: int = 32, *, plus: bool = False) -> None:
        super().__init__()
        self.rdb1 = ResidualDenseBlock(num_feat, num_grow_ch, plus=plus)
        self.rdb2 = ResidualDenseBlock(num_feat, num_grow_ch, plus=plus)
        self.rdb3 = ResidualDenseBlock(num_feat, num_grow_ch, plus=plus)

    def forward(self, x: Tensor) -> Tensor:
        """The three blocks, scaled once more."""
        residual: Tensor = self.rdb3(self.rdb2(self.rdb1(x)))
        return x + RESIDUAL_SCALE * residual


def usual_unshuffle(scale: int) -> int:
    """Factor of the pixel-unshuffle in BasicSR's and Real-ESRGAN's networks for `scale`."""
    return {1: 4, 2: 2}.get(scale, 1)


class RRDBNet(nn.Module):
    """The ESRGAN generator: conv -> `num_block` RRDBs -> conv + skip -> upsampling stages -> two convs.

    Parameter names are those of BasicSR, so its checkpoints load unchanged. The defaults are the
    network of the paper (x4, 23 blocks, 16,697,987 parameters).

    Args:
        num_in_ch: channels of the input image.
        num_out_ch: channels of the output image.
        scale: size ratio of output to input: 1, 2, 4, 8 or 16.
        num_feat: features of the trunk (nf of the official code).
        num_block: number of RRDBs.
        num_grow_ch: growth of the dense blocks (gc).
        unshuffle: factor of the pixel-unshuffle in front of the first convolution. `None` takes
            BasicSR's rule: x1 and x2 unshuffle by 4 and 2 and then upsample by 4, as in Real-ESRGAN.
        plus: the dense blocks of ESRGAN+.

    Shape: `(N, num_in_ch, H, W)` -> `(N, num_out_ch, H * scale, W * scale)`, where H and W are
    multiples of `unshuffle`. Values are RGB in 0..1; the output is not clamped.

    Raises:
        ValueError: a size that is not positive, or a scale that the stages cannot make.
    """

    def __init__(
        self,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        scale: int = 4,
        num_feat: int = 64,
        num_block: int = 23,
        num_grow_ch: int = 32,
        *,
        unshuffle: int | None = None,
        plus: bool = False,
    ) -> None:
        super().__init__()
        sizes = {
            "num_in_ch": num_in_ch,
            "num_out_ch": num_out_ch,
            "num_feat": num_feat,
            "num_block": num_block,
            "num_grow_ch": num_grow_ch,
        }
        for name, value in sizes.items():
            if value < 1:
                raise ValueError(f"RRDBNet: {name} must be at least 1, got {value}")
        if scale not in (1, 2, 4, 8, 16):
            raise ValueError(f"RRDBNet: scale must be 1, 2, 4, 8 or 16, got {scale}")
        if unshuffle is None:
            unshuffle = usual_unshuffle(scale)
        if unshuffle not in (1, 2, 4):
            raise ValueError(f"RRDBNet: unshuffle must be 1, 2 or 4, got {unshuffle}")
        self.scale = scale
        self.unshuffle = unshuffle
        self.num_stages = (scale * unshuffle).bit_length() - 1  # each stage doubles the size

        self.conv_first = nn.Conv2d(num_in_ch * unshuffle**2, num_feat, 3, padding=1)
        self.body = nn.Sequential(*(RRDB(num_feat, num_grow_ch, plus=plus) for _ in range(num_block)))
        self.conv_body = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        for stage in range(1, self.num_stages + 1):
            self.add_module(f"conv_up{stage}", nn.Conv2d(num_feat, num_feat, 3, padding=1))
        self.conv_hr = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.conv_last = nn.Conv2d(num_feat, num_out_ch, 3, padding=1)
        scale_initialisation(self.body)

    def forward(self, x: Tensor) -> Tensor:
        """Upscale a batch."""
        if self.unshuffle > 1:
            x = F.pixel_unshuffle(x, self.unshuffle)  # (N, C * u * u, H / u, W / u)
        first = _conv(self.conv_first, x).to(_trunk_dtype(self.conv_first))
        features = first + _conv(self.conv_body, self.body(first))  # (N, F, H / u, W / u)
        features = features.to(_conv_dtype(self.conv_hr))
        for stage in range(1, self.num_stages + 1):
            features = F.interpolate(features, scale_factor=2.0, mode="nearest")
            features = F.leaky_relu(self.get_submodule(f"conv_up{stage}")(features), NEGATIVE_SLOPE, inplace=True)
        features = F.leaky_relu(self.conv_hr(features), NEGATIVE_SLOPE, inplace=True)
        return _conv(self.conv_last, features)  # (N, out, H * s, W * s)
