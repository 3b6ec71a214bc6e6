"""Muon's steps; oracles are the singular value decomposition, and torch's own Muon and Adam."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from esrgan.archs.rrdbnet import RRDBNet
from esrgan.training.models.muon import Muon, orthogonal


def with_gradients(tensors, seed):
    generator = torch.Generator().manual_seed(seed)
    for tensor in tensors:
        tensor.grad = torch.randn(tensor.shape, generator=generator).mul_(10.0 ** (seed % 3)).to(tensor.dtype)


@pytest.mark.parametrize("shape", [(3, 16, 288), (2, 40, 8), (1, 32, 80)])
def test_orthogonal_matrices_keep_the_singular_vectors_and_level_the_values(shape):
    matrices = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    u, _, vt = torch.linalg.svd(matrices, full_matrices=False)
    core = u.mT @ orthogonal(matrices * 1e3) @ vt.mT
    values = core.diagonal(dim1=1, dim2=2)
    assert values.min() > 0.6
    assert values.max() < 1.3
    assert (core - torch.diag_embed(values)).abs().max() < 1e-9


def test_a_matrix_of_zeros_stays_zero():
    assert torch.equal(orthogonal(torch.zeros(1, 8, 9)), torch.zeros(1, 8, 9))


def test_convolutions_are_stepped_as_torchs_muon_steps_their_matrices():
    generator = torch.Generator().manual_seed(0)
    convolutions = [
        torch.randn(shape, generator=generator) for shape in [(16, 32, 3, 3), (48, 8, 1, 1), (16, 32, 3, 3)]
    ]
    ours = [nn.Parameter(each.clone()) for each in convolutions]
    matrices = [nn.Parameter(each.flatten(1).clone()) for each in convolutions]
    mine = Muon(ours, 0.1, momentum=0.8)
    theirs = torch.optim.Muon(matrices, 0.1, momentum=0.8, weight_decay=0, adjust_lr_fn="match_rms_adamw")
    for seed in range(5):
        with_gradients(ours, seed)
        for matrix, parameter in zip(matrices, ours, strict=True):
            matrix.grad = parameter.grad.flatten(1)
        before = [parameter.detach().clone() for parameter in ours]
        mine.step(), theirs.step()
        for old, parameter, matrix in zip(before, ours, matrices, strict=True):
            step, expected = parameter - old, matrix.reshape(parameter.shape) - old
            assert (step - expected).norm() < 0.02 * expected.norm()  # torch orthogonalises in bfloat16
        with torch.no_grad():
            for matrix, parameter in zip(matrices, ours, strict=True):
                matrix.copy_(parameter.flatten(1))


def test_vectors_and_layers_of_images_are_stepped_as_torchs_adam_steps_them():
    first = [nn.Parameter(torch.ones(shape)) for shape in [(32,), (32, 3, 3, 3), (3, 32, 3, 3), ()]]
    second = copy.deepcopy(first)
    mine = Muon(first, 0.5, adam_lr=0.01, betas=(0.8, 0.95), eps=1e-7)
    theirs = torch.optim.Adam(second, 0.01, betas=(0.8, 0.95), eps=1e-7)
    for seed in range(6):
        with_gradients(first, seed), with_gradients(second, seed)
        mine.step(), theirs.step()
    for one, other in zip(first, second, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_the_layout_in_memory_does_not_matter():
    torch.manual_seed(0)
    networks = [RRDBNet(num_feat=16, num_block=1, num_grow_ch=8) for _ in range(2)]
    networks[1].load_state_dict(networks[0].state_dict())
    networks[1].to(memory_format=torch.channels_last)
    for network in networks:
        optimiser = Muon(network.parameters(), 0.01)
        for seed in range(3):
            with_gradients(network.parameters(), seed)
            optimiser.step()
    for one, other in zip(networks[0].parameters(), networks[1].parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    assert networks[1].conv_hr.weight.is_contiguous(memory_format=torch.channels_last)


def test_a_loaded_state_lies_where_the_parameters_lie():
    first = Muon([nn.Parameter(torch.ones(8, 8)), nn.Parameter(torch.ones(8))], 0.1)
    with_gradients([parameter for group in first.param_groups for parameter in group["params"]], 0)
    first.step()
    elsewhere = [nn.Parameter(torch.ones(shape, device="meta")) for shape in ((8, 8), (8,))]
    second = Muon(elsewhere, 0.1)
    second.load_state_dict(first.state_dict())
    found = {name: value.device.type for state in second.state.values() for name, value in state.items()}
    assert found == dict.fromkeys(("momentum", "exp_avg", "exp_avg_sq", "step"), "meta")


def test_both_learning_rates_follow_a_schedule():
    matrix, vector = nn.Parameter(torch.ones(8, 8)), nn.Parameter(torch.ones(8))
    optimiser = Muon([matrix, vector], 0.1, adam_lr=0.01)
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, 1, gamma=0.5)
    optimiser.step(), schedule.step()
    assert [group["lr"] for group in optimiser.param_groups] == [0.05, 0.005]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lr": -1.0}, "lr must be a number of at least 0, got -1.0"),
        ({"adam_lr": float("nan")}, "adam_lr must be a number of at least 0, got nan"),
        ({"momentum": 1.0}, "momentum must be at least 0 and under 1, got 1.0"),
        ({"betas": (0.9, 1.0)}, "betas must be at least 0 and under 1, got 1.0"),
    ],
)
def test_numbers_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Muon([nn.Parameter(torch.ones(8, 8))], **arguments)


def test_nothing_to_train_is_refused():
    with pytest.raises(ValueError, match="nothing to train"):
        Muon([])
