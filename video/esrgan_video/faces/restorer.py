"""`FaceRestorer`: finds faces in pictures and restores all of them together."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from esrgan.progress import ProgressMode
from esrgan.weights.face_files import PARSER, resolve_face_model, resolve_face_part
from esrgan.weights.load import load_face_network
from esrgan_video.color_fix import match_low_frequencies
from esrgan_video.faces.blend import RestoredFace
from esrgan_video.faces.detect import FaceDetector
from esrgan_video.faces.face import Detection, Face
from esrgan_video.faces.geometry import (
    TEMPLATE_SIDE,
    Affine,
    Similarity,
    Window,
    align,
    compose,
    sample,
    stretch,
)
from esrgan_video.faces.network import FaceNetwork, FaceParser
from esrgan_video.faces.options import FaceOptions

type Detector = Callable[[Tensor], list[list[Detection]]]
"""Finds the faces of each picture of a batch, `(N, 3, H, W)` RGB in 0..1; `FaceDetector` is one."""


class FaceRestorer:
    """Finds and restores faces. It keeps nothing of one picture for the next.

    Args:
        options: restorer, detector and what else there is to choose.
        device: where the networks run, by torch's name.
        detector: finds faces; by default what the options name.
        progress: how downloads are shown.

    Raises:
        UsageError: a model or file that is not there.
        MissingExtraError: facexlib is not installed.
        WeightsError: a file that cannot be downloaded or read.

    Example:
        >>> faces = FaceRestorer(FaceOptions(model="GFPGANv1.4"))
        >>> upscale_image("photo.png", "large.png", upscaler=Upscaler(), faces=faces)
    """

    def __init__(
        self,
        options: FaceOptions,
        device: torch.device | str = "cpu",
        *,
        detector: Detector | None = None,
        progress: ProgressMode = "auto",
    ) -> None:
        self.options = options
        self._device = torch.device(device)
        model = resolve_face_model(options.model, options.folder, progress=progress)
        self._detector = detector or FaceDetector(options, self._device, progress)
        self._network = FaceNetwork(load_face_network(model), self._device)
        self._parser: FaceParser | None = None
        if options.mask == "parse":
            parser = resolve_face_part(PARSER, options.folder, progress=progress)
            self._parser = FaceParser(parser, self._device)

    def with_strength(self, strength: float) -> FaceRestorer:
        """The same networks with another `FaceOptions.strength`."""
        other = copy.copy(self)
        other.options = replace(self.options, strength=strength)
        return other

    def detect(self, batch: Tensor) -> list[list[Detection]]:
        """The faces of each picture that are to be restored.

        Args:
            batch: `(N, 3, H, W)` RGB in 0..1, on any device.
        """
        height, width = batch.shape[-2:]
        return [self._wanted(found, height, width) for found in self._detector(batch)]

    def _wanted(self, found: Sequence[Detection], height: int, width: int) -> list[Detection]:
        large = [face for face in found if face.size >= self.options.min_size]
        if not (self.options.only_center and large):
            return large
        return [min(large, key=lambda face: np.hypot(face.center[0] - width / 2, face.center[1] - height / 2))]

    @torch.inference_mode()
    def restore(
        self, pictures: Tensor, faces: Sequence[Sequence[Face]], *, color_fix: bool = False
    ) -> list[list[RestoredFace]]:
        """Restore the faces of several pictures, in as few passes as there are sizes.

        Args:
            pictures: `(N, 3, H, W)` float32, RGB in 0..1: the inputs.
            faces: of each picture.
            color_fix: give restored faces the low frequencies of what they were.

        Returns:
            Of each picture, its faces, to be pasted in this order.

        Raises:
            EngineError: the network cannot run.
        """
        jobs = [
            (index, place, face.strength * self.options.strength)
            for index, some in enumerate(faces)
            for face in some
            if (place := align(face.points, TEMPLATE_SIDE)) is not None
        ]
        shapes = [self._network.crop_for(place.scale) for _, place, _ in jobs]
        done: dict[int, Tensor] = {}
        for side in sorted({side for side, _ in shapes}):
            members = [number for number, shape in enumerate(shapes) if shape[0] == side]
            crops = torch.cat([crop(pictures[jobs[n][0]][None], jobs[n][1], *shapes[n]) for n in members])
            crops = crops.to(self._device)
            restored = self._network(crops)
            if color_fix:
                restored = match_low_frequencies(restored, crops).clamp_(0, 1)
            done |= {number: restored[k : k + 1] for k, number in enumerate(members)}
        results: list[list[RestoredFace]] = [[] for _ in faces]
        for number, (index, place, strength) in enumerate(jobs):
            pixels, (side, density) = done[number], shapes[number]
            enlarged = pixels.shape[-1] / side
            to_pixels = compose(stretch(enlarged), to_crop(side, density))
            parsed = None
            if self._parser is not None:
                parsed = self._parser(sample(pixels, Window(0, 0, TEMPLATE_SIDE, TEMPLATE_SIDE), to_pixels))
            results[index].append(RestoredFace(pixels, to_pixels, place, strength, parsed))
        return results

    def restore_still(self, picture: Tensor, *, color_fix: bool = False) -> list[RestoredFace]:
        """Find and restore the faces of one picture, `(1, 3, H, W)` RGB in 0..1."""
        found = [Face(face.landmarks) for face in self.detect(picture)[0]]
        return self.restore(picture, [found], color_fix=color_fix)[0] if found else []


def crop(picture: Tensor, place: Similarity, side: int, density: float) -> Tensor:
    """The aligned face, `(1, 3, side, side)`, of a picture, `(1, 3, H, W)`; beyond borders their pixels are repeated.

    Args:
        picture: the input.
        place: from the input's coordinates to those of the template.
        side: of the result.
        density: its pixels for each pixel of the template.
    """
    back = stretch(1 / density, shift=(TEMPLATE_SIDE - side / density) / 2)
    return sample(picture, Window(0, 0, side, side), compose(place.inverse().matrix, back))


def to_crop(side: int, density: float) -> Affine:
    """From the template's coordinates to those of a crop with the same centre."""
    return stretch(density, shift=(side - density * TEMPLATE_SIDE) / 2)
