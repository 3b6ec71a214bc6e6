"""Frames that repeat: computed once, and not a bit different from computing them each time."""

from __future__ import annotations

import json
from fractions import Fraction

import numpy as np
import pytest
import torch

from clip_tools import Clip, decode, planes, times, video_options, write_clip
from esrgan.archs.compact import SRVGGNetCompact
from esrgan.weights import save_network
from esrgan_video import upscale_video
from esrgan_video.colour import Colour, PixelLayout
from esrgan_video.container import EncoderOptions, Frame
from esrgan_video.engine import EngineOptions, Upscaler
from esrgan_video.reuse import RecentPictures, shows_the_same
from esrgan_video.transform import FrameTransform
from network_tools import loaded, small_rrdb

LOSSLESS = EncoderOptions(codec="ffv1")

ON_TWOS = "AABBCCDDEEFF"
BLINKING = "ABABABAB"
MIXED = "AAABACCCDABBBBEFA"
STILL = "A" * 20
MOVING = "ABCDEFGHIJKLMNOP"


def picture(name: str, pix_fmt: str = "yuv420p") -> list[np.ndarray]:
    """Noise that belongs to a letter."""
    generator = np.random.default_rng(ord(name))
    peak, dtype = (1023, np.uint16) if "10" in pix_fmt else (255, np.uint8)
    shapes = {
        "yuv420p": [(24, 32), (12, 16), (12, 16)],
        "yuv444p10le": [(24, 32)] * 3,
        "yuva420p": [(24, 32), (12, 16), (12, 16), (24, 32)],
    }
    return [generator.integers(0, peak + 1, shape).astype(dtype) for shape in shapes[pix_fmt]]


def film(path, sequence: str, pix_fmt: str = "yuv420p"):
    """A video that shows the picture of each letter, at times that fit no grid."""
    moments = [7 * n + n * n % 5 for n in range(len(sequence))]
    made = [picture(name, pix_fmt) for name in sequence]
    return write_clip(
        path,
        Clip(
            codec="ffv1",
            pix_fmt=pix_fmt,
            size=(32, 24),
            times=moments,
            time_base=Fraction(1, 1000),
            options={},
            planes=made,
        ),
    )


class Counting:
    """An upscaler that notes the sizes of its batches."""

    def __init__(self, inner) -> None:
        self.inner = inner
        self.batches: list[int] = []
        self.scale, self.device, self.plan = inner.scale, inner.device, inner.plan

    def __call__(self, batch):
        self.batches.append(len(batch))
        return self.inner(batch)


def run(source, target, upscaler, **given):
    return upscale_video(
        source, target, upscaler=upscaler, options=video_options(encoder=LOSSLESS, **given), progress="none"
    )


def pixels(path) -> list[list[np.ndarray]]:
    return [planes(frame) for frame in decode(path)]


def same_pixels(one, other) -> bool:
    return len(one) == len(other) and all(
        np.array_equal(a, b) for left, right in zip(one, other, strict=True) for a, b in zip(left, right, strict=True)
    )


@pytest.mark.parametrize(
    ("sequence", "batch"), [(ON_TWOS, 3), (BLINKING, None), (MIXED, 1), (MIXED, 2), (STILL, 8), (MOVING, 3), ("A", 2)]
)
def test_the_output_is_bit_for_bit_that_of_computing_every_frame(sequence, batch, tmp_path):
    source = film(tmp_path / "in.mkv", sequence)
    upscaler = Counting(Upscaler(small_rrdb(), EngineOptions(device="cpu", dtype="float32", batch=batch)))
    result = run(source, tmp_path / "out.mkv", upscaler, batch=batch)
    assert sum(upscaler.batches) == len(set(sequence))
    assert (result.frames, result.reused_frames) == (len(sequence), len(sequence) - len(set(sequence)))
    plain = Counting(upscaler.inner)
    result = run(source, tmp_path / "plain.mkv", plain, batch=batch, reuse=False)
    assert (sum(plain.batches), result.reused_frames) == (len(sequence), 0)
    assert same_pixels(pixels(tmp_path / "out.mkv"), pixels(tmp_path / "plain.mkv"))
    assert times(tmp_path / "out.mkv") == times(tmp_path / "plain.mkv") == times(source)


@pytest.mark.parametrize("pix_fmt", ["yuv444p10le", "yuva420p"])
def test_other_layouts(pix_fmt, tmp_path, make_upscaler):
    source = film(tmp_path / "in.mkv", MIXED, pix_fmt)
    assert run(source, tmp_path / "out.mkv", make_upscaler()).reused_frames == len(MIXED) - len(set(MIXED))
    run(source, tmp_path / "plain.mkv", make_upscaler(), reuse=False)
    assert same_pixels(pixels(tmp_path / "out.mkv"), pixels(tmp_path / "plain.mkv"))


def test_batches_are_as_full_as_without_repeats(tmp_path):
    upscaler = Counting(Upscaler(small_rrdb(), EngineOptions(device="cpu", dtype="float32")))
    run(film(tmp_path / "in.mkv", ON_TWOS), tmp_path / "out.mkv", upscaler, batch=3)
    assert upscaler.batches == [3, 3]


def test_a_long_still_is_handed_on_in_parts(tmp_path, make_upscaler):
    seen = []
    upscale_video(
        film(tmp_path / "in.mkv", "A" * 100),
        tmp_path / "out.mkv",
        upscaler=make_upscaler(),
        options=video_options(encoder=LOSSLESS, batch=2),
        progress="none",
        watch=lambda progress: seen.append(len(progress.group.sources)),
    )
    assert seen == [16] * 6 + [4]


def test_progress_in_json_says_how_many_were_reused(tmp_path, make_upscaler, capsys):
    source = film(tmp_path / "in.mkv", MIXED)
    options = video_options(encoder=LOSSLESS)
    upscale_video(source, tmp_path / "out.mkv", upscaler=make_upscaler(), options=options, progress="json")
    last = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert (last["done"], last["reused"]) == (len(MIXED), len(MIXED) - len(set(MIXED)))


class ShapeDependent:
    """A network whose results depend on how many frames it gets at once, as GPU libraries' do in their last bits."""

    scale = 1
    device = torch.device("cpu")

    def __init__(self, batch: int) -> None:
        self._batch = batch

    def plan(self, height, width):  # noqa: ARG002 - the protocol's
        return type("Plan", (), {"batch": self._batch, "tile": None})

    def __call__(self, batch):
        return batch * 0.5 + len(batch) / 100


def transformed(frames, *, reuse: bool, batch: int, full_batches: bool | None):
    layout = PixelLayout.of("gray")
    transform = FrameTransform(
        upscaler=ShapeDependent(batch),
        layout=layout,
        colour=GREY,
        width=4,
        height=3,
        reuse=reuse,
        full_batches=full_batches,
    )
    results = [transform(group) for group in transform.groups(iter(frames))]
    return [frame for group in results for frame in group.frames()]


GREY = Colour(matrix=1, full_range=True)


def grey_frame(name: str, number: int = 0, colour: Colour = GREY) -> Frame:
    plane = np.random.default_rng(ord(name)).integers(0, 256, (3, 4)).astype(np.uint8)
    return Frame(
        planes=(plane,),
        layout=PixelLayout.of("gray"),
        colour=colour,
        pts=number,
        time_base=Fraction(1, 25),
        duration=1,
    )


@pytest.mark.parametrize("batch", [2, 3, 4])
@pytest.mark.parametrize("sequence", [ON_TWOS, MIXED, "ABBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBC"])
def test_with_full_batches_repeats_are_exact_even_if_results_depend_on_the_batch(sequence, batch):
    frames = [grey_frame(name, number) for number, name in enumerate(sequence)]
    ours = transformed(frames, reuse=True, batch=batch, full_batches=True)
    plain = transformed(frames, reuse=False, batch=batch, full_batches=True)
    assert [frame.pts for frame in ours] == [frame.pts for frame in plain] == list(range(len(frames)))
    assert all(np.array_equal(one.planes[0], other.planes[0]) for one, other in zip(ours, plain, strict=True))
    short = transformed(frames, reuse=False, batch=batch, full_batches=None)
    different = [not np.array_equal(a.planes[0], b.planes[0]) for a, b in zip(short, plain, strict=True)]
    assert any(different) == bool(len(frames) % batch)  # the stand-in does depend on its batch


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("make", [small_rrdb, lambda: loaded(SRVGGNetCompact(num_feat=24, num_conv=3), 4)])
@pytest.mark.parametrize("size", [(24, 40), (17, 31)])
def test_on_the_cpu_a_frames_result_does_not_depend_on_its_batch(make, dtype, size):
    upscaler = Upscaler(make(), EngineOptions(device="cpu", dtype=dtype, batch=16))
    frames = torch.rand(9, 3, *size, generator=torch.Generator().manual_seed(0))
    alone = torch.cat([upscaler(frame[None]) for frame in frames])
    for batch in (2, 4, 9):
        assert torch.equal(torch.cat([upscaler(part) for part in frames.split(batch)]), alone), batch
    assert torch.equal(upscaler(frames.flip(0)).flip(0), alone)


def test_more_pictures_than_are_remembered_are_computed_again():
    recent = RecentPictures(shows_the_same, result_bytes=100 << 20)
    first = recent.of(grey_frame("A"))
    assert recent.of(grey_frame("B")) is not first
    assert recent.of(grey_frame("A")) is first
    recent.of(grey_frame("C"))  # B is the one that was not seen for longest
    assert recent.of(grey_frame("A")) is first
    again = grey_frame("B")
    assert recent.of(again).source is again


def test_equal_codes_with_another_meaning_are_another_picture():
    recent = RecentPictures(shows_the_same, result_bytes=1)
    recent.of(grey_frame("A"))
    limited = grey_frame("A", colour=Colour(matrix=1, full_range=False))
    assert recent.of(limited).source is limited


@pytest.mark.parametrize("plane", [0, 1, 2, 3])
def test_one_code_value_in_any_plane_makes_another_picture(plane):
    def frame(codes):
        return Frame(
            planes=tuple(codes),
            layout=PixelLayout.of("yuva420p"),
            colour=GREY,
            pts=0,
            time_base=Fraction(1, 25),
            duration=0,
        )

    codes = picture("A", "yuva420p")
    changed = [values.copy() for values in codes]
    changed[plane][-1, -1] ^= 1
    recent = RecentPictures(shows_the_same, result_bytes=1)
    first = recent.of(frame(codes))
    assert recent.of(frame([values.copy() for values in codes])) is first
    assert recent.of(frame(changed)) is not first


def test_a_picture_before_its_time_is_refused():
    layout = PixelLayout.of("gray")
    transform = FrameTransform(upscaler=ShapeDependent(1), layout=layout, colour=GREY, width=4, height=3)
    groups = list(transform.groups(iter([grey_frame("A"), grey_frame("B"), grey_frame("A")])))
    with pytest.raises(RuntimeError, match="before the group that computes it"):
        transform(groups[2])
    assert [transform(group).reused for group in groups] == [0, 0, 1]


def test_the_command_can_be_told_to_compute_all(tmp_path, capsys):
    from esrgan_video.cli.main import main

    weights = save_network(small_rrdb(), tmp_path / "weights.safetensors")
    source = film(tmp_path / "in.mkv", ON_TWOS)
    reused = []
    for number, more in enumerate(([], ["--no-reuse"])):
        target = str(tmp_path / f"{number}.mkv")
        call = ["upscale", str(source), "-o", target, "-n", str(weights), "--codec", "ffv1", "--progress", "json"]
        assert main([*call, "--fp32", *more]) == 0
        reused.append(json.loads(capsys.readouterr().err.splitlines()[-1])["reused"])
    assert reused == [6, 0]
    assert same_pixels(pixels(tmp_path / "0.mkv"), pixels(tmp_path / "1.mkv"))
