"""Pairs in memory: the generator's state, runs of both models, resuming, refused options."""

from __future__ import annotations

import random
import shutil

import pytest
import torch

from esrgan.errors import DataError, UsageError
from esrgan.training.cli import main
from esrgan.training.data.memory_set import PairedMemoryDataset
from esrgan.training.parts import register_all
from esrgan.training.run.loop import Loop


@pytest.fixture(scope="module", autouse=True)
def parts():
    register_all()


def options(**changes):
    return {
        "name": "pairs",
        "dataroot_gt": "train/hr",
        "dataroot_lq": "train/lr",
        "gt_size": 32,
        "use_hflip": True,
        "use_rot": True,
        "scale": 4,
        "phase": "train",
        **changes,
    }


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.usefixtures("runs")
def test_it_draws_the_numbers_that_basicsr_draws(seed):
    from basicsr.data.paired_image_dataset import PairedImageDataset

    mine, theirs = PairedMemoryDataset(options()), PairedImageDataset(options(io_backend={"type": "disk"}))
    theirs.paths.sort(key=lambda pair: pair["gt_path"])
    for count in range(20):
        random.seed(1000 * seed + count)
        sample, after = mine[count % 6], random.getstate()
        random.seed(1000 * seed + count)
        expected = theirs[count % 6]
        assert random.getstate() == after
        assert sample.keys() == expected.keys()
        for name in ("lq", "gt"):
            assert sample[name].is_contiguous()
            assert torch.equal(sample[name].to(torch.float32) / 255, expected[name])


@pytest.mark.usefixtures("runs")
def test_changing_a_sample_leaves_the_pictures_alone():
    data = PairedMemoryDataset(options(gt_size=48, use_hflip=False, use_rot=False))  # whole: a view has no gaps
    before = data[0]["gt"].clone()
    data[0]["gt"].zero_()
    assert torch.equal(data[0]["gt"], before)


def test_files_are_read_at_construction_only(runs):
    data = PairedMemoryDataset(options())
    shutil.rmtree(runs.path / "train")
    assert data[5]["gt"].shape == (3, 32, 32)


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        ("train/hr/003.png", "train/lr/003.png has no partner in train/hr"),
        ("train/lr/*", "train/lr holds no image"),
    ],
)
def test_folders_that_do_not_fit_are_named(runs, gone, message):
    for file in runs.path.glob(gone):
        file.unlink()
    with pytest.raises(DataError, match=message):
        PairedMemoryDataset(options())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gt_size": 30}, "gt_size 30 is no multiple of the scale 4"),
        ({"gt_size": 0}, "gt_size 0 is no multiple of the scale 4"),
        ({"phase": "val"}, "is for training"),
        ({"meta_info_file": "list.txt"}, "leave it out"),
    ],
)
@pytest.mark.usefixtures("runs")
def test_options_that_it_cannot_follow_are_refused(changes, message):
    with pytest.raises((UsageError, DataError), match=message):
        PairedMemoryDataset(options(**changes))


def train(*arguments):
    return main(["train", "-opt", "tiny.yml", *arguments])


def write(runs, **changes):
    settings = {"datasets__train__type": "PairedMemoryDataset_esrgan", "datasets__train__io_backend": None}
    runs.write(val=None, datasets__val=None, train__total_iter=6, **{**settings, **changes})


GAN = {
    "model_type": "RaGANModel_esrgan",
    "network_d": {"type": "UNetDiscriminatorSN_esrgan", "num_feat": 4},
    "train__optim_d": {"type": "Adam", "lr": 1e-3},
    "train__gan_opt": {"type": "RelativisticGANLoss_esrgan", "loss_weight": 0.1},
}


@pytest.mark.parametrize("model", [{}, GAN], ids=["psnr", "gan"])
def test_a_run_has_the_losses_of_one_that_reads_files(runs, model):
    # BasicSR takes files in the order of the folder on the disk, unless a list gives another.
    names = sorted(file.name for file in (runs.path / "train/hr").iterdir())
    (runs.path / "names.txt").write_text("".join(f"{name} (48,48,3)\n" for name in names))
    reads = {"type": "PairedImageDataset", "io_backend": {"type": "disk"}, "meta_info_file": "names.txt"}
    losses = []
    for changes in ({f"datasets__train__{key}": value for key, value in reads.items()}, {}):
        write(runs, **model, **changes)
        assert train() == 0
        losses.append(runs.losses())
        shutil.rmtree(runs.path / "experiments")
    assert len(losses[0]) == 6
    assert losses[1] == losses[0]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
def test_workers_that_load_ahead_change_nothing(runs):
    losses = []
    ahead = {"num_worker_per_gpu": 2, "prefetch_mode": "cpu", "num_prefetch_queue": 2}
    for changes in ({}, {f"datasets__train__{key}": value for key, value in ahead.items()}):
        write(runs, **changes)
        assert train() == 0
        losses.append(runs.losses())
        shutil.rmtree(runs.path / "experiments")
    assert losses[1] == losses[0]


class Killed(BaseException):
    """Stands for the end of the process: nothing may catch it."""


def test_a_run_that_died_goes_on_as_if_it_had_not(runs, monkeypatch):
    write(runs)
    assert train() == 0
    expected = runs.losses()
    shutil.rmtree(runs.path / "experiments")

    step = Loop._step

    def dying(self, batch):
        step(self, batch)
        if self._iteration == 5:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_step", dying)
        with pytest.raises(Killed):
            train()
    assert train("--auto_resume") == 0
    assert runs.losses() == expected


def test_check_reads_and_measures_it(runs, capsys):
    write(runs)
    assert main(["check", "-opt", "tiny.yml"]) == 0
    output = capsys.readouterr()
    assert "no problems" in output.out
    assert "s an iteration" in output.out
