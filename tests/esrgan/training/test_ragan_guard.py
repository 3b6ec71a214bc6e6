"""The guard's loss scale and the health values, against torch's `GradScaler` and numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from esrgan.training.models.guard import LossScale, StepGuard
from esrgan.training.models.health import colour_drift, complaints, saturated_share


def test_the_loss_scale_follows_torchs_grad_scaler(monkeypatch):
    monkeypatch.setattr(LossScale, "GROWTH_INTERVAL", 3)
    ours = LossScale(torch.device("cpu"))
    oracle = torch.amp.GradScaler("cpu", growth_interval=3)
    parameter = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([parameter], lr=0.0)
    outcomes = [False] * 4 + [True, False, False, True, True] + [False] * 7
    scales = []
    for bad in outcomes:
        oracle.scale(parameter.sum() * (float("inf") if bad else 1.0)).backward()
        oracle.step(optimizer)
        oracle.update()
        optimizer.zero_grad()
        ours.update(torch.tensor(bad))
        scales.append((ours.value.item(), oracle.get_scale()))
    assert all(mine == theirs for mine, theirs in scales)
    assert len({mine for mine, _ in scales}) > 3


def test_scaling_does_not_change_the_step():
    steps = []
    for loss_scale in (False, True):
        torch.manual_seed(0)
        parameter = torch.nn.Parameter(torch.randn(7))
        optimizer = torch.optim.Adam([parameter], lr=0.1, fused=True)
        guard = StepGuard(torch.device("cpu"), loss_scale=loss_scale, clip_grad_norm=0.5)
        for _ in range(3):
            optimizer.zero_grad()
            loss = parameter.square().sum()
            guard.scaled(loss).backward()
            assert not guard.step([optimizer], [loss])
        steps.append((parameter.detach(), parameter.grad))
    torch.testing.assert_close(*steps)
    assert steps[0][1].norm() == pytest.approx(0.5, rel=1e-4)


def test_one_bad_network_holds_back_the_other():
    good, bad = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    optimizers = [torch.optim.Adam([parameter], lr=0.1, fused=True) for parameter in (good, bad)]
    guard = StepGuard(torch.device("cpu"))
    good.grad, bad.grad = torch.ones(2), torch.full((2,), float("nan"))
    assert guard.step(optimizers, [torch.tensor(0.0)])
    assert torch.equal(good, torch.ones(2))
    bad.grad = torch.ones(2)
    assert not guard.step(optimizers, [torch.tensor(0.0)])
    assert (good < 1).all()
    assert guard.state_dict() == {"skipped": 1, "skipped_in_a_row": 0, "loss_scale": None, "good_steps": None}


def test_counters_and_scale_survive_a_restart():
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.Adam([parameter], lr=0.1, fused=True)
    guard = StepGuard(torch.device("cpu"), loss_scale=True)
    for value in (float("nan"), 1.0, float("nan"), float("nan")):
        parameter.grad = torch.full((2,), value)
        guard.step([optimizer], [])
    other = StepGuard(torch.device("cpu"), loss_scale=True)
    other.load_state_dict(guard.state_dict())
    assert other.state_dict() == guard.state_dict()
    assert (other.state_dict()["skipped"], other.state_dict()["skipped_in_a_row"]) == (3, 2)
    assert other.state_dict()["loss_scale"] == 2.0**13


def test_saturated_outputs_are_those_beyond_99_percent():
    real, fake = torch.tensor([[9.0], [0.1]]), torch.tensor([[-6.0], [0.0]])
    outputs = np.concatenate([real.numpy() + 3.0, fake.numpy() - 4.55]).astype(np.float64)  # minus the other's mean
    sigma = 1 / (1 + np.exp(-outputs))
    expected = ((sigma > 0.99) | (sigma < 0.01)).mean()
    assert saturated_share(real, fake).item() == expected == 0.5


def test_a_tint_is_a_drift_and_detail_is_none():
    generator = torch.Generator().manual_seed(0)
    lr = torch.rand(2, 3, 32, 24, generator=generator)
    output = torch.nn.functional.interpolate(lr, scale_factor=4, mode="nearest")
    checks = (torch.arange(128)[:, None] + torch.arange(96)) % 2 * 0.2 - 0.1
    assert colour_drift(output + checks, lr).item() == pytest.approx(0, abs=1e-6)
    tint = torch.tensor([0.06, 0.0, -0.03]).view(3, 1, 1)
    assert colour_drift(output + tint, lr).item() == pytest.approx(0.03, abs=1e-6)
    assert colour_drift(output[..., :16, :20], lr[..., :4, :5]).item() == pytest.approx(0, abs=1e-6)


def test_complaints_name_the_option_to_change():
    assert complaints({"d_saturated": 0.5, "colour_drift": 0.01, "l_d": 1.0}) == {}
    found = complaints({"d_saturated": 0.99, "colour_drift": 0.1})
    assert "train:optim_d:lr" in found["d_saturated"]
    assert "26 of 255 levels" in found["colour_drift"]
