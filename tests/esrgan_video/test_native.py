"""The project's own kernel against float64 torch: each instruction set, odd sizes, threads, what it refuses."""

import contextlib
import ctypes
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from esrgan.archs.compact import SRVGGNetCompact
from esrgan.archs.rrdbnet import RRDBNet
from esrgan.errors import EngineError, UsageError
from esrgan.weights import LoadedNetwork, load_network
from esrgan_video import EngineOptions, Upscaler
from esrgan_video.engine import workers
from esrgan_video.engine.backends import native_backend
from esrgan_video.engine.backends.config import NativeConfig
from esrgan_video.engine.native.library import find_library
from esrgan_video.engine.native.packing import transform_matrix
from esrgan_video.engine.native.workspaces import Workspaces
from esrgan_video.engine.precision import probe_picture
from network_tools import loaded, random_rrdb, reference, relative_error, small_rrdb

ROOT = Path(__file__).resolve().parents[2]

if find_library() is None and not (shutil.which("c++") or shutil.which("g++")):
    pytest.skip("there is no C++ compiler, so the kernel was not built", allow_module_level=True)


def engine(network: LoadedNetwork, kernel: str | None = None, **options) -> Upscaler:
    return Upscaler(network, EngineOptions(backend=NativeConfig(kernel=kernel), **{"threads": 1, **options}))


def test_the_kernel_was_built():
    library = find_library()
    assert library is not None, "install the package again: there is a C++ compiler, but no compiled kernel"
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    assert "portable" in library.kernels
    assert ("avx2" in library.kernels) == (" avx2 " in flags and " fma " in flags)


@pytest.mark.parametrize("kernel", ["avx512", "avx2", "portable"])
@pytest.mark.parametrize(
    "sizes",
    [
        {},
        {"num_feat": 24, "num_grow_ch": 8, "scale": 2},
        {"num_feat": 40, "num_grow_ch": 20, "scale": 1},
        {"num_feat": 64, "num_grow_ch": 32, "num_block": 2},
        {"scale": 8},
        {"scale": 16},
        {"scale": 1, "unshuffle": 1, "num_in_ch": 1, "num_out_ch": 1},
    ],
    ids=str,
)
def test_every_size_equals_the_float64_network(sizes, kernel):
    library = find_library()
    if library is None or kernel not in library.kernels:
        pytest.skip(f"this processor has no {kernel}")
    network = random_rrdb(**sizes)
    run = native_backend.build(network, EngineOptions(threads=1), NativeConfig(kernel=kernel))
    multiple, channels = network.network.unshuffle, sizes.get("num_in_ch", 3)
    for count, height, width in ((1, 1, 1), (2, 1, 9), (1, 7, 1), (1, 4, 4), (3, 5, 6), (1, 33, 70)):
        images = torch.rand(count, channels, height * multiple, width * multiple)
        with torch.inference_mode():
            result = run(images)
        assert result.dtype == torch.float32
        assert relative_error(result, reference(network, images)) < 1.5e-6


def test_pictures_of_several_bands_equal_the_float64_network():
    """Only a band of each map is kept: 350 tiles across make bands of one row of tiles."""
    network = random_rrdb(scale=2)
    images = torch.rand(1, 3, 80, 2800)
    assert relative_error(engine(network)(images), reference(network, images)) < 1.5e-6
    tall = torch.rand(1, 3, 600, 40)
    assert relative_error(engine(network)(tall), reference(network, tall)) < 1.5e-6


def test_the_shipped_weights_stay_within_a_thousandth_of_a_code():
    network = load_network("default")
    image = probe_picture(96)
    result, expected = engine(network)(image), reference(network, image)
    assert relative_error(result, expected) < 1.5e-6
    assert (result - expected).abs().max() < 0.001 / 255


def test_threads_and_company_change_no_bit():
    network = random_rrdb(num_feat=32)
    images = torch.rand(5, 3, 37, 90)
    expected = torch.cat([engine(network)(image[None]) for image in images])
    for threads in (1, 2, 3, 7):
        for batch in (1, 5):
            assert torch.equal(engine(network, threads=threads, batch=batch)(images), expected)


def test_what_an_earlier_pass_left_in_memory_changes_nothing(monkeypatch):
    upscaler, images = engine(random_rrdb()), torch.rand(1, 3, 33, 70)
    expected, borrow, found = upscaler(images), Workspaces.borrow, []

    @contextlib.contextmanager
    def dirty(self, size):
        with borrow(self, size) as address:
            ctypes.memset(address, 0xFF, size)  # NaN in every place
            found.append(size)
            yield address

    monkeypatch.setattr(Workspaces, "borrow", dirty)
    assert torch.equal(upscaler(images), expected)
    assert found


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_noticed(value):
    images = torch.rand(1, 3, 20, 20)
    images[0, 1, 7, 8] = value
    with pytest.raises(EngineError, match="not finite"):
        engine(random_rrdb())(images)


def test_the_matrix_of_filters_is_that_of_the_definition():
    """Filters of one tap become the powers of the points, each over the product of its distances to the others."""
    points = torch.tensor([0, 0.5**0.5, -(0.5**0.5), 2**0.5, -(2**0.5)], dtype=torch.float64)
    distances = (points[:, None] - points[None, :] + torch.eye(5)).prod(dim=1)
    expected = torch.stack([points**power for power in range(3)], dim=1) / distances[:, None]
    torch.testing.assert_close(transform_matrix()[:5], expected)


def test_float32_on_a_processor_takes_it_and_small_networks_do_not():
    usual = EngineOptions(device="cpu", dtype="float32", threads=1)
    portable_only = next(iter(find_library().kernels)) == "portable"
    assert Upscaler(random_rrdb(), usual).backend == ("torch" if portable_only else "native")
    assert Upscaler(small_rrdb(), usual).backend == "torch"
    assert Upscaler(loaded(RRDBNet(num_feat=16, num_block=1, plus=True), 4), usual).backend == "torch"
    assert Upscaler(random_rrdb(), EngineOptions(device="cpu", dtype="bfloat16")).backend == "torch"


@pytest.mark.parametrize("stopped", [0, 1])
def test_a_pass_that_is_stopped_computes_nothing(stopped):
    upscaler, result = engine(random_rrdb(), threads=2), torch.full((2, 3, 36, 36), 7.0)
    upscaler._backend._run(ctypes.c_int32(stopped), torch.rand(2, 3, 9, 9), result)
    assert bool((result == 7).all()) == bool(stopped)


def test_an_interrupted_caller_stops_the_pass(monkeypatch):
    works = []

    def interrupted(_, work, _images, _result):
        """As where Ctrl-C comes while the caller waits for its threads."""
        works.append(work)
        raise KeyboardInterrupt

    monkeypatch.setattr(workers.Workers, "fill", interrupted)
    with pytest.raises(KeyboardInterrupt):
        engine(random_rrdb())(torch.rand(1, 3, 8, 8))
    assert [work.args[0].value for work in works] == [1]


def test_where_it_was_not_built_float32_runs_in_torch(monkeypatch):
    monkeypatch.setattr(native_backend, "find_library", lambda: None)
    network = random_rrdb()
    assert Upscaler(network, EngineOptions(device="cpu", dtype="float32")).backend == "torch"
    with pytest.raises(UsageError, match="not compiled when this package was installed"):
        engine(network)


@pytest.mark.parametrize(
    ("network", "options", "said"),
    [
        (RRDBNet(num_feat=16, num_block=1), {"dtype": "bfloat16"}, "computes in float32, got dtype 'bfloat16'"),
        (RRDBNet(num_feat=16, num_block=1), {"kernel": "mmx"}, "kernel must be one of .*, got 'mmx'"),
        (RRDBNet(num_feat=16, num_block=1, plus=True), {}, "dense blocks of ESRGAN+"),
        (SRVGGNetCompact(num_feat=16, num_conv=1, upscale=4), {}, "RRDBNet only"),
    ],
)
def test_what_it_does_not_run_is_named(network, options, said):
    with pytest.raises(UsageError, match=said.replace("+", r"\+")):
        engine(loaded(network, 4), **options)


def test_a_failing_compiler_does_not_fail_the_build(tmp_path):
    run = subprocess.run(
        [sys.executable, "setup.py", "build_ext", "--build-lib", tmp_path / "lib", "--build-temp", tmp_path / "temp"],
        cwd=ROOT,
        env={"PATH": "/nonexistent", "CC": "/nonexistent/cc", "CXX": "/nonexistent/c++"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    said = run.stdout + run.stderr
    for module in ("engine.native._winograd", "colour.native._codes"):
        assert f"no C++ compiler that can build esrgan_video.{module}: torch will do its work" in said
    assert not list(tmp_path.rglob("*.so"))
