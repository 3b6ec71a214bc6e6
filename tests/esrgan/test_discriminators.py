"""The discriminators, against BasicSR's own classes with the same weights."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import pytest
import torch

from esrgan.archs.discriminators import UNetDiscriminatorSN, VGGStyleDiscriminator


@pytest.fixture(scope="module")
def theirs() -> SimpleNamespace:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from esrgan.training.compat import patch_torchvision

        patch_torchvision()
        from basicsr.archs import discriminator_arch
    return SimpleNamespace(vgg=discriminator_arch.VGGStyleDiscriminator, unet=discriminator_arch.UNetDiscriminatorSN)


def image(side: int, channels: int = 3, batch: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(side)
    return torch.rand(batch, channels, side, side, generator=generator, dtype=torch.float64)


def results(network, x, *, training):
    """Logits, gradient of the image, and buffers after one pass."""
    network.train(training)
    x = x.clone().requires_grad_()
    logits = network(x)
    (gradient,) = torch.autograd.grad(logits.square().sum(), x)
    return logits.detach(), gradient, dict(network.named_buffers())


def assert_same(mine, other):
    torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("size", [128, 256])
def test_vgg_style_gives_basicsrs_logits_gradients_and_statistics(theirs, size, training):
    torch.manual_seed(size)
    other = theirs.vgg(num_in_ch=3, num_feat=3, input_size=size).double()
    ours = VGGStyleDiscriminator(num_in_ch=3, num_feat=3, input_size=size).double()
    ours.load_state_dict(other.state_dict())
    assert_same(results(ours, image(size), training=training), results(other, image(size), training=training))


def test_vgg_style_192_has_six_stages_and_ends_at_3x3():
    network = VGGStyleDiscriminator(num_feat=2, input_size=192)
    assert network.linear1.in_features == 16 * 3 * 3
    assert [name for name, _ in network.named_children() if name.endswith("_1")] == [
        name for stage in range(6) for name in (f"conv{stage}_1", f"bn{stage}_1")
    ]
    assert network(image(192).float()).shape == (2, 1)


def test_the_papers_discriminator_has_the_published_number_of_weights():
    with torch.device("meta"):
        network = VGGStyleDiscriminator()
    # As BasicSR's log of an ESRGAN run says.
    assert sum(parameter.numel() for parameter in network.parameters()) == 14_499_401


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("skip", [True, False])
def test_unet_gives_basicsrs_logits_gradients_and_power_iteration(theirs, skip, training):
    torch.manual_seed(3)
    other = theirs.unet(num_in_ch=3, num_feat=4, skip_connection=skip).double()
    ours = UNetDiscriminatorSN(num_in_ch=3, num_feat=4, skip_connection=skip).double()
    ours.load_state_dict(other.state_dict())
    assert_same(results(ours, image(24), training=training), results(other, image(24), training=training))


def test_two_passes_before_one_backward_pass_work():
    for network, side in ((VGGStyleDiscriminator(num_feat=2), 128), (UNetDiscriminatorSN(num_feat=2), 16)):
        network.double()
        loss = network(image(side)).mean() - network(image(side) / 2).mean()
        loss.backward()
        assert all(parameter.grad is not None for parameter in network.parameters())


def test_channels_last_images_give_the_same_logits():
    network = VGGStyleDiscriminator(num_feat=2).double().eval()
    x = image(128)
    torch.testing.assert_close(network(x.contiguous(memory_format=torch.channels_last)), network(x))


@pytest.mark.parametrize(("width", "height"), [(64, 128), (128, 64), (129, 129)])
def test_an_image_of_another_size_is_refused(width, height):
    with pytest.raises(ValueError, match=rf"made for 128x128, got an image of {width}x{height}"):
        VGGStyleDiscriminator(num_feat=1)(torch.zeros(1, 3, height, width))


def test_the_unet_refuses_sides_that_are_not_multiples_of_8():
    with pytest.raises(ValueError, match="multiples of 8, got an image of 16x12"):
        UNetDiscriminatorSN(num_feat=1)(torch.zeros(1, 3, 12, 16))


@pytest.mark.parametrize("network", [VGGStyleDiscriminator, UNetDiscriminatorSN])
@pytest.mark.parametrize("argument", ["num_in_ch", "num_feat"])
def test_sizes_under_one_are_refused(network, argument):
    with pytest.raises(ValueError, match=f"{argument} must be at least 1, got 0"):
        network(**{argument: 0})


def test_an_unknown_input_size_is_refused():
    with pytest.raises(ValueError, match="input_size must be 128, 192 or 256, got 100"):
        VGGStyleDiscriminator(input_size=100)
