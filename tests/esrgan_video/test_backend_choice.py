"""`--backend auto`, with libraries whose speed and errors are made up."""

import json

import pytest
import torch

from esrgan.archs.rrdbnet import RRDBNet
from esrgan.errors import EngineError
from esrgan_video import EngineOptions, Upscaler
from esrgan_video.engine.backends import automatic
from esrgan_video.engine.backends.automatic import FILE, choose_backend
from network_tools import loaded, small_rrdb


class Pretended:
    """Gives what the float32 network gives, `error` aside."""

    def __init__(self, name: str, network: torch.nn.Module, error: float) -> None:
        self.name, self.network, self.error = name, network, error

    def __call__(self, images):
        return self.network(images) + self.error


class Libraries:
    """Builds pretended backends; each takes `seconds`."""

    def __init__(self, monkeypatch, *, errors=None, broken=(), **seconds: float) -> None:
        self.seconds, self.errors, self.broken = seconds, errors or {}, broken
        self.built: list[str] = []
        self.loaded = small_rrdb()
        monkeypatch.setattr(automatic, "find_spec", lambda package: package in ("onnx", *seconds) or None)
        monkeypatch.setattr(automatic, "_seconds", lambda backend, _images: seconds[backend.name])

    def build(self, name: str) -> Pretended:
        self.built.append(name)
        if name in self.broken:
            raise EngineError(f"{name} does not start")
        return Pretended(name, self.loaded.network, self.errors.get(name, 0.0))

    def chosen(self, **options) -> str:
        self.built.clear()
        return choose_backend(self.loaded, EngineOptions(**{"device": "cpu", **options}), self.build).name


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("ESRGAN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / FILE


@pytest.mark.parametrize(
    ("seconds", "fastest"),
    [
        ({"torch": 2.0, "openvino": 1.0, "onnxruntime": 1.5}, "openvino"),
        ({"torch": 2.0, "onnxruntime": 1.0, "openvino": 1.5}, "onnxruntime"),
        ({"torch": 1.0, "openvino": 1.5, "onnxruntime": 2.0}, "torch"),
        ({"torch": 1.1, "openvino": 1.0}, "torch"),  # too little to give up the reference for
    ],
)
def test_the_fastest_is_taken_and_remembered(seconds, fastest, monkeypatch, cache):
    libraries = Libraries(monkeypatch, **seconds)
    assert libraries.chosen() == fastest
    assert set(libraries.built) == set(seconds)
    assert list(json.loads(cache.read_text()).values()) == [fastest]
    libraries.seconds.update(dict.fromkeys(seconds, 1.0))
    assert libraries.chosen() == fastest
    assert libraries.built == [fastest], "nothing is measured a second time"


def test_what_misses_the_bound_is_not_taken_however_fast_it_is(monkeypatch):
    libraries = Libraries(monkeypatch, torch=2.0, openvino=0.1, onnxruntime=1.0, errors={"openvino": 0.004})  # 48 dB
    libraries.loaded.network.conv_last.bias.data += 0.5  # away from where values are clamped
    assert libraries.chosen() == "onnxruntime"


def test_a_precision_that_was_asked_for_is_not_judged(monkeypatch):
    libraries = Libraries(monkeypatch, torch=2.0, openvino=0.1, errors={"openvino": 0.004})
    assert libraries.chosen(dtype="bfloat16") == "openvino"


def test_a_library_that_fails_is_left_out_and_named(monkeypatch, caplog):
    libraries = Libraries(monkeypatch, torch=2.0, openvino=0.1, broken=("openvino",))
    assert libraries.chosen() == "torch"
    assert "backend openvino is left out: openvino does not start" in caplog.text


def test_nothing_is_measured_where_there_is_no_choice(monkeypatch, cache):
    libraries = Libraries(monkeypatch, torch=2.0)
    assert libraries.chosen() == "torch"
    assert not cache.exists()


def test_compilers_are_not_asked_about_networks_that_they_cannot_take(monkeypatch):
    libraries = Libraries(monkeypatch, torch=2.0, openvino=0.1)
    libraries.loaded = loaded(torch.nn.Conv2d(3, 3, 1), 1)
    assert libraries.chosen() == "torch"


def test_another_precision_or_number_of_threads_is_another_question(monkeypatch, cache):
    libraries = Libraries(monkeypatch, torch=2.0, openvino=1.0)
    for options in ({}, {"dtype": "float32"}, {"threads": 57}, {"threads": 58}):
        libraries.chosen(**options)
        assert len(libraries.built) == 2
    assert len(json.loads(cache.read_text())) == 4


@pytest.fixture
def gpu(monkeypatch):
    """A GPU as far as the choice looks at it; what runs there runs on the processor."""
    monkeypatch.setattr(automatic, "find_device", lambda _: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "a GPU")
    stay = torch.Tensor.to
    monkeypatch.setattr(
        torch.Tensor, "to", lambda self, *given: self if given[0] == torch.device("cuda") else stay(self, *given)
    )


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize(("taken", "fastest"), [(0.4, "triton"), (0.9, "torch")])
def test_on_a_gpu_the_choice_is_between_torch_and_tritons_kernels(taken, fastest, monkeypatch):
    libraries = Libraries(monkeypatch, torch=1.0, triton=taken, openvino=0.1)
    assert libraries.chosen(device="cuda") == fastest
    assert set(libraries.built) == {"torch", "triton"}


@pytest.mark.usefixtures("gpu")
def test_on_a_gpu_tritons_kernels_keep_to_the_bound_as_well(monkeypatch):
    libraries = Libraries(monkeypatch, torch=1.0, triton=0.1, errors={"triton": 0.004})
    libraries.loaded.network.conv_last.bias.data += 0.5
    assert libraries.chosen(device="cuda") == "torch"


@pytest.mark.usefixtures("gpu")
def test_on_a_gpu_tritons_kernels_are_not_asked_for_float32_or_for_what_they_do_not_compute(monkeypatch):
    libraries = Libraries(monkeypatch, torch=1.0, triton=0.1)
    assert libraries.chosen(device="cuda", dtype="float32") == "torch"
    libraries.loaded = loaded(RRDBNet(num_feat=8, num_grow_ch=4, num_block=1, plus=True), 4)
    assert libraries.chosen(device="cuda") == "torch"
    assert libraries.built == ["torch"]


@pytest.mark.parametrize("damage", ["", "{", "[1, 2]", '{"other": "torch"}'])
def test_a_damaged_memory_is_made_anew(damage, monkeypatch, cache):
    cache.parent.mkdir()
    cache.write_text(damage)
    libraries = Libraries(monkeypatch, torch=2.0, openvino=1.0)
    assert libraries.chosen() == "openvino"
    assert "openvino" in json.loads(cache.read_text()).values()
    assert list(cache.parent.iterdir()) == [cache]


def test_a_folder_that_cannot_be_written_costs_a_measurement_only(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ESRGAN_CACHE", str(tmp_path / "file"))
    assert Libraries(monkeypatch, torch=2.0, openvino=1.0).chosen() == "openvino"


def test_a_run_that_goes_on_can_tell_which_one_it_was():
    upscaler = Upscaler(small_rrdb(), EngineOptions(backend="auto", device="cpu", dtype="float32"))
    assert upscaler.identity["backend"] == upscaler.backend
    images = torch.rand(1, 3, 5, 6)
    torch.testing.assert_close(upscaler(images), Upscaler(small_rrdb())(images), rtol=0, atol=1e-2)
