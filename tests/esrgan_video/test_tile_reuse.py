"""Tiles that did not change: copied from the frame before, and not a bit different from computing them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from clip_tools import Clip, decode, planes, video_options, write_clip
from esrgan_video import EngineOptions, Upscaler, upscale_video
from esrgan_video.container import EncoderOptions
from esrgan_video.engine import planner, remembering
from esrgan_video.engine.planner import Planner
from esrgan_video.engine.remembering import RememberingUpscaler
from network_tools import loaded, small_rrdb

TILED = EngineOptions(device="cpu", dtype="float32", tile=16, overlap=4, batch=3)
SIZE = (40, 56)
"""3 x 4 tiles with windows of 22 x 22, over the rows from 0, 10 and 18 and the columns from 0, 10, 24 and 34."""


@pytest.fixture
def passes(monkeypatch) -> list[int]:
    """Windows in each pass of a network."""
    sizes: list[int] = []
    original = Upscaler._run

    def count(self, network, images):
        sizes.append(len(images))
        return original(self, network, images)

    monkeypatch.setattr(Upscaler, "_run", count)
    return sizes


def noise(seed: int = 0) -> torch.Tensor:
    return torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(seed))


def changed(frame: torch.Tensor, row: int, column: int) -> torch.Tensor:
    """`frame` with one other pixel."""
    other = frame.clone()
    other[0, 1, row, column] = 1 - other[0, 1, row, column]
    return other


def typed_text(count: int) -> list[torch.Tensor]:
    """A screen on which letters appear, one after the other."""
    frames = [noise()]
    for n in range(count - 1):
        other = frames[-1].clone()
        other[..., 3 + 8 * (n // 4) : 8 + 8 * (n // 4), 5 + 6 * n % 40 : 9 + 6 * n % 40] = n / count
        frames.append(other)
    return frames


@pytest.mark.parametrize("together", [1, 4])
def test_frames_come_out_bit_for_bit_as_when_all_tiles_are_computed(passes, together):
    engine = Upscaler(small_rrdb(), TILED)
    frames = torch.cat([*typed_text(5), noise(1), noise(1), noise()])
    plain = torch.cat([engine(part) for part in frames.split(together)])
    tiles = sum(passes)
    assert tiles == len(frames) * 12
    passes.clear()
    ours = RememberingUpscaler(engine)
    result = torch.cat([ours(part) for part in frames.split(together)])
    assert torch.equal(result, plain)
    assert (ours.memory.tiles, ours.memory.reused) == (tiles, tiles - sum(passes))
    assert sum(passes) < tiles * 0.8


@pytest.mark.parametrize(
    ("row", "column", "windows"),
    [(0, 0, 1), (39, 55, 1), (7, 7, 1), (9, 23, 1), (12, 23, 2), (23, 23, 2), (12, 12, 4), (20, 20, 6)],
)
def test_a_tile_is_computed_again_if_and_only_if_a_pixel_of_its_window_changed(passes, row, column, windows):
    ours = RememberingUpscaler(Upscaler(small_rrdb(), TILED))
    ours(noise())
    assert sum(passes) == 12
    passes.clear()
    ours(changed(noise(), row, column))
    assert sum(passes) == windows


def test_what_others_do_to_a_result_is_not_remembered():
    engine = Upscaler(small_rrdb(), TILED)
    ours = RememberingUpscaler(engine)
    frame = noise()
    with torch.inference_mode():
        ours(frame).fill_(7)
        frame.fill_(0.5)
    assert torch.equal(ours(noise()), engine(noise()))
    assert ours.memory.reused == 12


def test_another_size_or_cut_begins_anew():
    engine = Upscaler(small_rrdb(), TILED)
    ours = RememberingUpscaler(engine)
    for frame in (noise(), noise()[..., :-1], noise(), noise()):
        assert torch.equal(ours(frame), engine(frame))
    assert ours.memory.reused == 12


def test_frames_that_go_through_whole_are_not_cut():
    ours = RememberingUpscaler(Upscaler(small_rrdb(), EngineOptions(device="cpu", dtype="float32", tile=0)))
    for _ in range(2):
        ours(noise())
    assert (ours.memory.tiles, ours.memory.reused) == (0, 0)


def test_where_memory_is_short_nothing_is_kept(monkeypatch):
    monkeypatch.setattr(remembering, "free_bytes", lambda _: 40 * 56 * 16 * 3 * 4 * 10 - 1)
    ours = RememberingUpscaler(Upscaler(small_rrdb(), TILED))
    for _ in range(2):
        ours(noise())
    assert ours.memory.reused == 0


def test_after_memory_ran_out_nothing_is_left_of_the_frame_before(monkeypatch):
    engine = Upscaler(small_rrdb(), TILED)
    ours = RememberingUpscaler(engine)
    ours(noise())
    original, failures = Upscaler._run, iter([True])

    def fail_once(self, network, images):
        if next(failures, False):
            raise torch.OutOfMemoryError
        return original(self, network, images)

    monkeypatch.setattr(Upscaler, "_run", fail_once)
    second = changed(noise(), 0, 0)
    result = ours(second)
    assert ours.memory.reused == 0
    assert torch.equal(result, engine(second))  # with the smaller plan that both have now


class Overflowing(torch.nn.Module):
    """Repeats pixels, 90000 times as bright: from 0.73 on, half precision has no number for that."""

    def __init__(self):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor(300.0))

    def forward(self, image):
        return (image * self.gain * self.gain).repeat_interleave(2, 2).repeat_interleave(2, 3)


def test_tiles_that_were_not_finite_are_treated_as_without_memory(caplog):
    """Half precision overflows in one corner; the whole frame is computed again in float32, each time."""
    engine = Upscaler(
        loaded(Overflowing(), 2), EngineOptions(device="cpu", dtype="float16", tile=16, overlap=4, batch=3)
    )
    ours = RememberingUpscaler(engine)
    first = noise() * 0.5
    first[..., :4, :4] = 1.0
    second = first.clone()
    second[..., 30, 50] = 0.1
    third = second.clone()
    third[..., :4, :4] = 0.3  # finite from here on
    for frame in (first, second, second, third, second, third):
        assert torch.equal(ours(frame), engine(frame))
    assert caplog.text.count("1 frame(s) were not finite in float16: computed again in float32") == 2 * 4


class ShapeDependent(torch.nn.Module):
    """Results that depend on how many windows share a pass, as those of GPU libraries do in their last bits."""

    def forward(self, images):
        return images.repeat_interleave(4, 2).repeat_interleave(4, 3) + len(images) / 100


def test_on_gpus_passes_are_filled_up_so_that_their_shape_changes_nothing(monkeypatch):
    engine = Upscaler(small_rrdb(), TILED)
    monkeypatch.setattr(engine, "_run", lambda _network, images: ShapeDependent()(images))
    different = []
    for full in (False, True):
        monkeypatch.setattr(engine, "_full_passes", full)
        ours = RememberingUpscaler(engine)
        different.append([not torch.equal(ours(frame), engine(frame)) for frame in typed_text(4)])
        assert ours.memory.reused > 0
    assert any(different[0])  # or the stand-in would prove nothing
    assert not any(different[1])


def test_the_plan_for_a_size_stays_while_it_fits():
    made = Planner(EngineOptions(), multiple=1, device_type="cpu")
    first = made.plan(1000, 1000, max_pixels=100_000)
    assert first.tile is not None
    for max_pixels in (99_000, 95_000, 120_000, 199_999, 100_000):
        assert made.plan(1000, 1000, max_pixels=max_pixels) is first
    assert made.plan(1000, 1000, max_pixels=50_000).tile < first.tile
    assert made.plan(1000, 1000, max_pixels=2_000_000).tile is None
    made.forget()
    assert made.plan(1000, 1000, max_pixels=100_000) == first


def test_many_sizes_are_planned_without_remembering_them_all():
    made = Planner(EngineOptions(), multiple=1, device_type="cpu")
    for side in range(1, 100):
        assert made.plan(side, side, max_pixels=100_000).tile is None
    assert len(made._known) <= planner._KEPT_PLANS


def test_a_video_reports_its_tiles_and_is_the_same_without(tmp_path, capsys):
    codes = [(frame[0, :1] * 255).round().to(torch.uint8).numpy() for frame in typed_text(6)]
    made = [[plane[0], *[np.full((20, 28), 128, np.uint8)] * 2] for plane in codes]
    clip = Clip(codec="ffv1", size=(56, 40), times=range(6), options={}, planes=made)
    source = write_clip(tmp_path / "in.mkv", clip)
    engine = Upscaler(small_rrdb(), TILED)
    pixels, reused = [], []
    for reuse in (True, False):
        target = tmp_path / f"{reuse}.mkv"
        options = video_options(encoder=EncoderOptions(codec="ffv1"), reuse=reuse)
        result = upscale_video(source, target, upscaler=engine, options=options, progress="json")
        last = json.loads(capsys.readouterr().err.splitlines()[-1])
        assert last["reused_tiles"] == result.reused_tiles
        reused.append(result.reused_tiles)
        pixels.append([planes(frame) for frame in decode(target)])
    assert reused[0] > 6 * 12 / 3
    assert reused[1] == 0
    for one, other in zip(*pixels, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
