"""Every library that runs networks, against the float64 network in torch."""

import copy
import ctypes
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import torch

from ctrl_c import press_ctrl_c
from esrgan.archs.compact import SRVGGNetCompact
from esrgan.archs.rrdbnet import RRDBNet
from esrgan.errors import UsageError
from esrgan.weights import LoadedNetwork, load_network
from esrgan_video import EngineOptions, Upscaler
from esrgan_video.cli.main import main
from esrgan_video.engine.backends.config import OnnxRuntimeConfig, OpenVINOConfig, parse_backend
from esrgan_video.engine.precision import probe_picture
from network_tools import loaded, small_rrdb

for package in ("onnx", "onnxruntime", "openvino"):
    pytest.importorskip(package, reason=f"the package {package} is not installed")

COMPILED = ("openvino", "onnxruntime")
SMALL = {"num_feat": 8, "num_grow_ch": 4, "num_block": 2}


def engine(network, backend: str, dtype: str = "float32", **options) -> Upscaler:
    return Upscaler(network, EngineOptions(backend=backend, dtype=dtype, threads=1, **options))


def reference(network: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return copy.deepcopy(network).double()(images.double())


def psnr(result: torch.Tensor, expected: torch.Tensor) -> float:
    error = (result.double().clamp(0, 1) - expected.clamp(0, 1)).square().mean()
    return -10 * error.log10().item()


def with_multiple(network: LoadedNetwork, multiple: int) -> LoadedNetwork:
    facts = type(network.facts)(**{**vars(network.facts), "size_multiple": multiple})
    return LoadedNetwork(network.network, facts)


@pytest.fixture(scope="module")
def shipped() -> tuple[LoadedNetwork, torch.Tensor, torch.Tensor]:
    """The default network, pictures of an odd size and what they become."""
    network = load_network("default")
    images = torch.cat((probe_picture(48)[..., :33, :], probe_picture(48)[..., 15:, :]))
    return network, images, reference(network.network, images)


class SignalStack(ctypes.Structure):
    """`stack_t` of the C library."""

    _fields_ = (("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


def signal_stack() -> tuple[int | None, int, int]:
    """The stack on which this thread handles signals."""
    found = SignalStack()
    assert ctypes.CDLL(None).sigaltstack(None, ctypes.byref(found)) == 0
    return found.start, found.flags, found.size


@pytest.mark.skipif(sys.platform != "linux", reason="sigaltstack's structure is that of Linux")
def test_signals_are_handled_where_they_were_before():
    script = (
        "import faulthandler; faulthandler.enable()\n"
        "from test_backends import *\n"
        "before = signal_stack()\n"
        "upscaler = engine(small_rrdb(), 'openvino'); upscaler(torch.rand(1, 3, 8, 8))\n"
        "assert before[0] and signal_stack() == before, signal_stack()\n"
    )
    folders = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    ended = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": folders}, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("backend", COMPILED)
@pytest.mark.parametrize(("scale", "multiple"), [(4, 1), (2, 2), (1, 4)])
def test_odd_sizes_and_batches_in_float32_equal_the_float64_network(backend, scale, multiple):
    torch.manual_seed(0)
    network = RRDBNet(**SMALL, scale=scale)
    upscaler = engine(with_multiple(loaded(network, scale), multiple), backend)
    for batch, height, width in ((1, 1, 1), (7, 1, 5), (1, 13, 1), (2, 6, 9)):
        height, width = height * multiple, width * multiple
        images = torch.rand(batch, 3, height, width)
        result = upscaler(images)
        assert result.dtype == torch.float32
        torch.testing.assert_close(result.double(), reference(network, images), rtol=0, atol=1e-6)


@pytest.mark.parametrize("backend", COMPILED)
def test_tiles_that_see_the_whole_receptive_field_change_nothing(backend):
    torch.manual_seed(0)
    network = SRVGGNetCompact(num_feat=8, num_conv=3, upscale=2)  # radius 5
    images = torch.rand(2, 3, 41, 37)
    tiled = engine(loaded(network, 2), backend, tile=16, overlap=5)(images)
    torch.testing.assert_close(tiled.double(), reference(network, images), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("backend", "dtype", "bound"),
    [
        ("torch", "float32", 120),
        ("openvino", "float32", 120),
        ("openvino", "bfloat16", 50),
        ("openvino", "float16", 60),
        ("onnxruntime", "float32", 120),
        ("onnxruntime", "float16", 60),
    ],
)
def test_the_shipped_weights_keep_each_precisions_bound(backend, dtype, bound, shipped):
    network, images, expected = shipped
    upscaler = engine(network, backend, dtype)
    assert (upscaler.backend, upscaler.precision) == (backend, dtype)
    assert psnr(upscaler(images), expected) > bound


def test_openvino_computes_in_float32_what_the_processor_has_no_float16_for(shipped, caplog):
    openvino = pytest.importorskip("openvino")
    if "FP16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this processor has float16")
    network, images, expected = shipped
    assert psnr(engine(network, "openvino", "float16")(images), expected) > 120
    assert "no float16 on this processor" in caplog.text


@pytest.mark.parametrize("backend", COMPILED)
def test_automatic_precision_keeps_50_db(backend, shipped):
    network, images, expected = shipped
    upscaler = engine(network, backend, "auto")
    assert psnr(upscaler(images), expected) > 50
    assert upscaler.dtype in (torch.float32, torch.bfloat16)


class InterruptedRequest:
    """OpenVINO's request, of a caller to whom Ctrl-C comes as soon as it waits."""

    def __init__(self, request):
        self.request, self.ends = request, []

    def __getattr__(self, name):
        return getattr(self.request, name)

    def wait_for(self, _milliseconds):
        raise KeyboardInterrupt

    def wait(self):
        try:
            self.request.wait()
        except RuntimeError:
            self.ends.append("cancelled")
            raise
        self.ends.append("computed")


def test_an_interrupted_pass_in_openvino_is_cancelled_and_the_next_one_is_whole():
    images = torch.rand(1, 3, 192, 192)
    upscaler = engine(loaded(RRDBNet(num_feat=32, num_block=4), 4), "openvino")
    before, request = upscaler(images), InterruptedRequest(upscaler._backend._request)
    upscaler._backend._request = request
    with pytest.raises(KeyboardInterrupt):
        upscaler(images)
    assert request.ends == ["cancelled"]
    upscaler._backend._request = request.request
    assert torch.equal(upscaler(images), before)


def test_an_interrupted_pass_in_onnxruntime_is_terminated_and_the_next_one_is_whole():
    images = torch.rand(1, 3, 384, 384)
    upscaler = engine(loaded(RRDBNet(num_feat=32, num_block=4), 4), "onnxruntime")
    before, session, ends = upscaler(images), upscaler._backend._session, []

    class Interrupted:
        """The session, of a caller to whom Ctrl-C comes while it is at work."""

        @staticmethod
        def run(*given):
            press_ctrl_c()
            try:
                result = session.run(*given)
            except Exception as error:
                ends.append(str(error))
                raise
            ends.append("computed")
            return result

    upscaler._backend._session = Interrupted
    with pytest.raises(KeyboardInterrupt):
        upscaler(images)
    assert len(ends) == 1
    assert "terminate flag" in ends[0]
    upscaler._backend._session = session
    assert torch.equal(upscaler(images), before)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited as Linux does it")
def test_onnxruntime_tells_that_memory_ran_out():
    import resource

    backend = engine(loaded(RRDBNet(num_feat=32, num_block=1), 4), "onnxruntime")._backend
    images = torch.rand(1, 3, 1200, 1200)  # features of 184 MB in, and again after each enlargement
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + (256 << 20), hard))
    try:
        with pytest.raises(MemoryError, match="allocate"):
            backend(images)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.mark.parametrize(("backend", "dtype"), [("openvino", "bfloat16"), ("onnxruntime", "float32")])
def test_a_picture_comes_out_the_same_whatever_it_shares_a_pass_with(backend, dtype, shipped):
    network = shipped[0]
    upscaler = engine(network, backend, dtype, batch=16)
    images = torch.rand(5, 3, 17, 12)
    together = upscaler(images)
    assert torch.equal(together, torch.cat([upscaler(image[None]) for image in images]))


@pytest.mark.parametrize("backend", COMPILED)
def test_several_threads_may_share_one(backend):
    upscaler = engine(small_rrdb(), backend)
    pictures = [torch.rand(1, 3, 6 + n % 3, 9) for n in range(12)]
    expected = [upscaler(picture) for picture in pictures]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(upscaler, pictures))
    assert all(torch.equal(result, wanted) for result, wanted in zip(results, expected, strict=True))


@pytest.mark.parametrize("backend", COMPILED)
def test_what_overflows_in_half_precision_is_computed_again_in_float32(backend, caplog):
    torch.manual_seed(0)
    network = RRDBNet(**SMALL)
    with torch.no_grad():  # 1e5 in the features is beyond float16, and the last layer brings it back
        network.conv_first.weight *= 1e6
        network.conv_last.weight *= 1e-6
    images = torch.rand(2, 3, 8, 8)
    upscaler = engine(loaded(network, 4), backend, "float16")
    # OpenVINO computes in float32 what a processor has no float16 for.
    overflows = not upscaler._backend(images).isfinite().all()
    assert overflows or backend == "openvino"
    torch.testing.assert_close(upscaler(images).double(), reference(network, images), rtol=1e-4, atol=1e-4)
    assert ("not finite in float16: computed again in float32" in caplog.text) == overflows


@pytest.mark.parametrize("backend", COMPILED)
def test_runs_that_go_on_compare_library_version_and_precision(backend):
    library = pytest.importorskip(backend)
    facts = engine(small_rrdb(), backend).identity
    assert facts["backend"] == backend
    assert facts[f"version of {backend}"] == library.__version__
    assert facts["precision"] == "float32"
    assert facts["weights"] == engine(small_rrdb(), "torch").identity["weights"]


@pytest.mark.parametrize("backend", COMPILED)
@pytest.mark.parametrize("missing", ["onnx", "library"])
def test_without_the_package_one_line_names_the_command(backend, missing, monkeypatch):
    monkeypatch.setitem(sys.modules, backend if missing == "library" else "onnx", None)
    extra = backend if missing == "library" else "onnx"
    with pytest.raises(UsageError, match=rf'pip install "esrgan\[{extra}\]"'):
        engine(small_rrdb(), backend)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"backend": OpenVINOConfig(device="NPU.7")}, "OpenVINO has no device 'NPU.7' here, only CPU"),
        ({"backend": OnnxRuntimeConfig(provider="tensorrt")}, "no TensorrtExecutionProvider, only"),
        ({"backend": "onnxruntime", "dtype": "bfloat16"}, "float32 or float16, got dtype bfloat16"),
        ({"backend": "openvino", "device": "mps"}, "'mps' is one of torch's"),
        (
            {"backend": "tensorflow"},
            "must be one of usual, torch, openvino, onnxruntime, native, triton, auto, got 'tensorflow'",
        ),
    ],
)
def test_what_a_backend_does_not_have_is_named(options, said):
    with pytest.raises(UsageError, match=said):
        Upscaler(small_rrdb(), EngineOptions(**options))


class PretendedGPU:
    """onnxruntime as it is on a machine with a GPU, but for the computing, which is done by the processor."""

    __version__ = "1.0"

    def __init__(self, starts: bool) -> None:
        import onnxruntime

        self.real, self.starts = onnxruntime, starts
        self.SessionOptions, self.RunOptions = onnxruntime.SessionOptions, onnxruntime.RunOptions
        self.asked: list[tuple[bytes, list[str]]] = []

    def get_available_providers(self) -> list[str]:
        return ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]

    def InferenceSession(self, model, settings, providers):  # noqa: N802 - the library's name
        self.asked.append((model, providers))
        session = self.real.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
        session.get_providers = lambda: providers if self.starts else ["CPUExecutionProvider"]
        return session


@pytest.mark.parametrize(
    ("provider", "order"), [("auto", "CUDA CPU"), ("cuda", "CUDA CPU"), ("tensorrt", "Tensorrt CUDA CPU")]
)
def test_on_a_gpu_half_precision_is_checked_and_taken(provider, order, monkeypatch, shipped):
    import onnx

    library = PretendedGPU(starts=True)
    monkeypatch.setitem(sys.modules, "onnxruntime", library)
    network, images, expected = shipped
    upscaler = Upscaler(network, EngineOptions(backend=OnnxRuntimeConfig(provider=provider)))
    assert upscaler.precision == "float16"
    assert psnr(upscaler(images), expected) > 60
    ((model, providers),) = library.asked
    assert [name.removesuffix("ExecutionProvider") for name in providers] == order.split()
    kinds = {item.data_type for item in onnx.load_model_from_string(model).graph.initializer}
    assert onnx.TensorProto.FLOAT16 in kinds


def test_a_gpu_that_does_not_start_is_not_replaced_by_the_processor_in_silence(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", PretendedGPU(starts=False))
    with pytest.raises(UsageError, match="could not start CUDAExecutionProvider"):
        Upscaler(small_rrdb(), EngineOptions(backend=OnnxRuntimeConfig(provider="cuda"), dtype="float32"))


def test_other_architectures_are_refused_by_compilers():
    with pytest.raises(UsageError, match="not of Conv2d"):
        engine(loaded(torch.nn.Conv2d(3, 3, 1), 1), "openvino")


def test_a_backend_may_be_named_with_a_device_of_its_own():
    assert parse_backend("openvino") == "openvino"
    assert parse_backend("openvino:gpu.1") == OpenVINOConfig(device="GPU.1")
    assert parse_backend("onnxruntime:CUDA") == OnnxRuntimeConfig(provider="cuda")


@pytest.mark.parametrize("text", ["onnxruntime:vulkan", "torch:cpu", "ncnn", ""])
def test_names_that_are_none_are_refused_with_what_is_allowed(text):
    with pytest.raises(UsageError, match=r"must be one of|use --device"):
        parse_backend(text)


def test_the_command_runs_the_backend_that_it_names(tmp_path):
    from PIL import Image

    pixels = (probe_picture(16)[0].permute(1, 2, 0) * 255).round().to(torch.uint8)
    Image.fromarray(pixels.numpy()).save(tmp_path / "in.png")
    for backend in ("torch", "onnxruntime"):
        call = ["upscale", str(tmp_path / "in.png"), "-o", str(tmp_path / f"{backend}.png"), "--backend", backend]
        assert main([*call, "--fp32"]) == 0
    first, second = (
        torch.tensor(list(Image.open(tmp_path / f"{name}.png").tobytes())) for name in ("torch", COMPILED[1])
    )
    assert (first - second).abs().max() <= 1
    assert first.numel() == 64 * 64 * 3


def test_the_command_refuses_names_in_one_line(tmp_path, capsys):
    assert main(["upscale", "in.png", "-o", str(tmp_path / "out.png"), "--backend", "caffe"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
