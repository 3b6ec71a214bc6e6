"""Tensors that fit no network are refused with the name of the tensor, never with a traceback of torch."""

from __future__ import annotations

import sys

import pytest
import torch

from esrgan.archs.compact import SRVGGNetCompact
from esrgan.archs.rrdbnet import RRDBNet
from esrgan.errors import WeightsError
from esrgan.weights import load_network, network_from_state_dict
from esrgan.weights.load import _network


@pytest.fixture
def rrdb(seeded):
    return seeded(RRDBNet(num_feat=6, num_block=2, num_grow_ch=3))


@pytest.fixture
def compact(seeded):
    return seeded(SRVGGNetCompact(num_feat=6, num_conv=2))


def refused(state):
    with pytest.raises(WeightsError) as caught:
        network_from_state_dict(state)
    message = str(caught.value)
    assert "\n" not in message
    return message


ALL_RRDB_KEYS = tuple(RRDBNet(num_feat=2, num_block=2, num_grow_ch=1).state_dict())


@pytest.mark.parametrize("key", ALL_RRDB_KEYS)
def test_a_missing_tensor_is_named(rrdb, key):
    del rrdb[key]
    assert f"'{key}' is missing" in refused(rrdb)


@pytest.mark.parametrize("key", tuple(SRVGGNetCompact(num_feat=2, num_conv=2).state_dict()))
def test_a_missing_tensor_of_compact_is_named(compact, key):
    del compact[key]
    assert ("known here" if key == "body.0.weight" else f"'{key}' is missing") in refused(compact)


@pytest.mark.parametrize("key", ALL_RRDB_KEYS)
@pytest.mark.parametrize("shape", [(), (5,), (5, 6, 3, 3), (6, 6, 3, 3, 1), (0, 6, 3, 3), (6, 6, 1, 1)])
def test_a_tensor_of_the_wrong_shape_is_refused(rrdb, key, shape):
    rrdb[key] = torch.zeros(shape)
    assert "shape" in refused(rrdb)


@pytest.mark.parametrize(
    "key", ["extra.weight", "body.0.rdb4.conv1.weight", "body.0.rdb1.conv6.weight", "conv_hr.bias.bias"]
)
def test_a_tensor_too_many_is_named(rrdb, key):
    rrdb[key] = torch.zeros(3)
    assert f"'{key}'" in refused(rrdb)


def test_a_gap_in_the_blocks_is_named(rrdb):
    state = {key.replace("body.1.", "body.7."): tensor for key, tensor in rrdb.items()}
    assert "'body.1.rdb1.conv1.weight' is missing" in refused(state)


def test_a_gap_in_the_stages_is_named(rrdb):
    state = {key.replace("conv_up1", "conv_up3"): tensor for key, tensor in rrdb.items()}
    assert "'conv_up1.weight' is missing" in refused(state)


def test_too_many_stages_are_refused(rrdb):
    for stage in range(3, 7):
        rrdb[f"conv_up{stage}.weight"] = torch.zeros(6, 6, 3, 3)
        rrdb[f"conv_up{stage}.bias"] = torch.zeros(6)
    assert "x64" in refused(rrdb)


@pytest.mark.parametrize("number", ["01", "99999999999", "9" * 5000, "-1", "²"])
def test_strange_block_numbers_are_refused(rrdb, number):
    rrdb[f"body.{number}.rdb1.conv1.weight"] = torch.zeros(3, 6, 3, 3)
    message = refused(rrdb)
    assert "body." in message
    assert len(message) < 500


def test_control_characters_of_a_name_do_not_reach_the_terminal(rrdb):
    rrdb["\x1b[2J\n"] = torch.zeros(1)
    assert "\x1b" not in refused(rrdb)


@pytest.mark.parametrize("size", [10**5, 10**9])
def test_absurd_sizes_are_refused_before_memory_is_taken(rrdb, size):
    rrdb["conv_first.weight"] = torch.zeros(1).expand(size, 3, 3, 3)
    with pytest.raises(WeightsError, match="channels must be 1 to 4096"):
        _network(rrdb)  # expand() takes no memory, and neither must the refusal


def test_integers_for_weights_are_refused(rrdb):
    rrdb["conv_hr.weight"] = torch.zeros(6, 6, 3, 3, dtype=torch.int64)
    assert "'conv_hr.weight' holds torch.int64" in refused(rrdb)


@pytest.mark.parametrize("numbers", [(2,), (3, 5), (2, 5), (4, 6, 8), (3, 6, 9)])
def test_old_layout_with_impossible_numbers_is_refused(numbers):
    state = {"model.0.weight": torch.zeros(6, 3, 3, 3), "model.1.sub.1.weight": torch.zeros(6, 6, 3, 3)}
    state["model.1.sub.0.RDB1.conv1.0.weight"] = torch.zeros(3, 6, 3, 3)
    for number in numbers:
        state[f"model.{number}.weight"] = torch.zeros(6, 6, 3, 3)
    assert "fits no scale" in refused(state)


def test_old_layout_without_its_trunk_convolution_is_refused():
    assert "trunk convolution" in refused({"model.1.sub.0.RDB1.conv1.0.weight": torch.zeros(3, 6, 3, 3)})


@pytest.mark.parametrize("activation", ["relu", "leakyrelu"])
def test_compact_without_prelu_weights_is_refused_since_its_activation_is_unknown(seeded, activation):
    message = refused(seeded(SRVGGNetCompact(num_feat=4, num_conv=1, act_type=activation)))
    assert "ReLU or LeakyReLU cannot be told" in message


def test_compact_whose_output_is_no_square_is_refused(compact):
    compact["body.6.weight"] = torch.zeros(3 * 5, 6, 3, 3)
    compact["body.6.bias"] = torch.zeros(15)
    assert "not 3 times a square" in refused(compact)


def test_compact_that_ends_with_an_activation_is_refused(compact):
    compact["body.7.weight"] = torch.zeros(6)
    assert "body.7" in refused(compact)


def test_other_tensors_are_refused_with_what_was_expected():
    message = refused({"foo.weight": torch.zeros(3)})
    assert "'foo.weight'" in message
    assert "RRDB_trunk.0.RDB1.conv1.weight" in message


def test_without_spandrel_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "spandrel", None)
    assert 'pip install "esrgan[spandrel]"' in refused({"foo.weight": torch.zeros(3)})


def test_without_spandrel_our_own_layouts_still_load(monkeypatch, rrdb, compact):
    monkeypatch.setitem(sys.modules, "spandrel", None)
    assert network_from_state_dict(rrdb).facts.scale == 4
    assert network_from_state_dict(compact).facts.scale == 4


def test_real_weights_of_something_else_are_refused(assets):
    for name in ("mobilenet0.25_Final.pth", "vgg19_features_to_conv3_4.safetensors"):
        with pytest.raises(WeightsError, match="not a network that is known here") as caught:
            load_network(assets / "weights" / name)
        assert name in str(caught.value)


def test_no_tensors_at_all_are_refused():
    assert "not a network" in refused({})
