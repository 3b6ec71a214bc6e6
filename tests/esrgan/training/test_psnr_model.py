"""The step that all models share, seen through `PSNRModel`; oracles are plain torch and BasicSR's `SRModel`."""

from __future__ import annotations

import copy
import logging
import warnings
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from esrgan.errors import FailedError, TrainingDiverged, UsageError, WeightsError
from esrgan.weights import load_network


@pytest.fixture(scope="module")
def basicsr() -> SimpleNamespace:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # basicsr uses names that its own dependencies have deprecated
        from esrgan.training.registration import register

        register()
        from basicsr.models import build_model
    return SimpleNamespace(build_model=build_model)


NETWORK = {"type": "RRDBNet_esrgan", "num_feat": 4, "num_block": 1, "num_grow_ch": 2}


@pytest.fixture
def build(basicsr, tmp_path):
    """A model on tiny networks; keywords go below `train:`, `network` and `path` replace those sections."""

    def make(model_type="PSNRModel_esrgan", network=NETWORK, path=None, is_train=True, scale=4, num_gpu=0, **train):
        torch.manual_seed(0)
        for name in ("models", "training_states"):
            (tmp_path / name).mkdir(exist_ok=True)
        return basicsr.build_model(
            {
                "name": "tiny",
                "model_type": model_type,
                "scale": scale,
                "num_gpu": num_gpu,
                "dist": False,
                "rank": 0,
                "world_size": 1,
                "is_train": is_train,
                "network_g": network,
                "path": {
                    "models": str(tmp_path / "models"),
                    "training_states": str(tmp_path / "training_states"),
                    **(path or {}),
                },
                "train": {
                    "optim_g": {"type": "Adam", "lr": 1e-3},
                    "scheduler": {"type": "MultiStepLR", "milestones": [3], "gamma": 0.5},
                    "pixel_opt": {"type": "L1Loss"},
                    **train,
                },
            }
        )

    return make


def batch(seed: int, count: int = 4, side: int = 8) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "lq": torch.rand(count, 3, side, side, generator=generator),
        "gt": torch.rand(count, 3, 4 * side, 4 * side, generator=generator),
    }


def run(model, seeds, *, first: int = 1) -> list[dict[str, float]]:
    logs = []
    for iteration, seed in enumerate(seeds, start=first):
        model.update_learning_rate(iteration)
        model.feed_data(batch(seed))
        model.optimize_parameters(iteration)
        logs.append(model.get_current_log())
    return logs


def weights(network: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()]).clone()


def gradients(network: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.grad.flatten() for parameter in network.parameters()]).clone()


def test_steps_are_those_of_basicsrs_sr_model(build):
    ours = build(ema_decay=0.9, channels_last=False)
    theirs = build("SRModel", {**NETWORK, "type": "RRDBNet_esrgan"}, ema_decay=0.9)
    theirs.net_g.load_state_dict(ours.net_g.state_dict())
    theirs.model_ema(0)
    logs = run(ours, range(5)), run(theirs, range(5))
    assert [log["l_pix"] for log in logs[0]] == pytest.approx([log["l_pix"] for log in logs[1]], rel=1e-5)
    torch.testing.assert_close(weights(ours.net_g), weights(theirs.net_g), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(weights(ours.net_g_ema), weights(theirs.net_g_ema), rtol=1e-4, atol=1e-6)
    assert ours.get_current_learning_rate() == theirs.get_current_learning_rate() == [5e-4]


def test_parts_of_a_batch_add_up_to_the_batch(build):
    whole, parts = build(), build(accumulate=4)
    for model in (whole, parts):
        model.net_g.double()
        model.feed_data({name: image.double() for name, image in batch(0).items()})
        model.optimize_parameters(1)
    expected = gradients(whole.net_g)
    assert (gradients(parts.net_g) - expected).norm() / expected.norm() < 1e-12
    assert parts.get_current_log()["l_pix"] == pytest.approx(whole.get_current_log()["l_pix"], rel=1e-12)


def test_a_batch_that_the_parts_do_not_divide_is_refused(build):
    model = build(accumulate=3)
    model.feed_data(batch(0))
    with pytest.raises(UsageError, match="3 does not divide the batch of 4"):
        model.optimize_parameters(1)


def test_long_gradients_are_clipped_to_the_norm_asked_for(build):
    free, clipped = build(), build(clip_grad_norm=1e-3)
    run(free, [0]), run(clipped, [0])
    expected = gradients(free.net_g)
    assert expected.norm() > 2e-3
    torch.testing.assert_close(gradients(clipped.net_g), expected / expected.norm() * 1e-3, rtol=1e-3, atol=0)


@pytest.mark.usefixtures("bfloat16_anywhere")
def test_bfloat16_is_used_for_the_network_and_nothing_else(build):
    model = build(precision="bfloat16", ema_decay=0.5)
    seen = []
    model.net_g.conv_body.register_forward_hook(lambda _, __, output: seen.append(output.dtype))
    run(model, [0])
    assert seen == [torch.bfloat16]
    tensors = [*model.net_g.parameters(), *model.net_g_ema.parameters()]
    tensors += [parameter.grad for parameter in model.net_g.parameters()]
    tensors += [state["exp_avg"] for state in model.optimizer_g.state.values()]
    assert {tensor.dtype for tensor in tensors} == {torch.float32}


@pytest.mark.parametrize(("has_it", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_without_bfloat16_in_the_processor_float32_is_used_and_said_once(build, monkeypatch, caplog, has_it, dtype):
    monkeypatch.setattr("torch.ops.mkldnn._is_mkldnn_bf16_supported", lambda: has_it)
    monkeypatch.setattr("torch.backends.mkldnn.is_available", lambda: True)
    model = build(precision="bfloat16")
    seen = []
    model.net_g.conv_body.register_forward_hook(lambda _, __, output: seen.append(output.dtype))
    run(model, [0, 0])
    assert seen == [dtype] * 2
    said = [record.getMessage() for record in caplog.records if "no bfloat16" in record.getMessage()]
    assert len(said) == (not has_it)


@pytest.mark.usefixtures("bfloat16_anywhere")
def test_bfloat16_learns_what_float32_learns(build):
    fast = {"type": "Adam", "lr": 0.02}
    logs = {name: run(build(precision=name, optim_g=dict(fast)), [0] * 12) for name in ("float32", "bfloat16")}
    first, last = (logs["float32"][index]["l_pix"] for index in (0, -1))
    assert last < 0.9 * first
    assert logs["bfloat16"][-1]["l_pix"] == pytest.approx(last, rel=0.05)


def test_weights_and_images_keep_channels_together(build):
    model = build(ema_decay=0.9)
    model.feed_data(batch(0))
    for tensor in (model.net_g.conv_hr.weight, model.net_g_ema.conv_hr.weight, model.lq, model.gt):
        assert tensor.is_contiguous(memory_format=torch.channels_last)


def test_a_fused_adam_is_the_default(build):
    assert build().optimizer_g.defaults["fused"] is True
    assert type(build(optim_g={"type": "AdamW", "lr": 1e-3, "fused": False}).optimizer_g) is torch.optim.AdamW


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ({"precision": "half"}, "train:precision must be one of float32, bfloat16, float16, got 'half'"),
        ({"precision": "float16"}, "float16 needs a CUDA device"),
        ({"accumulate": 0}, "train:accumulate must be at least 1, got 0"),
        ({"clip_grad_norm": -1.0}, "train:clip_grad_norm must be a number above 0, got -1.0"),
        (
            {"optim_g": {"type": "Muon", "lr": 1e-3, "momentum": 1.0}},
            "train: Muon: momentum must be at least 0 and under",
        ),
        ({"optim_g": {"type": "Sgdd", "lr": 1.0}}, "optimiser type must be one of Adam, AdamW, Muon, got 'Sgdd'"),
    ],
)
def test_impossible_options_are_refused(build, train, message):
    with pytest.raises(UsageError, match=message):
        build(**train)


# Steps that are not finite


@pytest.mark.parametrize(
    "optimiser", [{"type": "Adam"}, {"type": "Adam", "fused": False}, {"type": "Muon"}], ids=["fused", "plain", "muon"]
)
@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_step_that_is_not_finite_changes_nothing_and_is_counted(build, poison, optimiser):
    network = {**NETWORK, "num_feat": 16, "num_grow_ch": 8}
    model = build(network=network, ema_decay=0.9, optim_g={"lr": 1e-3, **optimiser})
    run(model, [0, 1])
    before = weights(model.net_g), copy.deepcopy(model.optimizer_g.state_dict()["state"])
    bad = batch(2)
    bad["lq"][0, 0, 0, 0] = poison
    model.feed_data(bad)
    model.optimize_parameters(3)
    assert torch.equal(weights(model.net_g), before[0])
    for mine, old in zip(model.optimizer_g.state_dict()["state"].values(), before[1].values(), strict=True):
        assert all(torch.equal(mine[name], old[name]) for name in old)
    assert weights(model.net_g_ema).isfinite().all()
    assert model.get_current_log()["skipped_steps"] == 1
    run(model, [3], first=4)
    assert not torch.equal(weights(model.net_g), before[0])


def test_a_loss_that_is_not_finite_is_skipped_though_its_gradient_is(build):
    model = build()
    before = weights(model.net_g)
    bad = batch(0)
    bad["gt"][0, 0, 0, 0] = float("inf")  # the gradient of |x - inf| is the sign
    model.feed_data(bad)
    model.optimize_parameters(1)
    assert gradients(model.net_g).isfinite().all()
    assert torch.equal(weights(model.net_g), before)


def test_ten_in_a_row_stop_the_run_and_name_the_last_checkpoint(build, tmp_path):
    model = build()
    bad = batch(0)
    bad["gt"].fill_(float("nan"))

    def steps(count):
        for _ in range(count):
            model.feed_data(bad)
            model.optimize_parameters(7)

    steps(9)
    run(model, [0])  # a good step between: the count begins anew
    model.save(0, 5)
    steps(9)
    with pytest.raises(TrainingDiverged, match="iteration 7") as caught:
        steps(1)
    assert str(tmp_path / "models" / "net_g_5.pth") in str(caught.value)
    assert isinstance(caught.value, FailedError)
    assert model.get_current_log()["skipped_steps"] == 19


@pytest.mark.parametrize("optimiser", ["Adam", "Muon"])
def test_a_step_never_waits_for_the_device_to_read_a_value(build, monkeypatch, optimiser):
    network = {**NETWORK, "num_feat": 16, "num_grow_ch": 8}
    optim_g = {"type": optimiser, "lr": 1e-3}
    model = build(network=network, ema_decay=0.9, precision="bfloat16", clip_grad_norm=1.0, optim_g=optim_g)
    run(model, [0])
    monkeypatch.setattr(type(model), "_stop_if_diverged", lambda *_: None)  # on a GPU at every tenth step only
    model.feed_data(batch(1))

    def refuse(*_):
        raise AssertionError("a tensor was read")

    with monkeypatch.context() as context:
        for name in ("item", "tolist", "__bool__", "__float__", "__int__", "numpy", "cpu"):
            context.setattr(torch.Tensor, name, refuse)
        model.optimize_parameters(2)
    assert model.get_current_log()["l_pix"] > 0


# Files


def test_what_is_saved_loads_without_conversion_as_the_average(build, tmp_path):
    model = build(ema_decay=0.5)
    run(model, [0, 1])
    model.save(0, 2)
    loaded = load_network(tmp_path / "models" / "net_g_2.pth").network
    assert torch.equal(weights(loaded), weights(model.net_g_ema))
    assert not torch.equal(weights(loaded), weights(model.net_g))
    assert list((tmp_path / "models").iterdir()) == [tmp_path / "models" / "net_g_2.pth"]


def test_a_save_that_fails_leaves_the_old_file_and_is_not_ignored(build, tmp_path, monkeypatch):
    model = build()
    model.save(0, 2)
    before = (tmp_path / "models" / "net_g_2.pth").read_bytes()

    def disk_full(_, file):
        file.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(torch, "save", disk_full)
    with pytest.raises(OSError, match="No space left"):
        model.save(0, 2)
    assert (tmp_path / "models" / "net_g_2.pth").read_bytes() == before
    assert len(list((tmp_path / "models").iterdir())) == 1


OFFICIAL_2018 = {"body.0": "RRDB_trunk.0", "rdb": "RDB", "conv_body": "trunk_conv", "conv_up": "upconv"}


def renamed(key: str) -> str:
    for ours, theirs in {**OFFICIAL_2018, "conv_hr": "HRconv"}.items():
        key = key.replace(ours, theirs)
    return key


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"params": state},
        lambda state: {"params_ema": state},
        lambda state: {"state_dict": {f"module.{key}": tensor for key, tensor in state.items()}},
        lambda state: {renamed(key): tensor for key, tensor in state.items()},
    ],
    ids=["raw", "params", "only-ema", "wrapped", "official-2018"],
)
def test_pretrained_weights_of_any_layout_fill_the_network_and_its_average(build, tmp_path, wrap):
    state = build().net_g.state_dict()
    state = {key: tensor + 1 for key, tensor in state.items()}
    torch.save(wrap(state), tmp_path / "start.pth")
    model = build(path={"pretrain_network_g": str(tmp_path / "start.pth")}, ema_decay=0.9)
    for network in (model.net_g, model.net_g_ema):
        assert all(torch.equal(tensor, state[key]) for key, tensor in network.state_dict().items())


@pytest.mark.parametrize("key", ["params", "params_ema"])
def test_of_two_sets_of_weights_the_one_asked_for_is_taken(build, tmp_path, key):
    state = build().net_g.state_dict()
    both = {
        name: {k: tensor + shift for k, tensor in state.items()} for name, shift in (("params", 1), ("params_ema", 2))
    }
    torch.save(both, tmp_path / "start.pth")
    path = {"pretrain_network_g": str(tmp_path / "start.pth"), "param_key_g": key}
    model = build(path=path, ema_decay=0.9)
    assert all(torch.equal(tensor, both[key][k]) for k, tensor in model.net_g.state_dict().items())
    assert all(torch.equal(tensor, both["params_ema"][k]) for k, tensor in model.net_g_ema.state_dict().items())


def test_safetensors_are_read_whatever_their_name(build, tmp_path):
    state = {key: tensor.contiguous() + 1 for key, tensor in build().net_g.state_dict().items()}
    save_file(state, tmp_path / "start.pth")
    model = build(path={"pretrain_network_g": str(tmp_path / "start.pth"), "param_key_g": "params"})
    assert all(torch.equal(tensor, state[key]) for key, tensor in model.net_g.state_dict().items())


def test_weights_of_another_network_are_refused_in_one_line(build, tmp_path):
    torch.save({"params": build().net_g.state_dict()}, tmp_path / "start.pth")
    wider = {**NETWORK, "num_feat": 6}
    with pytest.raises(WeightsError) as caught:
        build(network=wider, path={"pretrain_network_g": str(tmp_path / "start.pth")})
    assert str(caught.value) == (
        f"{tmp_path}/start.pth: does not fit RRDBNet of the options: "
        "'body.0.rdb1.conv1.weight' has shape (2, 4, 3, 3), but the network's is (2, 6, 3, 3)"
    )


def test_without_strictness_what_fits_is_taken_and_the_rest_is_named(build, tmp_path, caplog):
    source = build(network={**NETWORK, "num_block": 2}).net_g
    torch.save({"params": source.state_dict()}, tmp_path / "start.pth")
    path = {"pretrain_network_g": str(tmp_path / "start.pth"), "strict_load_g": False}
    with caplog.at_level(logging.WARNING):
        model = build(path=path)
    assert torch.equal(model.net_g.conv_last.weight, source.conv_last.weight)
    assert "body.1.rdb1.conv1.weight" in caplog.text


def test_a_missing_file_is_a_mistake_of_the_call(build, tmp_path):
    with pytest.raises(UsageError, match="there is no such weights file"):
        build(path={"pretrain_network_g": str(tmp_path / "none.pth")})


@pytest.mark.parametrize("optimiser", ["Adam", "Muon"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(build, tmp_path, precision, optimiser):
    options = {
        "ema_decay": 0.9,
        "precision": precision,
        "optim_g": {"type": optimiser, "lr": 1e-3},
        "network": {**NETWORK, "num_feat": 16, "num_grow_ch": 8},
    }
    whole = build(**options)
    expected = run(whole, range(6))
    first = build(**options)
    run(first, range(3))
    torch.save(first.training_state(), tmp_path / "state")
    second = build(**options)
    run(second, [9])  # whatever it did before must not matter
    second.load_training_state(torch.load(tmp_path / "state", weights_only=True))
    assert run(second, range(3, 6), first=4) == expected[3:]
    for name in ("net_g", "net_g_ema"):
        assert torch.equal(weights(getattr(second, name)), weights(getattr(whole, name)))


def test_a_training_state_is_a_copy(build):
    model = build(ema_decay=0.9)
    run(model, [0])
    state = model.training_state()
    before = copy.deepcopy(state)
    run(model, [1, 2], first=2)
    assert torch.equal(state["networks"]["net_g"]["conv_last.weight"], before["networks"]["net_g"]["conv_last.weight"])
    moments = [s["optimizers"][0]["state"][0]["exp_avg"] for s in (state, before)]
    assert torch.equal(*moments)
    assert state["schedulers"] == before["schedulers"]


def test_a_state_saved_without_channels_last_continues_with_it(build):
    contiguous, together = build(channels_last=False), build()
    run(contiguous, range(3))
    together.load_training_state(contiguous.training_state())
    run(contiguous, [3], first=4), run(together, [3], first=4)
    torch.testing.assert_close(weights(together.net_g), weights(contiguous.net_g), rtol=1e-4, atol=1e-5)
    assert weights(together.net_g).sub(weights(contiguous.net_g)).abs().max() < 1e-5  # a step is of 5e-4


def test_a_run_of_basicsrs_own_model_is_continued(build, tmp_path):
    theirs = build("SRModel")
    run(theirs, range(2))
    theirs.save(0, 2)
    ours = build(path={"pretrain_network_g": str(tmp_path / "models" / "net_g_2.pth")})
    ours.resume_training(torch.load(tmp_path / "training_states" / "2.state", weights_only=True))
    run(theirs, [2, 3], first=3), run(ours, [2, 3], first=3)
    assert ours.optimizer_g.param_groups[0]["fused"] is True
    torch.testing.assert_close(weights(ours.net_g), weights(theirs.net_g), rtol=1e-4, atol=1e-5)
    assert ours.get_current_learning_rate() == theirs.get_current_learning_rate()


def test_options_that_were_changed_hold_for_a_run_that_goes_on(build, caplog):
    first = build(optim_g={"type": "Adam", "lr": 1e-3, "betas": [0.9, 0.99]})
    run(first, range(2))
    second = build(optim_g={"type": "Adam", "lr": 1e-3, "betas": [0.5, 0.9], "weight_decay": 0.1})
    second.load_training_state(first.training_state())
    group = second.optimizer_g.param_groups[0]
    assert (tuple(group["betas"]), group["weight_decay"]) == ((0.5, 0.9), 0.1)
    assert "betas (0.9, 0.99) is now (0.5, 0.9), weight_decay 0 is now 0.1" in caplog.text
    caplog.clear()
    build(optim_g={"type": "Adam", "lr": 1e-3, "betas": [0.9, 0.99]}).load_training_state(first.training_state())
    assert not caplog.text


def test_several_gpus_in_one_process_are_refused(build):
    with pytest.raises(UsageError, match="2 GPUs need a process each: `torchrun --nproc_per_node 2"):
        build(num_gpu=2)


def test_a_training_state_of_another_network_is_refused(build):
    state = build(network={**NETWORK, "num_feat": 6}).training_state()
    with pytest.raises(WeightsError, match="net_g of the training state"):
        build().load_training_state(state)
    with pytest.raises(WeightsError, match="the training state has net_g, but the options make net_g, net_g_ema"):
        build(ema_decay=0.9).load_training_state(build().training_state())


# Testing and averaging


def test_testing_uses_the_average_in_float32_and_leaves_training_mode_alone(build):
    model = build(ema_decay=0.5, precision="bfloat16")
    run(model, [0, 1])
    images = batch(5, count=1, side=7)
    model.feed_data(images)
    model.test()
    with torch.no_grad():
        expected = model.net_g_ema(images["lq"])
    torch.testing.assert_close(model.output, expected)
    assert model.net_g.training
    assert not model.net_g_ema.training


@pytest.mark.parametrize("side", [(7, 9), (8, 9), (8, 8)])
def test_odd_sides_are_tested_at_x2(build, side):
    model = build(network={**NETWORK, "scale": 2}, scale=2)
    lq = torch.rand(1, 3, *side)
    model.feed_data({"lq": lq})
    model.test()
    assert model.output.shape[-2:] == (2 * side[0], 2 * side[1])
    even = torch.cat((lq, lq[:, :, -1:]), 2) if side[0] % 2 else lq
    even = torch.cat((even, even[..., -1:]), 3) if side[1] % 2 else even
    with torch.no_grad():
        expected = model.net_g(even)[..., : 2 * side[0], : 2 * side[1]]
    torch.testing.assert_close(model.output, expected)


def test_a_model_for_testing_needs_no_training_options(build):
    model = build(is_train=False)
    model.feed_data(batch(0, count=1))
    model.test()
    assert model.get_current_visuals()["result"].shape == (1, 3, 32, 32)


def test_the_average_moves_as_torchs_own_and_takes_buffers_over():
    from esrgan.training.models.averaging import update_average

    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    average = copy.deepcopy(network)
    oracle = torch.optim.swa_utils.AveragedModel(
        copy.deepcopy(network), multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9)
    )
    oracle.update_parameters(network)  # its first update copies
    for _ in range(3):
        network(torch.randn(2, 3, 8, 8))
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(torch.randn_like(parameter))
        update_average(average, network, 0.9)
        oracle.update_parameters(network)
    for mine, theirs in zip(average.parameters(), oracle.module.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs)
    assert torch.equal(average[1].running_var, network[1].running_var)
    assert average[1].num_batches_tracked == 3
    update_average(average, network, 0)
    assert torch.equal(weights(average), weights(network))


@pytest.mark.filterwarnings("default")  # torch's compiler uses names that torch has deprecated
def test_a_compiled_network_gives_the_gradients_and_names_of_the_plain_one(build, monkeypatch):
    compile_with = nn.Module.compile
    # Capture and autograd are those of the real compiler, whose code generation takes a minute.
    monkeypatch.setattr(nn.Module, "compile", lambda self: compile_with(self, backend="aot_eager"))
    plain, compiled = build(), build(compile=True)
    run(plain, [0]), run(compiled, [0])
    assert compiled.net_g._compiled_call_impl is not None
    expected = gradients(plain.net_g)
    assert (gradients(compiled.net_g) - expected).norm() / expected.norm() < 1e-4
    assert compiled.net_g.state_dict().keys() == plain.net_g.state_dict().keys()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_on_a_gpu_learns_as_float32_does_on_the_processor(basicsr, build, monkeypatch, precision):
    expected = run(build(ema_decay=0.9), [0] * 20)
    build_model = basicsr.build_model
    monkeypatch.setattr(basicsr, "build_model", lambda opt: build_model({**opt, "num_gpu": 1}))
    logs = run(build(precision=precision, ema_decay=0.9), [0] * 20)
    assert [log["l_pix"] for log in logs] == pytest.approx([log["l_pix"] for log in expected], rel=2e-3)
    assert logs[-1]["l_pix"] < 0.96 * logs[0]["l_pix"]
    assert ("loss_scale" in logs[-1]) is (precision == "float16")
