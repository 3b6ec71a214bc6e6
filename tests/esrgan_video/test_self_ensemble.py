"""The mean over a picture's eight orientations, against numpy's turned and mirrored pictures."""

import copy

import numpy as np
import pytest
import torch

from esrgan_video.engine import EngineOptions, Upscaler
from network_tools import by_command, check_rounded, noise, random_rrdb, shallow

OPTIONS = {"device": "cpu", "dtype": "float32", "tta": True}


def mean_over_orientations(network: torch.nn.Module, image: np.ndarray) -> np.ndarray:
    """`(3, H, W)` -> `(3, H s, W s)` in float64: four turns, each as it is and mirrored."""
    exact = copy.deepcopy(network).double()
    results = []
    for turns in range(4):
        for is_mirrored in (False, True):
            turned = np.rot90(image, turns, (1, 2))
            turned = turned[..., ::-1] if is_mirrored else turned
            with torch.no_grad():
                large = exact(torch.from_numpy(turned.copy())[None].double())[0].numpy()
            large = large[..., ::-1] if is_mirrored else large
            results.append(np.rot90(large, -turns, (1, 2)))
    return np.mean(results, 0)


@pytest.mark.parametrize("backend", ["torch", "native"])
@pytest.mark.parametrize("size", [(1, 1), (9, 14), (16, 16)])
def test_it_is_the_mean_of_what_the_float64_network_gives_within_a_millionth(size, backend):
    network = random_rrdb()
    images = torch.rand(2, 3, *size)
    result = Upscaler(network, EngineOptions(**OPTIONS, backend=backend))(images)
    expected = np.stack([mean_over_orientations(network.network, image.numpy()) for image in images])
    np.testing.assert_allclose(result.numpy(), expected, rtol=0, atol=1e-6)
    once = Upscaler(network, EngineOptions(device="cpu", dtype="float32"))(images)
    if size != (1, 1):
        assert np.abs(once.numpy() - expected).max() > 1e-4  # this network does tell orientations apart


def test_a_turned_picture_gives_the_turned_result():
    upscaler = Upscaler(random_rrdb(), EngineOptions(**OPTIONS))
    image = torch.rand(1, 3, 11, 18)
    turned = torch.rot90(image, 1, (2, 3))
    torch.testing.assert_close(upscaler(turned), torch.rot90(upscaler(image), 1, (2, 3)), rtol=0, atol=1e-6)


def test_tiles_are_turned_one_by_one_and_change_nothing_where_they_see_enough():
    network = shallow()
    images = torch.rand(2, 3, 61, 47)
    tiled = Upscaler(network, EngineOptions(**OPTIONS, tile=16, overlap=2, batch=3))(images)
    expected = np.stack([mean_over_orientations(network.network, image.numpy()) for image in images])
    np.testing.assert_allclose(tiled.numpy(), expected, rtol=0, atol=1e-6)


def test_runs_with_and_without_it_are_told_apart():
    network = random_rrdb()
    usual = EngineOptions(device="cpu", dtype="float32")
    identities = [Upscaler(network, options).identity for options in (usual, EngineOptions(**OPTIONS))]
    assert set(identities[1]) - set(identities[0]) == {"self-ensemble"}


@pytest.mark.parametrize("option", ["--tta", "-x"])
def test_the_command_writes_the_mean(option, tmp_path):
    network, pixels = random_rrdb(), noise()
    expected = mean_over_orientations(network.network, pixels.transpose(2, 0, 1) / 255.0)
    check_rounded(by_command(network, pixels, tmp_path, option), expected)
