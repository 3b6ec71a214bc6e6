"""`FaceNetwork`: the network that restores aligned faces, whichever kind it is; `FaceParser`: what of them is face."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from esrgan.errors import EngineError, MissingExtraError, UsageError
from esrgan.weights import LoadedNetwork, NetworkFacts
from esrgan_video.engine import EngineOptions, Upscaler
from esrgan_video.engine.precision import true_float32
from esrgan_video.faces.detect import load_checked
from esrgan_video.faces.geometry import TEMPLATE_SIDE

_PASS = 4
"""Faces in one pass."""
_SIDES = 64
"""Sides of crops are multiples of that."""
_FACE_CLASSES = (*range(1, 14), 15)
"""Of the parser's 19 classes, what counts as face: skin, features, ears, glasses, lips, hair and earrings; not the
background, hats, necks and clothes."""
_PARSER_BLUR = 15.6
"""Standard deviation in pixels with which the edge of the parsed face is softened."""


class FaceNetwork:
    """Restores batches of aligned faces.

    A network that upscales images takes crops at the input's resolution and runs through the engine; one that was made
    for faces takes 512 x 512 pixels in float32.

    Args:
        loaded: the network.
        device: where it runs.

    Raises:
        UsageError: a network for other than RGB images.
    """

    def __init__(self, loaded: LoadedNetwork, device: torch.device) -> None:
        facts = loaded.facts
        if (facts.in_channels, facts.out_channels) != (3, 3):
            raise UsageError(
                f"the network takes {facts.in_channels} and gives {facts.out_channels} channels: faces need RGB (3)"
            )
        self._facts = facts
        self._device = device
        self._upscaler: Upscaler | None = None
        self._network: nn.Module | None = None
        if facts.face_side is None:
            self._upscaler = Upscaler(loaded, EngineOptions(device=str(device)))
        else:
            self._network = loaded.network.to(device)

    @property
    def facts(self) -> NetworkFacts:
        """Properties of the network."""
        return self._facts

    def crop_for(self, scale: float) -> tuple[int, float]:
        """How a face is handed to the network.

        Args:
            scale: pixels of the template for each pixel of the input.

        Returns:
            Side of the crop, and its pixels for each pixel of the template. A network that upscales images sees the
            input's own pixels, turned, whatever the side: how it restores a face must not change while that comes
            nearer. Sides are multiples, so that faces share passes.
        """
        if self._facts.face_side is not None:
            return self._facts.face_side, self._facts.face_side / TEMPLATE_SIDE
        return _SIDES * math.ceil(TEMPLATE_SIDE / scale / _SIDES), 1 / scale

    def __call__(self, faces: Tensor) -> Tensor:
        """`(N, 3, S, S)` RGB in 0..1, N at least 1, S from `crop_for` -> `(N, 3, R, R)` float32 on `device`.

        Raises:
            EngineError: memory does not suffice, or the output is not finite.
        """
        return torch.cat([self._run(part) for part in torch.split(faces, _PASS)])

    def _run(self, faces: Tensor) -> Tensor:
        count = len(faces)
        if self._device.type != "cpu":  # GPU libraries round differently for batches of different shape
            faces = torch.cat((faces, faces[-1:].expand(_PASS - count, -1, -1, -1)))
        if self._upscaler is not None:
            return self._upscaler(faces.clamp(0, 1))[:count].clamp_(0, 1)
        return self._restore(faces)[:count]

    def _restore(self, faces: Tensor) -> Tensor:
        if self._network is None:
            raise RuntimeError("a network that restores faces was not loaded")
        try:
            with true_float32(self._device):
                restored: Tensor = self._network(faces.clamp(0, 1)).float()
        except torch.OutOfMemoryError as error:
            raise EngineError(f"not enough memory on {self._device} to restore {len(faces)} faces at once") from error
        if not torch.isfinite(restored.sum()):
            raise EngineError("the restored faces are not finite: the weights of --faces are broken")
        return restored


class FaceParser:
    """Tells what of an aligned face is face.

    Args:
        file: weights of facexlib's ParseNet.
        device: where it runs.

    Raises:
        MissingExtraError: facexlib is not installed.
        WeightsError: the file cannot be read, or holds another network.
    """

    def __init__(self, file: Path, device: torch.device) -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                from facexlib.parsing.parsenet import ParseNet

                network: nn.Module = ParseNet(in_size=TEMPLATE_SIDE, out_size=TEMPLATE_SIDE, parsing_ch=19)
        except ImportError as error:
            raise MissingExtraError("parsing faces", "faces") from error
        load_checked(network, file, "ParseNet parser")
        self._network = network.to(device).eval().requires_grad_(False)

    def __call__(self, face: Tensor) -> Tensor:
        """`(1, 3, 512, 512)` RGB in 0..1 -> `(1, 1, 512, 512)` in 0..1, with a soft edge."""
        with true_float32(face.device):
            scores = self._network(face.clamp(0, 1) * 2 - 1)[0]
        classes = scores.argmax(1)[0].cpu().numpy()
        inside = np.isin(classes, _FACE_CLASSES).astype(np.float32)
        soft = cv2.GaussianBlur(inside, (0, 0), _PARSER_BLUR)
        return torch.from_numpy(np.asarray(soft))[None, None].to(face.device)
