"""Half precision that the engine chose itself keeps 50 dB in every picture."""

import logging

import pytest
import torch
from torch import nn

from esrgan_video.engine import EngineOptions, Upscaler, precision
from esrgan_video.engine.guard import busiest_crops
from network_tools import loaded

BOUND = 50.0


class LosesBrightPictures(nn.Module):
    """Gives its input, but adds and takes away a large number where a picture is bright: half precision loses all."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1, bias=False)
        with torch.no_grad():
            self.conv.weight.copy_(torch.eye(3)[:, :, None, None])

    def forward(self, images):
        same = self.conv(images)
        large = 1000 * torch.relu(same.mean(dim=(1, 2, 3), keepdim=True) - 0.9)
        return (same + large) - large


@pytest.fixture
def upscaler(monkeypatch):
    """With bfloat16 as its own choice, also on processors that do not have it."""
    monkeypatch.setattr(precision, "fast_dtype", lambda _: torch.bfloat16)
    made = Upscaler(loaded(LosesBrightPictures(), 1), EngineOptions(backend="torch", device="cpu", batch=2))
    assert made.precision == "bfloat16"
    return made


@pytest.fixture(scope="module")
def pictures():
    """Dark and bright ones in turn."""
    random = torch.rand(6, 3, 40, 50, generator=torch.Generator().manual_seed(0))
    random[::2] *= 0.8
    random[1::2] = 0.92 + 0.08 * random[1::2]
    return random


def psnr(one, other):
    return -10 * (one.double() - other.double()).square().mean(dim=(1, 2, 3)).log10()


def test_every_picture_keeps_the_bound(upscaler, pictures, caplog):
    with caplog.at_level(logging.WARNING):
        result = upscaler(pictures)
        upscaler(pictures)
    assert psnr(result, pictures).min() > BOUND
    assert (result[1::2] - pictures[1::2]).abs().max() < 1e-4, "the bright ones are float32's"
    assert not torch.equal(result[::2], pictures[::2]), "the dark ones are not"
    assert [record.message for record in caplog.records] == [
        "bfloat16 keeps less than 53 dB against float32 in places of some frames: these are computed in float32"
    ]


def test_without_the_check_the_bright_ones_are_lost(pictures):
    asked_for = Upscaler(
        loaded(LosesBrightPictures(), 1), EngineOptions(backend="torch", device="cpu", dtype="bfloat16")
    )
    assert psnr(asked_for(pictures), pictures)[1::2].max() < 40


def test_a_picture_s_result_does_not_depend_on_what_came_before(upscaler, pictures):
    together = upscaler(pictures)
    alone = [upscaler(pictures[[index]]) for index in (3, 0, 5, 4, 1, 2)]
    assert torch.equal(torch.cat(alone), together[[3, 0, 5, 4, 1, 2]])


def test_pictures_that_are_looked_at_late_are_told_apart(upscaler, pictures):
    together = upscaler(pictures)
    late, good = upscaler.unchecked(pictures)
    assert good.tolist() == [True, False] * 3
    assert torch.equal(late[::2], together[::2])


def test_a_run_that_goes_on_knows_of_the_check(upscaler):
    asked_for = Upscaler(
        loaded(LosesBrightPictures(), 1), EngineOptions(backend="torch", device="cpu", dtype="bfloat16")
    )
    assert set(upscaler.identity.items()) - set(asked_for.identity.items()) == {("pictures in float32", "under 53 dB")}


@pytest.mark.parametrize(("top", "left"), [(0, 0), (8, 24), (44, 34)])
def test_the_crop_is_where_the_detail_is(top, left):
    pictures = torch.zeros(2, 3, 60, 50)
    detail = torch.rand(3, 16, 16)
    pictures[1, :, top : top + 16, left : left + 16] = detail
    crop = busiest_crops(pictures, 16)[1]
    assert crop.shape == (3, 16, 16)
    assert (crop > 0).float().mean() > 0.5


def test_crops_are_parts_of_their_pictures():
    pictures = torch.rand(5, 3, 60, 50)
    for picture, crop in zip(pictures, busiest_crops(pictures, 16), strict=True):
        squares = [picture[:, top : top + 16, left : left + 16] for top in range(0, 45, 8) for left in range(0, 35, 8)]
        assert sum(torch.equal(crop, square) for square in squares) == 1


@pytest.mark.parametrize("size", [(1, 1), (5, 40), (40, 5), (16, 16)])
def test_small_pictures_are_checked_as_far_as_they_go(size):
    assert busiest_crops(torch.rand(2, 3, *size), 16).shape == (2, 3, min(16, size[0]), min(16, size[1]))
