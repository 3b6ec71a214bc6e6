"""What is written is read back equal, by us and by those it is written for."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from esrgan.archs.compact import SRVGGNetCompact
from esrgan.archs.rrdbnet import RRDBNet
from esrgan.errors import UsageError, WeightsError
from esrgan.weights import describe, load_network, network_from_state_dict, save_network

NETWORKS = {
    "rrdb": lambda: RRDBNet(num_feat=5, num_block=2, num_grow_ch=3),
    "rrdb-x2": lambda: RRDBNet(scale=2, num_feat=5, num_block=1, num_grow_ch=3),
    "rrdb-plus": lambda: RRDBNet(scale=8, num_feat=4, num_block=1, num_grow_ch=2, plus=True),
    "compact": lambda: SRVGGNetCompact(num_feat=6, num_conv=2, upscale=2),
}
FILES = {"safetensors": "w.safetensors", "basicsr": "w.pth"}


@pytest.fixture
def make(seeded):
    return lambda name, seed=0: network_from_state_dict(seeded(NETWORKS[name](), seed))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("layout", FILES)
def test_a_round_trip_changes_nothing(tmp_path, make, name, layout):
    loaded = make(name)
    path = save_network(loaded, tmp_path / FILES[layout], layout=layout)
    again = load_network(path)
    assert again.facts == loaded.facts
    before, after = loaded.network.state_dict(), again.network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("letter", ["a", "\N{HIRAGANA LETTER A}"])
def test_a_name_may_be_as_long_as_names_can_be(tmp_path, make, suffix, letter):
    stem = letter * ((255 - len(suffix)) // len(letter.encode()))
    path = save_network(make("compact"), tmp_path / f"{stem}{suffix}")
    assert load_network(path).facts == make("compact").facts
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("layout", FILES)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_halves_the_file_and_rounds_once(tmp_path, make, layout, dtype):
    loaded = make("rrdb")
    path = save_network(loaded, tmp_path / FILES[layout], dtype=dtype)
    again = load_network(path).network.state_dict()
    for key, tensor in loaded.network.state_dict().items():
        assert torch.equal(again[key], tensor.to(getattr(torch, dtype)).float())
    assert loaded.network.state_dict()["conv_first.weight"].dtype == torch.float32


def test_safetensors_carry_what_the_network_is(tmp_path, make):
    loaded = make("rrdb-x2")
    path = save_network(loaded, tmp_path / "w.safetensors")
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    assert metadata["architecture"] == "RRDBNet"
    assert json.loads(metadata["config"]) == dict(loaded.facts.config)
    rebuilt = RRDBNet(**json.loads(metadata["config"]))
    rebuilt.load_state_dict(load_file(path))


@pytest.mark.parametrize("key", ["params", "params_ema"])
@pytest.mark.parametrize("scale", [4, 2])
def test_basicsr_loads_what_is_written_for_it(tmp_path, seeded, image, basicsr_archs, key, scale):
    loaded = network_from_state_dict(seeded(RRDBNet(scale=scale, num_feat=5, num_block=1, num_grow_ch=3)))
    save_network(loaded, tmp_path / "w.pth", layout="basicsr")
    theirs = basicsr_archs.RRDBNet(3, 3, scale, 5, 1, 3).eval()
    model = object.__new__(basicsr_archs.BaseModel)
    model.device = torch.device("cpu")
    logging.getLogger("basicsr").handlers.clear()
    model.load_network(theirs, str(tmp_path / "w.pth"), strict=True, param_key=key)
    with torch.no_grad():
        torch.testing.assert_close(loaded.network(image()), theirs(image()), rtol=1e-5, atol=1e-5)


def test_both_keys_of_basicsr_share_their_bytes(tmp_path, make):
    loaded = make("rrdb")
    path = save_network(loaded, tmp_path / "w.pth")
    single = tmp_path / "single.pth"
    torch.save({"params": loaded.network.state_dict()}, single)
    assert set(torch.load(path, weights_only=True)) == {"params", "params_ema"}
    assert path.stat().st_size < 1.5 * single.stat().st_size


def test_a_value_too_large_for_float16_is_refused_by_name_and_nothing_is_written(tmp_path, make):
    loaded = make("rrdb")
    loaded.network.state_dict()["conv_hr.bias"][0] = 1e6
    with pytest.raises(WeightsError, match=r"'conv_hr\.bias' holds a value that float16 cannot"):
        save_network(loaded, tmp_path / "w.pth", dtype="float16")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("layout", FILES)
def test_a_failed_write_keeps_the_old_file_and_leaves_no_other(tmp_path, make, layout, monkeypatch):
    path = tmp_path / FILES[layout]
    path.write_bytes(b"old")

    def fail(self, data):
        with self.open("wb") as stream:
            stream.write(data[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    monkeypatch.setattr("torch.save", lambda state, target: fail(target, b"x" * len(state)))
    with pytest.raises(WeightsError, match="No space left on device"):
        save_network(make("rrdb"), path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("layout", FILES)
def test_an_existing_file_is_replaced_and_readable_by_others(tmp_path, make, layout):
    path = tmp_path / FILES[layout]
    path.write_bytes(b"old")
    (tmp_path / "usual").write_bytes(b"")
    save_network(make("compact"), path)
    assert load_network(path).facts.architecture == "SRVGGNetCompact"
    assert path.stat().st_mode == (tmp_path / "usual").stat().st_mode


@pytest.mark.parametrize(
    ("name", "layout", "message"),
    [
        ("w.onnx", None, "the suffix says no format"),
        ("w", None, "the suffix says no format"),
        ("w.pth", "safetensors", r"is written as \.safetensors"),
        ("w.safetensors", "basicsr", r"is written as \.pth"),
        ("missing/w.pth", None, "does not exist"),
        ("w.pth", "ncnn", "'ncnn' is not known"),
    ],
)
def test_a_mistake_in_the_call_is_named(tmp_path, make, name, layout, message):
    with pytest.raises(UsageError, match=message):
        save_network(make("rrdb"), tmp_path / name, layout=layout)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_dtype_is_named(tmp_path, make):
    with pytest.raises(UsageError, match="'int8' is not known"):
        save_network(make("rrdb"), tmp_path / "w.pth", dtype="int8")


def test_a_folder_is_not_overwritten(tmp_path, make):
    (tmp_path / "w.pth").mkdir()
    with pytest.raises(UsageError, match="is a folder"):
        save_network(make("rrdb"), tmp_path / "w.pth")


def test_facts_are_described_in_words(make):
    lines = dict(describe(make("rrdb-x2").facts))
    assert lines["architecture"] == "RRDBNet"
    assert lines["scale"] == "x2"
    assert lines["input size"] == "multiples of 2"
    assert lines["num_block"] == "1"
    assert lines["parameters"] == f"{make('rrdb-x2').facts.parameters:,}"
