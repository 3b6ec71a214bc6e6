"""SRVGGNetCompact: the plain network of Real-ESRGAN's small models (Wang et al. 2021, arXiv:2107.10833)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

_NEGATIVE_SLOPE = 0.1


def _activation(act_type: str, channels: int) -> nn.Module:
    match act_type:
        case "relu":
            return nn.ReLU(inplace=True)
        case "leakyrelu":
            return nn.LeakyReLU(_NEGATIVE_SLOPE, inplace=True)
        case "prelu":
            return nn.PReLU(channels)
        case _:
            raise ValueError(f"SRVGGNetCompact: act_type must be relu, leakyrelu or prelu, got {act_type!r}")


class SRVGGNetCompact(nn.Module):
    """3x3 convolutions at low resolution, one pixel-shuffle, and the nearest-upsampled input added.

    Parameter names are those of BasicSR and Real-ESRGAN (`body.N`).

    Args:
        num_in_ch, num_out_ch: channels of input and output; equal, since the input is added.
        num_feat: features of the body.
        num_conv: convolutions between the first and the last.
        upscale: size ratio of output to input, at least 1.
        act_type: `relu`, `leakyrelu` or `prelu`.

    Shape: `(N, C, H, W)` -> `(N, C, H * upscale, W * upscale)`; RGB in 0..1, the output is not clamped.

    Raises:
        ValueError: a size under 1, unequal channels or an unknown activation.
    """

    def __init__(
        self,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        num_feat: int = 64,
        num_conv: int = 16,
        upscale: int = 4,
        act_type: str = "prelu",
    ) -> None:
        super().__init__()
        if num_in_ch != num_out_ch:
            raise ValueError(f"SRVGGNetCompact: adds its input, so {num_in_ch} and {num_out_ch} channels do not fit")
        if min(num_in_ch, num_feat, upscale) < 1 or num_conv < 0:
            raise ValueError(
                f"SRVGGNetCompact: sizes must be positive, got channels {num_in_ch}, num_feat {num_feat}, "
                f"num_conv {num_conv}, upscale {upscale}"
            )
        self.scale = upscale
        layers: list[nn.Module] = [nn.Conv2d(num_in_ch, num_feat, 3, padding=1), _activation(act_type, num_feat)]
        for _ in range(num_conv):
            layers += [nn.Conv2d(num_feat, num_feat, 3, padding=1), _activation(act_type, num_feat)]
        layers.append(nn.Conv2d(num_feat, num_out_ch * upscale**2, 3, padding=1))
        self.body = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        """Upscale a batch."""
        features = x
        for layer in self.body:
            # A layer may hold lower precision than the image; the image itself is added untouched.
            features = layer(features.to(next(layer.parameters(), features).dtype))  # last: (N, C * s * s, H, W)
        base = F.interpolate(x, scale_factor=float(self.scale), mode="nearest")
        return F.pixel_shuffle(features, self.scale) + base  # (N, C, H * s, W * s)
