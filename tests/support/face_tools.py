"""A detector and restorers that are known exactly, and pictures with a face that they find."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from esrgan.archs.compact import SRVGGNetCompact
from esrgan_video.faces.face import Detection, Landmarks
from esrgan_video.faces.geometry import TEMPLATE
from esrgan_video.faces.options import FaceOptions
from esrgan_video.faces.restorer import FaceRestorer

BRIGHT = 0.75
"""Of 0..1: what the stand-in takes for a face is brighter."""
FACE = (150.0, 90.0, 362.0, 440.0)
"""Box of a face in the 512 x 512 pixels of the template."""


def landmarks_in(box: tuple[float, float, float, float]) -> Landmarks:
    """Where the template's landmarks lie if `FACE` lies at `box`."""
    scale = (np.array(box[2:]) - box[:2]) / (np.array(FACE[2:]) - FACE[:2])
    return tuple((float(x), float(y)) for x, y in (TEMPLATE - FACE[:2]) * scale + box[:2])


class BrightDetector:
    """Finds one face: the box of all that is bright. It notes how many pictures it is given at once."""

    def __init__(self, jitter: Callable[[int], float] = lambda _: 0.0) -> None:
        self.batches: list[int] = []
        self._jitter = jitter
        self._seen = 0

    def __call__(self, batch: torch.Tensor) -> list[list[Detection]]:
        self.batches.append(len(batch))
        return [self._find(picture) for picture in batch]

    def _find(self, picture: torch.Tensor) -> list[Detection]:
        shift = self._jitter(self._seen)
        self._seen += 1
        bright = picture.mean(0) > BRIGHT
        if not bright.any():
            return []
        rows, columns = bright.any(1).nonzero().flatten().tolist(), bright.any(0).nonzero().flatten().tolist()
        box = (columns[0] + shift, rows[0] + shift, columns[-1] + 1 + shift, rows[-1] + 1 + shift)
        return [Detection(box, 0.99, landmarks_in(box))]


def face_picture(height: int, width: int, box: tuple[int, int, int, int] | None, seed: int = 0) -> np.ndarray:
    """Smooth and dark, with a bright rectangle at `box`: `(height, width, 3)` uint8."""
    y, x = np.mgrid[:height, :width]
    generator = np.random.default_rng(seed)
    phases = generator.uniform(0, 6, 3)
    picture = np.stack([60 + 40 * np.sin(x / 17 + y / 23 + phase) for phase in phases], axis=2)
    if box is not None:
        left, top, right, bottom = box
        picture[top:bottom, left:right] = 225 + 20 * np.sin(x / 9)[top:bottom, left:right, None]
    return picture.round().clip(0, 255).astype(np.uint8)


def write_restorer(path: Path, scale: int = 1, added: float = 0.0) -> Path:
    """Weights of a network that repeats pixels `scale` times and adds `added` of 0..1: the identity by default."""
    network = SRVGGNetCompact(num_feat=4, num_conv=1, upscale=scale, act_type="prelu")
    for parameter in network.parameters():
        torch.nn.init.zeros_(parameter)
    torch.nn.init.constant_(network.body[-1].bias, added)
    torch.save({"params": network.state_dict()}, path)
    return path


def face_folder(folder: Path) -> Path:
    """A folder with a file under the detector's name; only its hash matters where the stand-in finds faces."""
    folder.mkdir(exist_ok=True)
    (folder / "detection_mobilenet0.25_Final.pth").write_bytes(b"a stand-in")
    return folder


def stand_in(model: Path, folder: Path, detector: BrightDetector | None = None, **options: Any) -> FaceRestorer:
    """A restorer with the stand-in for the detector."""
    chosen = FaceOptions(model=str(model), folder=face_folder(folder), **options)
    return FaceRestorer(chosen, detector=detector or BrightDetector())
