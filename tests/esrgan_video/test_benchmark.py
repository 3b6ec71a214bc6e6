"""`esrgan benchmark`: what it counts and what it says."""

import itertools
import json
import math

import av
import numpy as np
import pytest
import torch
from PIL import Image

from esrgan.archs.compact import SRVGGNetCompact
from esrgan.archs.rrdbnet import RRDBNet
from esrgan_video.benchmark.clip import write_clip
from esrgan_video.benchmark.machine import processor_name
from esrgan_video.benchmark.work import flops_per_pixel
from esrgan_video.cli.main import main
from network_tools import loaded


def products(layers, *, sides):
    """Of 3x3 convolutions `(in, out)`, each on pictures of `sides` times the input's side."""
    return sum(9 * before * after * side**2 for (before, after), side in zip(layers, sides, strict=True))


def test_operations_are_those_of_the_convolutions():
    blocks = [(4, 2), (6, 2), (8, 2), (10, 2), (12, 4)] * 6
    layers = [(3, 4), *blocks, (4, 4), (4, 4), (4, 4), (4, 4), (4, 3)]
    sides = [1] * 32 + [2, 4, 4, 4]
    network = loaded(RRDBNet(num_feat=4, num_grow_ch=2, num_block=2), 4)
    assert flops_per_pixel(network) == 2 * products(layers, sides=sides)

    compact = loaded(SRVGGNetCompact(num_feat=8, num_conv=2, upscale=2), 2)
    assert flops_per_pixel(compact) == 2 * products([(3, 8), (8, 8), (8, 8), (8, 12)], sides=[1] * 4)


def test_no_frame_of_the_clip_repeats_another(tmp_path):
    write_clip(tmp_path / "clip.mkv", 33, 20, 5)
    with av.open(tmp_path / "clip.mkv") as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert [frame.shape for frame in frames] == [(20, 33, 3)] * 5
    assert all(np.abs(one.astype(int) - other).mean() > 1 for one, other in itertools.pairwise(frames))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    network = RRDBNet(num_feat=4, num_grow_ch=2, num_block=1, scale=2, unshuffle=1)
    path = tmp_path_factory.mktemp("weights") / "tiny.pth"
    torch.save({"params": network.state_dict()}, path)
    return path


def test_the_record_holds_together(weights, tmp_path, capsys):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30), dtype=np.uint8)).save(tmp_path / "grey.png")
    call = ["benchmark", "-n", str(weights), "--size", "48x32", "--seconds", "0.2", "--exact", "--threads", "1"]
    call += ["--image", str(tmp_path / "grey.png"), "--json", "--progress", "none", "--device", "cpu"]
    assert main(call) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["width"], record["height"], record["scale"]) == (48, 32, 2)
    assert record["precision"] == "float32"
    assert record["threads"] == 1
    assert record["versions"]["torch"] == torch.__version__.split("+")[0]
    assert min(record["engine"], record["end_to_end"], record["first_frame"], record["peak"]) > 0
    assert record["share_of_peak"] == pytest.approx(record["engine"] * record["flops_per_frame"] / record["peak"])
    assert [error["picture"] for error in record["errors"]] == ["probe", "grey.png"]
    assert all(error["psnr"] is None or error["psnr"] > 100 for error in record["errors"])


def test_the_error_is_the_difference_of_rounded_and_float32_results(weights, capsys):
    from esrgan.weights import load_network
    from esrgan_video.engine.precision import cast, probe_picture

    call = ["benchmark", "-n", str(weights), "--size", "16x16", "--seconds", "0.05", "--dtype", "bfloat16"]
    assert main([*call, "--device", "cpu", "--json", "--progress", "none"]) == 0
    (error,) = json.loads(capsys.readouterr().out)["errors"]
    network, picture = load_network(weights).network, probe_picture(96)
    with torch.inference_mode():
        difference = cast(network, torch.bfloat16)(picture).float().clamp(0, 1) - network(picture).clamp(0, 1)
    assert error["psnr"] == pytest.approx(-10 * math.log10(difference.square().mean().item()), abs=0.1)
    assert error["largest"] == pytest.approx(difference.abs().max().item() * 255, rel=0.1)


def test_the_last_line_has_what_an_issue_needs(weights, capsys):
    call = ["benchmark", "-n", str(weights), "--size", "16x16", "--seconds", "0.05", "--progress", "none"]
    assert main(call) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    for part in ("esrgan ", "tiny.pth", "16x16", "engine ", "end to end ", "first frame ", "probe ", processor_name()):
        assert part in line
    assert f"torch {torch.__version__.split('+')[0]}" in line


@pytest.mark.parametrize("size", ["0x5", "320", "axb", "320x180x3"])
def test_a_wrong_size_is_a_wrong_call(size, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["benchmark", "--size", size])
    assert ended.value.code == 2
    assert "WIDTHxHEIGHT" in capsys.readouterr().err
