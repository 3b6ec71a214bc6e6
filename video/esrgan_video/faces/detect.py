"""`FaceDetector`: RetinaFace (Deng et al. 2019) on batches of frames."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from esrgan.errors import MissingExtraError, WeightsError
from esrgan.progress import ProgressMode
from esrgan.weights import read_state_dict
from esrgan.weights.face_files import DETECTORS, resolve_face_part
from esrgan_video.engine.precision import true_float32
from esrgan_video.faces.face import Detection
from esrgan_video.faces.options import FaceOptions
from esrgan_video.size import resize

_FACEXLIB_NAMES = {"mobilenet": "mobile0.25", "resnet50": "resnet50"}
_MEAN_BGR = (104.0, 117.0, 123.0)
_STEPS = (8, 16, 32)
"""Pixels between the cells of each level of the pyramid."""
_VARIANCES = (0.1, 0.2)
"""Units of the network's offsets and of its logarithmic sizes."""
_OVERLAP = 0.4
"""Intersection over union at which the less certain of two boxes goes."""
_GRAIN = 64
"""Coordinates are multiples of 1/64 pixel: what differs in the last bits, by the way that a batch was cut, is gone."""


@dataclass(frozen=True)
class Variant:
    """How weights of RetinaFace were trained; their shapes do not tell."""

    anchors: tuple[tuple[int, int], ...] = ((16, 32), (64, 128), (256, 512))
    """Sides of the two anchors of each level, in pixels."""
    slope: float | None = None
    """Of the leaky rectifiers below zero; `None` leaves the network's own."""
    longest_side: int = 1024
    """Larger frames are made smaller to that before faces are looked for: they may have faces beyond the anchors."""


_FIRST_RELEASE = Variant(anchors=((10, 20), (32, 64), (128, 256)), slope=0.0, longest_side=720)
"""The first MobileNet weights of RetinaFace in PyTorch: smaller anchors, plain rectifiers. In another network they find
faces of twice the size beside the real ones."""
_VARIANTS: Mapping[str, Variant] = {
    "ed6fa7d45a5179f03cb5ce82c73b0c6711372968e53782e88395acee88d319e1": _FIRST_RELEASE,
}
"""By SHA-256 of the file."""


class FaceDetector:
    """Finds faces in batches.

    Args:
        options: detector, folder, and which faces count.
        device: where it runs.
        progress: how a download is shown.

    Raises:
        MissingExtraError: facexlib is not installed.
        UsageError: the folder has no such file.
        WeightsError: the file cannot be downloaded or read, or holds another network.
    """

    def __init__(self, options: FaceOptions, device: torch.device, progress: ProgressMode = "auto") -> None:
        file = resolve_face_part(DETECTORS[options.detector], options.folder, progress=progress)
        with file.open("rb") as stream:
            self._variant = _VARIANTS.get(hashlib.file_digest(stream, "sha256").hexdigest(), Variant())
        self._network = _load(options.detector, file, self._variant).to(device)
        self._device = device
        self._min_score = options.min_score

    @torch.inference_mode()
    def __call__(self, batch: Tensor) -> list[list[Detection]]:
        """Find the faces of each picture, the most certain first.

        Args:
            batch: `(N, 3, H, W)` floating point, RGB in 0..1, on any device.
        """
        height, width = batch.shape[-2:]
        factor = min(1.0, self._variant.longest_side / max(height, width))
        size = max(1, round(height * factor)), max(1, round(width * factor))
        pictures = resize(batch.to(self._device, torch.float32), *size).clamp(0, 1)
        mean = torch.tensor(_MEAN_BGR, device=self._device).view(1, 3, 1, 1)
        with true_float32(self._device):
            offsets, certainties, points = self._network(pictures.flip(1) * 255 - mean)
        anchors = _anchors(*size, self._variant.anchors).to(self._device)
        # Anchors are in pixels of the smaller picture.
        back = torch.tensor([width / size[1], height / size[0]], device=self._device)
        boxes = _boxes(offsets.float(), anchors, back)
        landmarks = _landmarks(points.float(), anchors, back)
        scores = certainties.float()[:, :, 1]
        return [self._kept(*one) for one in zip(boxes, scores, landmarks, strict=True)]

    def _kept(self, boxes: Tensor, scores: Tensor, landmarks: Tensor) -> list[Detection]:
        """Of the candidates of one picture, the certain ones that are not the same face again."""
        from torchvision.ops import nms  # comes with facexlib

        certain = (scores > self._min_score).nonzero().flatten()
        boxes, scores, landmarks = boxes[certain].cpu(), scores[certain].cpu(), landmarks[certain].cpu()
        found = []
        for index in nms(boxes, scores, _OVERLAP).tolist():
            left, top, right, bottom = map(_grained, boxes[index].tolist())
            places = tuple((_grained(x), _grained(y)) for x, y in landmarks[index].tolist())
            found.append(Detection((left, top, right, bottom), round(scores[index].item(), 4), places))
        return found


def _grained(value: float) -> float:
    return round(value * _GRAIN) / _GRAIN


def _load(name: str, file: Path, variant: Variant) -> nn.Module:
    """The network of facexlib with the weights of `file`. Its own loading, which may download, does not run."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torchvision, about an argument that facexlib uses
            from facexlib.detection.retinaface import RetinaFace

            network: nn.Module = RetinaFace(_FACEXLIB_NAMES[name], device="cpu")
    except ImportError as error:
        raise MissingExtraError("restoring faces", "faces") from error
    load_checked(network, file, "RetinaFace detector")
    for layer in network.modules() if variant.slope is not None else ():
        if isinstance(layer, nn.LeakyReLU):
            layer.negative_slope = variant.slope or 0.0
    return network.eval().requires_grad_(False)


def load_checked(network: nn.Module, file: Path, what: str) -> None:
    """Put the tensors of a file into a network.

    Raises:
        WeightsError: they are of another network.
    """
    state = {key.removeprefix("module."): tensor for key, tensor in read_state_dict(file).items()}
    try:
        network.load_state_dict(state, strict=True)
    except RuntimeError as error:
        reason = str(error).split("\n\t")[-1][:200]
        raise WeightsError(f"{file} does not hold the {what} that was expected: {reason}") from error


def _anchors(height: int, width: int, sides: tuple[tuple[int, int], ...]) -> Tensor:
    """`(A, 3)`: x, y and side of each anchor, level by level, row by row, in pixels."""
    levels = []
    for step, pair in zip(_STEPS, sides, strict=True):
        rows, columns = (torch.arange(-(-side // step), dtype=torch.float32) for side in (height, width))
        y, x, side = torch.meshgrid(
            (rows + 0.5) * step, (columns + 0.5) * step, torch.tensor(pair, dtype=torch.float32), indexing="ij"
        )
        levels.append(torch.stack((x, y, side), dim=-1).view(-1, 3))
    return torch.cat(levels)


def _boxes(offsets: Tensor, anchors: Tensor, back: Tensor) -> Tensor:
    """`(N, A, 4)`: left, top, right, bottom in pixels of the input."""
    sides = anchors[:, 2:]
    centers = anchors[:, :2] + offsets[..., :2] * _VARIANCES[0] * sides
    halves = sides * torch.exp(offsets[..., 2:] * _VARIANCES[1]) / 2
    return torch.cat(((centers - halves) * back, (centers + halves) * back), dim=-1)


def _landmarks(points: Tensor, anchors: Tensor, back: Tensor) -> Tensor:
    """`(N, A, 5, 2)` in pixels of the input."""
    steps = points.view(*points.shape[:2], 5, 2) * _VARIANCES[0] * anchors[:, None, 2:]
    return (anchors[:, None, :2] + steps) * back
