"""Measuring on a folder of HR images whose LR is made on the fly."""

import json

import cv2
import numpy as np
import pytest
import torch

from esrgan.training.cli import main
from esrgan.training.data.bicubic_folder import BicubicFolderDataset
from esrgan.training.parts import register_all


@pytest.fixture(scope="module", autouse=True)
def parts():
    register_all()


@pytest.fixture
def photographs(tmp_path):
    """One of odd size, a grey one, one with alpha, and a file that is no image."""
    folder = tmp_path / "photo graphs 100%"
    folder.mkdir()
    generator = np.random.default_rng(5)
    for name, shape in {"a.png": (50, 63, 3), "grey.jpg": (48, 40), "with alpha.PNG": (44, 44, 4)}.items():
        cv2.imwrite(str(folder / name), cv2.blur(generator.integers(0, 256, shape, dtype=np.uint8), (3, 3)))
    (folder / "readme.txt").write_text("photographs")
    return folder


def test_lr_is_what_basicsrs_matlab_resize_makes_of_the_cut_image(photographs):
    from basicsr.utils.matlab_functions import imresize

    data = BicubicFolderDataset({"name": "set", "dataroot_gt": str(photographs), "scale": 4})
    assert len(data) == 3
    sizes = [(48, 60), (48, 40), (44, 44)]
    for index, size in enumerate(sizes):
        sample = data[index]
        image = cv2.imread(sample["gt_path"], cv2.IMREAD_COLOR)[: size[0], : size[1], ::-1]
        np.testing.assert_array_equal((sample["gt"] * 255).round().numpy().transpose(1, 2, 0), image)
        expected = (imresize(image / 255.0, 1 / 4).clip(0, 1) * 255).round()
        assert sample["lq"].dtype == torch.float32
        found = (sample["lq"] * 255).round().numpy().transpose(1, 2, 0)
        assert np.abs(found - expected).max() <= 1  # theirs is in float32 where it rounds
        assert (found != expected).mean() < 0.01


def options(runs, root):
    """Of a test on a folder."""
    values = runs.options()
    values["datasets"] = {
        "test": {"name": "photos", "type": "BicubicFolderDataset_esrgan", "dataroot_gt": str(root)},
    }
    values["path"] = {"pretrain_network_g": "start.pth"}
    del values["train"]
    values["val"]["metrics"] = {"niqe": {"type": "calculate_niqe", "crop_border": 4}}
    return runs.write(values)


def save_network(runs):
    from esrgan.archs.rrdbnet import RRDBNet

    torch.manual_seed(0)
    torch.save({"params": RRDBNet(num_feat=4, num_block=1, num_grow_ch=2).state_dict()}, runs.path / "start.pth")


def test_scores_are_those_of_pairs_that_were_prepared(runs, tmp_path):
    save_network(runs)
    source = tmp_path / "photos"
    source.mkdir()
    generator = np.random.default_rng(6)
    for number in range(2):
        picture = cv2.blur(generator.integers(0, 256, (60, 71, 3), dtype=np.uint8), (5, 5))
        cv2.imwrite(str(source / f"{number}.png"), picture)
    options(runs, source)
    assert main(["test", "-opt", "tiny.yml"]) == 0
    scores = json.loads((runs.path / "results/tiny/scores.json").read_text())["photos"]
    assert main(["prepare", str(source), "-o", "pairs", "--crop", "0", "--progress", "none"]) == 0
    values = runs.options()
    values["datasets"] = {"test": {**runs.set("pairs"), "name": "photos"}}
    values["path"] = {"pretrain_network_g": "start.pth"}
    runs.write(values)
    assert main(["test", "-opt", "tiny.yml"]) == 0
    prepared = json.loads((runs.path / "results/tiny/scores.json").read_text())["photos"]
    assert prepared == {name: pytest.approx(scores[name], abs=1e-9) for name in prepared}
    assert "niqe" not in scores  # the pictures are smaller than its blocks


def test_a_folder_with_grey_and_odd_images_passes_the_check(runs, photographs, capsys):
    save_network(runs)
    options(runs, photographs)
    assert main(["check", "-opt", "tiny.yml"]) == 0
    assert "no problems" in capsys.readouterr().out


@pytest.mark.parametrize("content", [None, [], ["a.txt"]])
def test_a_folder_without_images_is_one_line(runs, capsys, content):
    save_network(runs)
    root = runs.path / "nothing"
    if content is not None:
        root.mkdir()
        for name in content:
            (root / name).write_text("no image")
    options(runs, root)
    assert main(["test", "-opt", "tiny.yml"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "nothing" in lines[0]


def test_a_damaged_image_is_named_before_anything_is_measured(runs, photographs, capsys):
    save_network(runs)
    (photographs / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    options(runs, photographs)
    assert main(["test", "-opt", "tiny.yml"]) == 1
    assert "broken.png" in capsys.readouterr().err
