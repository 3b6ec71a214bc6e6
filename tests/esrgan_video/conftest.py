"""Clips made for one property each, and a stand-in for the network."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from clip_tools import Clip, small_png, write_clip
from esrgan.errors import EngineError
from verify_tools import EVERYTHING, upscale

IRREGULAR = (0, 3, 4, 11, 12, 30, 31, 33, 60, 61, 90, 151, 152, 200, 270, 271, 333, 500, 501, 600)
"""Times without any pattern."""


@dataclass(frozen=True)
class StubPlan:
    """As the engine's plan."""

    batch: int = 4
    tile: int | None = None


class NearestUpscaler:
    """Repeats pixels: what comes out is known exactly, and costs nothing."""

    def __init__(self, scale: int = 2, batch: int = 4) -> None:
        self.scale = scale
        self.device = torch.device("cpu")
        self.batches: list[tuple[int, ...]] = []
        self._batch = batch

    def plan(self, height: int, width: int) -> StubPlan:
        assert height > 0
        assert width > 0
        return StubPlan(self._batch)

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        assert batch.dtype == torch.float32
        assert batch.min() >= 0
        assert batch.max() <= 1
        self.batches.append(tuple(batch.shape))
        return F.interpolate(batch, scale_factor=float(self.scale), mode="nearest")


@pytest.fixture(scope="session")
def make_upscaler() -> type[NearestUpscaler]:
    """The stand-in with any scale and batch."""
    return NearestUpscaler


@pytest.fixture
def nearest() -> NearestUpscaler:
    """x2 by repeating pixels."""
    return NearestUpscaler()


@pytest.fixture
def identity() -> NearestUpscaler:
    """x1: what goes in comes out."""
    return NearestUpscaler(scale=1)


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the session's clips; its name has a space and a percent sign."""
    return tmp_path_factory.mktemp("clips of 100%")


@pytest.fixture(scope="session")
def plain(clips: Path) -> Path:
    """30 frames of H.264 with B-frames in MP4 at 25 fps, no sound."""
    return write_clip(clips / "plain.mp4", Clip())


@pytest.fixture(scope="session")
def vfr(clips: Path) -> Path:
    """H.264 with B-frames in MP4; times 0, 3, 4, 11 ... in units of 1/90000 s times 1001, so nothing fits a grid."""
    return write_clip(clips / "vfr.mp4", Clip(times=[1001 * time for time in IRREGULAR], time_base=Fraction(1, 90000)))


@pytest.fixture(scope="session")
def late(clips: Path) -> Path:
    """The first frame at 2 s, the sound from 0: an MP4 with an edit list."""
    times = [50 + time for time in range(20)]
    return write_clip(clips / "late.mp4", Clip(times=times, audio=["aac"]))


@pytest.fixture(scope="session")
def rich(clips: Path) -> Path:
    """Matroska with all there is: two sound tracks with language and title, plain subtitles, a font and a picture as
    attachments, chapters, tags with and without a place of their own."""
    return write_clip(
        clips / "rich.mkv",
        Clip(
            times=[40 * time for time in range(50)],
            time_base=Fraction(1, 1000),
            audio=["aac", "libopus"],
            subtitles=[(100, 600, "Hallo <i>Welt</i>"), (700, 1200, "Zweite\nZeile"), (1500, 1900, "Ende")],
            attachments={
                "font.ttf": ("application/x-truetype-font", b"\0\1\0\0" + bytes(range(200))),
                "cover.png": ("image/png", small_png()),
            },
            metadata={"title": "Ein Titel", "artist": "Wer", "my_own_tag": "xyz"},
            chapters=[(0, 1000, "Eins"), (1000, 2000, "Zwei")],
        ),
    )


class StoppingUpscaler(NearestUpscaler):
    """The stand-in, until it has had its fill: a run that breaks off, and under the same name one that does not."""

    def __init__(self, stops_after: int | None = None) -> None:
        super().__init__()
        self._stops_after = stops_after

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        if len(self.batches) == self._stops_after:
            raise EngineError("enough")
        return super().__call__(batch)


@pytest.fixture(scope="session")
def stopping() -> type[StoppingUpscaler]:
    """x2 by repeating pixels; breaks off after a number of batches."""
    return StoppingUpscaler


@pytest.fixture(scope="session")
def everything(clips):
    """Matroska with something for every check of the verifier."""
    return write_clip(clips / "everything.mkv", EVERYTHING)


@pytest.fixture(scope="session")
def good(everything, clips, make_upscaler):
    """`everything`, upscaled x2 into Matroska."""
    return upscale(everything, clips / "everything x2.mkv", make_upscaler())
