"""Choosing batch and tile by memory."""

import pytest

from esrgan.errors import EngineError, UsageError
from esrgan_video.engine.options import DEFAULT_OVERLAP, EngineOptions
from esrgan_video.engine.planner import MIN_TILE, make_plan
from esrgan_video.engine.tiles import window_side


def plan(height, width, max_pixels, *, multiple=1, device_type="cpu", **options):
    return make_plan(
        height,
        width,
        options=EngineOptions(**options),
        multiple=multiple,
        max_pixels=max_pixels,
        device_type=device_type,
    )


def pass_pixels(made, height, width, multiple=1):
    if made.tile is None:
        return made.batch * height * width
    sides = [window_side(side, tile=made.tile, overlap=made.overlap, multiple=multiple) for side in (height, width)]
    return made.batch * sides[0] * sides[1]


def test_a_frame_that_fits_is_not_cut():
    assert plan(480, 640, 480 * 640).tile is None


@pytest.mark.parametrize("max_pixels", [4_900, 20_000, 100_000, 307_199])
@pytest.mark.parametrize("multiple", [1, 4])
def test_a_pass_never_exceeds_the_memory_that_is_free(max_pixels, multiple):
    made = plan(480, 640, max_pixels, multiple=multiple)
    assert made.tile is not None
    assert pass_pixels(made, 480, 640, multiple) <= max_pixels


def test_an_explicit_tile_is_taken_and_made_smaller_only_for_memory():
    assert plan(480, 640, 10**7, tile=100).tile == 100
    assert plan(480, 640, 10_000, tile=100).tile == 50


def test_tile_zero_never_cuts():
    assert plan(480, 640, 10**7, tile=0).tile is None
    with pytest.raises(EngineError, match="307200"):
        plan(480, 640, 1000, tile=0)


def test_small_frames_share_a_pass_and_large_ones_do_not():
    assert plan(16, 16, 10**7).batch == 16
    assert plan(480, 640, 10**7).batch == 1
    assert plan(480, 640, 10**7, device_type="cuda").batch > 1


def test_an_explicit_batch_is_taken_as_far_as_memory_goes():
    assert plan(100, 100, 10**7, batch=7).batch == 7
    assert plan(100, 100, 30_000, batch=7).batch == 3


def test_too_little_memory_for_the_smallest_tile_is_one_clear_line():
    with pytest.raises(EngineError, match="not enough memory for 640x480"):
        plan(480, 640, (MIN_TILE + 2 * DEFAULT_OVERLAP) ** 2 - 1)


@pytest.mark.parametrize("wrong", [{"tile": -1}, {"overlap": -1}, {"batch": 0}, {"dtype": "int8"}])
def test_options_outside_their_range_are_refused_with_the_value(wrong):
    with pytest.raises(UsageError, match=str(next(iter(wrong.values())))):
        EngineOptions(**wrong)
