"""VGG19 as an extractor, against torchvision's own network."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from esrgan.archs.vgg import LAYERS, VGG19Features, deepest, deepest_in, from_torchvision


@pytest.fixture(scope="module")
def torchvision_layers() -> nn.Sequential:
    from torchvision.models.vgg import cfgs, make_layers

    with torch.device("meta"):
        return make_layers(cfgs["E"])


def test_names_and_shapes_are_those_of_torchvisions_network(torchvision_layers):
    state = {f"features.{key}": tensor for key, tensor in torchvision_layers.state_dict().items()}
    renamed = from_torchvision(state)
    with torch.device("meta"):
        expected = VGG19Features(["conv5_4"]).state_dict()
    assert {key: tensor.shape for key, tensor in renamed.items()} == {
        key: tensor.shape for key, tensor in expected.items()
    }
    assert list(renamed) == [f"{name}.{part}" for name in LAYERS for part in ("weight", "bias")]


def test_every_feature_is_that_of_torchvision_before_its_relu(torchvision_layers):
    # The first two blocks: the rest has the same code, and 20 million more weights.
    layers = [name for name in LAYERS if name < "conv3_2"]
    ours = VGG19Features(layers, normalise=False)
    theirs = nn.Sequential(*torchvision_layers[:11]).to_empty(device="cpu")
    found = {}
    for name, layer in zip(layers, [layer for layer in theirs if isinstance(layer, nn.Conv2d)], strict=True):
        layer.load_state_dict(ours.get_submodule(name).state_dict())
        layer.register_forward_hook(lambda _, __, output, name=name: found.update({name: output.clone()}))
    x = torch.rand(2, 3, 13, 18, generator=torch.Generator().manual_seed(0))
    theirs(x)
    features = ours(x)
    assert list(features) == layers
    for name in layers:
        torch.testing.assert_close(features[name], found[name])
        assert (features[name] < 0).any()


def test_images_are_normalised_with_imagenets_statistics():
    network = VGG19Features(["conv1_1"])
    mean, std = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    x = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(network(x)["conv1_1"], network.conv1_1((x - mean) / std))


def test_nothing_deeper_than_asked_for_is_built():
    network = VGG19Features(["conv2_1", "conv1_2"])
    assert [name for name, _ in network.named_children()] == ["conv1_1", "conv1_2", "conv2_1"]
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_the_deepest_layer_is_by_position_not_by_order_of_asking():
    assert deepest(["conv4_1", "conv3_4"]) == "conv4_1"


def test_a_gap_ends_what_a_file_has():
    state = {f"{name}.{part}": torch.zeros(1) for name in LAYERS[:6] for part in ("weight", "bias")}
    assert deepest_in(state) == "conv3_2"
    del state["conv2_1.bias"]
    assert deepest_in(state) == "conv1_2"
    assert deepest_in({}) is None


def test_unknown_layers_are_refused_with_the_names_there_are():
    with pytest.raises(ValueError, match=r"no layer 'conv6_1'; the layers are conv1_1 to conv5_4"):
        VGG19Features(["conv6_1"])
