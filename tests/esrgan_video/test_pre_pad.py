"""Frames that are mirrored beyond their border, against numpy's symmetric padding and the float64 network."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from esrgan.archs.rrdbnet import RRDBNet
from esrgan.errors import UsageError
from esrgan.weights import load_network
from esrgan.weights.registry import MODELS
from esrgan_video.engine import EngineOptions, Upscaler
from network_tools import by_command, check_rounded, loaded, noise, random_rrdb, shallow


def on_padded(network: torch.nn.Module, images: np.ndarray, border: int, scale: int, multiple: int = 1) -> np.ndarray:
    """`(N, 3, H, W)` -> the float64 network on pictures padded by numpy, without what was padded."""
    height, width = images.shape[-2:]
    padded = np.pad(images, ((0, 0), (0, 0), (border, border), (border, border)), mode="symmetric")
    below, right = (-(side + 2 * border) % multiple for side in (height, width))
    padded = np.pad(padded, ((0, 0), (0, 0), (0, below), (0, right)), mode="reflect")
    with torch.no_grad():
        large = copy.deepcopy(network).double()(torch.from_numpy(padded).double()).numpy()
    rows, columns = (slice(border * scale, (border + side) * scale) for side in (height, width))
    return large[..., rows, columns]


@pytest.mark.parametrize("backend", ["torch", "native"])
@pytest.mark.parametrize(("size", "border"), [((9, 14), 4), ((16, 16), 1), ((1, 1), 3), ((2, 5), 11)])
def test_it_is_the_float64_network_on_the_mirrored_picture_within_a_millionth(size, border, backend):
    network = random_rrdb()
    images = torch.rand(2, 3, *size)
    options = EngineOptions(device="cpu", dtype="float32", backend=backend, pre_pad=border)
    result = Upscaler(network, options)(images).numpy()
    np.testing.assert_allclose(result, on_padded(network.network, images.numpy(), border, 4), rtol=0, atol=1e-6)


@pytest.mark.parametrize("border", [1, 4])
def test_sizes_that_pixel_unshuffle_cannot_take(border):
    torch.manual_seed(0)
    network = RRDBNet(num_feat=8, num_grow_ch=4, num_block=1, scale=2).requires_grad_(False)
    images = torch.rand(2, 3, 7, 9)
    options = EngineOptions(device="cpu", dtype="float32", pre_pad=border)
    model = loaded(network, 2)
    model = replace(model, facts=replace(model.facts, size_multiple=2))
    result = Upscaler(model, options)(images).numpy()
    expected = on_padded(network, images.numpy(), border, 2, multiple=2)
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-6)


def test_tiles_that_see_enough_change_nothing():
    network = shallow()
    images = torch.rand(2, 3, 61, 47)
    options = EngineOptions(device="cpu", dtype="float32", tile=16, overlap=2, batch=3, pre_pad=5)
    result = Upscaler(network, options)(images).numpy()
    np.testing.assert_allclose(result, on_padded(network.network, images.numpy(), 5, 2), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", [entry.name for entry in MODELS.values() if entry.address is None])
def test_flat_vivid_pictures_come_out_flat_up_to_their_corners(name):
    network = load_network(name)
    colours = torch.tensor([[0.0, 1, 0], [0, 0, 1], [1, 0, 1], [1, 1, 1], [0, 0, 0]])
    pictures = colours[:, :, None, None].expand(-1, -1, 20, 24).contiguous()
    errors = []
    for border in (0, 4):
        result = Upscaler(network, EngineOptions(device="cpu", dtype="float32", pre_pad=border))(pictures)
        errors.append((result.clamp(0, 1) - colours[:, :, None, None]).abs().max().item() * 255)
    usual, padded = errors
    assert padded < 10
    assert usual > 4 * padded


@pytest.mark.parametrize("option", ["--pre-pad", "--pre_pad"])
def test_the_command_mirrors(option, tmp_path):
    network, pixels = random_rrdb(), noise()
    expected = on_padded(network.network, pixels.transpose(2, 0, 1)[None] / 255.0, 4, 4)[0]
    check_rounded(by_command(network, pixels, tmp_path, option, "4"), expected)


def test_runs_with_other_borders_are_told_apart():
    network = random_rrdb()
    made = [Upscaler(network, EngineOptions(device="cpu", dtype="float32", pre_pad=border)) for border in (0, 4, 8)]
    found = [upscaler.identity.get("pre-pad") for upscaler in made]
    assert found == [None, "4 pixels", "8 pixels"]


@pytest.mark.parametrize("border", [-1, 257])
def test_borders_out_of_range_are_refused(border):
    with pytest.raises(UsageError, match=str(border)):
        EngineOptions(pre_pad=border)
