"""Network interpolation is the formula of the paper, and refuses networks that differ."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from esrgan.archs.compact import SRVGGNetCompact
from esrgan.archs.rrdbnet import RRDBNet
from esrgan.errors import UsageError
from esrgan.weights import add_difference, interpolate, network_from_state_dict


@pytest.fixture
def pair(seeded):
    network = RRDBNet(num_feat=5, num_block=2, num_grow_ch=3)
    return seeded(network, 1), seeded(network, 2)


@pytest.mark.parametrize("alpha", [0, 0.1, 0.5, 0.8, 1.0, 1])
def test_every_parameter_is_the_weighted_mean(pair, alpha):
    mixed = interpolate(*map(network_from_state_dict, pair), alpha).network.state_dict()
    assert mixed.keys() == pair[0].keys()
    for key, a in pair[0].items():
        b = pair[1][key]
        expected = (1 - alpha) * a.numpy().astype(np.float64) + alpha * b.numpy().astype(np.float64)
        np.testing.assert_array_equal(mixed[key].numpy(), expected.astype(np.float32))


def test_the_ends_are_the_networks_themselves(pair):
    a, b = map(network_from_state_dict, pair)
    for alpha, expected in ((0.0, pair[0]), (1.0, pair[1])):
        mixed = interpolate(a, b, alpha).network.state_dict()
        assert all(torch.equal(mixed[key], expected[key]) for key in expected)


def test_the_two_networks_are_not_changed(pair):
    a, b = map(network_from_state_dict, pair)
    mixed = interpolate(a, b, 0.5)
    mixed.network.load_state_dict({key: torch.zeros_like(tensor) for key, tensor in pair[0].items()})
    assert all(torch.equal(a.network.state_dict()[key], tensor) for key, tensor in pair[0].items())
    assert all(torch.equal(b.network.state_dict()[key], tensor) for key, tensor in pair[1].items())


def test_the_result_has_the_facts_of_its_parents_and_is_ready(pair):
    a, b = map(network_from_state_dict, pair)
    mixed = interpolate(a, b, 0.3)
    assert mixed.facts == a.facts
    assert not mixed.network.training


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan"), float("inf")])
def test_alpha_outside_0_to_1_is_refused(pair, alpha):
    with pytest.raises(UsageError, match=f"alpha must be 0 to 1, got {alpha}"):
        interpolate(*map(network_from_state_dict, pair), alpha)


def test_different_architectures_are_refused_by_name(seeded):
    a = network_from_state_dict(seeded(RRDBNet(num_feat=4, num_block=1, num_grow_ch=2)))
    b = network_from_state_dict(seeded(SRVGGNetCompact(num_feat=4, num_conv=1)))
    with pytest.raises(UsageError, match="RRDBNet and SRVGGNetCompact"):
        interpolate(a, b, 0.5)


def test_different_sizes_are_refused_with_both_values(seeded):
    a = network_from_state_dict(seeded(RRDBNet(num_feat=4, num_block=2, num_grow_ch=2)))
    b = network_from_state_dict(seeded(RRDBNet(num_feat=4, num_block=1, num_grow_ch=3, scale=2)))
    with pytest.raises(UsageError) as caught:
        interpolate(a, b, 0.5)
    for difference in ("num_block is 2 and 1", "num_grow_ch is 2 and 3", "scale is 4 and 2"):
        assert difference in str(caught.value)
    assert "num_feat" not in str(caught.value)


@pytest.mark.parametrize("alpha", [0, 0.3, 1])
def test_a_difference_is_added_to_every_parameter(seeded, alpha):
    network = RRDBNet(num_feat=5, num_block=2, num_grow_ch=3)
    a, b, c = (seeded(network, seed) for seed in (1, 2, 3))
    made = add_difference(*map(network_from_state_dict, (a, b, c)), alpha).network.state_dict()
    assert made.keys() == a.keys()
    for key, tensor in made.items():
        exact = [weights[key].numpy().astype(np.float64) for weights in (a, b, c)]
        np.testing.assert_array_equal(tensor.numpy(), (exact[0] + alpha * (exact[1] - exact[2])).astype(np.float32))


def test_a_difference_to_the_network_itself_is_interpolation(pair):
    a, b = map(network_from_state_dict, pair)
    made, mixed = (some.network.state_dict() for some in (add_difference(a, b, a, 0.25), interpolate(a, b, 0.25)))
    for key, tensor in made.items():
        torch.testing.assert_close(tensor, mixed[key], rtol=0, atol=1e-7)


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_more_than_the_difference_is_refused(pair, alpha):
    a, b = map(network_from_state_dict, pair)
    with pytest.raises(UsageError, match=f"alpha must be 0 to 1, got {alpha}"):
        add_difference(a, b, a, alpha)


def test_a_difference_of_another_size_is_refused(pair, seeded):
    a, b = map(network_from_state_dict, pair)
    other = network_from_state_dict(seeded(RRDBNet(num_feat=5, num_block=1, num_grow_ch=3)))
    for three in ((a, b, other), (a, other, b)):
        with pytest.raises(UsageError, match="num_block is 2 and 1"):
            add_difference(*three, 1)
