"""ONNX files against the float64 network, run by onnxruntime."""

import copy

import numpy as np
import pytest
import torch

from esrgan.archs.compact import SRVGGNetCompact
from esrgan.archs.rrdbnet import RRDBNet
from esrgan.errors import UsageError
from esrgan.weights import load_network, save_network
from esrgan_video.cli.main import main
from esrgan_video.engine.precision import probe_picture
from esrgan_video.export.model import ExportOptions, export_onnx, onnx_model
from network_tools import loaded

onnx = pytest.importorskip("onnx", reason="the package onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="the package onnxruntime is not installed")

SMALL = {"num_feat": 8, "num_grow_ch": 4, "num_block": 2}
NETWORKS = {
    "x4": (lambda: RRDBNet(**SMALL), 4, 1),
    "x2 by unshuffle": (lambda: RRDBNet(**SMALL, scale=2), 2, 2),
    "x1 by unshuffle": (lambda: RRDBNet(**SMALL, scale=1), 1, 4),
    "x8, ESRGAN+": (lambda: RRDBNet(**SMALL, scale=8, plus=True), 8, 1),
    "compact x2": (lambda: SRVGGNetCompact(num_feat=8, num_conv=2, upscale=2), 2, 1),
    "compact x3, leaky": (lambda: SRVGGNetCompact(num_feat=8, num_conv=2, upscale=3, act_type="leakyrelu"), 3, 1),
    "compact x1, relu": (lambda: SRVGGNetCompact(num_feat=8, num_conv=1, upscale=1, act_type="relu"), 1, 1),
}


@pytest.fixture(params=NETWORKS)
def network(request):
    torch.manual_seed(0)
    make, scale, multiple = NETWORKS[request.param]
    made = make()
    for parameter in made.parameters():  # biases that are zero would not be missed
        parameter.data += 0.02 * torch.randn_like(parameter)
    return loaded(made, scale), multiple


def session(model):
    given = model if isinstance(model, str) else model.SerializeToString()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])


def run(running, images: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(running.run(None, {"input": images.numpy()})[0]).double()


def reference(network: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return copy.deepcopy(network).double()(images.double())


def test_every_size_and_batch_equals_the_float64_network(network):
    network, multiple = network
    running = session(onnx_model(network, ExportOptions(batch=None)))
    for batch, height, width in ((1, 1, 1), (7, 3, 1), (1, 1, 5), (2, 7, 9)):
        images = torch.rand(batch, 3, height * multiple, width * multiple)
        torch.testing.assert_close(run(running, images), reference(network.network, images), rtol=0, atol=1e-6)


def test_half_precision_stays_close_to_the_float64_network(network):
    network, multiple = network
    images = torch.rand(2, 3, 5 * multiple, 3 * multiple)
    result = run(session(onnx_model(network, ExportOptions(half=True, batch=2))), images)
    expected = reference(network.network, images)
    difference = (result - expected).abs().max()
    assert 1e-7 < difference < 2e-3 * expected.abs().max()


@pytest.mark.parametrize(("half", "psnr"), [(False, 120), (True, 60)])
def test_the_shipped_weights(half, psnr):
    network = load_network("default")
    images = probe_picture(40)[..., :33, :]
    result = run(session(onnx_model(network, ExportOptions(half=half, size=(33, 40)))), images)
    error = (result.clamp(0, 1) - reference(network.network, images).clamp(0, 1)).square().mean()
    assert -10 * error.log10() > psnr


def test_a_grey_network_takes_one_channel():
    torch.manual_seed(0)
    network = RRDBNet(**SMALL, num_in_ch=1, num_out_ch=1)
    grey = loaded(network, 4)
    grey = type(grey)(grey.network, type(grey.facts)(**{**vars(grey.facts), "in_channels": 1, "out_channels": 1}))
    images = torch.rand(1, 1, 6, 5)
    torch.testing.assert_close(run(session(onnx_model(grey)), images), reference(network, images), rtol=0, atol=1e-6)


@pytest.mark.parametrize("opset", [13, 17, 18, 19, 21])
def test_every_opset_means_the_same(opset):
    torch.manual_seed(0)
    network = loaded(RRDBNet(**SMALL), 4)
    images = torch.rand(1, 3, 5, 6)
    model = onnx_model(network, ExportOptions(opset=opset))
    assert model.opset_import[0].version == opset
    torch.testing.assert_close(run(session(model), images), reference(network.network, images), rtol=0, atol=1e-6)


@pytest.mark.parametrize("half", [False, True])
def test_what_vs_mlrt_asks_of_a_file(network, half, tmp_path):
    """One input and one output of four dimensions in float32, batch 1, 3 channels, and sizes that can be put in."""
    network, multiple = network
    model = onnx.load(export_onnx(network, tmp_path / "net.onnx", ExportOptions(half=half)))
    assert (len(model.graph.input), len(model.graph.output)) == (1, 1)
    for value in (model.graph.input[0], model.graph.output[0]):
        kind = value.type.tensor_type
        assert kind.elem_type == onnx.TensorProto.FLOAT
        assert [dim.dim_value for dim in kind.shape.dim] == [1, 3, 0, 0]
    assert not model.graph.value_info
    shape = model.graph.input[0].type.tensor_type.shape
    shape.dim[2].dim_value, shape.dim[3].dim_value = 6 * multiple, 5 * multiple
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph.output[0]
    sizes = [dim.dim_value for dim in inferred.type.tensor_type.shape.dim]
    scale = network.facts.scale
    assert sizes == [1, 3, 6 * multiple * scale, 5 * multiple * scale]
    assert not {"Shape", "Gather", "Slice", "Reshape"} & {node.op_type for node in model.graph.node}


def test_a_fixed_size_is_written_into_the_file():
    network = load_network("default")
    model = onnx_model(network, ExportOptions(size=(24, 32), batch=2))
    assert session(model).get_inputs()[0].shape == [2, 3, 24, 32]
    assert session(model).get_outputs()[0].shape == [2, 3, 96, 128]


def test_the_command_writes_a_file_that_says_what_it_is(tmp_path, capsys):
    target = tmp_path / "net.onnx"
    assert main(["export", "default", "-o", str(target), "--half", "--size", "8x12"]) == 0
    assert capsys.readouterr().out == f"{target}\n"
    assert list(tmp_path.iterdir()) == [target]
    said = session(str(target)).get_modelmeta().custom_metadata_map
    assert said["scale"] == "4"
    assert said["name"] == "default"
    assert said["licence"].startswith("Apache-2.0")
    assert said["size multiple"] == "1"
    assert said["value range"].startswith("0 to 1")
    assert run(session(str(target)), torch.rand(1, 3, 8, 12)).shape == (1, 3, 32, 48)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-o", "net.pth"], "net.pth: ONNX is written as .onnx"),
        (["-o", "no/where/net.onnx"], "the folder no/where does not exist"),
        (["-o", "net.onnx", "--opset", "9"], "opset must be 13 to 21, got 9"),
        (["-o", "net.onnx", "--batch", "0"], "batch must be at least 1, got 0"),
        (["-o", "net.onnx", "--size", "0x5"], "size must be at least 1x1 pixels, got 0x5"),
    ],
)
def test_mistakes_in_the_call_are_one_line(arguments, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["export", "default", *arguments]) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments", [["--size", "big"], ["--size", "5"], ["--batch", "-1"]])
def test_sizes_that_are_not_numbers_are_refused(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["export", "default", "-o", "net.onnx", *arguments])
    assert ended.value.code == 2
    assert arguments[1] in capsys.readouterr().err


def test_a_size_that_the_network_cannot_take_is_refused(tmp_path):
    torch.manual_seed(0)
    network = loaded(RRDBNet(**SMALL, scale=2), 2)
    network = type(network)(network.network, type(network.facts)(**{**vars(network.facts), "size_multiple": 2}))
    path = save_network(network, tmp_path / "x2.safetensors")
    with pytest.raises(UsageError, match="size 7x8 must be a multiple of 2"):
        export_onnx(load_network(path), tmp_path / "x2.onnx", ExportOptions(size=(7, 8)))
    assert load_network(path).facts.size_multiple == 2


def test_other_architectures_are_refused_by_name():
    other = loaded(torch.nn.Conv2d(3, 3, 1), 1)
    with pytest.raises(UsageError, match="not of Conv2d"):
        onnx_model(other)


def test_without_the_package_the_command_names_it(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    assert main(["export", "default", "-o", str(tmp_path / "net.onnx")]) == 2
    assert 'pip install "esrgan[onnx]"' in capsys.readouterr().err


def test_numbers_of_the_file_are_those_of_the_weights():
    network = load_network("default")
    stored = {item.name: onnx.numpy_helper.to_array(item) for item in onnx_model(network).graph.initializer}
    state = network.network.state_dict()
    assert state.keys() <= stored.keys()
    for name, tensor in state.items():
        np.testing.assert_array_equal(stored[name], tensor.numpy())
