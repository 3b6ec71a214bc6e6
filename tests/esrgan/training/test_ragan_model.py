"""`RaGANModel`: its gradients against the equations and BasicSR's `ESRGANModel`, in float64."""

from __future__ import annotations

import copy
import logging
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from esrgan.archs.vgg import VGG19Features
from esrgan.errors import TrainingDiverged, UsageError
from esrgan.training.models.guard import StepGuard


@pytest.fixture(scope="module")
def basicsr() -> SimpleNamespace:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # basicsr uses names that its own dependencies have deprecated
        from esrgan.training.registration import register

        register()
        from basicsr.models import build_model
    return SimpleNamespace(build_model=build_model)


@pytest.fixture(scope="module")
def vgg_file(tmp_path_factory) -> Path:
    """The first convolution of a random VGG19."""
    torch.manual_seed(1)
    state = VGG19Features(["conv1_1"]).state_dict()
    file = tmp_path_factory.mktemp("vgg") / "start_of_vgg19.safetensors"
    save_file({key.replace("conv1_1", "features.0"): tensor for key, tensor in state.items()}, file)
    return file


GENERATOR = {"num_feat": 4, "num_block": 1, "num_grow_ch": 2}
VGG_STYLE = {"type": "VGGStyleDiscriminator_esrgan", "num_in_ch": 3, "num_feat": 2, "input_size": 128}
UNET = {"type": "UNetDiscriminatorSN_esrgan", "num_in_ch": 3, "num_feat": 2}


@pytest.fixture
def build(basicsr, vgg_file, tmp_path):
    """A model on tiny networks; keywords go below `train:`."""

    def make(model_type="RaGANModel_esrgan", discriminator=VGG_STYLE, double=True, **train):
        torch.manual_seed(0)
        for name in ("models", "training_states"):
            (tmp_path / name).mkdir(exist_ok=True)
        model = basicsr.build_model(
            {
                "name": "tiny",
                "model_type": model_type,
                "scale": 4,
                "num_gpu": 0,
                "dist": False,
                "rank": 0,
                "world_size": 1,
                "is_train": True,
                "network_g": {"type": "RRDBNet_esrgan", **GENERATOR},
                "network_d": discriminator,
                "path": {"models": str(tmp_path / "models"), "training_states": str(tmp_path / "training_states")},
                "train": {
                    "optim_g": {"type": "Adam", "lr": 1e-4},
                    "optim_d": {"type": "Adam", "lr": 1e-4},
                    "scheduler": {"type": "MultiStepLR", "milestones": [100]},
                    "pixel_opt": {"type": "L1Loss", "loss_weight": 1e-2},
                    "perceptual_opt": {
                        "type": "PerceptualLoss_esrgan",
                        "layer_weights": {"conv1_1": 1.0},
                        "weights": str(vgg_file),
                    },
                    "gan_opt": {"type": "RelativisticGANLoss_esrgan", "loss_weight": 5e-3},
                    **train,
                },
            }
        )
        if double:
            for name in ("net_g", "net_d", "net_g_ema", "cri_perceptual"):
                if getattr(model, name, None) is not None:
                    getattr(model, name).double()
        return model

    return make


def batch(seed: int, *, double: bool = True, side: int = 32) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    dtype = torch.float64 if double else torch.float32
    return {
        "lq": torch.rand(2, 3, side, side, generator=generator, dtype=torch.float64).to(dtype),
        "gt": torch.rand(2, 3, 4 * side, 4 * side, generator=generator, dtype=torch.float64).to(dtype),
    }


def run(model, seeds, *, first: int = 1, double: bool = True, side: int = 32) -> list[dict[str, float]]:
    logs = []
    for iteration, seed in enumerate(seeds, start=first):
        model.update_learning_rate(iteration)
        model.feed_data(batch(seed, double=double, side=side))
        model.optimize_parameters(iteration)
        logs.append(model.get_current_log())
    return logs


def weights(network: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()]).clone()


def gradients(network: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.grad.flatten() for parameter in network.parameters()]).clone()


def difference(mine: torch.Tensor, reference: torch.Tensor) -> float:
    return ((mine - reference).norm() / reference.norm()).item()


def d_ra(a, b):
    """D_Ra(a, b) = σ(C(a) − E[C(b)])."""
    return torch.sigmoid(a - b.mean())


def naive_gradients(model, lq, gt, target=None, seen=...):
    """The gradients of equations (1) to (3) by their text, each with discriminator passes of its own.

    The content losses compare with `target`, the discriminator sees `gt`; of all of them only the index `seen` counts.
    """
    target = (gt if target is None else target)[seen]
    gt = gt[seen]
    g, d = copy.deepcopy(model.net_g), copy.deepcopy(model.net_d)
    output = g(lq)[seen]
    real, fake = d(gt), d(output)
    l_g = -(1 - d_ra(real, fake)).log().mean() - d_ra(fake, real).log().mean()
    l_percep, _ = model.cri_perceptual(output, target)
    total = l_percep + 5e-3 * l_g + 1e-2 * (output - target).abs().mean()
    of_g = torch.autograd.grad(total, list(g.parameters()))
    real, fake = d(gt), d(output.detach())
    l_d = -d_ra(real, fake).log().mean() - (1 - d_ra(fake, real)).log().mean()
    of_d = torch.autograd.grad(l_d, list(d.parameters()))
    return [torch.cat([gradient.flatten() for gradient in found]) for found in (of_g, of_d)]


def sharpened(model):
    """Move the discriminator away from its start, where all logits are alike and the terms hard to tell apart."""
    with torch.no_grad():
        model.net_d.linear2.weight.mul_(20)
    return model


def test_gradients_are_those_of_the_papers_equations(build):
    model = sharpened(build())
    data = batch(0)
    of_g, of_d = naive_gradients(model, data["lq"], data["gt"])
    model.feed_data(data)
    model.optimize_parameters(1)
    assert difference(gradients(model.net_g), of_g) < 1e-10
    assert difference(gradients(model.net_d), of_d) < 1e-10


def test_content_losses_compare_with_sharpened_images_where_there_are_some(build):
    model = sharpened(build(accumulate=1))
    data = {**batch(0), "gt_usm": batch(1)["gt"]}
    of_g, of_d = naive_gradients(model, data["lq"], data["gt"], data["gt_usm"])
    model.feed_data(data)
    model.optimize_parameters(1)
    assert difference(gradients(model.net_g), of_g) < 1e-10
    assert difference(gradients(model.net_d), of_d) < 1e-10
    plain = batch(2)
    of_g, _ = naive_gradients(model, plain["lq"], plain["gt"])
    model.feed_data(plain)  # nothing is left of the batch before
    model.optimize_parameters(2)
    assert difference(gradients(model.net_g), of_g) < 1e-10


@pytest.mark.parametrize("generator_rests", [False, True])
def test_all_losses_see_the_same_shifted_crop(build, generator_rests):
    model = sharpened(build(loss_shift=8, net_d_init_iters=int(generator_rests)))
    data = batch(3, side=34)  # 136 pixels of HR, of which the discriminator wants 128
    torch.manual_seed(5)
    top, left = torch.randint(8, (2,)).tolist()
    assert (top, left) != (0, 0)
    seen = (..., slice(top, top + 128), slice(left, left + 128))
    of_g, of_d = naive_gradients(model, data["lq"], data["gt"], seen=seen)
    torch.manual_seed(5)
    model.feed_data(data)
    model.optimize_parameters(1)
    assert difference(gradients(model.net_d), of_d) < 1e-10
    if not generator_rests:
        assert difference(gradients(model.net_g), of_g) < 1e-10


def test_a_shift_takes_every_offset_and_none_draws_no_number(build):
    model = build(discriminator=UNET, loss_shift=2)
    image = torch.arange(64.0).reshape(1, 1, 8, 8)
    corners = {model._shifted(image)[0].flatten()[0].item() for _ in range(100)}
    assert corners == {0.0, 1.0, 8.0, 9.0}
    plain = build(discriminator=UNET)
    before = torch.get_rng_state()
    assert plain._shifted(image)[0] is image
    assert torch.equal(torch.get_rng_state(), before)


def test_a_shift_must_leave_something(build):
    model = build(discriminator=UNET, loss_shift=24)
    model.feed_data(batch(0, side=6))
    with pytest.raises(UsageError, match="train:loss_shift: 24 leaves nothing of a patch of 24"):
        model.optimize_parameters(1)


def stock_twin(build, ours, **train):
    """BasicSR's own `ESRGANModel` with the weights of `ours`."""
    theirs = build("ESRGANModel", gan_opt={"type": "GANLoss", "gan_type": "vanilla", "loss_weight": 5e-3}, **train)
    theirs.net_g.load_state_dict(ours.net_g.state_dict())
    theirs.net_d.load_state_dict(ours.net_d.state_dict())
    return theirs


def test_detached_gradients_are_those_of_basicsrs_own_model(build):
    ours = sharpened(build(detached=True))
    theirs = stock_twin(build, ours)
    for model in (ours, theirs):
        model.feed_data(batch(0))
        model.optimize_parameters(1)
    assert difference(gradients(ours.net_g), gradients(theirs.net_g)) < 1e-10
    assert difference(gradients(ours.net_d), gradients(theirs.net_d)) < 1e-10


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler")  # BasicSR's, while its generator rests
def test_a_detached_run_is_basicsrs_run(build):
    options = {"net_d_iters": 2, "net_d_init_iters": 1}
    ours = sharpened(build(detached=True, **options))
    theirs = stock_twin(build, ours, **options)
    logs = run(ours, range(4)), run(theirs, range(4))
    assert difference(weights(ours.net_g), weights(theirs.net_g)) < 1e-7
    assert difference(weights(ours.net_d), weights(theirs.net_d)) < 1e-7
    for mine, other in zip(*logs, strict=True):
        assert mine["l_d"] == pytest.approx(other["l_d_real"] + other["l_d_fake"], rel=1e-6)
        for name in other.keys() - {"l_d_real", "l_d_fake"}:
            assert mine[name] == pytest.approx(other[name], rel=1e-6)


def test_the_papers_step_is_not_the_detached_one(build):
    ours, detached = sharpened(build()), sharpened(build(detached=True))
    run(ours, [0]), run(detached, [0])
    # Twice for the halves; the gradients through the means are what is left.
    assert difference(gradients(ours.net_d), 2 * gradients(detached.net_d)) > 0.1


def test_the_discriminator_sees_each_set_of_images_once(build):
    model = build()
    seen = []
    model.net_d.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].detach().clone()))
    data = batch(0)
    run(model, [0])
    assert len(seen) == 2
    assert torch.equal(seen[0], data["gt"])
    assert torch.equal(seen[1], model.output)
    assert model.net_d.bn0_1.num_batches_tracked == 2


def test_at_first_only_the_discriminator_learns(build):
    model = sharpened(build(net_d_init_iters=2, ema_decay=0.5))
    start = weights(model.net_g)
    data = batch(0)
    _, of_d = naive_gradients(model, data["lq"], data["gt"])
    log = run(model, [0])[0]
    assert difference(gradients(model.net_d), of_d) < 1e-10
    assert "l_g_gan" not in log
    assert all(parameter.grad is None for parameter in model.net_g.parameters())
    run(model, [1], first=2)
    assert torch.equal(weights(model.net_g), start)
    run(model, [2], first=3)
    assert not torch.equal(weights(model.net_g), start)


def test_the_generator_learns_every_so_many_iterations(build):
    model = build(net_d_iters=3)
    moved = []
    for iteration in range(1, 7):
        before = weights(model.net_g), weights(model.net_d)
        run(model, [iteration], first=iteration)
        moved.append(
            (not torch.equal(weights(model.net_g), before[0]), not torch.equal(weights(model.net_d), before[1]))
        )
    assert moved == [(False, True), (False, True), (True, True)] * 2


def test_gradients_of_parts_add_up(build):
    model = sharpened(build(accumulate=2))
    data = batch(0)
    halves = [naive_gradients(model, data["lq"][index : index + 1], data["gt"][index : index + 1]) for index in (0, 1)]
    model.feed_data(data)
    model.optimize_parameters(1)
    for network, parts in zip((model.net_g, model.net_d), zip(*halves, strict=True), strict=True):
        assert difference(gradients(network), torch.stack(parts).mean(0)) < 1e-10


def test_a_loss_scale_reaches_every_backward_pass_and_is_taken_out_again(build):
    plain, scaled = sharpened(build()), sharpened(build())
    scaled.guard = StepGuard(torch.device("cpu"), loss_scale=True)
    run(plain, [0]), run(scaled, [0])
    for name in ("net_g", "net_d"):
        assert difference(gradients(getattr(scaled, name)), gradients(getattr(plain, name))) < 1e-12
    assert scaled.get_current_log()["loss_scale"] == 2.0**16


def test_each_network_is_clipped_by_its_own_norm(build):
    model = sharpened(build(clip_grad_norm=1e-4))
    run(model, [0])
    for network in (model.net_g, model.net_d):
        assert gradients(network).norm().item() == pytest.approx(1e-4, rel=1e-2)


def test_the_content_losses_may_be_left_out(build):
    model = build(pixel_opt=None, perceptual_opt=None)
    log = run(model, [0])[0]
    assert {"l_g_gan", "l_d"} <= log.keys()
    assert not {"l_g_pix", "l_g_percep"} & log.keys()
    assert gradients(model.net_g).norm() > 0


@pytest.mark.usefixtures("bfloat16_anywhere")
def test_spectral_norm_and_bfloat16_train(build):
    model = build(discriminator=UNET, double=False, precision="bfloat16", ema_decay=0.9, perceptual_opt=None)
    seen = []
    model.net_d.conv9.register_forward_hook(lambda _, __, output: seen.append(output.dtype))
    logs = run(model, range(3), double=False, side=8)
    assert seen == [torch.bfloat16] * 6
    assert all(log["skipped_steps"] == 0 for log in logs)
    assert {parameter.dtype for parameter in model.net_d.parameters()} == {torch.float32}


def test_a_step_that_is_not_finite_leaves_both_networks_and_their_statistics_alone(build):
    model = build(double=False)
    run(model, [0], double=False)
    before = copy.deepcopy(model.training_state())
    bad = batch(1, double=False)
    bad["gt"][0, 0, 0, 0] = float("nan")
    model.feed_data(bad)
    model.optimize_parameters(2)
    after = model.training_state()
    for name in ("net_g", "net_d"):
        for key, tensor in after["networks"][name].items():
            if tensor.is_floating_point():
                assert torch.equal(tensor, before["networks"][name][key]), key
    for mine, old in zip(after["optimizers"], before["optimizers"], strict=True):
        assert all(torch.equal(mine["state"][k]["exp_avg"], old["state"][k]["exp_avg"]) for k in old["state"])
    assert model.get_current_log()["skipped_steps"] == 1


def test_ten_bad_steps_in_a_row_stop_the_run(build):
    model = build(double=False, perceptual_opt=None)
    bad = batch(1, double=False)
    bad["lq"].fill_(float("inf"))
    for iteration in range(1, 10):
        model.feed_data(bad)
        model.optimize_parameters(iteration)
    with pytest.raises(TrainingDiverged, match=r"iteration 10: .* 10 steps in a row\. No checkpoint was written yet"):
        model.optimize_parameters(10)


def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(build, tmp_path):
    options = {"double": False, "precision": "bfloat16", "ema_decay": 0.9, "net_d_iters": 2}
    whole = build(**options)
    expected = run(whole, range(6), double=False)
    first = build(**options)
    run(first, range(3), double=False)
    torch.save(first.training_state(), tmp_path / "state")
    second = build(**options)
    second.load_training_state(torch.load(tmp_path / "state", weights_only=True))
    assert run(second, range(3, 6), first=4, double=False) == expected[3:]
    for name in ("net_g", "net_d", "net_g_ema"):
        for key, tensor in getattr(whole, name).state_dict().items():
            assert torch.equal(getattr(second, name).state_dict()[key], tensor), f"{name} {key}"


def test_both_networks_are_saved_and_the_discriminator_loads_again(build, basicsr, tmp_path):
    model = build(double=False)
    run(model, [0], double=False)
    model.save(0, 1)
    opt = copy.deepcopy(model.opt)
    opt["path"]["pretrain_network_d"] = str(tmp_path / "models" / "net_d_1.pth")
    opt["train"]["optim_g"]["type"] = opt["train"]["optim_d"]["type"] = "Adam"
    opt["train"]["scheduler"]["type"] = "MultiStepLR"
    again = basicsr.build_model(opt)
    for key, tensor in model.net_d.state_dict().items():
        assert torch.equal(again.net_d.state_dict()[key], tensor)


def test_the_log_is_what_the_step_saw(build):
    model = sharpened(build(ema_decay=0.5))
    g, d, data = copy.deepcopy(model.net_g), copy.deepcopy(model.net_d), batch(0)
    log = run(model, [0])[0]
    with torch.no_grad():
        output = g(data["lq"])
        real, fake = d(data["gt"]), d(output)
        outputs = torch.cat([d_ra(real, fake), d_ra(fake, real)])
    assert log["out_d_real"] == pytest.approx(real.mean().item())
    assert log["out_d_fake"] == pytest.approx(fake.mean().item())
    assert log["l_g_pix"] == pytest.approx(1e-2 * F.l1_loss(output, data["gt"]).item())
    assert log["d_saturated"] == ((outputs > 0.99) | (outputs < 0.01)).double().mean().item()
    coarse = F.avg_pool2d(output, 32), F.avg_pool2d(data["lq"], 8)
    assert log["colour_drift"] == pytest.approx((coarse[0] - coarse[1]).abs().mean().item(), rel=1e-4)


def test_a_warning_comes_when_something_goes_wrong_and_not_at_every_line(build, caplog):
    model = build()
    with torch.no_grad():
        model.net_g.conv_last.bias[0] += 0.8  # red
    with caplog.at_level(logging.WARNING, logger="esrgan"):
        run(model, [0, 1, 2])
    drifts = [record for record in caplog.records if "colours are off" in record.message]
    assert len(drifts) == 1


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ({"gan_opt": None}, "train:gan_opt is missing"),
        (
            {"gan_opt": {"type": "GANLoss", "gan_type": "vanilla"}},
            "must be Relativistic.* got 'GANLoss'",
        ),
        ({"ldl_opt": {"type": "L1Loss"}}, "train:ldl_opt"),
        ({"net_d_iters": 0}, "train:net_d_iters must be at least 1, got 0"),
        ({"net_d_init_iters": -1}, "train:net_d_init_iters must be at least 0, got -1"),
        ({"loss_shift": -1}, "train:loss_shift must be at least 0, got -1"),
    ],
)
def test_impossible_options_are_refused(build, train, message):
    with pytest.raises(UsageError, match=message):
        build(**train)


def test_a_patch_that_does_not_fit_the_discriminator_is_named(build):
    model = build()
    model.feed_data(batch(0, side=24))
    with pytest.raises(ValueError, match="made for 128x128, got an image of 96x96: gt_size and input_size must be"):
        model.optimize_parameters(1)


# Registration


@pytest.mark.usefixtures("basicsr")
def test_every_part_is_registered_under_a_name_of_its_own_and_twice_is_once():
    from basicsr.utils.registry import ARCH_REGISTRY, LOSS_REGISTRY, MODEL_REGISTRY

    from esrgan.training.registration import register

    def names():
        registries = (ARCH_REGISTRY, LOSS_REGISTRY, MODEL_REGISTRY)
        return [sorted(name for name, _ in registry if name.endswith("_esrgan")) for registry in registries]

    before = names()
    assert {"RRDBNet_esrgan", "SRVGGNetCompact_esrgan", "UNetDiscriminatorSN_esrgan"} <= set(before[0])
    assert "VGGStyleDiscriminator_esrgan" in before[0]
    assert {"PerceptualLoss_esrgan", "RelativisticGANLoss_esrgan"} <= set(before[1])
    assert {"PSNRModel_esrgan", "RaGANModel_esrgan"} <= set(before[2])
    register()
    assert names() == before
    assert ARCH_REGISTRY.get("RRDBNet").__module__.startswith("basicsr")


def test_a_network_that_is_not_to_be_resumed_stays_as_it_is(build):
    first = build(double=False, ema_decay=0.9)
    run(first, range(2), double=False)
    second = build(double=False, ema_decay=0.9, discriminator={**VGG_STYLE, "num_feat": 3})
    fresh = {name: tensor.clone() for name, tensor in second.net_d.state_dict().items()}
    second.load_training_state(first.training_state(), ignored=("network_d",))
    for name in ("net_g", "net_g_ema"):
        expected = getattr(first, name).state_dict()
        assert all(torch.equal(tensor, expected[key]) for key, tensor in getattr(second, name).state_dict().items())
    assert all(torch.equal(tensor, fresh[name]) for name, tensor in second.net_d.state_dict().items())
    assert not second.optimizer_d.state
    run(second, [2], first=3, double=False)
