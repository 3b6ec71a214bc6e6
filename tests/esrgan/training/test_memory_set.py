"""Pairs in memory; the oracle is BasicSR's own `PairedImageDataset`."""

from __future__ import annotations

import multiprocessing
import pickle
import random
from types import SimpleNamespace

import cv2
import numpy as np
import psutil
import pytest
import torch

from esrgan.errors import DataError
from esrgan.training.data import memory_set
from esrgan.training.data.memory_set import PairedMemoryDataset
from esrgan.training.data.prepare import PrepareOptions, prepare


@pytest.fixture
def pairs(tmp_path):
    """Folders `hr` and `lr` of five pictures whose pixels are all different."""
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    generator = np.random.default_rng(0)
    for number, (height, width) in enumerate([(64, 48), (40, 72), (33, 50), (64, 64), (36, 32)]):
        cv2.imwrite(str(photographs / f"a photograph {number}.png"), generator.integers(0, 256, (height, width, 3)))
    prepare(photographs, tmp_path / "pairs", PrepareOptions(crop=None), workers=1, progress="none")
    return tmp_path / "pairs"


def options(folder, **changes):
    return {
        "name": "train",
        "phase": "train",
        "scale": 4,
        "dataroot_gt": str(folder / "hr"),
        "dataroot_lq": str(folder / "lr"),
        "gt_size": 24,
        "use_hflip": True,
        "use_rot": True,
        "io_backend": {"type": "disk"},
        **changes,
    }


@pytest.mark.parametrize("changes", [{}, {"use_hflip": False}, {"use_rot": False}, {"gt_size": 32}], ids=str)
@pytest.mark.usefixtures("basicsr_archs")
def test_samples_are_those_of_basicsr(pairs, changes):
    from basicsr.data.paired_image_dataset import PairedImageDataset

    ours, theirs = PairedMemoryDataset(options(pairs, **changes)), PairedImageDataset(options(pairs, **changes))
    theirs.paths.sort(key=lambda paths: paths["gt_path"])
    assert len(ours) == len(theirs) == 5
    for seed in range(40):
        random.seed(seed)
        sample = ours[seed % 5]
        random.seed(seed)
        expected = theirs[seed % 5]
        for name in ("lq", "gt"):
            assert sample[name].dtype == torch.uint8
            assert torch.equal(sample[name] / 255, expected[name])
        assert {name: sample[name] for name in ("lq_path", "gt_path")} == {
            name: expected[name] for name in ("lq_path", "gt_path")
        }


def test_a_worker_that_is_no_fork_gets_the_same_samples(pairs):
    data = PairedMemoryDataset(options(pairs))
    copy = pickle.loads(pickle.dumps(data))
    random.seed(1)
    sample = data[2]
    random.seed(1)
    assert torch.equal(copy[2]["gt"], sample["gt"])


def test_what_it_takes_of_memory_is_said(pairs, monkeypatch):
    said = []  # not by caplog: a command that ran in this process before may have taken the log for itself
    monkeypatch.setattr(memory_set._log, "info", lambda text, *values: said.append(text % values))
    data = PairedMemoryDataset(options(pairs))
    pixels = 64 * 48 + 40 * 72 + 32 * 48 + 64 * 64 + 36 * 32
    assert sum(hr.nbytes + lr.nbytes for hr, lr in data._pictures) == 3 * pixels * 17 // 16
    assert said == ["train: 5 pairs in memory, 0 MiB"]


def test_what_does_not_fit_into_memory_is_refused_before_it_is_read(pairs, monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=40_000))
    monkeypatch.setattr(memory_set, "read_bgr", lambda _: pytest.fail("a picture was decoded"))
    with pytest.raises(DataError, match=r"5 pairs need 0 MiB of memory, and 0 are free: take PairedImageDataset"):
        PairedMemoryDataset(options(pairs))


def test_what_each_loading_process_copies_counts(pairs, monkeypatch):
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda: "spawn")
    decoded = 3 * (64 * 48 + 40 * 72 + 32 * 48 + 64 * 64 + 36 * 32) * 17 // 16
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=3 * decoded))
    assert len(PairedMemoryDataset(options(pairs, num_worker_per_gpu=2))) == 5
    with pytest.raises(DataError, match=r"MiB of memory in 4 processes, .* take PairedImageDataset or fewer workers"):
        PairedMemoryDataset(options(pairs, num_worker_per_gpu=3))


def damage(folder, how):
    name = "a photograph 3.png"
    if how == "no partner":
        (folder / "lr" / name).unlink()
    elif how == "not an image":
        (folder / "lr" / name).write_bytes(b"no image")
    elif how == "empty":
        (folder / "hr" / name).write_bytes(b"")
    else:
        cv2.imwrite(str(folder / "lr" / name), np.zeros((9, 9, 3), np.uint8))


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("no partner", r"hr/a photograph 3\.png has no partner in .*lr: make pairs with `basicsr prepare`"),
        ("not an image", r"lr/a photograph 3\.png cannot be decoded"),
        ("empty", r"hr/a photograph 3\.png cannot be decoded"),
        ("other size", r"a photograph 3\.png is 64x64, not 4 times .*lr/a photograph 3\.png, which is 9x9"),
    ],
)
def test_a_pair_that_is_none_is_named(pairs, how, said):
    damage(pairs, how)
    with pytest.raises(DataError, match=said):
        PairedMemoryDataset(options(pairs))


def test_sizes_that_do_not_fit_are_named(pairs, tmp_path):
    with pytest.raises(DataError, match=r"photograph 1\.png is 72x40, smaller than gt_size 44: remove it or lower"):
        PairedMemoryDataset(options(pairs, gt_size=44))
    with pytest.raises(DataError, match=r"meta_info_file is not for PairedMemoryDataset, .* leave it out"):
        PairedMemoryDataset(options(pairs, meta_info_file="list.txt"))
    with pytest.raises(DataError, match="nowhere is no folder"):
        PairedMemoryDataset(options(pairs, dataroot_lq=str(tmp_path / "nowhere")))


def test_a_run_with_a_pair_that_is_none_ends_with_one_line(runs):
    runs.write(datasets__train__type="PairedMemoryDataset_esrgan")
    (runs.path / "train" / "lr" / "003.png").unlink()
    ended = runs.basicsr("train", "-opt", "tiny.yml")
    assert ended.returncode == 1
    assert "train/hr/003.png has no LR image train/lr/003.png" in ended.stderr.strip().splitlines()[-1]


def test_models_that_do_not_divide_bytes_are_refused(runs):
    runs.write(model_type="SRModel", datasets__train__type="PairedMemoryDataset_esrgan")
    ended = runs.basicsr("train", "-opt", "tiny.yml")
    assert ended.returncode == 2
    assert "PairedMemoryDataset_esrgan gives 8-bit numbers, which SRModel does not divide by 255" in ended.stderr
