"""Reading files: every format that is known, and every way in which a file can be something else."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from esrgan.archs.rrdbnet import RRDBNet
from esrgan.errors import UsageError, WeightsError
from esrgan.weights import load_network, read_state_dict


@pytest.fixture
def state(seeded):
    return seeded(RRDBNet(num_feat=4, num_block=1, num_grow_ch=2))


def write(path, state, kind):
    if kind == "safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "zip")


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def refused(path):
    with pytest.raises(WeightsError) as caught:
        read_state_dict(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
@pytest.mark.parametrize("name", ["a.pth", "b.pt", "c.ckpt", "d.safetensors", "100 % of it", "größe.bin"])
def test_the_content_decides_not_the_name(tmp_path, state, kind, name):
    write(tmp_path / name, state, kind)
    assert same(read_state_dict(tmp_path / name), state)
    assert same(read_state_dict(str(tmp_path / name)), state)


WRAPPERS = (
    "params_ema",
    "params-ema",
    "params",
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "netG",
    "generator",
    "something_else",
)


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_wrappers_are_taken_off(tmp_path, state, wrapper):
    torch.save({"iter": 7, "note": "x", wrapper: state}, tmp_path / "w.pth")
    assert same(read_state_dict(tmp_path / "w.pth"), state)


def test_wrappers_may_be_nested(tmp_path, state):
    torch.save({"model": {"state_dict": {"params": state}}}, tmp_path / "w.pth")
    assert same(read_state_dict(tmp_path / "w.pth"), state)


@pytest.mark.parametrize("name", ["params_ema", "params-ema"])
@pytest.mark.parametrize("averaged_first", [True, False])
def test_averaged_weights_are_preferred(tmp_path, state, name, averaged_first):
    plain = {key: torch.zeros_like(tensor) for key, tensor in state.items()}
    pair = [(name, state), ("params", plain)]
    torch.save(dict(pair if averaged_first else reversed(pair)), tmp_path / "w.pth")
    assert same(read_state_dict(tmp_path / "w.pth"), state)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_other_precisions_become_float32_with_the_stored_values(tmp_path, state, dtype, kind):
    stored = {key: tensor.to(dtype) for key, tensor in state.items()}
    write(tmp_path / "w", stored, kind)
    read = read_state_dict(tmp_path / "w")
    assert {tensor.dtype for tensor in read.values()} == {torch.float32}
    for key, tensor in stored.items():
        expected = tensor.to(torch.float64).numpy().astype(np.float32)
        np.testing.assert_array_equal(read[key].numpy(), expected)


def test_a_half_precision_file_gives_the_network_of_its_rounded_values(tmp_path, state, image, basicsr_archs):
    theirs = basicsr_archs.RRDBNet(3, 3, 4, 4, 1, 2).eval()
    theirs.load_state_dict({key: tensor.half().float() for key, tensor in state.items()})
    torch.save({"params": {key: tensor.half() for key, tensor in state.items()}}, tmp_path / "half.pth")
    ours = load_network(tmp_path / "half.pth").network
    with torch.no_grad():
        torch.testing.assert_close(ours(image()), theirs(image()), rtol=1e-5, atol=1e-5)


def test_parameters_are_read_as_plain_tensors(tmp_path, state):
    torch.save({key: torch.nn.Parameter(tensor) for key, tensor in state.items()}, tmp_path / "w.pth")
    read = read_state_dict(tmp_path / "w.pth")
    assert same(read, state)
    assert not any(tensor.requires_grad for tensor in read.values())


def test_integer_tensors_are_kept(tmp_path):
    torch.save({"index": torch.arange(5), "weight": torch.ones(2)}, tmp_path / "w.pth")
    assert torch.equal(read_state_dict(tmp_path / "w.pth")["index"], torch.arange(5))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("kind", ["zip", "safetensors"])
def test_values_that_are_not_finite_are_refused_by_name(tmp_path, state, value, kind):
    state["conv_hr.bias"][1] = value
    write(tmp_path / "w", state, kind)
    assert "'conv_hr.bias' holds values that are not finite" in refused(tmp_path / "w")


def test_values_too_large_for_float32_are_refused(tmp_path):
    torch.save({"weight": torch.full((2,), 1e300, dtype=torch.float64)}, tmp_path / "w.pth")
    assert "'weight' holds values that are not finite" in refused(tmp_path / "w.pth")


class Malicious:
    """Creates a file when it is unpickled."""

    def __init__(self, target):
        self.target = str(target)

    def __reduce__(self):
        return Path.touch, (Path(self.target),)


class CallsOpen(Malicious):
    def __reduce__(self):
        return open, (self.target, "w")


class CallsSystem(Malicious):
    def __reduce__(self):
        return os.system, (f"touch '{self.target}'",)


@pytest.mark.parametrize("payload", [Malicious, CallsOpen, CallsSystem])
@pytest.mark.parametrize("kind", ["zip", "legacy"])
@pytest.mark.parametrize("place", ["value", "beside"])
def test_a_pickle_that_wants_to_run_code_is_refused_and_runs_nothing(tmp_path, state, payload, kind, place):
    target = tmp_path / "created"
    evil = payload(target)
    write(tmp_path / "w.pth", {"params": state, "x": evil} if place == "beside" else {"conv": evil}, kind)
    message = refused(tmp_path / "w.pth")
    assert not target.exists()
    assert "wants to run code" in message
    assert ".safetensors" in message


@pytest.mark.parametrize("protocol", range(6))
def test_a_bare_pickle_is_refused_and_runs_nothing(tmp_path, protocol):
    target = tmp_path / "created"
    (tmp_path / "w.pth").write_bytes(pickle.dumps({"conv": Malicious(target)}, protocol=protocol))
    refused(tmp_path / "w.pth")
    assert not target.exists()


def test_the_payload_of_these_tests_does_run_where_pickles_are_trusted(tmp_path):
    torch.save({"conv": Malicious(tmp_path / "created")}, tmp_path / "w.pth")
    torch.load(tmp_path / "w.pth", weights_only=False)
    assert (tmp_path / "created").exists()


def test_a_whole_pickled_module_is_refused_by_name(tmp_path):
    torch.save(torch.nn.Conv2d(3, 3, 3), tmp_path / "w.pth")
    assert "wants to run code torch.nn.modules.conv.Conv2d" in refused(tmp_path / "w.pth")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_is_refused(tmp_path):
    torch.jit.save(torch.jit.script(torch.nn.Conv2d(3, 3, 3)), tmp_path / "w.pt")
    assert "is a TorchScript archive" in refused(tmp_path / "w.pt")


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
@pytest.mark.parametrize("share", [0.001, 0.01, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(tmp_path, state, kind, share):
    write(tmp_path / "whole", state, kind)
    data = (tmp_path / "whole").read_bytes()
    (tmp_path / "part").write_bytes(data[: int(len(data) * share)])
    refused(tmp_path / "part")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"hello, world\n" * 100, "is not a weights file"),
        (b"\x00" * 1000, "is not a weights file"),
        (b"<!DOCTYPE html><html>404</html>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"),
        (b"\x08\x00\x00\x00\x00\x00\x00\x00{}      ", "no named tensors"),
        (b"\xff\xff\xff\xff\xff\xff\xff\x7f{}", "safetensors"),
        (b"\x80", "damaged"),
    ],
)
def test_other_content_is_refused_with_a_reason(tmp_path, content, message):
    (tmp_path / "w.pth").write_bytes(content)
    assert message in refused(tmp_path / "w.pth")


def test_another_zip_archive_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "w.pth", "w") as archive:
        archive.writestr("folder/readme.txt", "hello")
    assert "not a PyTorch checkpoint" in refused(tmp_path / "w.pth")


def test_an_archive_that_unpacks_to_gigabytes_is_refused_before_it_does(tmp_path, state):
    write(tmp_path / "w.pth", state, "zip")
    data = (tmp_path / "w.pth").read_bytes()
    with zipfile.ZipFile(tmp_path / "w.pth") as archive:
        entry = max(archive.infolist(), key=lambda item: item.file_size)
    claimed = (2**32 - 2).to_bytes(4, "little")
    # the unpacked size in the central directory, 24 bytes into each entry of it
    positions = [i for i in range(len(data)) if data.startswith(b"PK\x01\x02", i)]
    assert entry.file_size > 0
    for position in positions[:4]:
        data = data[: position + 24] + claimed + data[position + 28 :]
    (tmp_path / "bomb.pth").write_bytes(data)
    assert "unpacks to more than 8 GiB" in refused(tmp_path / "bomb.pth")


def test_a_tensor_larger_than_its_storage_is_refused(tmp_path):
    torch.save({"conv_first.weight": torch.zeros(1).expand(10**6, 10**6)}, tmp_path / "w.pth")
    assert "more values than the file stores" in refused(tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("held", "message"),
    [
        ([torch.zeros(1)], "holds a list"),
        (torch.zeros(1), "holds a Tensor"),
        ({}, "an empty dictionary"),
        ({"epoch": 3, "name": "x"}, "only 'epoch', 'name'"),
        ({"epoch": 3, "iter": 9, "optimizers": [], "schedulers": []}, "is a training state"),
        ({"a": {"b": {"c": {"note": "x"}}}}, "only 'note'"),
        ({"a": {"b": {"c": {"d": {"e": {"f": {"g": {"h": {"i": {}}}}}}}}}}, "inside each other"),
    ],
)
def test_a_checkpoint_without_a_network_is_refused(tmp_path, held, message):
    torch.save(held, tmp_path / "w.pth")
    assert message in refused(tmp_path / "w.pth")


def test_a_dictionary_that_contains_itself_is_refused(tmp_path):
    loop: dict[str, object] = {}
    loop["model"] = loop
    torch.save(loop, tmp_path / "w.pth")
    assert "inside each other" in refused(tmp_path / "w.pth")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_sparse_tensors_are_refused_by_name(tmp_path):
    torch.save({"weight": torch.eye(3).to_sparse()}, tmp_path / "w.pth")
    assert "'weight' is not a plain tensor" in refused(tmp_path / "w.pth")


def test_a_missing_file_is_a_mistake_in_the_call(tmp_path):
    with pytest.raises(UsageError, match="there is no such weights file"):
        read_state_dict(tmp_path / "missing.pth")


def test_a_folder_is_refused(tmp_path):
    assert "is a folder" in refused(tmp_path)


def test_a_file_that_the_system_will_not_open_is_refused(tmp_path, state, monkeypatch):
    def fail(*_, **__):
        raise PermissionError(13, "Permission denied")

    write(tmp_path / "w.pth", state, "zip")
    monkeypatch.setattr(Path, "open", fail)
    assert "cannot be read: Permission denied" in refused(tmp_path / "w.pth")


def test_a_name_that_the_system_cannot_have_is_refused():
    assert "cannot be read" in refused(Path("x" * 10_000))


def test_flattened_wrappers_are_taken_off(tmp_path, state):
    plain = {f"params.{key}": torch.zeros_like(tensor) for key, tensor in state.items()}
    averaged = {f"params_ema.{key}": tensor for key, tensor in state.items()}
    save_file(plain | averaged, tmp_path / "w.safetensors")
    assert same(read_state_dict(tmp_path / "w.safetensors"), state)
