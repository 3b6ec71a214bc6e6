"""Training pairs out of photographs; oracles are BasicSR's own reader and its port of MATLAB's imresize."""

import os
import signal
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from esrgan.errors import DataError, UsageError
from esrgan.training.cli import main
from esrgan.training.data.bicubic import downscale
from esrgan.training.data.prepare import PrepareOptions, prepare
from esrgan.training.data.varied import collage
from esrgan.training.parts import register_all


@pytest.fixture(scope="module", autouse=True)
def parts():
    register_all()


@pytest.fixture
def photographs(tmp_path):
    """A folder of three photographs of odd sizes: PNG, a JPEG, and a name with a space and a percent sign."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for name, (height, width) in {"a.png": (70, 101), "b.jpg": (64, 64), "c 100%.png": (66, 90)}.items():
        image = cv2.resize(generator.integers(0, 256, (9, 9, 3), dtype=np.uint8), (width, height))
        cv2.imwrite(str(folder / name), image)
    return folder


OPTIONS = PrepareOptions(scale=4, crop=32, step=16)


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*.png"))}


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_lr_is_that_of_matlab(scale):
    from basicsr.utils.matlab_functions import imresize

    image = np.random.default_rng(1).integers(0, 256, (24 * scale, 17 * scale, 3), dtype=np.uint8)
    expected = imresize(image.astype(np.float64) / 255, 1 / scale) * 255
    # The oracle computes in float32: a value on the edge between two levels may fall on either side.
    assert np.abs(downscale(image, scale) - expected.clip(0, 255)).max() < 0.5 + 1e-3


def test_lr_at_scale_1_is_the_image():
    image = np.random.default_rng(1).integers(0, 256, (5, 4, 3), dtype=np.uint8)
    assert np.array_equal(downscale(image, 1), image)


@pytest.mark.parametrize("side", [4, 8, 12])
def test_lr_of_an_image_of_one_colour_is_that_colour(side):
    image = np.full((side, side, 3), (255, 0, 77), np.uint8)
    assert np.array_equal(downscale(image, 4), np.full((side // 4, side // 4, 3), (255, 0, 77), np.uint8))


def test_sub_images_are_cut_from_the_whole_image_and_its_lr(photographs, tmp_path):
    result = prepare(photographs, tmp_path / "set", OPTIONS, workers=1, progress="none")
    whole = cv2.imread(str(photographs / "a.png"))[:68, :100]
    lr = downscale(whole, 4)
    places = [(top, left) for top in range(0, 68 - 32 + 1, 16) for left in range(0, 100 - 32 + 1, 16)]
    names = sorted(path.name for path in (tmp_path / "set/hr").glob("a_s*.png"))
    assert len(names) == len(places)
    for name, (top, left) in zip(names, places, strict=True):
        hr_part = cv2.imread(str(tmp_path / "set/hr" / name))
        lr_part = cv2.imread(str(tmp_path / "set/lr" / name))
        assert np.array_equal(hr_part, whole[top : top + 32, left : left + 32])
        assert np.array_equal(lr_part, lr[top // 4 : top // 4 + 8, left // 4 : left // 4 + 8])
    assert result.pairs == len(list((tmp_path / "set/hr").iterdir())) == len(list((tmp_path / "set/lr").iterdir()))
    assert result.problems == []


def test_whole_images_keep_their_names(photographs, tmp_path):
    prepare(photographs, tmp_path / "set", PrepareOptions(crop=None), workers=1, progress="none")
    assert {path.name for path in (tmp_path / "set/hr").iterdir()} == {"a.png", "b.png", "c 100%.png"}
    assert cv2.imread(str(tmp_path / "set/hr/a.png")).shape == (68, 100, 3)
    assert cv2.imread(str(tmp_path / "set/lr/a.png")).shape == (17, 25, 3)


def test_several_processes_write_the_same_files(photographs, tmp_path):
    prepare(photographs, tmp_path / "one", OPTIONS, workers=1, progress="none")
    prepare(photographs, tmp_path / "two", OPTIONS, workers=2, progress="none")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_an_interrupted_run_continues_without_doing_work_twice(photographs, tmp_path):
    prepare(photographs, tmp_path / "set", OPTIONS, workers=1, progress="none")
    expected = contents(tmp_path / "set")
    lost, kept = (tmp_path / "set/lr/b_s002.png"), (tmp_path / "set/hr/a_s001.png")
    lost.unlink()
    os.utime(kept, (1, 1))
    prepare(photographs, tmp_path / "set", OPTIONS, workers=1, progress="none")
    assert contents(tmp_path / "set") == expected
    assert kept.stat().st_mtime == 1


@pytest.mark.slow
def test_ctrl_c_leaves_whole_files_only(runs, photographs):
    for number in range(40):
        cv2.imwrite(str(photographs / f"n{number}.png"), np.full((320, 400, 3), number, np.uint8))
    arguments = ("prepare", str(photographs), "-o", "set", "--crop", "80", "--step", "40", "--workers", "2")
    with runs.started(*arguments) as process:
        while not list((runs.path / "set").glob("hr/n*.png")):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    files = list((runs.path / "set").rglob("*.png"))
    assert files
    assert all(cv2.imread(str(file)) is not None for file in files)
    assert not list((runs.path / "set").rglob(".*"))


def test_other_options_for_the_same_folder_are_refused(photographs, tmp_path):
    prepare(photographs, tmp_path / "set", OPTIONS, workers=1, progress="none")
    with pytest.raises(UsageError, match="holds pairs of other options"):
        prepare(photographs, tmp_path / "set", PrepareOptions(scale=4, crop=32, step=32), workers=1, progress="none")


def test_photographs_that_cannot_be_used_are_named_and_left_out(photographs, tmp_path, capsys):
    Image.new("L", (64, 64)).save(photographs / "grey.png")
    Image.new("RGBA", (64, 64)).save(photographs / "alpha.png")
    Image.new("RGB", (64, 20)).save(photographs / "small.png")
    data = (photographs / "b.jpg").read_bytes()
    (photographs / "cut.jpg").write_bytes(data[: len(data) // 2])
    (photographs / "empty.png").write_bytes(b"")
    (photographs / "text.jpg").write_text("not an image")
    call = ["prepare", str(photographs), "-o", str(tmp_path / "set"), "--crop", "32", "--step", "16", "--workers", "1"]
    assert main([*call, "--progress", "none"]) == 1
    said = capsys.readouterr()
    lines = said.err.splitlines()
    assert len(lines) == 6
    for name in ("grey.png", "alpha.png", "small.png", "cut.jpg", "empty.png", "text.jpg"):
        assert sum(name in line for line in lines) == 1
    assert "pairs in" in said.out
    assert {path.name.split("_s")[0] for path in (tmp_path / "set/hr").iterdir()} == {"a", "b", "c 100%"}


def test_convert_makes_rgb_of_grey_and_alpha(photographs, tmp_path):
    Image.new("L", (64, 64), 9).save(photographs / "grey.png")
    Image.new("RGBA", (64, 64), (1, 2, 3, 0)).save(photographs / "alpha.png")
    options = PrepareOptions(crop=None, convert=True)
    assert prepare(photographs, tmp_path / "set", options, workers=1, progress="none").problems == []
    for name, colour in (("grey", (9, 9, 9)), ("alpha", (1, 2, 3))):
        with Image.open(tmp_path / "set/hr" / f"{name}.png") as image:
            assert image.mode == "RGB"
            assert image.getpixel((5, 5)) == colour


def test_vary_adds_smaller_and_recoloured_copies_with_their_own_lr(tmp_path):
    folder, image = tmp_path / "photographs", np.zeros((120, 100, 3), np.uint8)
    folder.mkdir()
    image[:, :50] = (60, 90, 120)
    image[:, 50:] = (130, 110, 100)
    for number in range(16):
        cv2.imwrite(str(folder / f"{number}.png"), image)
    pairs = prepare(folder, tmp_path / "out", PrepareOptions(crop=None, vary=True), workers=1, progress="none").pairs
    made = {path.name: cv2.imread(str(path)) for path in (tmp_path / "out/hr").iterdir()}
    assert len(made) == pairs
    for name, hr in made.items():
        assert np.array_equal(cv2.imread(str(tmp_path / "out/lr" / name)), downscale(hr, 4))
    small = [hr for name, hr in made.items() if name.endswith(".small.png")]
    assert len(small) == 16
    assert len({hr.shape for hr in small}) > 4
    for hr in small:
        assert 0.5 * 120 < hr.shape[0] <= 0.85 * 120
        assert hr[0, 0].tolist() == [60, 90, 120]
        assert hr[-1, -1].tolist() == [130, 110, 100]
    exchanged = [hr for name, hr in made.items() if name.endswith(".exchanged.png")]
    vivid = [hr for name, hr in made.items() if name.endswith(".vivid.png")]
    assert exchanged
    assert vivid
    for hr in exchanged:
        assert sorted(hr[0, 0].tolist()) == [60, 90, 120]
    for hr in vivid:
        assert np.ptp(hr[0, 0].astype(int)) >= 2 * 60 - 2
        assert abs(hr[0, 0].mean() - 90) < 2 or hr.min() == 0


def test_flat_adds_collages_with_black_that_is_black(tmp_path):
    folder = tmp_path / "photographs"
    folder.mkdir()
    noise = np.random.default_rng(7).integers(1, 255, (160, 200, 3), np.uint8)
    for number in range(40):
        cv2.imwrite(str(folder / f"{number}.png"), noise)
    options = PrepareOptions(crop=None, flat=True)
    pairs = prepare(folder, tmp_path / "out", options, workers=1, progress="none").pairs
    made = {path.name: cv2.imread(str(path)) for path in (tmp_path / "out/hr").iterdir()}
    collages = {name: hr for name, hr in made.items() if name.endswith(".flat.png")}
    assert len(made) == pairs == 40 + len(collages)
    assert 4 <= len(collages) <= 16
    seen = set()
    for name, hr in collages.items():
        assert np.array_equal(cv2.imread(str(tmp_path / "out/lr" / name)), downscale(hr, 4))
        flat = (hr[:-8, :-8] == hr[8:, 8:]).all(-1) & (hr[:-8, :-8] == hr[4:-4, 4:-4]).all(-1)
        assert flat.mean() > 0.1
        seen |= {tuple(colour) for colour in hr[:-8, :-8][flat].tolist()}
    assert {(0, 0, 0), (255, 255, 255)} <= seen
    assert len(seen) > 30
    assert any(len(np.unique(hr.reshape(-1, 3), axis=0)) > 1000 for hr in collages.values())  # parts of the photograph


def test_collages_are_the_same_again_and_of_any_size():
    for shape in ((1, 1, 3), (16, 500, 3), (31, 31, 3), (64, 64, 3)):
        image = np.full(shape, 200, np.uint8)
        made = [collage(image, str(number)) for number in range(30)]
        again = [collage(image, str(number)) for number in range(30)]
        assert any(one is not None for one in made)
        for one, other in zip(made, again, strict=True):
            assert (one is None) == (other is None)
            assert one is None or (one.shape == shape and np.array_equal(one, other))
    assert image.min() == 200


def test_two_photographs_of_one_name_are_refused(photographs, tmp_path):
    Image.new("RGB", (64, 64)).save(photographs / "A.jpg")
    with pytest.raises(UsageError, match="the same names"):
        prepare(photographs, tmp_path / "set", OPTIONS, workers=1, progress="none")


def test_a_folder_without_photographs_is_refused(tmp_path):
    with pytest.raises(DataError, match="no images in"):
        prepare(tmp_path, tmp_path / "set", OPTIONS)
    with pytest.raises(DataError, match="does not exist"):
        prepare(tmp_path / "nowhere", tmp_path / "set", OPTIONS)


@pytest.mark.parametrize("sizes", [{"crop": 30}, {"step": 0}, {"step": 6}, {"scale": 0}, {"crop": -32}])
def test_sizes_that_do_not_fit_are_refused(sizes):
    with pytest.raises(UsageError, match=r"--(crop|step|scale) must be"):
        PrepareOptions(**sizes)


def test_basicsr_reads_the_same_from_folders_lists_and_lmdb(photographs, tmp_path):
    from basicsr.data.paired_image_dataset import PairedImageDataset

    (photographs / "c 100%.png").rename(photographs / "c.png")
    options = PrepareOptions(scale=4, crop=32, step=16, lmdb=True, meta_info=True)
    pairs = prepare(photographs, tmp_path / "set", options, workers=1, progress="none").pairs
    root = tmp_path / "set"
    common = {"phase": "val", "scale": 4, "name": "x"}
    folders = {"dataroot_gt": str(root / "hr"), "dataroot_lq": str(root / "lr"), "io_backend": {"type": "disk"}}
    listed = {**folders, "io_backend": {"type": "disk"}, "meta_info_file": str(root / "meta_info.txt")}
    lmdb = {"dataroot_gt": f"{root}/hr.lmdb", "dataroot_lq": f"{root}/lr.lmdb", "io_backend": {"type": "lmdb"}}
    sets = [PairedImageDataset({**common, **where}) for where in (folders, listed, lmdb)]
    for dataset in sets:
        assert len(dataset) == pairs
    first = {Path(item["gt_path"]).name.removesuffix(".png"): item for item in sets[0]}
    for dataset in sets[1:]:
        for number in range(pairs):
            item = dataset[number]
            expected = first[Path(item["gt_path"]).name.removesuffix(".png")]
            assert torch.equal(item["lq"], expected["lq"])
            assert torch.equal(item["gt"], expected["gt"])


def test_names_that_basicsr_cannot_list_are_refused(photographs, tmp_path):
    with pytest.raises(DataError, match=r"c 100%_s001.png.* space"):
        prepare(
            photographs, tmp_path / "set", PrepareOptions(crop=32, step=16, meta_info=True), workers=1, progress="none"
        )
    (photographs / "c 100%.png").rename(photographs / "c.d.png")
    with pytest.raises(DataError, match=r"c.d_s001.* dot"):
        prepare(photographs, tmp_path / "lmdb", PrepareOptions(crop=32, step=16, lmdb=True), workers=1, progress="none")
