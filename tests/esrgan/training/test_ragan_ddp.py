"""Training in two processes. This file is the test, and, run as a script, one of the two processes."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from torch import distributed, nn

WORLD = 2


def discriminator(name: str) -> dict[str, object]:
    return {
        # Instance-wise: without batch normalisation two processes are one with the joined batch.
        "unet": {"type": "UNetDiscriminatorSN_esrgan", "num_in_ch": 3, "num_feat": 2},
        "batch-norm": {"type": "VGGStyleDiscriminator_esrgan", "num_in_ch": 3, "num_feat": 2, "input_size": 128},
    }[name]


def build(network_d: dict[str, object], *, dist: bool, **train: object):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from esrgan.training.registration import register

        register()
        from basicsr.models import build_model
    options = {
        "name": "two",
        "model_type": "RaGANModel_esrgan",
        "scale": 4,
        "num_gpu": 0,
        "dist": dist,
        "rank": distributed.get_rank() if dist else 0,
        "world_size": WORLD if dist else 1,
        "is_train": True,
        "network_g": {"type": "RRDBNet_esrgan", "num_feat": 4, "num_block": 1, "num_grow_ch": 2},
        "network_d": network_d,
        "path": {},
        "train": {
            "ema_decay": 0.9,
            "optim_g": {"type": "Adam", "lr": 1e-3},
            "optim_d": {"type": "Adam", "lr": 1e-3},
            "scheduler": {"type": "MultiStepLR", "milestones": [100]},
            "pixel_opt": {"type": "L1Loss", "loss_weight": 1e-2},
            "gan_opt": {"type": "RelativisticGANLoss_esrgan", "loss_weight": 0.1},
            **train,
        },
    }
    torch.manual_seed(0)
    # Before the networks are wrapped: the buckets of their gradients keep the type of the beginning.
    torch.set_default_dtype(torch.float64)
    try:
        return build_model(options)
    finally:
        torch.set_default_dtype(torch.float32)


def batch(seed: int, side: int) -> dict[str, torch.Tensor]:
    """The joined batch of both processes: four images."""
    generator = torch.Generator().manual_seed(seed)
    return {
        "lq": torch.rand(4, 3, side, side, generator=generator),
        "gt": torch.rand(4, 3, 4 * side, 4 * side, generator=generator),
    }


def share(data: dict[str, torch.Tensor], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """What this process sees of the joined batch."""
    if not distributed.is_initialized():
        return {name: images.to(dtype) for name, images in data.items()}
    return {name: images.chunk(WORLD)[distributed.get_rank()].to(dtype) for name, images in data.items()}


def steps(model, count: int, *, side: int) -> dict[str, object]:
    """Gradients of the first step that each network takes, weights at the end, and all logs."""
    dtype = next(model.net_g.parameters()).dtype
    logs, first = [], {}
    for iteration in range(1, count + 1):
        model.update_learning_rate(iteration)
        model.feed_data(share(batch(iteration, side), dtype))
        model.optimize_parameters(iteration)
        logs.append(model.get_current_log())
        for name in {"net_g", "net_d"} - first.keys():
            if next(getattr(model, name).parameters()).grad is not None:
                first[name] = flat(getattr(model, name), gradients=True)
    return {
        "gradients": first,
        "weights": {name: flat(getattr(model, name)) for name in ("net_g", "net_d", "net_g_ema")},
        "logs": logs,
    }


def flat(network: nn.Module, *, gradients: bool = False) -> torch.Tensor:
    parts = [parameter.grad if gradients else parameter.detach() for parameter in network.parameters()]
    return torch.cat([part.flatten() for part in parts]).clone()


EXPERIMENTS = {
    "paper": ("unet", {}, 8),
    "parts": ("unet", {"accumulate": 2}, 8),
    "init": ("unet", {"net_d_init_iters": 1}, 8),
    "batch-norm": ("batch-norm", {}, 32),
    "batch-norm-detached": ("batch-norm", {"detached": True}, 32),
}


def worker(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo",
        init_method=(folder / "meeting").as_uri(),
        rank=rank,
        world_size=WORLD,
        timeout=timedelta(seconds=120),
    )
    found = {}
    for name, (network, train, side) in EXPERIMENTS.items():
        model = build(discriminator(network), dist=True, **train)
        if name == "parts":
            model.net_d.eval()  # without power iteration all parts meet the same discriminator
        found[name] = steps(model, 2, side=side)
        if name == "batch-norm":
            found["bad"] = bad_step(model)
    torch.save(found, folder / f"{rank}.pth")
    distributed.destroy_process_group()


def bad_step(model) -> dict[str, object]:
    """A step in which only the second process sees a value that is not finite."""
    before = flat(model.net_g), flat(model.net_d)
    data = share(batch(9, 32), torch.float64)
    if distributed.get_rank() == 1:
        data["gt"][0, 0, 0, 0] = float("nan")
    model.feed_data(data)
    model.optimize_parameters(3)
    same = [torch.equal(old, flat(network)) for old, network in zip(before, (model.net_g, model.net_d), strict=True)]
    return {"same": same, "skipped": int(model.guard.skipped)}


def difference(mine: torch.Tensor, reference: torch.Tensor) -> float:
    return ((mine - reference).norm() / reference.norm()).item()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory) -> list[dict]:
    """What each process found."""
    folder = tmp_path_factory.mktemp("processes")
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, str(rank), str(folder)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(WORLD)
    ]
    try:
        outputs = [process.communicate(timeout=280)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, output in zip(processes, outputs, strict=True):
        assert process.returncode == 0, output[-3000:]
    return [torch.load(folder / f"{rank}.pth", weights_only=True) for rank in range(WORLD)]


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_both_processes_hold_the_same_gradients_weights_and_log(ranks, experiment):
    first, second = (found[experiment] for found in ranks)
    for kind in ("gradients", "weights"):
        for name, tensor in first[kind].items():
            assert torch.equal(tensor, second[kind][name]), f"{kind} of {name}"
    assert first["logs"] == second["logs"]
    assert all(log["skipped_steps"] == 0 for log in first["logs"])


@pytest.mark.parametrize("experiment", ["paper", "init"])
def test_two_processes_without_batch_norm_are_one_with_the_joined_batch(ranks, experiment):
    network, train, side = EXPERIMENTS[experiment]
    alone = steps(build(discriminator(network), dist=False, **train), 2, side=side)
    together = ranks[0][experiment]
    for name, reference in alone["gradients"].items():
        assert difference(together["gradients"][name], reference) < 1e-10, name
    for name, reference in alone["weights"].items():
        assert difference(together["weights"][name], reference) < 1e-6, name
    for mine, reference in zip(together["logs"], alone["logs"], strict=True):
        for name in reference.keys() - {"d_saturated"}:  # a share: each process counts by its own means
            assert mine[name] == pytest.approx(reference[name], rel=1e-5), name


def test_parts_exchange_gradients_once_and_average_over_parts_and_processes(ranks):
    network, _, side = EXPERIMENTS["parts"]
    joined = batch(1, side)
    for name in ("net_g", "net_d"):
        expected = []
        for part in (0, 1):  # a part of both processes together is a batch of one process
            alone = build(discriminator(network), dist=False)
            alone.net_d.eval()
            alone.feed_data({key: images[[part, part + 2]].double() for key, images in joined.items()})
            alone.optimize_parameters(1)
            expected.append(flat(getattr(alone, name), gradients=True))
        assert difference(ranks[0]["parts"]["gradients"][name], torch.stack(expected).mean(0)) < 1e-10


def test_a_step_that_only_one_process_finds_bad_is_skipped_by_both(ranks):
    for found in ranks:
        assert found["bad"] == {"same": [True, True], "skipped": 1}


if __name__ == "__main__":
    worker(int(sys.argv[1]), Path(sys.argv[2]))
