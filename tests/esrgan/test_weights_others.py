"""Other architectures come through spandrel, and behave as our own do."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest
import torch
from torch import nn

from esrgan.errors import UsageError, WeightsError
from esrgan.weights import interpolate, load_network, network_from_state_dict, save_network

spandrel = pytest.importorskip("spandrel")


@pytest.fixture
def safmn(seeded):
    from spandrel.architectures.SAFMN import SAFMN

    return lambda seed=0: seeded(SAFMN(dim=16, n_blocks=2, ffn_scale=2.0, upscaling_factor=2), seed)


@pytest.mark.parametrize(("height", "width"), [(8, 16), (5, 7), (1, 1)])
def test_another_architecture_gives_what_spandrel_gives(safmn, image, height, width):
    loaded = network_from_state_dict(safmn())
    descriptor = spandrel.ModelLoader(device="cpu").load_from_state_dict(safmn()).eval()
    x = image(height=height, width=width)
    assert torch.equal(loaded.network(x), descriptor(x))
    assert loaded.network(x).shape == (1, 3, 2 * height, 2 * width)


def test_its_facts_are_those_of_spandrel(safmn):
    facts = network_from_state_dict(safmn()).facts
    assert (facts.architecture, facts.layout, facts.scale, facts.in_channels) == ("SAFMN", "spandrel", 2, 3)
    assert facts.size_multiple == 8
    assert facts.parameters == sum(tensor.numel() for tensor in safmn().values())
    assert dict(facts.config) == {}


def test_its_output_can_be_changed_in_place(safmn, image):
    with torch.no_grad():
        output = network_from_state_dict(safmn()).network(image())
    output.mul_(0.5)


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
def test_it_can_be_written_and_read_again(tmp_path, safmn, image, name):
    loaded = network_from_state_dict(safmn())
    again = load_network(save_network(loaded, tmp_path / name))
    assert again.facts == loaded.facts
    assert torch.equal(again.network(image()), loaded.network(image()))


def test_two_of_them_interpolate(safmn):
    a, b = network_from_state_dict(safmn(1)), network_from_state_dict(safmn(2))
    mixed = interpolate(a, b, 0.25).network.state_dict()
    for key, tensor in a.network.state_dict().items():
        expected = 0.75 * tensor.double() + 0.25 * b.network.state_dict()[key].double()
        assert torch.equal(mixed[key], expected.float())
    assert not torch.equal(a.network.state_dict()["inner.to_feat.weight"], mixed["inner.to_feat.weight"])


def test_two_of_different_sizes_are_refused_by_tensor(seeded, safmn):
    from spandrel.architectures.SAFMN import SAFMN

    other = seeded(SAFMN(dim=8, n_blocks=2, ffn_scale=2.0, upscaling_factor=2))
    with pytest.raises(UsageError, match=r"'feats\.0\.ccm\.ccm\.0\.bias' is"):
        interpolate(network_from_state_dict(safmn()), network_from_state_dict(other), 0.5)


def test_an_architecture_with_our_trunk_inside_is_not_mistaken_for_ours(seeded, image):
    from spandrel.architectures.MMRealSR import MMRealSR

    network = MMRealSR(
        num_in_ch=3, num_out_ch=3, num_feat=8, num_block=1, num_grow_ch=4, num_feats=[8, 8, 8, 512], num_blocks=[1] * 4
    )
    state = seeded(network)
    assert "body.0.rdb1.conv1.weight" in state
    loaded = network_from_state_dict(state)
    assert (loaded.facts.architecture, loaded.facts.layout) == ("MMRealSR", "spandrel")
    descriptor = spandrel.ModelLoader(device="cpu").load_from_state_dict(state).eval()
    assert torch.equal(loaded.network(image()), descriptor(image()))


def test_tensors_that_spandrel_cannot_load_are_refused_in_one_line(safmn):
    state = safmn()
    state["to_feat.weight"] = torch.zeros(16, 3, 5, 5)
    with pytest.raises(WeightsError, match="spandrel could not load these tensors") as caught:
        network_from_state_dict(state)
    assert "\n" not in str(caught.value)


def test_numbers_that_would_build_endless_layers_are_refused(safmn):
    state = safmn()
    state["feats.99999999.norm1.weight"] = torch.zeros(16)
    with pytest.raises(WeightsError, match=r"'feats\.99999999\.norm1\.weight' has a number"):
        network_from_state_dict(state)


class Dummy(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)


def descriptor(kind="image", **options):
    network = Dummy()
    architecture = spandrel.MAIN_REGISTRY["SAFMN"].architecture
    shared = {"tags": [], "supports_half": False, "supports_bfloat16": True, "input_channels": 3, "output_channels": 3}
    if kind == "masked":
        return spandrel.MaskedImageModelDescriptor(
            network, network.state_dict(), architecture, "Inpainting", **shared, **options
        )
    return spandrel.ImageModelDescriptor(
        network, network.state_dict(), architecture, **{"purpose": "SR", "scale": 2, **shared, **options}
    )


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("masked", {}, "needs a mask"),
        ("image", {"purpose": "FaceSR"}, "restores aligned faces"),
        ("image", {"size_requirements": spandrel.SizeRequirements(square=True)}, "square images only"),
    ],
)
def test_networks_that_are_not_from_image_to_image_are_refused(monkeypatch, kind, options, message):
    given = descriptor(kind, **options)
    monkeypatch.setattr(spandrel.ModelLoader, "load_from_state_dict", lambda *_: given)
    with pytest.raises(WeightsError, match=message):
        network_from_state_dict({"x": torch.zeros(1)})


def test_a_network_that_tiles_change_is_announced(monkeypatch, caplog):
    given = descriptor(tiling=spandrel.ModelTiling.DISCOURAGED)
    monkeypatch.setattr(spandrel.ModelLoader, "load_from_state_dict", lambda *_: given)
    with caplog.at_level(logging.WARNING):
        facts = network_from_state_dict({"x": torch.zeros(1)}).facts
    assert "tiles change its result" in caplog.text
    assert (facts.supports_float16, facts.supports_bfloat16) == (False, True)


def test_weights_need_no_optional_package():
    blocked = ["basicsr", "torchvision", "gradio", "vapoursynth", "facexlib", "spandrel", "cv2"]
    code = (
        "import sys\n"
        f"for name in {blocked}: sys.modules[name] = None\n"
        "import esrgan.weights, esrgan.archs.rrdbnet as archs\n"
        "state = archs.RRDBNet(num_feat=2, num_block=1, num_grow_ch=1).state_dict()\n"
        "assert esrgan.weights.network_from_state_dict(state).facts.scale == 4\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
