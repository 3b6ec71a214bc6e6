"""The networks equal BasicSR's for equal weights, and have the sizes of the papers."""

from __future__ import annotations

import pytest
import torch

from esrgan.archs.compact import SRVGGNetCompact
from esrgan.archs.rrdbnet import RRDBNet


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(("scale", "parameters"), [(4, 16_697_987), (2, 16_703_171), (1, 16_723_907)])
def test_the_full_network_has_the_published_number_of_parameters(scale, parameters):
    with torch.device("meta"):
        network = RRDBNet(scale=scale)
    assert count(network) == parameters


@pytest.mark.parametrize(
    ("channels", "out_channels", "scale", "features", "blocks", "growth"),
    [(3, 3, 4, 10, 2, 6), (3, 3, 2, 8, 1, 5), (3, 3, 1, 7, 1, 3), (1, 1, 4, 5, 1, 2), (4, 3, 4, 6, 1, 4)],
)
def test_rrdbnet_equals_basicsr(seeded, image, basicsr_archs, channels, out_channels, scale, features, blocks, growth):
    theirs = basicsr_archs.RRDBNet(channels, out_channels, scale, features, blocks, growth).eval()
    state = seeded(theirs)
    theirs.load_state_dict(state)
    ours = RRDBNet(channels, out_channels, scale, features, blocks, growth).eval()
    ours.load_state_dict(state)
    x = image(channels)
    with torch.no_grad():
        expected, actual = theirs(x), ours(x)
    assert expected.abs().mean() > 1e-3
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


def test_a_network_without_values_tells_its_shapes():
    with torch.device("meta"):
        assert RRDBNet(num_feat=4, num_grow_ch=2, num_block=1)(torch.empty(1, 3, 5, 7)).shape == (1, 3, 20, 28)


def test_under_autocast_picture_and_gradients_are_those_of_basicsr(basicsr_archs):
    torch.manual_seed(0)
    theirs = basicsr_archs.RRDBNet(3, 3, 4, 16, 2, 8)
    ours = RRDBNet(3, 3, 4, 16, 2, 8)
    ours.load_state_dict(theirs.state_dict())
    images = torch.rand(2, 3, 12, 12)
    pictures = []
    for network in (theirs, ours):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            pictures.append(network(images))
        assert pictures[-1].dtype == torch.bfloat16
        pictures[-1].float().square().mean().backward()
    torch.testing.assert_close(*pictures, rtol=2**-7, atol=2**-8)  # bfloat16 has 8 bits
    for (name, expected), actual in zip(theirs.named_parameters(), ours.parameters(), strict=True):
        assert torch.nn.functional.cosine_similarity(actual.grad.ravel(), expected.grad.ravel(), dim=0) > 0.999, name


def test_under_autocast_what_reaches_a_convolution_is_cast_once():
    """Large maps that become float32 and are rounded again cost a tenth of a training step."""
    seen = {}
    network = RRDBNet(3, 3, 4, 16, 1, 8).eval()  # in training the dense blocks call no layers: test_dense_training.py
    for name, layer in network.named_modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_pre_hook(lambda _, inputs, name=name: seen.update({name: inputs[0].dtype}))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        network(torch.rand(1, 3, 8, 8))
    assert seen == dict.fromkeys(seen, torch.bfloat16)
    assert len(seen) == 15 + 6


@pytest.mark.parametrize("activation", ["relu", "leakyrelu", "prelu"])
@pytest.mark.parametrize(("channels", "features", "convolutions", "scale"), [(3, 9, 2, 4), (3, 6, 0, 1), (1, 5, 1, 3)])
def test_compact_equals_basicsr(seeded, image, basicsr_archs, activation, channels, features, convolutions, scale):
    theirs = basicsr_archs.SRVGGNetCompact(channels, channels, features, convolutions, scale, activation).eval()
    state = seeded(theirs)
    theirs.load_state_dict(state)
    ours = SRVGGNetCompact(channels, channels, features, convolutions, scale, activation).eval()
    ours.load_state_dict(state)
    x = image(channels)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("scale", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("unshuffle", [1, 2, 4])
def test_output_is_scale_times_the_input(scale, unshuffle):
    network = RRDBNet(scale=scale, num_feat=2, num_block=1, num_grow_ch=1, unshuffle=unshuffle).eval()
    with torch.no_grad():
        assert network(torch.zeros(2, 3, 4, 8)).shape == (2, 3, 4 * scale, 8 * scale)


def test_the_input_is_not_changed(image):
    x = image()
    before = x.clone()
    with torch.no_grad():
        RRDBNet(num_feat=4, num_block=1, num_grow_ch=2)(x)
        SRVGGNetCompact(num_feat=4, num_conv=1, act_type="relu")(x)
    assert torch.equal(x, before)


@pytest.mark.parametrize(
    ("network", "arguments", "message"),
    [
        (RRDBNet, {"scale": 3}, "scale must be 1, 2, 4, 8 or 16, got 3"),
        (RRDBNet, {"num_block": 0}, "num_block must be at least 1, got 0"),
        (RRDBNet, {"unshuffle": 3}, "unshuffle must be 1, 2 or 4, got 3"),
        (SRVGGNetCompact, {"num_out_ch": 1}, "3 and 1 channels"),
        (SRVGGNetCompact, {"act_type": "gelu"}, "got 'gelu'"),
        (SRVGGNetCompact, {"upscale": 0}, "upscale 0"),
    ],
)
def test_impossible_arguments_are_named(network, arguments, message):
    with pytest.raises(ValueError, match=message):
        network(**arguments)
