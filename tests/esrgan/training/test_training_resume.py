"""A run that is interrupted and continued is the run that was not."""

import json
import os
import random
import shutil
import signal

import pytest
import torch

from esrgan.training.cli import main
from esrgan.training.evaluation.validators import Validator
from esrgan.training.parts import register_all
from esrgan.training.run.checkpoints import Checkpoint, newest_state, read_state
from esrgan.training.run.loop import Loop

GAN = {
    "model_type": "ESRGANModel",
    "network_d": {"type": "UNetDiscriminatorSN", "num_in_ch": 3, "num_feat": 4},
    "train__optim_d": {"type": "Adam", "lr": 1e-3},
    "train__gan_opt": {"type": "GANLoss", "gan_type": "vanilla", "loss_weight": 0.1},
}
OUR_GAN = {
    "model_type": "RaGANModel_esrgan",
    "network_d": {"type": "UNetDiscriminatorSN_esrgan", "num_feat": 4},
    "train__optim_d": {"type": "Adam", "lr": 1e-3},
    "train__gan_opt": {"type": "RelativisticGANLoss_esrgan", "loss_weight": 0.1},
}


DROPOUT = {"model_type": "SRModel", "network_g": {"type": "Dropping_test"}}


@pytest.fixture(scope="module", autouse=True)
def dropping_network():
    """A network that draws random numbers in every step."""
    register_all()
    from basicsr.utils.registry import ARCH_REGISTRY

    class Dropping(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 48, 3, padding=1)

        def forward(self, x):
            return torch.nn.functional.pixel_shuffle(torch.nn.functional.dropout(self.conv(x), 0.2, self.training), 4)

    if "Dropping_test" not in ARCH_REGISTRY:
        ARCH_REGISTRY.register(Dropping, suffix="test")


class Killed(BaseException):
    """Stands for the end of the process: nothing may catch it."""


@pytest.fixture
def at_iteration(monkeypatch):
    """Do something in the middle of the run, once, after the step of an iteration."""

    def arrange(iteration, action):
        step = Loop._step
        done = []

        def stepping(self, batch):
            step(self, batch)
            if self._iteration == iteration and not done:
                done.append(True)
                action()

        monkeypatch.setattr(Loop, "_step", stepping)

    return arrange


def kill():
    raise Killed


def train(*arguments):
    return main(["train", "-opt", "tiny.yml", *arguments])


def weights(folder, iteration="latest"):
    return torch.load(folder / "experiments/tiny/models" / f"net_g_{iteration}.pth", weights_only=True)["params"]


@pytest.mark.parametrize(
    "model",
    [{}, {"model_type": "SRModel"}, GAN, OUR_GAN, DROPOUT],
    ids=["ours", "stock", "gan", "our-gan", "dropout"],
)
def test_a_run_that_died_goes_on_as_if_it_had_not(runs, at_iteration, model):
    runs.write(**model)
    assert train() == 0
    expected, final = runs.losses(), weights(runs.path)
    shutil.rmtree(runs.path / "experiments")

    at_iteration(10, kill)
    with pytest.raises(Killed):
        train()
    assert len(runs.losses()) == 9
    assert train("--auto_resume") == 0
    assert runs.losses() == expected
    assert len(expected) == 12
    continued = weights(runs.path)
    assert continued.keys() == final.keys()
    assert all(torch.equal(continued[key], final[key]) for key in final)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_the_run_continues_exactly(runs, at_iteration, number):
    runs.write()
    assert train() == 0
    expected = runs.losses()
    shutil.rmtree(runs.path / "experiments")

    at_iteration(5, lambda: os.kill(os.getpid(), number))
    assert train() == 130
    assert (runs.path / "experiments/tiny/training_states/5.state").is_file()
    assert weights(runs.path, 5)
    assert train("--auto_resume") == 0
    assert runs.losses() == expected


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
def test_losses_do_not_depend_on_the_number_of_workers(runs):
    runs.write(datasets__train__num_worker_per_gpu=2)
    assert train() == 0
    with_two = runs.losses()
    runs.write(datasets__train__num_worker_per_gpu=0)
    assert train() == 0
    assert runs.losses() == with_two


def test_another_seed_gives_other_losses(runs):
    runs.write(train__total_iter=3)
    assert train() == 0
    first = runs.losses()
    assert train("--force_yml", "manual_seed=4") == 0
    assert runs.losses() != first


def flip_a_byte(file):
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(data)


def cut_in_half(file):
    os.truncate(file, file.stat().st_size // 2)


@pytest.mark.parametrize("damage", [flip_a_byte, cut_in_half, lambda file: file.write_bytes(b"")])
def test_a_damaged_newest_checkpoint_gives_way_to_the_one_before(runs, capsys, damage):
    runs.write()
    assert train() == 0
    expected = runs.losses()
    damage(runs.path / "experiments/tiny/training_states/12.state")
    capsys.readouterr()
    assert train("--auto_resume") == 0
    said = capsys.readouterr().err
    assert "12.state" in said
    assert "trying the one before" in said
    assert "continues after iteration 8" in said
    assert runs.losses() == expected


def test_when_all_checkpoints_are_damaged_the_run_is_left_alone(runs, capsys):
    runs.write()
    assert train() == 0
    states = sorted((runs.path / "experiments/tiny/training_states").glob("*.state"))
    for file in states:
        cut_in_half(file)
    assert train("--auto_resume") == 1
    assert "all 3 checkpoints" in capsys.readouterr().err.splitlines()[-1]
    assert [path.name for path in (runs.path / "experiments").iterdir()] == ["tiny"]


def test_a_checkpoint_of_another_network_is_refused_in_one_line(runs, capsys):
    runs.write()
    assert train() == 0
    capsys.readouterr()
    assert train("--auto_resume", "--force_yml", "network_g:num_feat=8", "train:total_iter=20") == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("basicsr: ")
    assert "net_g" in last


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ({"type": "CosineAnnealingRestartLR", "periods": [40]}, {"type": "CosineAnnealingRestartLR", "periods": [16]}),
        ({"type": "MultiStepLR", "milestones": [6, 30]}, {"type": "MultiStepLR", "milestones": [6, 14]}),
        ({"type": "MultiStepLR", "milestones": [6, 30]}, {"type": "MultiStepLR", "milestones": [4, 5, 30]}),
    ],
    ids=["cosine", "steps", "steps behind"],
)
def test_changed_learning_rates_hold_for_a_run_that_goes_on(runs, capsys, first, then):
    """From the checkpoint on they are those of a run that had them from its beginning."""
    expected = {}
    for scheduler in (first, then):
        runs.write(train__scheduler=scheduler, train__total_iter=16)
        assert train() == 0
        expected[str(scheduler)] = [record["lr"] for record in runs.losses()]
        shutil.rmtree(runs.path / "experiments")

    runs.write(train__scheduler=first, train__total_iter=8)
    assert train() == 0
    runs.write(train__scheduler=then, train__total_iter=16)
    capsys.readouterr()
    assert train("--auto_resume") == 0
    rates = [record["lr"] for record in runs.losses()]
    assert rates[:8] == expected[str(first)][:8]
    assert rates[9:] == pytest.approx(expected[str(then)][9:], rel=1e-9)
    assert rates[9:] != pytest.approx(expected[str(first)][9:], rel=1e-3)
    assert "schedule of learning rates was changed" in capsys.readouterr().err


def test_a_changed_first_learning_rate_holds_for_a_run_that_goes_on(runs):
    runs.write(train__scheduler={"type": "MultiStepLR", "milestones": [6, 12], "gamma": 0.5}, train__total_iter=8)
    assert train() == 0
    before = runs.losses()[-1]["lr"]
    assert train("--auto_resume", "--force_yml", "train:optim_g:lr=3e-4", "train:total_iter=16") == 0
    rates = [record["lr"] for record in runs.losses()]
    assert rates[7] == before
    assert rates[9] == pytest.approx(0.3 * before)
    assert rates[-1] == pytest.approx(0.3 * before / 2)


def test_a_validation_that_fails_does_not_take_the_checkpoint_with_it(runs, monkeypatch):
    def failing(_validator, _iteration):
        raise RuntimeError("no picture")

    runs.write(val__val_freq=4)
    with monkeypatch.context() as broken:
        broken.setattr(Validator, "validate", failing)
        with pytest.raises(RuntimeError, match="no picture"):
            train()
    states = runs.path / "experiments/tiny/training_states"
    assert [file.name for file in states.iterdir()] == ["4.state"]
    assert train("--auto_resume") == 0
    assert [record["iter"] for record in runs.losses()] == list(range(1, 13))


def test_a_run_without_auto_resume_archives_the_one_before(runs):
    runs.write(train__total_iter=2)
    assert train() == 0
    assert train() == 0
    names = sorted(path.name for path in (runs.path / "experiments").iterdir())
    assert len(names) == 2
    assert names[1].startswith("tiny_archived_")
    assert (runs.path / "experiments" / names[1] / "models/net_g_latest.pth").is_file()


def test_auto_resume_without_a_checkpoint_begins_anew(runs):
    runs.write(train__total_iter=2)
    assert train("--auto_resume") == 0
    assert [record["iter"] for record in runs.losses()] == [1, 2]


def test_a_named_checkpoint_sets_later_ones_aside(runs):
    runs.write()
    assert train() == 0
    expected = runs.losses()
    states = runs.path / "experiments/tiny/training_states"
    assert train("--force_yml", f"path:resume_state={states / '4.state'}") == 0
    assert runs.losses() == expected
    assert {file.name for file in states.iterdir()} >= {"4.state", "8.state", "12.state", "8.state.replaced"}


def test_a_training_state_of_upstream_can_be_continued(runs, capsys):
    runs.write(model_type="SRModel")
    assert train() == 0
    states = runs.path / "experiments/tiny/training_states"
    ours = read_state(states / "8.state")
    assert isinstance(ours, Checkpoint)
    upstream = {"epoch": 1, "iter": 8, **{kind: ours.model[kind] for kind in ("optimizers", "schedulers")}}
    torch.save(upstream, states / "8.state")
    (states / "12.state").unlink()
    assert train("--auto_resume") == 0
    assert "not exactly" in capsys.readouterr().err
    assert [record["iter"] for record in runs.losses()] == list(range(1, 13))


def test_half_a_line_of_losses_is_dropped(runs, at_iteration):
    runs.write()
    at_iteration(6, kill)
    with pytest.raises(Killed):
        train()
    with runs.loss_file.open("a") as stream:
        stream.write('{"iter": 4, "ep')
    assert train("--auto_resume") == 0
    assert [record["iter"] for record in runs.losses()] == list(range(1, 13))


def test_best_scores_survive(runs, at_iteration):
    runs.write(val__val_freq=2)
    at_iteration(9, kill)
    with pytest.raises(Killed):
        train()
    found = newest_state(runs.path / "experiments/tiny/training_states")
    assert found is not None
    before = found[1].best["val"]["psnr_y"]
    assert before[1] in (2, 4, 6, 8)
    assert train("--auto_resume", "--force_yml", "train:optim_g:lr=0", "val:val_freq=100") == 0
    after = newest_state(runs.path / "experiments/tiny/training_states")[1].best["val"]["psnr_y"]
    assert after[0] >= before[0]


def test_nothing_half_written_is_left(runs):
    runs.write()
    assert train() == 0
    hidden = [path for path in (runs.path / "experiments").rglob("*") if path.name.startswith(".")]
    assert hidden == []


def test_losses_have_all_their_digits(runs):
    runs.write(train__total_iter=1)
    assert train() == 0
    line = runs.loss_file.read_text().strip()
    value = json.loads(line)["l_pix"]
    assert float(torch.tensor(value, dtype=torch.float32)) == value


@pytest.mark.slow
def test_a_run_killed_twice_has_the_losses_of_one_that_was_not(runs):
    runs.write(
        train__total_iter=50,
        train__scheduler__milestones=[20, 35],
        logger__save_checkpoint_freq=3,
        val__val_freq=10,
        datasets__train__num_worker_per_gpu=1,
    )
    whole = runs.basicsr("train", "-opt", "tiny.yml")
    assert whole.returncode == 0, whole.stderr
    expected = runs.losses()
    shutil.rmtree(runs.path / "experiments")

    for at in sorted(random.sample(range(4, 40), 2)):
        with runs.started("train", "-opt", "tiny.yml", "--auto_resume") as process:
            runs.wait_for_losses(at, process)
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
    finished = runs.basicsr("train", "-opt", "tiny.yml", "--auto_resume")
    assert finished.returncode == 0, finished.stderr
    assert "continues after iteration" in finished.stderr
    assert runs.losses() == expected


def test_a_run_that_diverges_stops_and_names_the_last_good_checkpoint(runs, at_iteration, capsys, monkeypatch):
    from esrgan.training.models.psnr_model import PSNRModel

    feed = PSNRModel.feed_data

    def feed_nothing_finite(self, data):
        feed(self, data)
        self.lq = self.lq * float("nan")

    runs.write(train__total_iter=30)
    at_iteration(6, lambda: monkeypatch.setattr(PSNRModel, "feed_data", feed_nothing_finite))
    assert train() == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert "10 steps in a row" in said
    assert "training_states/4.state" in said
    assert runs.losses()[-1]["iter"] == 15


def test_what_a_killed_run_left_half_written_is_removed(runs):
    runs.write()
    assert train() == 0
    root = runs.path / "experiments/tiny"
    (root / "models/.saving_abc").mkdir()
    (root / "models/.saving_abc/net_g_12.pth").write_bytes(b"half")
    (root / "training_states/.12.state.1234.part").write_bytes(b"half")
    assert train("--auto_resume", "--force_yml", "train:total_iter=14") == 0
    assert [path for path in root.rglob("*") if path.name.startswith(".")] == []


def test_a_second_signal_a_while_later_ends_the_run_at_once(monkeypatch):
    from esrgan.training.launch import Launch
    from esrgan.training.run.stopping import StopRequest

    moments = iter([100.0, 101.0, 104.0])
    monkeypatch.setattr("esrgan.training.run.stopping.time.monotonic", lambda: next(moments))
    before = signal.getsignal(signal.SIGTERM)
    with StopRequest(Launch()) as stop:
        assert not stop.after(1)
        for _ in range(2):
            signal.raise_signal(signal.SIGTERM)
            assert stop.after(1)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is before
