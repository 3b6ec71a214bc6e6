"""The perceptual loss: distance of VGG19 features before activation (arXiv:1809.00219, section 3.3)."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from esrgan.archs.vgg import VGG19Features, deepest_in, from_torchvision
from esrgan.errors import UsageError, WeightsError
from esrgan.weights.files import read_state_dict

Criterion = Literal["l1", "l2"]

TORCHVISION_FILE = "vgg19-dcbb9e9d.pth"
TORCHVISION_URL = f"https://download.pytorch.org/models/{TORCHVISION_FILE}"

_NOISE_SIDE = 128
_NOISE_MEAN = 0.45
_NOISE_CONTRAST = 0.11

_CRITERIA: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"l1": F.l1_loss, "l2": F.mse_loss}


class PerceptualLoss(nn.Module):
    """Weighted distance between the VGG19 features of two images. Nothing is ever downloaded.

    The arguments are those of BasicSR's `PerceptualLoss`, plus `weights`. The paper's is
    `layer_weights={"conv5_4": 1.0}` with `criterion="l1"`.

    Args:
        layer_weights: layer (`conv1_1` to `conv5_4`, taken before activation) -> weight.
        weights: file with torchvision's keys (`features.N.weight`), `.pth` or `.safetensors`. It may end at the
            deepest layer asked for. `None` takes torchvision's file out of torch's cache folder, if it is there.
        vgg_type: only `vgg19`; for options files written for BasicSR.
        use_input_norm: normalise the images with ImageNet's mean and standard deviation.
        range_norm: the images are in -1..1, not 0..1.
        perceptual_weight: factor of the distance of features; 0 leaves it out.
        style_weight: factor of the distance of Gram matrices (Gatys et al. 2016); 0 leaves it out.
        criterion: `l1` (mean absolute difference) or `l2` (mean squared difference).
        normalise_features: divide the features of each layer by their `feature_magnitude`. Files of VGG19 differ in
            it by a factor of hundreds (Caffe's and torchvision's); with this, one `perceptual_weight` suits all.

    Raises:
        ValueError: an unknown layer, criterion or network, or a negative weight.
        UsageError: no such file, or none given and none in the cache.
        WeightsError: the file cannot be read, is no VGG19, or ends before the deepest layer asked for.
    """

    def __init__(
        self,
        layer_weights: Mapping[str, float],
        weights: str | os.PathLike[str] | None = None,
        *,
        vgg_type: str = "vgg19",
        use_input_norm: bool = True,
        range_norm: bool = False,
        perceptual_weight: float = 1.0,
        style_weight: float = 0.0,
        criterion: Criterion = "l1",
        normalise_features: bool = False,
    ) -> None:
        super().__init__()
        if vgg_type != "vgg19":
            raise ValueError(f"PerceptualLoss: vgg_type must be vgg19, got {vgg_type!r}")
        if criterion not in _CRITERIA:
            raise ValueError(f"PerceptualLoss: criterion must be {' or '.join(_CRITERIA)}, got {criterion!r}")
        for name, value in {
            **layer_weights,
            "perceptual_weight": perceptual_weight,
            "style_weight": style_weight,
        }.items():
            if not (value >= 0 and math.isfinite(value)):
                raise ValueError(f"PerceptualLoss: {name} must be a number from 0 on, got {value}")
        self.layer_weights = dict(layer_weights)
        self.perceptual_weight = perceptual_weight
        self.style_weight = style_weight
        self.range_norm = range_norm
        self.criterion = _CRITERIA[criterion]
        self.vgg = load_vgg19(VGG19Features(self.layer_weights, normalise=use_input_norm), weights)
        self.normalise_features = normalise_features
        self._divisors = feature_magnitude(self.vgg) if normalise_features else dict.fromkeys(self.layer_weights, 1.0)

    def forward(self, x: Tensor, gt: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Compare `x` with the target `gt`, whose features are computed without a graph.

        Shape: both `(N, 3, H, W)`, RGB in 0..1 -> the perceptual and the style loss, each a scalar of at
        least float32, or `None` where its weight is 0.
        """
        with torch.no_grad():
            target = self._features(gt)
        features = self._features(x)
        perceptual = self._distance(features, target, lambda feature: feature) if self.perceptual_weight else None
        style = self._distance(features, target, gram_matrix) if self.style_weight else None
        return (
            None if perceptual is None else self.perceptual_weight * perceptual,
            None if style is None else self.style_weight * style,
        )

    def _features(self, x: Tensor) -> dict[str, Tensor]:
        found: dict[str, Tensor] = self.vgg((x + 1) / 2 if self.range_norm else x)
        return {
            name: feature.to(torch.promote_types(feature.dtype, torch.float32)) / self._divisors[name]
            for name, feature in found.items()
        }

    def _distance(
        self, features: Mapping[str, Tensor], target: Mapping[str, Tensor], view: Callable[[Tensor], Tensor]
    ) -> Tensor:
        terms = [
            weight * self.criterion(view(features[name]), view(target[name]))
            for name, weight in self.layer_weights.items()
        ]
        return torch.stack(terms).sum()


def feature_magnitude(network: VGG19Features) -> dict[str, float]:
    """About the mean absolute value of each layer's features on photographs.

    It is taken on noise whose amplitudes fall as one over the frequency, as in photographs (Field 1987), and whose
    contrast is about theirs. The noise is the same at every call.
    """
    with torch.no_grad():
        features = network(_photographic_noise().to(next(network.parameters()).dtype))
    return {name: float(feature.double().abs().mean()) for name, feature in features.items()}


def _photographic_noise() -> Tensor:
    """`(1, 3, 128, 128)`, values around the middle of 0..1."""
    white = np.random.RandomState(0).standard_normal((3, _NOISE_SIDE, _NOISE_SIDE))
    frequency = np.hypot(*np.meshgrid(*[np.fft.fftfreq(_NOISE_SIDE)] * 2))
    frequency[0, 0] = np.inf  # no constant part
    noise = np.fft.ifft2(np.fft.fft2(white) / frequency).real
    return torch.from_numpy(_NOISE_MEAN + noise * (_NOISE_CONTRAST / noise.std()))[None]


def gram_matrix(features: Tensor) -> Tensor:
    """Correlations between features: `(N, F, H, W)` -> `(N, F, F)`, divided by F · H · W."""
    rows = features.flatten(2)  # (N, F, H * W)
    # Sums over a whole image lose too many digits in half precision.
    with torch.autocast(features.device.type, enabled=False):
        return rows @ rows.transpose(1, 2) / (features.shape[1] * rows.shape[2])


def load_vgg19(network: VGG19Features, weights: str | os.PathLike[str] | None) -> VGG19Features:
    """Fill `network` from `weights`, or from torchvision's file in torch's cache folder; returns `network`.

    Raises:
        UsageError: no such file.
        WeightsError: not a VGG19 in torchvision's layout, or one that ends too early.
    """
    file = _cached_file() if weights is None else Path(weights).expanduser()
    state = from_torchvision(read_state_dict(file))
    last = deepest_in(state)
    if last is None:
        raise WeightsError(f"{file}: is not VGG19 in torchvision's layout: it has no features.0.weight")
    wanted = network.state_dict()
    for key, tensor in wanted.items():
        if key not in state:
            raise WeightsError(
                f"{file}: has VGG19 up to {last}, but the loss asks for {network.deepest}: choose layers up to {last}, "
                f"or get the whole network from {TORCHVISION_URL}"
            )
        if state[key].shape != tensor.shape:
            raise WeightsError(
                f"{file}: {key} has shape {tuple(state[key].shape)}, but VGG19's is {tuple(tensor.shape)}"
            )
    network.load_state_dict({key: state[key] for key in wanted})
    return network


def _cached_file() -> Path:
    file = Path(torch.hub.get_dir()) / "checkpoints" / TORCHVISION_FILE
    if not file.is_file():
        raise UsageError(
            f"no weights for the perceptual loss: set perceptual_opt:weights to a file of VGG19, "
            f"or put {TORCHVISION_URL} at {file}"
        )
    return file
