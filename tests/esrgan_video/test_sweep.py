"""`esrgan sweep`: blends of two networks measured."""

import argparse
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from esrgan.archs.rrdbnet import RRDBNet
from esrgan_video.cli.main import main
from esrgan_video.cli.sweep import parse_alphas

SCALE = 2


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two weights files of x2 networks that differ a little, and a folder of two HR images, one of odd size."""
    folder = tmp_path_factory.mktemp("sweep 100%")
    torch.manual_seed(0)
    network = RRDBNet(num_feat=4, num_grow_ch=2, num_block=1, scale=SCALE)
    torch.save({"params": network.state_dict()}, folder / "a.pth")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    torch.save({"params": network.state_dict()}, folder / "b.pth")
    (folder / "images").mkdir()
    generator = np.random.default_rng(1)
    for name, size in {"one.png": (201, 107), "two.png": (208, 112)}.items():
        noise = Image.fromarray(generator.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
        noise.resize((size[0] // 3, size[1] // 3), Image.Resampling.BOX).resize(size, Image.Resampling.BICUBIC).save(
            folder / "images" / name
        )
    (folder / "images" / "notes.txt").write_text("no image")
    return folder


def sweep(files, *arguments):
    return main(["sweep", str(files / "a.pth"), str(files / "b.pth"), str(files / "images"), *arguments])


def rows(capsys):
    return {row["name"]: row for row in json.loads(capsys.readouterr().out)["rows"]}


def test_scores_are_those_of_files_that_interpolate_and_upscale_write(files, tmp_path, capsys):
    from esrgan.training.parts import register_all

    register_all()
    from basicsr.metrics.niqe import calculate_niqe
    from basicsr.utils.matlab_functions import imresize

    assert sweep(files, "--alphas", "0,0.5,1", "--json", "--progress", "none") == 0
    found = rows(capsys)
    assert list(found) == ["bicubic", "0", "0.5", "1", "original"]
    blend = tmp_path / "blend.safetensors"
    a, b = str(files / "a.pth"), str(files / "b.pth")
    assert main(["interpolate", a, b, "--alpha", "0.5", "-o", str(blend)]) == 0
    psnr, niqe = [], []
    for name in ("one.png", "two.png"):
        with Image.open(files / "images" / name) as image:
            hr = np.array(image)[: image.height // SCALE * SCALE, : image.width // SCALE * SCALE]
        lr = (imresize(hr / 255.0, 1 / SCALE).clip(0, 1) * 255).round().astype(np.uint8)
        Image.fromarray(lr).save(tmp_path / name)
        out = tmp_path / f"large {name}"
        arguments = ["upscale", str(tmp_path / name), "-o", str(out), "-n", str(blend), "--fp32", "--progress", "none"]
        assert main(arguments) == 0
        with Image.open(out) as image:
            large = np.array(image)
        inner = (slice(SCALE, -SCALE), slice(SCALE, -SCALE))
        psnr.append(peak_signal_noise_ratio(hr[inner], large[inner]))
        niqe.append(calculate_niqe(large[..., ::-1], crop_border=SCALE))
    assert found["0.5"]["psnr_rgb"] == pytest.approx(np.mean(psnr), abs=0.01)
    assert found["0.5"]["niqe"] == pytest.approx(np.mean(niqe), rel=1e-3)
    assert found["bicubic"]["psnr_rgb"] > found["0"]["psnr_rgb"]  # the networks are random
    assert "psnr_y" not in found["original"]


def test_the_ends_are_the_two_networks(files, capsys):
    assert sweep(files, "--alphas", "0:1:1", "--json", "--progress", "none") == 0
    found = rows(capsys)
    arguments = [str(files / "b.pth"), str(files / "a.pth"), str(files / "images"), "--alphas", "0,1"]
    assert main(["sweep", *arguments, "--json", "--progress", "none"]) == 0
    turned = rows(capsys)
    for name in ("psnr_y", "ssim_y", "psnr_rgb", "ssim_rgb", "niqe"):
        assert found["0"][name] == turned["1"][name]
        assert found["1"][name] == turned["0"][name]


def test_plot_and_sheet_are_written_and_the_table_has_every_row(files, tmp_path, capsys):
    plot, sheet = tmp_path / "a plot.png", tmp_path / "sheet.png"
    arguments = ["--alphas", "0,1", "-o", str(plot), "--sheet", str(sheet), "--crop", "4,6,32", "--progress", "none"]
    assert sweep(files, *arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["alpha", "bicubic", "0", "1", "original"]
    with Image.open(plot) as image:
        assert image.size == (840, 600)
    with Image.open(sheet) as image, Image.open(files / "images" / "one.png") as hr:
        assert image.size == (5 * 36, 52)
        np.testing.assert_array_equal(  # the last crop is the original's
            np.array(image)[16:48, 3 * 36 : 3 * 36 + 32], np.array(hr)[6:38, 4:36]
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a plot.png", "sheet.png"]


@pytest.mark.parametrize(
    ("text", "alphas"),
    [
        ("0:1:0.25", [0, 0.25, 0.5, 0.75, 1]),
        ("0:1:0.1", [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1]),
        ("0:1:0.3", [0, 0.3, 0.6, 0.9]),
        ("1,0", [1, 0]),
        ("0.5", [0.5]),
    ],
)
def test_alphas_are_a_range_with_both_ends_or_a_list(text, alphas):
    assert parse_alphas(text) == alphas


@pytest.mark.parametrize("text", ["", "0:1", "0:1:0", "0:2:0.5", "-1", "a", "0:1:1e-9", "1:0:0.1", "nan", "0:1:nan"])
def test_other_alphas_are_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="0 to 1"):
        parse_alphas(text)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "plot.bmp"], "suffix must be one of .png, .pdf, .svg"),
        (["--sheet", "sheet.tiff"], "suffix must be one of"),
        (["-o", "no folder/plot.png"], "does not exist"),
    ],
)
def test_a_wrong_output_is_refused_before_anything_is_measured(files, capsys, arguments, message):
    assert sweep(files, *arguments, "--progress", "lines") == 2
    said = capsys.readouterr()
    assert message in said.err
    assert len(said.err.splitlines()) == 1
    assert said.out == ""


def test_a_missing_folder_and_networks_that_differ_are_one_line(files, tmp_path, capsys):
    a = str(files / "a.pth")
    assert main(["sweep", a, a, str(tmp_path / "nowhere")]) == 2
    assert "nowhere does not exist" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main(["sweep", a, a, str(tmp_path / "empty")]) == 1
    assert "holds no image" in capsys.readouterr().err
    other = tmp_path / "other.pth"
    torch.save({"params": RRDBNet(num_feat=5, num_grow_ch=2, num_block=1, scale=SCALE).state_dict()}, other)
    assert main(["sweep", a, str(other), str(files / "images"), "--progress", "none"]) == 2
    assert "num_feat is 4 and 5" in capsys.readouterr().err


def test_an_extra_that_is_missing_is_named(files, tmp_path):
    code = f"""
import sys
sys.modules["matplotlib"] = None
from esrgan_video.cli.main import main
sys.exit(main(["sweep", {str(files / "a.pth")!r}, {str(files / "b.pth")!r}, {str(files / "images")!r}, "-o", "p.png"]))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 2
    assert 'pip install "esrgan[plot]"' in result.stderr
    assert len(result.stderr.splitlines()) == 1
