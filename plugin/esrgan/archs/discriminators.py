"""Discriminators: of ESRGAN (Wang et al. 2018, section 3.2) and of Real-ESRGAN (Wang et al. 2021, section 3.3).

Both give logits C(x) before the sigmoid; the losses apply it.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import spectral_norm

_NEGATIVE_SLOPE = 0.2
_MAX_WIDTH = 8
"""The features double with every halving of the image, up to this many times the first layer's."""
_HIDDEN = 100

_FINAL_SIDES = {128: 4, 192: 3, 256: 4}
"""Input side -> side of the features that the linear layers see. The halvings follow from it."""


class VGGStyleDiscriminator(nn.Module):
    """Stages of two convolutions, the second of stride 2, with batch normalisation; then two linear layers.

    Parameter names are those of BasicSR, so its checkpoints load unchanged (128 and 256). 192 is the
    patch of the paper's first stage: six stages, down to 3x3, as in the official code.

    Args:
        num_in_ch: channels of the image.
        num_feat: features of the first stage.
        input_size: side of the square image: 128, 192 or 256.

    Shape: `(N, num_in_ch, input_size, input_size)` -> `(N, 1)`, one logit for each image.

    Raises:
        ValueError: an unknown `input_size`, a size under 1, or an image of another size.
    """

    def __init__(self, num_in_ch: int = 3, num_feat: int = 64, input_size: int = 128) -> None:
        super().__init__()
        if input_size not in _FINAL_SIDES:
            raise ValueError(f"VGGStyleDiscriminator: input_size must be 128, 192 or 256, got {input_size}")
        _require_positive("VGGStyleDiscriminator", num_in_ch=num_in_ch, num_feat=num_feat)
        self.input_size = input_size
        final_side = _FINAL_SIDES[input_size]
        self.num_stages = (input_size // final_side).bit_length() - 1
        before = num_in_ch
        for stage in range(self.num_stages):
            width = num_feat * min(2**stage, _MAX_WIDTH)
            # The first convolution sees the image itself, and is the only one without normalisation.
            self.add_module(f"conv{stage}_0", nn.Conv2d(before, width, 3, padding=1, bias=stage == 0))
            if stage > 0:
                self.add_module(f"bn{stage}_0", nn.BatchNorm2d(width))
            self.add_module(f"conv{stage}_1", nn.Conv2d(width, width, 4, stride=2, padding=1, bias=False))
            self.add_module(f"bn{stage}_1", nn.BatchNorm2d(width))
            before = width
        self.linear1 = nn.Linear(before * final_side**2, _HIDDEN)
        self.linear2 = nn.Linear(_HIDDEN, 1)

    def forward(self, x: Tensor) -> Tensor:
        """C(x), one logit for each image."""
        if x.shape[-2:] != (self.input_size, self.input_size):
            raise ValueError(
                f"VGGStyleDiscriminator: made for {self.input_size}x{self.input_size}, "
                f"got an image of {x.shape[-1]}x{x.shape[-2]}: gt_size and input_size must be equal"
            )
        for stage in range(self.num_stages):
            for part in range(2):  # (N, F, S, S), then (N, F, S / 2, S / 2)
                x = self.get_submodule(f"conv{stage}_{part}")(x)
                if stage > 0 or part > 0:
                    x = self.get_submodule(f"bn{stage}_{part}")(x)
                x = F.leaky_relu(x, _NEGATIVE_SLOPE, inplace=True)
        # The linear layer was trained on features in the order (channel, row, column).
        hidden = F.leaky_relu(self.linear1(x.contiguous().flatten(1)), _NEGATIVE_SLOPE, inplace=True)
        logits: Tensor = self.linear2(hidden)
        return logits


class UNetDiscriminatorSN(nn.Module):
    """A U-Net whose inner convolutions are spectrally normalised: one logit for every pixel.

    Parameter names are those of BasicSR and Real-ESRGAN.

    Args:
        num_in_ch: channels of the image.
        num_feat: features at full resolution.
        skip_connection: add the features of the way down to those of the way up.

    Shape: `(N, num_in_ch, H, W)` -> `(N, 1, H, W)`, where H and W are multiples of 8.

    Raises:
        ValueError: a size under 1, or an image whose sides are not multiples of 8.
    """

    def __init__(self, num_in_ch: int = 3, num_feat: int = 64, *, skip_connection: bool = True) -> None:
        super().__init__()
        _require_positive("UNetDiscriminatorSN", num_in_ch=num_in_ch, num_feat=num_feat)
        self.skip_connection = skip_connection
        self.conv0 = nn.Conv2d(num_in_ch, num_feat, 3, padding=1)
        for number, width in enumerate((2, 4, 8), start=1):
            down = nn.Conv2d(num_feat * width // 2, num_feat * width, 4, stride=2, padding=1, bias=False)
            self.add_module(f"conv{number}", spectral_norm(down))
        for number, width in enumerate((4, 2, 1), start=4):
            up = nn.Conv2d(num_feat * width * 2, num_feat * width, 3, padding=1, bias=False)
            self.add_module(f"conv{number}", spectral_norm(up))
        for number in (7, 8):
            self.add_module(f"conv{number}", spectral_norm(nn.Conv2d(num_feat, num_feat, 3, padding=1, bias=False)))
        self.conv9 = nn.Conv2d(num_feat, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """C(x), one logit for each pixel."""
        if x.shape[-2] % 8 or x.shape[-1] % 8:
            raise ValueError(
                f"UNetDiscriminatorSN: sides must be multiples of 8, got an image of {x.shape[-1]}x{x.shape[-2]}"
            )
        x0 = F.leaky_relu(self.conv0(x), _NEGATIVE_SLOPE)  # (N, F, H, W)
        x1 = self._layer(1, x0)  # (N, 2F, H / 2, W / 2)
        x2 = self._layer(2, x1)  # (N, 4F, H / 4, W / 4)
        x3 = self._layer(3, x2)  # (N, 8F, H / 8, W / 8)
        features = self._up(4, x3, x2)
        features = self._up(5, features, x1)
        features = self._up(6, features, x0)  # (N, F, H, W)
        logits: Tensor = self.conv9(self._layer(8, self._layer(7, features)))
        return logits

    def _layer(self, number: int, x: Tensor) -> Tensor:
        return F.leaky_relu(self.get_submodule(f"conv{number}")(x), _NEGATIVE_SLOPE)

    def _up(self, number: int, x: Tensor, skip: Tensor) -> Tensor:
        larger = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
        features = self._layer(number, larger)
        return features + skip if self.skip_connection else features


def _require_positive(owner: str, **sizes: int) -> None:
    for name, value in sizes.items():
        if value < 1:
            raise ValueError(f"{owner}: {name} must be at least 1, got {value}")
