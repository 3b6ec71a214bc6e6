"""The losses, against the textbook formulas and BasicSR's own perceptual loss."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from esrgan.archs.vgg import LAYERS
from esrgan.errors import UsageError, WeightsError
from esrgan.losses import (
    DetachedGANLoss,
    PerceptualLoss,
    RelativisticGANLoss,
    mean_over_ranks,
    ragan_discriminator_loss,
    ragan_generator_loss,
)
from esrgan.losses.perceptual import feature_magnitude, gram_matrix


def logits(seed: int, *shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(shape or (5, 1), generator=generator, dtype=torch.float64) * 3).requires_grad_()


def d_ra(a, b):
    """D_Ra(a, b) = σ(C(a) − E[C(b)])."""
    return torch.sigmoid(a - b.mean())


def value_and_gradients(loss, *inputs):
    return loss.item(), *torch.autograd.grad(loss, inputs)


@pytest.mark.parametrize("shape", [(5, 1), (2, 1, 6, 4)])
def test_both_losses_are_those_of_the_equations_with_their_gradients(shape):
    real, fake = logits(0, *shape), logits(1, *shape)
    l_d = -d_ra(real, fake).log().mean() - (1 - d_ra(fake, real)).log().mean()
    l_g = -(1 - d_ra(real, fake)).log().mean() - d_ra(fake, real).log().mean()
    for ours, textbook in (
        (ragan_discriminator_loss(real, fake), l_d),
        (ragan_generator_loss(real, fake), l_g),
    ):
        got, expected = value_and_gradients(ours, real, fake), value_and_gradients(textbook, real, fake)
        for mine, theirs in zip(got, expected, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-14)


def test_gradients_are_those_of_finite_differences():
    real, fake = logits(2), logits(3)
    assert torch.autograd.gradcheck(ragan_discriminator_loss, (real, fake))
    assert torch.autograd.gradcheck(ragan_generator_loss, (real, fake))


@pytest.mark.parametrize("size", [1e3, 1e30])
def test_no_logit_is_too_large(size):
    real = torch.tensor([[size], [-size]], requires_grad=True)
    fake = torch.tensor([[-size], [size / 2]], requires_grad=True)
    for loss in (ragan_discriminator_loss(real, fake), ragan_generator_loss(real, fake)):
        assert loss.isfinite()
        assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(loss, (real, fake)))


def test_the_weight_is_the_generators_alone():
    loss, real, fake = RelativisticGANLoss(loss_weight=5e-3), logits(6), logits(7)
    torch.testing.assert_close(loss.generator(real, fake), 5e-3 * ragan_generator_loss(real, fake))
    torch.testing.assert_close(loss.discriminator(real, fake), ragan_discriminator_loss(real, fake))


def test_detached_losses_are_half_of_binary_cross_entropy_with_constant_means():
    real, fake = logits(8), logits(9)
    ones, zeros = torch.ones_like(real), torch.zeros_like(real)
    bce = F.binary_cross_entropy_with_logits
    of_real = bce(real - fake.mean().item(), ones)
    of_fake = bce(fake - real.mean().item(), zeros)
    got = value_and_gradients(DetachedGANLoss().discriminator(real, fake), real, fake)
    expected = value_and_gradients((of_real + of_fake) / 2, real, fake)
    for mine, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-14)


def test_without_processes_the_mean_over_ranks_is_the_mean():
    values = logits(10, 3, 4)
    assert mean_over_ranks(values).item() == values.mean().item()


def test_a_negative_weight_is_refused():
    with pytest.raises(ValueError, match="loss_weight must be at least 0, got -1"):
        RelativisticGANLoss(loss_weight=-1)


# The perceptual loss


@pytest.fixture(scope="module")
def features() -> torch.nn.Sequential:
    """The VGG19 of torchvision with random weights that keep the size of the signal."""
    from torchvision.models.vgg import cfgs, make_layers

    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        network = make_layers(cfgs["E"])
    network.to_empty(device="cpu")
    with torch.no_grad():
        for layer in network:
            if isinstance(layer, torch.nn.Conv2d):
                fan_in = layer.weight[0].numel()
                layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator) * (2 / fan_in) ** 0.5)
                layer.bias.copy_(torch.randn(layer.bias.shape, generator=generator) * 0.1)
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def whole_file(features, tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("vgg") / "vgg19.pth"
    torch.save({f"features.{key}": tensor for key, tensor in features.state_dict().items()}, file)
    return file


@pytest.fixture(scope="module")
def partial_file(features, whole_file) -> Path:
    """Up to conv3_4, in half precision."""
    state = {f"features.{key}": tensor.half() for key, tensor in features[:17].state_dict().items()}
    save_file(state, whole_file.with_name("partial.safetensors"))
    return whole_file.with_name("partial.safetensors")


@pytest.fixture(scope="module")
def pictures() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(2, 3, 48, 32, generator=generator), torch.rand(2, 3, 48, 32, generator=generator)


@pytest.fixture
def basicsr_loss(features, monkeypatch):
    """BasicSR's `PerceptualLoss` around the same weights, without its download."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from esrgan.training.compat import patch_torchvision

        patch_torchvision()
        from basicsr.archs import vgg_arch
        from basicsr.losses.basic_loss import PerceptualLoss as Theirs
    # In-place ReLU would be shared with the fixture; the layers are used for forward passes alone.
    monkeypatch.setattr(vgg_arch.vgg, "vgg19", lambda **_: SimpleNamespace(features=features))
    return Theirs


LAYER_WEIGHTS = {"conv1_1": 0.1, "conv2_2": 0.5, "conv3_4": 1.0, "conv5_4": 2.0}


@pytest.mark.parametrize("range_norm", [False, True])
@pytest.mark.parametrize("use_input_norm", [False, True])
def test_value_and_gradient_are_those_of_basicsr(basicsr_loss, whole_file, pictures, range_norm, use_input_norm):
    options = {
        "layer_weights": LAYER_WEIGHTS,
        "use_input_norm": use_input_norm,
        "range_norm": range_norm,
        "perceptual_weight": 0.7,
        "style_weight": 30.0,
    }
    ours, theirs = PerceptualLoss(**options, weights=whole_file), basicsr_loss(**options)
    x, gt = pictures
    results = []
    for loss in (ours, theirs):
        image = x.clone().requires_grad_()
        perceptual, style = loss(image, gt)
        results.append((perceptual.detach(), style.detach(), *torch.autograd.grad(perceptual + style, image)))
    for mine, other in zip(*results, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(("criterion", "distance"), [("l1", F.l1_loss), ("l2", F.mse_loss)])
def test_the_distance_is_of_features_before_activation(features, whole_file, pictures, criterion, distance):
    normalised = [(image - mean) / std for image in pictures for mean, std in [imagenet()]]
    before_activation = [features[:34](image) for image in normalised]  # the ReLU before conv5_4 is number 33
    expected = distance(*(features[34](image) for image in before_activation))
    assert any((features[34](image) < 0).any() for image in before_activation)
    perceptual, style = PerceptualLoss({"conv5_4": 1.0}, whole_file, criterion=criterion)(*pictures)
    torch.testing.assert_close(perceptual, expected, rtol=1e-4, atol=0)
    assert style is None


def imagenet():
    return torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


def test_the_target_gets_no_graph_and_the_network_no_gradient(partial_file, pictures):
    loss = PerceptualLoss({"conv2_1": 1.0}, partial_file)
    x, gt = (image.clone().requires_grad_() for image in pictures)
    perceptual, _ = loss(x, gt)
    perceptual.backward()
    assert x.grad.abs().sum() > 0
    assert gt.grad is None
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in loss.parameters())


def test_the_gram_matrix_is_the_mean_product_of_features():
    features = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    expected = torch.einsum("nihw,njhw->nij", features, features) / (3 * 4 * 5)
    torch.testing.assert_close(gram_matrix(features), expected)


def test_autocast_leaves_the_loss_in_float32(partial_file, pictures):
    loss = PerceptualLoss({"conv3_4": 1.0}, partial_file, style_weight=1.0)
    exact = loss(*pictures)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = loss(*pictures)
    for mine, reference in zip(rough, exact, strict=True):
        assert mine.dtype == torch.float32
        torch.testing.assert_close(mine, reference, rtol=0.05, atol=0)
        assert mine.item() != reference.item()


def test_weights_may_end_at_the_deepest_layer_asked_for(partial_file, pictures):
    perceptual, _ = PerceptualLoss({"conv1_2": 1.0, "conv3_4": 1.0}, partial_file)(*pictures)
    assert perceptual.isfinite()


def test_a_layer_deeper_than_the_file_is_refused_with_the_deepest_it_has(partial_file):
    with pytest.raises(WeightsError, match=r"has VGG19 up to conv3_4, but the loss asks for conv4_1"):
        PerceptualLoss({"conv1_1": 1.0, "conv4_1": 1.0}, partial_file)


def test_a_file_of_another_network_is_refused(tmp_path):
    save_file({"conv_first.weight": torch.zeros(4, 3, 3, 3)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match=r"is not VGG19 in torchvision's layout"):
        PerceptualLoss({"conv1_1": 1.0}, tmp_path / "other.safetensors")


def test_a_vgg19_of_other_widths_is_refused(tmp_path):
    state = {"features.0.weight": torch.zeros(32, 3, 3, 3), "features.0.bias": torch.zeros(32)}
    save_file(state, tmp_path / "narrow.safetensors")
    with pytest.raises(WeightsError, match=r"conv1_1.weight has shape \(32, 3, 3, 3\), but VGG19's is \(64, 3, 3, 3\)"):
        PerceptualLoss({"conv1_1": 1.0}, tmp_path / "narrow.safetensors")


def test_a_pickle_that_wants_to_run_code_is_refused(tmp_path):
    (tmp_path / "vgg19.pth").write_bytes(pickle.dumps({"features.0.weight": print}))
    with pytest.raises(WeightsError):
        PerceptualLoss({"conv1_1": 1.0}, tmp_path / "vgg19.pth")


def test_nothing_is_downloaded_and_the_message_says_where_to_put_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: pytest.fail("went to the network"))
    with pytest.raises(UsageError) as caught:
        PerceptualLoss({"conv1_1": 1.0})
    assert str(tmp_path / "checkpoints" / "vgg19-dcbb9e9d.pth") in str(caught.value)


def test_torchvisions_file_in_the_cache_is_found(tmp_path, monkeypatch, features):
    (tmp_path / "checkpoints").mkdir()
    state = {f"features.{key}": tensor for key, tensor in features[:3].state_dict().items()}
    # torchvision's file is of the time before zip archives, and holds the classifier as well.
    torch.save(
        {**state, "classifier.0.weight": torch.zeros(2, 2)},
        tmp_path / "checkpoints" / "vgg19-dcbb9e9d.pth",
        _use_new_zipfile_serialization=False,
    )
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    loss = PerceptualLoss({"conv1_2": 1.0})
    assert torch.equal(loss.vgg.conv1_2.weight, features[2].weight)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layer_weights": {}}, "no layer is asked for"),
        ({"layer_weights": {"relu5_4": 1.0}}, "no layer 'relu5_4'"),
        ({"criterion": "l3"}, "criterion must be l1 or l2, got 'l3'"),
        ({"vgg_type": "vgg16"}, "vgg_type must be vgg19, got 'vgg16'"),
        ({"perceptual_weight": -1.0}, "perceptual_weight must be a number from 0 on, got -1.0"),
        ({"layer_weights": {"conv1_1": float("nan")}}, "conv1_1 must be a number from 0 on"),
    ],
)
def test_impossible_arguments_are_refused(partial_file, arguments, message):
    with pytest.raises(ValueError, match=message):
        PerceptualLoss(**{"layer_weights": {"conv1_1": 1.0}, "weights": partial_file, **arguments})


def test_the_real_weights_load_and_tell_a_blurred_picture(assets):
    loss = PerceptualLoss({"conv3_4": 1.0}, assets / "weights" / "vgg19_features_to_conv3_4.safetensors")
    picture = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    blurred = F.avg_pool2d(picture, 3, stride=1, padding=1)
    assert loss(picture, picture)[0] == 0
    assert loss(blurred, picture)[0] > loss(picture + 0.01, picture)[0] > 0
    assert loss.vgg.deepest in LAYERS


def scaled_by(file: Path, factor: float) -> Path:
    """The file with all features times `factor`: a network of ReLU scales with its first layer and its biases."""
    state = {key: tensor.double() for key, tensor in load_file(file).items()}
    for key, tensor in state.items():
        if key == "features.0.weight" or key.endswith("bias"):
            tensor *= factor
    save_file(state, file.with_name("scaled.safetensors"))
    return file.with_name("scaled.safetensors")


def test_normalised_features_give_one_loss_for_files_that_differ_in_magnitude(partial_file, pictures):
    layers = {"conv1_2": 0.3, "conv3_4": 1.0}
    scaled = scaled_by(partial_file, 300.0)

    def values(file, **arguments):
        perceptual, style = PerceptualLoss(layers, file, style_weight=2.0, **arguments)(*pictures)
        return torch.stack([perceptual, style])

    torch.testing.assert_close(
        values(scaled), values(partial_file) * torch.tensor([300.0, 300.0**2]), rtol=1e-4, atol=0
    )
    normalised = values(partial_file, normalise_features=True)
    torch.testing.assert_close(values(scaled, normalise_features=True), normalised, rtol=1e-4, atol=0)


def test_normalised_features_are_divided_by_their_magnitude_layer_by_layer(partial_file, pictures):
    plain = PerceptualLoss({"conv2_1": 1.0}, partial_file)
    normalised = PerceptualLoss({"conv2_1": 1.0}, partial_file, normalise_features=True)
    magnitude = feature_magnitude(plain.vgg)["conv2_1"]
    torch.testing.assert_close(normalised(*pictures)[0] * magnitude, plain(*pictures)[0])


def test_the_magnitude_is_about_that_of_photographs_with_the_real_weights(assets):
    layers = {"conv1_2": 1.0, "conv2_2": 1.0, "conv3_4": 1.0}
    loss = PerceptualLoss(layers, assets / "weights" / "vgg19_features_to_conv3_4.safetensors")
    found = {name: [] for name in layers}
    for file in sorted((assets / "val" / "kodak").iterdir()):
        with Image.open(file) as image:
            pixels = torch.from_numpy(np.array(image.convert("RGB")))[:256, :256].permute(2, 0, 1)[None] / 255
        for name, feature in loss.vgg(pixels).items():
            found[name].append(feature.abs().mean().item())
    for name, magnitude in feature_magnitude(loss.vgg).items():
        assert magnitude == pytest.approx(np.mean(found[name]), rel=0.5), name
