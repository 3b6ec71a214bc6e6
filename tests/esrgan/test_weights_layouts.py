"""Every naming scheme gives the network that spandrel, or BasicSR, builds from the same tensors."""

from __future__ import annotations

import re

import pytest
import torch

from esrgan.archs.compact import SRVGGNetCompact
from esrgan.archs.rrdbnet import RRDBNet
from esrgan.weights import load_network, network_from_state_dict, read_state_dict

GROWTH = 32  # the only growth that spandrel reads


def as_official(state):
    def rename(key):
        key = re.sub(r"^body\.(\d+)\.rdb(\d)\.", r"RRDB_trunk.\1.RDB\2.", key)
        return key.replace("conv_body", "trunk_conv").replace("conv_up", "upconv").replace("conv_hr", "HRconv")

    return {rename(key): tensor for key, tensor in state.items()}


def as_old(state):
    """The flat Sequential of 2018: model.0, model.1.sub.*, then convolutions whose numbers depend on the scale."""
    blocks = 1 + max(int(key.split(".")[1]) for key in state if key.startswith("body."))
    stages = max([int(key[7]) for key in state if key.startswith("conv_up")], default=0)
    renamed = {}
    for key, tensor in state.items():
        key = re.sub(r"^body\.(\d+)\.rdb(\d)\.conv(\d)\.", r"model.1.sub.\1.RDB\2.conv\3.0.", key)
        key = re.sub(r"^body\.(\d+)\.rdb(\d)\.conv1x1\.", r"model.1.sub.\1.RDB\2.conv1x1.", key)
        key = re.sub(r"^conv_up(\d)", lambda found: f"model.{3 * int(found[1])}", key)
        key = key.replace("conv_first", "model.0").replace("conv_body", f"model.1.sub.{blocks}")
        key = key.replace("conv_hr", f"model.{3 * stages + 2}").replace("conv_last", f"model.{3 * stages + 4}")
        renamed[key] = tensor
    return renamed


LAYOUTS = {"basicsr": dict, "official-2018": as_official, "old": as_old}


def assert_same_output(ours, theirs, x):
    with torch.no_grad():
        expected, actual = theirs(x), ours(x)
    assert expected.abs().mean() > 1e-3
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("scale", [1, 2, 4, 8, 16])
def test_scale_is_read_from_the_upsampling_layers(seeded, image, spandrel_model, layout, scale):
    network = RRDBNet(scale=scale, num_feat=10, num_block=2, num_grow_ch=GROWTH, unshuffle=1)
    state = LAYOUTS[layout](seeded(network))
    loaded = network_from_state_dict(state)
    assert (loaded.facts.architecture, loaded.facts.layout, loaded.facts.scale) == ("RRDBNet", layout, scale)
    assert loaded.facts.size_multiple == 1
    assert_same_output(loaded.network, spandrel_model(state), image(height=5, width=7))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("scale", "unshuffle"), [(2, 2), (1, 4), (1, 2), (4, 2), (8, 4)])
def test_pixel_unshuffle_is_read_from_the_first_layer(seeded, image, spandrel_model, layout, scale, unshuffle):
    network = RRDBNet(scale=scale, num_feat=8, num_block=1, num_grow_ch=GROWTH, unshuffle=unshuffle)
    state = LAYOUTS[layout](seeded(network))
    loaded = network_from_state_dict(state)
    assert (loaded.facts.scale, loaded.facts.size_multiple, loaded.facts.in_channels) == (scale, unshuffle, 3)
    assert_same_output(loaded.network, spandrel_model(state), image())


def test_a_network_that_would_shrink_the_image_takes_many_channels_instead(seeded, image):
    state = seeded(RRDBNet(12, 3, 1, num_feat=8, num_block=1, num_grow_ch=4, unshuffle=1))
    loaded = network_from_state_dict(state)
    assert (loaded.facts.in_channels, loaded.facts.scale, loaded.facts.size_multiple) == (12, 1, 1)
    assert loaded.network(image(12)).shape == (1, 3, 8, 12)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("channels", "out_channels", "unshuffle"),
    [(1, 1, 1), (1, 1, 2), (1, 1, 4), (4, 4, 1), (4, 4, 2), (1, 3, 1), (3, 1, 1)],
)
def test_other_channel_counts(seeded, image, spandrel_model, layout, channels, out_channels, unshuffle):
    network = RRDBNet(channels, out_channels, 4 // unshuffle, 8, 1, GROWTH, unshuffle=unshuffle)
    state = LAYOUTS[layout](seeded(network))
    loaded = network_from_state_dict(state)
    assert (loaded.facts.in_channels, loaded.facts.out_channels) == (channels, out_channels)
    assert_same_output(loaded.network, spandrel_model(state), image(channels))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("scale", "features", "blocks", "growth"), [(4, 7, 3, 3), (2, 9, 1, 5), (1, 5, 2, 1)])
def test_odd_sizes_equal_basicsr(seeded, image, basicsr_archs, layout, scale, features, blocks, growth):
    theirs = basicsr_archs.RRDBNet(3, 3, scale, features, blocks, growth).eval()
    state = seeded(theirs)
    theirs.load_state_dict(state)
    loaded = network_from_state_dict(LAYOUTS[layout](state))
    expected = {"num_feat": features, "num_block": blocks, "num_grow_ch": growth, "scale": scale}
    assert expected.items() <= dict(loaded.facts.config).items()
    assert loaded.facts.parameters == sum(parameter.numel() for parameter in theirs.parameters())
    assert_same_output(loaded.network, theirs, image())


@pytest.mark.parametrize("scale", [2, 4])
def test_esrgan_plus(seeded, image, spandrel_model, scale):
    network = RRDBNet(scale=scale, num_feat=8, num_block=2, num_grow_ch=GROWTH, unshuffle=1, plus=True)
    state = as_old(seeded(network))
    assert "model.1.sub.1.RDB3.conv1x1.weight" in state
    loaded = network_from_state_dict(state)
    assert loaded.facts.config["plus"] is True
    assert_same_output(loaded.network, spandrel_model(state), image())


@pytest.mark.parametrize("layout", ["basicsr", "official-2018"])
def test_esrgan_plus_in_newer_names_is_the_same_network(seeded, image, spandrel_model, layout):
    network = RRDBNet(num_feat=8, num_block=1, num_grow_ch=GROWTH, plus=True)
    state = seeded(network)
    loaded = network_from_state_dict(LAYOUTS[layout](state))
    assert_same_output(loaded.network, spandrel_model(as_old(state)), image())


@pytest.mark.parametrize(
    ("channels", "features", "convolutions", "scale"),
    [(3, 9, 3, 4), (3, 8, 0, 1), (3, 6, 1, 2), (3, 5, 2, 3), (1, 7, 1, 4), (4, 6, 1, 2), (3, 4, 1, 8)],
)
def test_compact(seeded, image, spandrel_model, channels, features, convolutions, scale):
    state = seeded(SRVGGNetCompact(channels, channels, features, convolutions, scale))
    if convolutions == 0:  # without one, the last convolution would be mistaken for that of another scale
        assert set(state) == {"body.0.weight", "body.0.bias", "body.1.weight", "body.2.weight", "body.2.bias"}
    loaded = network_from_state_dict(state)
    assert (loaded.facts.architecture, loaded.facts.layout) == ("SRVGGNetCompact", "compact")
    assert (loaded.facts.scale, loaded.facts.in_channels, loaded.facts.out_channels) == (scale, channels, channels)
    assert loaded.facts.config["num_conv"] == convolutions
    assert_same_output(loaded.network, spandrel_model(state), image(channels))


def test_official_weights_equal_spandrel(assets, image, spandrel_model):
    path = assets / "weights" / "realesr-animevideov3.pth"
    loaded = load_network(path)
    assert dict(loaded.facts.config) == {
        "num_in_ch": 3,
        "num_out_ch": 3,
        "num_feat": 64,
        "num_conv": 16,
        "upscale": 4,
        "act_type": "prelu",
    }
    raw = torch.load(path, map_location="cpu", weights_only=True)["params"]
    assert loaded.facts.parameters == sum(tensor.numel() for tensor in raw.values())
    assert_same_output(loaded.network, spandrel_model(raw), image(height=17, width=23))


@pytest.mark.parametrize(
    "prefix",
    ["module.", "netG.", "generator.", "model.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "net_g."],
)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_prefixes_do_not_matter(seeded, prefix, layout):
    state = LAYOUTS[layout](seeded(RRDBNet(num_feat=4, num_block=1, num_grow_ch=2)))
    expected = network_from_state_dict(state)
    loaded = network_from_state_dict({prefix + key: tensor for key, tensor in state.items()})
    assert loaded.facts == expected.facts
    assert all(
        torch.equal(a, b) for a, b in zip(loaded.network.parameters(), expected.network.parameters(), strict=True)
    )


def test_a_prefixed_compact_network_is_found(seeded):
    state = seeded(SRVGGNetCompact(num_feat=4, num_conv=1))
    loaded = network_from_state_dict({f"model.{key}": tensor for key, tensor in state.items()})
    assert loaded.facts.architecture == "SRVGGNetCompact"


@pytest.mark.parametrize("averaged", [True, False])
def test_of_an_mmagic_checkpoint_the_generator_is_taken_averaged_if_there_is_one(tmp_path, seeded, averaged):
    network = RRDBNet(num_feat=4, num_block=1, num_grow_ch=2)
    plain, mean = seeded(network, 1), seeded(network, 2)
    tensors = {f"generator.{key}": tensor for key, tensor in plain.items()}
    if averaged:
        tensors |= {f"generator_ema.{key}": tensor for key, tensor in mean.items()}
    tensors |= {"discriminator.conv.weight": torch.zeros(1), "step_counter": torch.tensor(7)}
    torch.save({"meta": {"iter": 7}, "state_dict": tensors}, tmp_path / "mmagic.pth")
    state = read_state_dict(tmp_path / "mmagic.pth")
    expected = mean if averaged else plain
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[key], expected[key]) for key in expected)


def test_the_counter_of_torchs_averaged_model_is_left_out():
    network = RRDBNet(num_feat=4, num_block=1, num_grow_ch=2)
    averaged = torch.optim.swa_utils.AveragedModel(network)
    assert "n_averaged" in averaged.state_dict()
    assert network_from_state_dict(averaged.state_dict()).facts.config["num_feat"] == 4


def test_the_callers_tensors_are_copied(seeded):
    state = seeded(RRDBNet(num_feat=4, num_block=1, num_grow_ch=2))
    loaded = network_from_state_dict(state)
    before = loaded.network.state_dict()["conv_first.weight"].clone()
    state["conv_first.weight"].zero_()
    assert torch.equal(loaded.network.state_dict()["conv_first.weight"], before)


def test_a_loaded_network_is_ready_for_inference(seeded):
    network = network_from_state_dict(seeded(RRDBNet(num_feat=4, num_block=1, num_grow_ch=2))).network
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
