"""`basicsr check`: one line for each problem, and estimates."""

import os
import shutil

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from esrgan.errors import DataError
from esrgan.training.check import command
from esrgan.training.check.estimate import _held_for_backward, memory_needed
from esrgan.training.cli import main
from esrgan.training.data.image_files import probe, write_png
from esrgan.training.logs import duration
from esrgan.training.options.run_options import read_options
from esrgan.training.parts import register_all


@pytest.fixture(scope="module", autouse=True)
def parts():
    register_all()


@pytest.fixture
def check(runs, capsys):  # noqa: ARG001 - runs sets the current folder
    """Run `check`; returns the exit code, the problems, and what else is said."""

    def run(*arguments, steps=0):
        code = main(["check", "-opt", "tiny.yml", "--steps", str(steps), *arguments])
        said = capsys.readouterr()
        problems = [line for line in said.err.splitlines() if line.startswith("basicsr: ")]
        return code, problems, said.out

    return run


def test_a_run_that_can_start_has_no_problems(runs, check):
    runs.write()
    code, problems, said = check(steps=2)
    assert (code, problems) == (0, [])
    assert "no problems found" in said
    assert "memory: the networks and one batch hold" in said
    assert "s an iteration; 12 iterations take" in said
    assert {path.name for path in runs.path.iterdir()} == {"train", "val", "tiny.yml"}


def test_what_the_first_iterations_raise_is_one_line(runs, check, monkeypatch):
    def failing(*_):
        raise RuntimeError("sizes\ndo not match")

    monkeypatch.setattr(command, "measure_steps", failing)
    runs.write()
    code, problems, _ = check(steps=2)
    assert (code, problems) == (1, ["basicsr: the first iterations fail: sizes do not match"])


def test_every_problem_is_one_line(runs, check):
    hr = runs.path / "train/hr"
    with Image.open(hr / "000.png") as image:
        grey, alpha = image.convert("L"), image.convert("RGBA")
    grey.save(hr / "000.png")
    alpha.save(hr / "001.png")
    os.truncate(hr / "002.png", 500)
    cv2.imwrite(str(hr / "003.png"), np.zeros((40, 48, 3), np.uint8))
    cv2.imwrite(str(hr / "004.png"), np.zeros((24, 24, 3), np.uint8))
    cv2.imwrite(str(runs.path / "train/lr/004.png"), np.zeros((6, 6, 3), np.uint8))
    runs.write(path__pretrain_network_g="nowhere.pth")
    code, problems, said = check(steps=3)
    assert code == 1
    expected = ["001.png has an alpha", "000.png is grey", "002.png is damaged", "003.png is 48x40", "004.png is 24x24"]
    for text in expected:
        assert sum(text in line for line in problems) == 1
    assert sum("pretrain_network_g: nowhere.pth" in line for line in problems) == 1
    assert len(problems) == 6
    assert "6 problems" in said
    assert "s an iteration" not in said


def test_damage_in_the_middle_is_found(runs, check):
    file = runs.path / "train/hr/003.png"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(data)
    runs.write()
    code, problems, _ = check()
    assert code == 1
    assert len(problems) == 1
    assert "train/hr/003.png is damaged" in problems[0]


def test_pairs_that_do_not_match_by_name_are_listed(runs, check):
    (runs.path / "train/lr/001.png").rename(runs.path / "train/lr/x.png")
    shutil.copy(runs.path / "val/lr/000.png", runs.path / "val/lr/notes.txt")
    runs.write()
    code, problems, _ = check()
    assert code == 1
    assert problems == [
        "basicsr: datasets:train: train/hr/001.png has no LR image train/lr/001.png",
        "basicsr: datasets:train: train/lr/x.png has no HR image in train/hr",
        "basicsr: datasets:val: val/lr/notes.txt has no HR image in val/hr",
    ]


def test_a_template_and_a_list_decide_which_pairs_there_are(runs, check):
    for file in sorted((runs.path / "train/lr").iterdir()):
        file.rename(file.with_name(f"{file.stem}x4.png"))
    (runs.path / "list.txt").write_text("000.png (48,48,3)\n001.png (48,48,3)\n")
    runs.write(datasets__train__filename_tmpl="{}x4", datasets__train__meta_info_file="list.txt")
    assert check()[0] == 0
    (runs.path / "list.txt").write_text("000.png (48,48,3)\n009.png (48,48,3)\n")
    code, problems, _ = check()
    assert code == 1
    assert "009.png" in problems[0]
    runs.write(datasets__train__meta_info_file="no list.txt")
    assert "the file no list.txt does not exist" in check()[1][0]


def test_hr_a_little_too_large_is_fine_for_validation_only(runs, check):
    for name in ("train", "val"):
        image = cv2.imread(str(runs.path / name / "hr/000.png"))
        cv2.imwrite(str(runs.path / name / "hr/000.png"), np.pad(image, [(0, 2), (0, 3), (0, 0)]))
    runs.write()
    code, problems, _ = check()
    assert code == 1
    assert problems == ["basicsr: datasets:train: train/hr/000.png is 51x50, no multiple of the scale 4"]


def test_an_lmdb_is_checked(runs, check):
    lmdb = {"dataroot_gt": "hr.lmdb", "dataroot_lq": "lr.lmdb", "io_backend": {"type": "lmdb"}}
    options = runs.options()
    options["datasets"]["train"].update(lmdb)
    runs.write(options)
    for name in ("hr", "lr"):
        (runs.path / f"{name}.lmdb").mkdir()
        (runs.path / f"{name}.lmdb/meta_info.txt").write_text(f"{name}.png (48,48,3) 1\nboth.png (48,48,3) 1\n")
    assert "has no data.mdb" in check()[1][0]
    for name in ("hr", "lr"):
        (runs.path / f"{name}.lmdb/data.mdb").write_bytes(b"x")
    assert "2 images are in one of the two LMDBs only: hr, lr" in check()[1][0]


def test_a_perceptual_loss_without_its_network_is_a_problem(runs, check):
    loss = {"type": "PerceptualLoss_esrgan", "layer_weights": {"conv3_4": 1}, "weights": "no vgg.pth"}
    runs.write(train__perceptual_opt=loss)
    code, problems, _ = check()
    assert code == 1
    assert problems[0].startswith("basicsr: train:perceptual_opt: ")
    assert "no vgg.pth" in problems[0]


def test_vgg_that_ends_too_early_is_a_problem(runs, check, assets):
    file = str(assets / "weights/vgg19_features_to_conv3_4.safetensors")
    runs.write(
        train__perceptual_opt={"type": "PerceptualLoss_esrgan", "layer_weights": {"conv3_4": 1}, "weights": file}
    )
    assert check()[0] == 0
    runs.write(
        train__perceptual_opt={"type": "PerceptualLoss_esrgan", "layer_weights": {"conv5_4": 1}, "weights": file}
    )
    code, problems, _ = check()
    assert code == 1
    assert "up to conv3_4" in problems[0]


def test_features_of_unusual_magnitude_are_noted_once_normalising_is_off(runs, check, assets):
    file = str(assets / "weights/vgg19_features_to_conv3_4.safetensors")
    loss = {"type": "PerceptualLoss_esrgan", "layer_weights": {"conv3_4": 1}, "weights": file}
    runs.write(train__perceptual_opt=loss)
    code, _, lines = check()
    assert code == 0
    note = next(line for line in lines.splitlines() if line.startswith("note: train:perceptual_opt: "))
    assert "normalise_features: true" in note
    runs.write(train__perceptual_opt={**loss, "normalise_features": True})
    assert not any(line.startswith("note: ") for line in check()[2].splitlines())


def test_weights_of_any_layout_fit(runs, check):
    from esrgan.archs.rrdbnet import RRDBNet

    state = RRDBNet(num_feat=4, num_block=1, num_grow_ch=2).state_dict()
    names = {"body.0.rdb": "RRDB_trunk.0.RDB", "conv_body": "trunk_conv", "conv_up": "upconv", "conv_hr": "HRconv"}
    official = {}
    for key, tensor in state.items():
        for ours, theirs in names.items():
            key = key.replace(ours, theirs)
        official[key] = tensor
    torch.save(official, runs.path / "official.pth")
    runs.write(path__pretrain_network_g="official.pth")
    assert check()[:2] == (0, [])
    assert "num_block" not in str(check("--force_yml", "network_g:num_block=2")[1])
    code, problems, _ = check("--force_yml", "network_g:num_block=2")
    assert code == 1
    assert "official.pth: does not fit network_g" in problems[0]


def test_options_for_test_are_checked_too(runs, check):
    from esrgan.archs.rrdbnet import RRDBNet

    torch.save({"params": RRDBNet(num_feat=4, num_block=1, num_grow_ch=2).state_dict()}, runs.path / "w.pth")
    runs.write(train=None, datasets={"test_1": runs.set("val")}, path__pretrain_network_g="w.pth")
    assert check(steps=3)[:2] == (0, [])


def test_the_patch_must_fit_into_every_image(runs, check):
    runs.write(datasets__train__gt_size=64)
    code, problems, _ = check()
    assert code == 1
    assert len(problems) == 6
    assert all("is 48x48, smaller than gt_size 64" in line for line in problems)


def test_memory_counts_what_is_kept_for_the_backward_pass():
    network = nn.Sequential(nn.Conv2d(3, 5, 1), nn.Conv2d(5, 2, 1)).to("meta")
    held = _held_for_backward(network, torch.empty(2, 3, 8, 8, device="meta"))
    assert held == 4 * 2 * 8 * 8 * (3 + 5)  # the inputs of the two convolutions


def test_memory_counts_weights_gradients_moments_and_the_average(runs):
    small = memory_needed(read_options(runs.write(train__ema_decay=0), "train"))
    averaged = memory_needed(read_options(runs.write(), "train"))
    from esrgan.archs.rrdbnet import RRDBNet

    weights = sum(p.numel() for p in RRDBNet(num_feat=4, num_block=1, num_grow_ch=2).parameters())
    assert averaged - small == 4 * weights
    parts = memory_needed(read_options(runs.write(train__accumulate=2), "train"))
    assert 5 * 4 * weights < parts < averaged


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59, "59 s"), (61, "1 min 01 s"), (3600, "1 h 00 min"), (7260, "2 h 01 min"), (90000, "1 d 01 h")],
)
def test_durations_are_readable(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tif", "webp"])
def test_a_truncated_image_of_any_kind_is_seen_at_once(tmp_path, suffix):
    file = tmp_path / f"a b%.{suffix}"
    image = np.random.default_rng(0).integers(0, 256, (60, 70, 3), dtype=np.uint8)
    cv2.imwrite(str(file), image)
    facts = probe(file)
    assert (facts.width, facts.height, facts.is_grey, facts.has_alpha) == (70, 60, False, False)
    os.truncate(file, file.stat().st_size * 2 // 3)
    with pytest.raises(DataError, match="damaged"):
        probe(file)


def test_a_jpeg_with_data_behind_its_end_is_whole(tmp_path):
    file = tmp_path / "a.jpg"
    cv2.imwrite(str(file), np.zeros((20, 20, 3), np.uint8))
    file.write_bytes(file.read_bytes() + bytes(100_000))
    assert probe(file).size == "20x20"


@pytest.mark.parametrize(
    ("mode", "grey", "alpha"),
    [
        ("1", True, False),
        ("L", True, False),
        ("LA", True, True),
        ("P", False, False),
        ("RGBA", False, True),
        ("I;16", True, False),
    ],
)
def test_grey_and_alpha_are_told_apart(tmp_path, mode, grey, alpha):
    Image.new(mode, (4, 5)).save(tmp_path / "a.png")
    facts = probe(tmp_path / "a.png")
    assert (facts.is_grey, facts.has_alpha) == (grey, alpha)


def test_a_written_image_is_read_back_by_others(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (5, 1, 3), dtype=np.uint8)
    write_png(tmp_path / "a b%.png", image)
    with Image.open(tmp_path / "a b%.png") as read:
        assert np.array_equal(np.asarray(read)[..., ::-1], image)
    assert [path.name for path in tmp_path.iterdir()] == ["a b%.png"]
