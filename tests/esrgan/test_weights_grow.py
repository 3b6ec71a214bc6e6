"""A grown network gives the pictures of the small one, and all of it learns."""

from __future__ import annotations

import pytest
import torch

from esrgan.archs.compact import SRVGGNetCompact
from esrgan.archs.rrdbnet import RRDBNet
from esrgan.errors import UsageError
from esrgan.weights import grow, load_network, network_from_state_dict
from esrgan_video.cli.main import main

SMALL = {"num_feat": 5, "num_block": 2, "num_grow_ch": 3}
SIZES = [
    {"num_feat": 5, "num_block": 2, "num_grow_ch": 3},
    {"num_feat": 8, "num_block": 2, "num_grow_ch": 3},
    {"num_feat": 5, "num_block": 2, "num_grow_ch": 7},
    {"num_feat": 5, "num_block": 5, "num_grow_ch": 3},
    {"num_feat": 9, "num_block": 3, "num_grow_ch": 4},
]


def grown(loaded, sizes, seed=0):
    return grow(loaded, **sizes, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def small(seeded):
    """Biases and all weights are random: no term is zero by chance."""
    return network_from_state_dict(seeded(RRDBNet(**SMALL), 1))


@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize("sizes", SIZES)
def test_the_function_stays(seeded, scale, sizes):
    loaded = network_from_state_dict(seeded(RRDBNet(scale=scale, **SMALL), 1))
    large = grown(loaded, sizes)
    assert {name: large.facts.config[name] for name in sizes} == sizes
    image = torch.rand(1, 3, 12, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected, found = loaded.network.double()(image), large.network.double()(image)
    assert expected.std() > 1e-3
    assert (found - expected).norm() < 1e-6 * expected.norm()  # one float32 division behind the trunk


@pytest.mark.parametrize(("old", "new"), [(4, 2), (4, 1), (2, 1), (8, 4), (8, 2)])
@pytest.mark.parametrize("sizes", [{}, SIZES[-1]])
def test_a_smaller_scale_begins_as_the_old_network_of_averaged_pixels(seeded, old, new, sizes):
    unshuffle = {8: 1, 4: 1, 2: 2}[old]
    loaded = network_from_state_dict(seeded(RRDBNet(scale=old, unshuffle=unshuffle, **SMALL), 1))
    small = grown(loaded, {**sizes, "scale": new})
    assert (small.facts.scale, small.facts.config["unshuffle"]) == (new, unshuffle * old // new)
    image = torch.rand(1, 3, 16, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    averaged = torch.nn.functional.avg_pool2d(image, old // new)
    expected, found = loaded.network.double()(averaged), small.network.double()(image)
    assert expected.std() > 1e-3
    assert (found - expected).norm() < 1e-6 * expected.norm()


@pytest.mark.parametrize("scale", [0, 3, 8, -2])
def test_a_scale_that_pixel_unshuffle_cannot_give_is_refused(small, scale):
    with pytest.raises(UsageError, match=f"a network of scale 4 cannot get scale {scale}, only 1, 2, 4"):
        grown(small, {"scale": scale})


def test_every_weight_learns_within_two_steps(small):
    network = grown(small, SIZES[-1]).network.train().requires_grad_(True)
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):  # zeros move first, then what stands before them
        loss = (network(torch.rand(2, 3, 8, 8, generator=generator)) - 0.5).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for name, parameter in network.named_parameters():
        assert (parameter != before[name]).all(), name


def test_new_channels_differ_from_each_other_and_follow_the_seed(small):
    first, again, other = (grown(small, SIZES[1], seed).network.state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    new = first["conv_hr.weight"][5:].flatten(1)
    assert torch.pdist(new).min() > 0
    assert not torch.equal(new, other["conv_hr.weight"][5:].flatten(1))


@pytest.mark.parametrize("name", SMALL)
def test_a_network_cannot_shrink(small, name):
    with pytest.raises(UsageError, match=f"{name} is {SMALL[name]} and cannot shrink to {SMALL[name] - 1}"):
        grown(small, {**SMALL, name: SMALL[name] - 1})


def test_other_networks_are_refused(seeded):
    for network in (SRVGGNetCompact(num_feat=4, num_conv=1, act_type="prelu"), RRDBNet(**SMALL, plus=True)):
        with pytest.raises(UsageError, match="only an RRDBNet can grow"):
            grown(network_from_state_dict(seeded(network, 1)), SIZES[1])


def test_the_command_writes_a_file_that_upscales_alike(tmp_path):
    file = tmp_path / "grown.safetensors"
    sizes = ["--num-feat", "40", "--num-block", "5", "--num-grow-ch", "20"]
    assert main(["grow", "default", *sizes, "-o", str(file)]) == 0
    image = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, found = load_network("default").network(image), load_network(file).network(image)
    assert (found - expected).abs().max() < 1e-5
    assert main(["grow", str(file), *sizes[:-1], "19", "-o", str(file)]) == 2
