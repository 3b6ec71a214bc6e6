"""Gradients of dense blocks in training; the oracle is BasicSR's network under plain autograd."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from esrgan.archs.rrdbnet import ResidualDenseBlock, RRDBNet


def gradients(network: nn.Module, x: Tensor, *, autocast: bool = False) -> tuple[Tensor, list[Tensor]]:
    """The output, and the gradients of the input and of all weights."""
    network.zero_grad()
    x = x.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        output = network(x)
    output.double().square().mean().backward()
    return output.detach(), [x.grad, *(parameter.grad for parameter in network.parameters())]


def held(network: nn.Module, x: Tensor) -> int:
    """Bytes that autograd keeps after a forward pass, weights left out."""
    storages: dict[int, int] = {}
    own = {parameter.data_ptr() for parameter in network.parameters()}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in own:
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = network(x)
    assert output.requires_grad
    return sum(storages.values())


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [(1, 3, 1, 1), (3, 3, 7, 5)])
def test_gradients_are_those_of_basicsr(basicsr_archs, memory_format, size):
    torch.manual_seed(0)
    ours = RRDBNet(num_feat=6, num_block=2, num_grow_ch=4).double()
    theirs = basicsr_archs.RRDBNet(3, 3, 4, num_feat=6, num_block=2, num_grow_ch=4).double()
    theirs.load_state_dict(ours.state_dict())
    ours.to(memory_format=memory_format)
    x = torch.rand(size, dtype=torch.float64)
    (output, found), (expected_output, expected) = gradients(ours, x), gradients(theirs, x)
    torch.testing.assert_close(output, expected_output, rtol=1e-12, atol=1e-14)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-14)


def test_gradients_are_those_of_finite_differences():
    torch.manual_seed(1)
    block = ResidualDenseBlock(3, 2).double()
    x = torch.randn(1, 3, 3, 4, dtype=torch.float64, requires_grad=True)
    names = [name for name, _ in block.named_parameters()]

    def function(x: Tensor, *parameters: Tensor) -> Tensor:
        return torch.func.functional_call(block, dict(zip(names, parameters, strict=True)), x)

    assert torch.autograd.gradcheck(function, (x, *block.parameters()))


def test_training_mode_rounds_as_evaluation_mode_does():
    """Plain autograd over written-out concatenations, in both precisions, is what evaluation mode has."""
    torch.manual_seed(2)
    training = RRDBNet(num_feat=16, num_block=2, num_grow_ch=8).to(memory_format=torch.channels_last)
    plain = copy.deepcopy(training).eval()
    x = torch.rand(2, 3, 12, 9).contiguous(memory_format=torch.channels_last)
    for autocast in (False, True):
        found, expected = gradients(training, x, autocast=autocast), gradients(plain, x, autocast=autocast)
        assert torch.equal(found[0], expected[0])
        one, other = (torch.cat([each.flatten() for each in part[1]]).double() for part in (found, expected))
        assert (one - other).norm() < (5e-3 if autocast else 1e-6) * other.norm()


def test_a_third_of_the_memory_is_kept():
    training = ResidualDenseBlock(64, 32)
    plain = copy.deepcopy(training).eval()
    x = torch.rand(2, 64, 16, 16)
    assert held(training, x) <= 192 / 704 * held(plain, x) * 1.01


def test_under_autocast_half_of_that_is_kept():
    block = ResidualDenseBlock(64, 32)
    x = torch.rand(2, 64, 16, 16)
    single = held(block, x)
    with torch.autocast("cpu", torch.bfloat16):
        weights = sum(parameter.numel() for name, parameter in block.named_parameters() if "weight" in name)
        assert held(block, x) - 2 * weights <= single / 2 * 1.01  # the rounded weights are kept, too


def test_a_layer_with_a_parametrisation_is_called():
    torch.manual_seed(3)
    block = ResidualDenseBlock(4, 2)
    torch.nn.utils.parametrizations.weight_norm(block.conv3)
    plain = copy.deepcopy(block).eval()
    x = torch.rand(1, 4, 5, 5)
    for one, other in zip(gradients(block, x)[1], gradients(plain, x)[1], strict=True):
        torch.testing.assert_close(one, other)


def test_frozen_layers_get_no_gradient():
    block = ResidualDenseBlock(8, 4)
    block.conv3.requires_grad_(False)
    block(torch.rand(1, 8, 5, 5)).sum().backward()
    assert block.conv3.weight.grad is None
    assert block.conv2.weight.grad is not None


def test_differentiating_twice_is_refused():
    block = ResidualDenseBlock(4, 2)
    x = torch.rand(1, 4, 5, 5, requires_grad=True)
    (gradient,) = torch.autograd.grad(block(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()
