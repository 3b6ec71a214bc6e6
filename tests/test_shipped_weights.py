"""The weights that are installed give BasicSR's picture in the command, in VapourSynth and in the browser demo."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from demo_server import demo
from esrgan.weights.registry import MODELS, resolve
from esrgan_video.cli.main import main
from esrgan_video.vapoursynth import esrgan

SHIPPED = [entry.name for entry in MODELS.values() if entry.address is None]


@pytest.fixture(scope="module")
def photo(tmp_path_factory) -> Path:
    """Smooth colours, edges and noise, 45x37."""
    rows, columns = np.mgrid[:37, :45]
    waves = [np.sin(rows / 5 + phase) * np.cos(columns / 7 - phase) for phase in (0, 1, 2)]
    values = 128 + 90 * np.stack(waves, axis=-1) + np.random.default_rng(0).normal(0, 6, (37, 45, 3))
    values[8:20, 10:30] = (250, 20, 90)
    path = tmp_path_factory.mktemp("shipped") / "a photo.png"
    Image.fromarray(values.clip(0, 255).astype(np.uint8)).save(path)
    return path


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> Iterator[str]:
    """The demo with all of them."""
    pytest.importorskip("gradio_client", reason="the extra gradio is not installed")
    models = [word for name in SHIPPED for word in ("-n", name)]
    with demo(tmp_path_factory.mktemp("shipped demo"), *models) as found:
        yield found


def pixels(path: str | Path) -> np.ndarray:
    """`(H, W, 3)` uint8."""
    with Image.open(path) as image:
        assert image.mode == "RGB"
        return np.asarray(image)


def by_basicsr(archs: SimpleNamespace, name: str, photo: Path) -> np.ndarray:
    """BasicSR's own network in float64, with the file's tensors as they are."""
    state = load_file(resolve(name))
    blocks = 1 + max(int(key.split(".")[1]) for key in state if key.startswith("body."))
    features, growth = len(state["conv_first.bias"]), len(state["body.0.rdb1.conv1.bias"])
    unshuffle = {3: 1, 12: 2}[state["conv_first.weight"].shape[1]]
    scale = 4 // unshuffle
    network = archs.RRDBNet(3, 3, scale, num_feat=features, num_block=blocks, num_grow_ch=growth)
    network.load_state_dict(state, strict=True)
    picture = pixels(photo)
    height, width = picture.shape[:2]
    whole = np.pad(picture, ((0, -height % unshuffle), (0, -width % unshuffle), (0, 0)), mode="reflect")
    with torch.inference_mode():
        large = network.double()(torch.from_numpy(whole).permute(2, 0, 1)[None].double() / 255)[0].clamp(0, 1) * 255
    return large.permute(1, 2, 0).numpy()[: height * scale, : width * scale]


def by_command(name: str, photo: Path, folder: Path) -> np.ndarray:
    target = folder / "large.png"
    assert main(["upscale", str(photo), "-o", str(target), "-n", name, "--device", "cpu", "--progress", "none"]) == 0
    return pixels(target)


@pytest.mark.parametrize("name", SHIPPED)
def test_the_command_gives_basicsrs_picture(name, photo, tmp_path, basicsr_archs):
    assert np.abs(by_command(name, photo, tmp_path) - by_basicsr(basicsr_archs, name, photo)).max() < 0.51


@pytest.mark.parametrize("name", SHIPPED)
def test_vapoursynth_gives_the_picture_of_the_command(name, photo, tmp_path):
    vs = pytest.importorskip("vapoursynth", reason="the extra vapoursynth is not installed")
    from vs_tools import clip_of, planes_of

    clip = clip_of([np.moveaxis(pixels(photo), 2, 0)], vs.RGB24)
    large = np.stack(planes_of(esrgan(clip, name, device="cpu").get_frame(0)), axis=-1)
    np.testing.assert_array_equal(large, by_command(name, photo, tmp_path))


@pytest.mark.parametrize("name", SHIPPED)
def test_the_browser_demo_gives_the_picture_of_the_command(name, photo, tmp_path, address):
    from gradio_client import Client, handle_file

    client = Client(address, verbose=False, download_files=str(tmp_path))
    large = client.predict(handle_file(photo), model=name, api_name="/upscale_image")
    client.close()
    np.testing.assert_array_equal(pixels(large), by_command(name, photo, tmp_path))
