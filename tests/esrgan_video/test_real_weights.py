"""The engine with official weights on a real clip, against spandrel."""

from __future__ import annotations

import av
import pytest
import torch

from esrgan_video import EngineOptions, Upscaler

FRAMES = (0, 12, 40)


@pytest.fixture(scope="module")
def frames(assets) -> torch.Tensor:
    """A few frames of the anime clip, `(N, 3, H, W)` in 0..1, cut to keep the float32 reference quick."""
    with av.open(assets / "media" / "anime.mp4") as container:
        chosen = [
            frame.to_ndarray(format="rgb24")
            for number, frame in enumerate(container.decode(video=0))
            if number in FRAMES
        ]
    return torch.stack([torch.from_numpy(pixels[:200, :280]).permute(2, 0, 1) for pixels in chosen]) / 255


@pytest.fixture(scope="module")
def expected(assets, frames) -> torch.Tensor:
    import spandrel

    model = spandrel.ModelLoader(device="cpu").load_from_file(assets / "weights" / "realesr-animevideov3.pth")
    with torch.inference_mode():
        return model(frames)


def test_float32_equals_spandrel_within_one_code_value(assets, frames, expected):
    upscaler = Upscaler(assets / "weights" / "realesr-animevideov3.pth", EngineOptions(device="cpu", dtype="float32"))
    # spandrel clamps, the engine leaves that to whoever quantises
    assert (upscaler(frames).clamp(0, 1) - expected).abs().max() < 1 / 255


def test_the_default_precision_keeps_50_db(assets, frames, expected):
    result = Upscaler(assets / "weights" / "realesr-animevideov3.pth")(frames).clamp(0, 1).cpu()
    assert -10 * (result - expected).square().mean().log10() > 50
