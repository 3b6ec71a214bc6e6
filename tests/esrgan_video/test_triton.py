"""The Triton kernels, in Triton's interpreter on the processor, against the float64 network in torch."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from esrgan.archs.compact import SRVGGNetCompact
from esrgan.archs.rrdbnet import RRDBNet
from esrgan.errors import MissingExtraError, UsageError
from esrgan.weights import LoadedNetwork, load_network
from esrgan_video import EngineOptions, Upscaler
from esrgan_video.cli.main import main
from esrgan_video.engine import triton_kernels
from esrgan_video.engine.backends import automatic, triton_backend
from esrgan_video.engine.backends.config import TorchConfig, TritonConfig
from esrgan_video.engine.precision import probe_picture
from network_tools import loaded, random_rrdb, reference, relative_error, small_rrdb

if importlib.util.find_spec("triton") is None:
    pytest.skip("Triton is not installed: it comes with torch's builds for CUDA", allow_module_level=True)

KERNEL = f"{triton_kernels.__name__}.convolution"
RELATIVE = {"float32": 1e-6, "float16": 1e-3, "bfloat16": 2e-2}
"""Largest relative rms error of small networks whose weights are so large that each layer matters. The interpreter cuts
bfloat16 off where devices round it, which doubles its error."""
PSNR = {"float32": 120, "float16": 70, "bfloat16": 45}
"""Of the default weights, in dB."""


def unload_kernel() -> None:
    """Have the kernel made anew when it is imported again."""
    sys.modules.pop(KERNEL, None)
    vars(triton_kernels).pop("convolution", None)


@pytest.fixture
def interpreted(monkeypatch):
    """Triton looks at the environment when a kernel is made."""
    unload_kernel()
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    yield
    unload_kernel()


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own, where kernels are not interpreted."""
    folders = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    given = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**given, "PYTHONPATH": folders, **environment},
        capture_output=True,
        text=True,
    )


def engine(network: LoadedNetwork, dtype: str = "float32", **options) -> Upscaler:
    return Upscaler(network, EngineOptions(**{"backend": "triton", "device": "cpu", "dtype": dtype, **options}))


def compare(network: LoadedNetwork, shape: tuple[int, ...], dtype: str, device: str = "cpu") -> None:
    """Run the network on random images and hold the result against float64."""
    run = triton_backend.build(network, EngineOptions(device=device, dtype=dtype), TritonConfig())
    images = torch.rand(shape)
    before = images.clone()
    with torch.inference_mode():
        result = run(images.to(device))
    assert result.dtype == torch.float32
    assert torch.equal(images, before)
    assert relative_error(result, reference(network, images)) < RELATIVE[dtype], (shape, dtype)


def compare_shipped(dtype: str, device: str, size: tuple[int, int]) -> None:
    """The default weights on a piece of the probe picture."""
    network = load_network("default")
    images = probe_picture(48)[..., 20 : 20 + size[0], 8 : 8 + size[1]]
    upscaler = engine(network, dtype, device=device)
    error = (upscaler(images).cpu().double().clamp(0, 1) - reference(network, images).clamp(0, 1)).square().mean()
    assert -10 * error.log10().item() > PSNR[dtype]


SIZES = [
    ({}, 1),
    ({"num_feat": 24, "num_grow_ch": 8, "scale": 2}, 2),
    ({"num_feat": 40, "num_grow_ch": 20, "scale": 1}, 4),
    ({"num_feat": 80, "num_grow_ch": 16, "scale": 1, "unshuffle": 1}, 1),
    ({"num_block": 3, "scale": 2, "unshuffle": 1, "num_in_ch": 1, "num_out_ch": 1}, 1),
]
"""Sizes of networks, of which some are no multiples of what the kernel computes at a time; and their size multiple."""


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("dtype", RELATIVE)
@pytest.mark.parametrize(("sizes", "multiple"), SIZES, ids=str)
def test_every_network_equals_the_float64_network(sizes, multiple, dtype):
    network = random_rrdb(**sizes)
    compare(network, (2, sizes.get("num_in_ch", 3), 3 * multiple, 4 * multiple), dtype)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 9), (1, 7, 1), (7, 2, 3), (1, 3, 65)], ids=str)
def test_odd_sizes_borders_and_batches_equal_the_float64_network(shape):
    count, height, width = shape
    compare(random_rrdb(scale=2, unshuffle=1), (count, 3, height, width), "float32")


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("dtype", PSNR)
def test_the_shipped_weights_keep_each_precisions_bound(dtype):
    compare_shipped(dtype, "cpu", (9, 7))


@pytest.mark.usefixtures("interpreted")
def test_no_memory_is_read_before_it_is_written(monkeypatch):
    plain = torch.Tensor.new_empty
    monkeypatch.setattr(torch.Tensor, "new_empty", lambda *shape, **given: plain(*shape, **given).fill_(float("nan")))
    compare(random_rrdb(scale=2, unshuffle=1, num_feat=24, num_grow_ch=8), (1, 3, 4, 5), "float32")


@pytest.mark.usefixtures("interpreted")
@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
def test_what_overflows_in_half_precision_is_computed_again_in_float32(caplog):
    network = random_rrdb(scale=1, unshuffle=1)
    with torch.no_grad():  # 1e5 in the features is beyond float16, and the last layer brings it back
        network.network.conv_first.weight.mul_(1e6)
        network.network.conv_last.weight.mul_(1e-6)
    images = torch.rand(1, 3, 4, 4)
    result = engine(network, "float16")(images)
    assert "computed again in float32" in caplog.text
    assert relative_error(result, reference(network, images)) < 1e-6


@pytest.mark.usefixtures("interpreted")
def test_tiles_and_multiples_go_through_the_engine():
    """One row of tiles beside another, of a network that sees no farther than the overlap."""
    network = random_rrdb(scale=1, unshuffle=1)
    images = torch.rand(1, 3, 5, 24)
    result = engine(network, tile=16, overlap=19)(images)  # 1 + 15 + 1 + 2 convolutions
    assert relative_error(result, reference(network, images)) < 1e-6


@pytest.mark.usefixtures("interpreted")
def test_what_a_run_depends_on_is_named():
    upscaler = engine(small_rrdb(), "auto")
    assert (upscaler.backend, upscaler.precision) == ("triton", "float16")
    assert {"backend", "precision", "version of triton"} <= set(upscaler.identity)


def test_only_auto_on_a_gpu_chooses_it():
    options = EngineOptions(threads=1)
    assert Upscaler(small_rrdb(), options).backend != "triton"
    assert "triton" not in automatic._candidates(small_rrdb(), EngineOptions(device="cpu"))


def test_without_a_device_one_line_says_what_is_needed(tmp_path, capsys):
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    picture = tmp_path / "photo.png"
    picture.write_bytes(b"never read")
    assert main(["upscale", str(picture), "-o", str(tmp_path / "large.png"), "--backend", "triton"]) == 2
    said = capsys.readouterr().err.strip()
    assert "\n" not in said
    assert "backend triton needs a CUDA device" in said
    assert "TRITON_INTERPRET=1" in said


def test_without_triton_the_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(triton_backend, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r'pip install "esrgan\[triton\]"'):
        engine(small_rrdb())


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (RRDBNet(num_feat=16, num_block=1, plus=True), "does not run the dense blocks of ESRGAN.: use backend torch"),
        (SRVGGNetCompact(num_feat=16, num_conv=1, upscale=4), "runs RRDBNet only, .* SRVGGNetCompact: use backend"),
    ],
)
def test_what_it_does_not_run_is_named(network, said):
    with pytest.raises(UsageError, match=said):
        engine(loaded(network, 4))


def test_graphs_in_torch_are_for_cuda():
    with pytest.raises(UsageError, match=r"TorchConfig\(graphs=True\) needs a CUDA device, got device 'cpu'"):
        Upscaler(small_rrdb(), EngineOptions(backend=TorchConfig(graphs=True), device="cpu"))


COMPILE = """
import triton, triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from esrgan_video.engine.triton_kernels.convolution import _convolution

def compiled(capability, half):
    weights, kind = (tl.float16, "fp16") if half else (tl.float32, "fp32")
    block = 64 if half else 16
    constants = dict(FACTOR=weights, SCALE=0.2, SLOPE=1.0, K=192, N=64, PADDED_K=192, PADDED_N=64, SPLIT=0,
                     SPLIT_SCALE=1.0, ENLARGE=False, ADDED=2, KEEP_TRUNK=True, BLOCK_N=block, BLOCK_K=32, BLOCK_M=128)
    tensors = dict(source="*" + kind, weights="*" + kind, bias="*fp32", target="*" + kind, base="*fp32", outer="*fp32",
                   trunk="*fp32")
    numbers = ("pixels", "height", "width", "source_stride", "target_stride", "trunk_stride", "size_class")
    signature = {**tensors, **dict.fromkeys(numbers, "i32"), **dict.fromkeys(constants, "constexpr")}
    aligned = [place for place, name in enumerate(signature) if name in tensors or name.endswith("_stride")]
    source = ASTSource(_convolution, signature, {(list(signature).index(name),): value
                                                 for name, value in constants.items()},
                       {(place,): [["tt.divisibility", 16]] for place in aligned})
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": 8}).asm

for capability, product in ((80, "mma.sync.aligned.m16n8k16.row.col.f32.f16"), (90, "wgmma.mma_async.sync")):
    assert product in compiled(capability, True)["ptx"], capability
    exact = compiled(capability, False)
    assert "mma" not in exact["ptx"] and "fma.rn.f32" in exact["ptx"], capability
    assert len(exact["cubin"]) > 1000
"""


def test_the_kernel_compiles_for_devices_that_are_not_here(tmp_path):
    """float16 to the tensor cores' products, float32 to none, which would round to 10 bits."""
    ended = run_python(COMPILE, TRITON_CACHE_DIR=str(tmp_path))
    assert ended.returncode == 0, ended.stderr


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", RELATIVE)
def test_a_cuda_device_agrees_with_float64(dtype):
    script = (
        "from test_triton import *\n"
        f"for sizes, multiple in SIZES:\n"
        f"    for count, height, width in ((1, 1, 1), (7, 5, 6), (2, 33, 70)):\n"
        f"        shape = (count, sizes.get('num_in_ch', 3), height * multiple, width * multiple)\n"
        f"        compare(random_rrdb(**sizes), shape, {dtype!r}, 'cuda')\n"
        f"compare_shipped({dtype!r}, 'cuda', (28, 40))\n"
        f"network, images = random_rrdb(), torch.rand(4, 3, 33, 70)\n"
        f"run = triton_backend.build(network, EngineOptions(device='cuda', dtype={dtype!r}), TritonConfig())\n"
        "for _ in range(4):  # plainly, then recorded and replayed\n"
        "    for half in images.split(2):\n"
        f"        assert relative_error(run(half.cuda()), reference(network, half)) < RELATIVE[{dtype!r}]\n"
    )
    ended = run_python(script)
    assert ended.returncode == 0, ended.stderr
