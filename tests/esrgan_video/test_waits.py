"""Nothing waits for the device on the way of a batch, and what is looked at late comes out as float32 has it.

The device is torch's `meta`, whose values nobody can read: torch itself refuses `item`, `nonzero`, `equal`, a condition
or a copy to memory. Copies to it that do not return at once are refused here.
"""

from fractions import Fraction
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from clip_tools import Clip, Tags, decode, planes, times, video_options, write_clip
from esrgan.errors import EngineError
from esrgan_video import EngineOptions, Upscaler, pipeline, upscale_video
from esrgan_video.colour import Colour, PixelLayout
from esrgan_video.compare import Comparison
from esrgan_video.container import EncoderOptions, Frame
from esrgan_video.engine.backends import torch_backend
from esrgan_video.engine.guard import busiest_crops
from esrgan_video.engine.remembering import RememberingUpscaler
from esrgan_video.transfer import Transfer
from esrgan_video.transform import FrameTransform
from network_tools import loaded, small_rrdb

META = torch.device("meta")
GREY = PixelLayout.of("gray")
LIMITED = Colour(matrix=1, full_range=False)
GREY16 = PixelLayout.of("gray16le")


class NoBlockingCopies(TorchDispatchMode):
    """Refuses copies from one device to another that the host would wait for."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        if function.overloadpacket in (torch.ops.aten.to, torch.ops.aten._to_copy, torch.ops.aten.copy_):
            given = dict(zip((argument.name for argument in function._schema.arguments), args, strict=False)) | kwargs
            there, here = result.device, given.get("src", given["self"]).device
            assert here == there or given.get("non_blocking"), f"{here} to {there}"
        return result


class Uploads(Transfer):
    """Pinned memory goes to the device while the host goes on."""

    def to_device(self, planes):
        return torch.from_numpy(np.stack(planes)).to(META, non_blocking=True)


def frame(planes_given, layout, colour=LIMITED, number=0):
    return Frame(
        planes=tuple(planes_given), layout=layout, colour=colour, pts=number, time_base=Fraction(1, 25), duration=1
    )


def noise(layout: PixelLayout, seed: int = 0, height: int = 12, width: int = 16) -> Frame:
    """Of all codes; where there is opacity, some of it invisible and some of it flat."""
    generator = np.random.default_rng(seed)
    shapes = layout.plane_shapes(height, width)
    made = [generator.integers(0, layout.peak, shape, layout.dtype, endpoint=True) for shape in shapes]
    if layout.alpha:
        made[-1][:4] = 0
    return frame(made, layout, number=seed)


@pytest.fixture
def on_meta(monkeypatch):
    """Makes an upscaler whose device is `meta`."""
    monkeypatch.setattr(torch_backend, "find_device", lambda _name: META)

    def made(**options):
        return Upscaler(small_rrdb(), EngineOptions(backend="torch", dtype="float16", batch=2, **options))

    return made


def test_looking_for_the_busiest_place_does_not_wait():
    with NoBlockingCopies():
        assert busiest_crops(torch.rand(2, 3, 60, 50, device=META), 16).shape == (2, 3, 16, 16)


def transformed(upscaler, frames, **options):
    layout = options.pop("layout", frames[0].layout)
    height, width = options.pop("size", tuple(side * 4 for side in frames[0].planes[0].shape))
    transform = FrameTransform(
        upscaler=upscaler, layout=layout, colour=frames[0].colour, height=height, width=width, batch=2, **options
    )
    if upscaler.device == META:
        transform.__dict__["_transfer"] = Uploads(META)
    return [transform(group) for group in transform.groups(iter(frames))]


@pytest.mark.parametrize(
    ("pix_fmt", "options"),
    [
        ("yuv420p", {}),
        ("yuv422p10le", {"layout": PixelLayout.of("yuv420p")}),  # with a dither
        ("gbrp", {"color_fix": True}),
        ("gray", {"size": (30, 50)}),
        ("yuva420p", {}),
        ("gbrap10le", {"comparison": Comparison(), "size": (24, 32)}),
    ],
)
@pytest.mark.parametrize("remembers", [False, True])
def test_no_batch_waits_for_the_device(on_meta, pix_fmt, options, remembers):
    layout = PixelLayout.of(pix_fmt)
    frames = [noise(layout, seed) for seed in range(5)]
    upscaler = RememberingUpscaler(on_meta()) if remembers else on_meta()
    with NoBlockingCopies():
        groups = transformed(upscaler, frames, **options)
    assert [len(group.sources) for group in groups] == [2, 2, 1]
    made = groups[0].results[0]
    size = options.get("size", (48, 64))
    assert [tuple(plane.shape[1:]) for plane in made.planes] == options.get("layout", layout).plane_shapes(*size)
    assert made.planes[0].device == made.good.device == META


def test_tiles_that_are_all_computed_do_not_wait_either(on_meta):
    upscaler = on_meta(tile=8, overlap=2)
    with NoBlockingCopies():
        groups = transformed(upscaler, [noise(GREY, seed) for seed in range(3)])
    assert [len(group.sources) for group in groups] == [2, 1]


def test_the_device_tells_who_waits(on_meta):
    """Otherwise the tests above would prove nothing."""
    with pytest.raises(RuntimeError, match="meta"):
        transformed(on_meta(), [noise(GREY)], deferred=False)
    with pytest.raises(AssertionError, match="cpu to meta"), NoBlockingCopies():
        torch.zeros(3).to(META)


class OverflowsInHalf(nn.Module):
    """Repeats pixels; where a picture is bright, by way of numbers that float16 does not have."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1, bias=False)
        self.passes: list[torch.dtype] = []
        with torch.no_grad():
            self.conv.weight.copy_(torch.eye(3)[:, :, None, None])

    def __deepcopy__(self, memo):
        other = type(self)()
        other.passes = self.passes  # those of all copies, whatever their precision
        return other

    def forward(self, images):
        if images.shape[-2:] == (6, 8):  # not those that ask for the memory of a pixel
            self.passes.append(images.dtype)
        same = self.conv(images)
        large = torch.where(same.mean(dim=(1, 2, 3), keepdim=True) > 0.5, 2.0**20, 1.0).to(same.dtype)
        return (same * large / large).repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


def codes(seed: int, low: int, high: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(low << 8, high << 8, (6, 8), np.uint16)


DARK = [codes(seed, 0, 100) for seed in range(4)]  # some of it under black
BRIGHT = [codes(seed, 180, 256) for seed in range(4)]  # and over white
FILM = [DARK[0], BRIGHT[0], BRIGHT[0], DARK[1], DARK[0], BRIGHT[0], BRIGHT[1], DARK[2], BRIGHT[0], DARK[3]]
TIMES = [0, 1, 7, 8, 30, 31, 35, 80, 81, 99]


def film() -> list[Frame]:
    return [frame([values], GREY16, number=time) for values, time in zip(FILM, TIMES, strict=True)]


def enlarged(values: np.ndarray) -> np.ndarray:
    return values.repeat(2, 0).repeat(2, 1)


def check(found) -> None:
    """Bright pictures are exact, dark ones are as float16 has them."""
    for values, plane in zip(FILM, found, strict=True):
        error = np.abs(plane.astype(int) - enlarged(values))
        if values.mean() > 128 << 8:
            assert error.max() == 0
        else:
            assert 0 < error.max() <= 1 + (84 << 8) * 2**-11


def engine() -> Upscaler:
    options = EngineOptions(backend="torch", device="cpu", dtype="float16", batch=2, threads=1)
    return Upscaler(loaded(OverflowsInHalf(), 2), options)


def late(upscaler):
    return transformed(upscaler, film(), size=(12, 16), deferred=True)


@pytest.mark.parametrize("remembers", [False, True])
def test_frames_that_overflow_in_half_precision_come_out_as_in_float32(remembers, caplog):
    upscaler = engine()
    passes = upscaler._loaded.network.passes
    groups = late(RememberingUpscaler(upscaler) if remembers else upscaler)
    assert torch.float32 not in passes, "nobody has looked yet"
    assert not caplog.records
    done = [made for group in groups for made in group.frames()]
    assert [made.pts for made in done] == TIMES
    check([made.planes[0] for made in done])
    assert passes.count(torch.float32) == 2, "each bright picture once, however many frames show it"
    assert [record.message for record in caplog.records] == [
        "1 frame(s) were not finite in float16: computed again in float32"
    ] * 2


def test_without_a_look_they_would_be_lost():
    made = late(engine())[0].results[1]
    assert not made.good.any()
    assert not np.array_equal(made.planes[0][0].numpy(), enlarged(BRIGHT[0]))


def test_groups_may_be_asked_for_in_any_order_and_again():
    groups = late(engine())
    for _ in range(2):
        done = {made.pts: made.planes[0] for group in reversed(groups) for made in group.frames()}
        check([done[time] for time in TIMES])
    (last,) = groups[0].frames(-1)
    np.testing.assert_array_equal(last.planes[0], done[last.pts])


def test_opacity_that_overflows_is_computed_again_too():
    layout = PixelLayout.of("gbrap")
    colour = Colour(matrix=0, full_range=True)
    opaque = np.random.default_rng(0).integers(150, 256, (6, 8), np.uint8)
    film = [frame([*(codes(seed, 0, 80) >> 8).astype(np.uint8)[None].repeat(3, 0), opaque], layout, colour, seed)
            for seed in range(3)]  # fmt: skip
    groups = transformed(engine(), film, size=(12, 16), deferred=True)
    for source, made in zip(film, [made for group in groups for made in group.frames()], strict=True):
        for plane, values in zip(made.planes, source.planes, strict=True):
            np.testing.assert_array_equal(plane, enlarged(values))


@pytest.fixture
def source(tmp_path, monkeypatch):
    """The film in a file, for runs that look late."""
    monkeypatch.setattr(pipeline, "FrameTransform", partial(FrameTransform, deferred=True))
    clip = Clip(
        codec="ffv1", pix_fmt="gray16le", size=(8, 6), times=TIMES, time_base=Fraction(1, 1000), options={},
        planes=[[values] for values in FILM], tags=Tags(matrix=1, color_range=1),
    )  # fmt: skip
    return write_clip(tmp_path / "in.mkv", clip)


@pytest.mark.parametrize("reuse", [False, True])
def test_from_file_to_file_frames_keep_order_and_times(source, tmp_path, reuse):
    options = video_options(encoder=EncoderOptions(codec="ffv1"), batch=2, reuse=reuse)
    upscale_video(source, tmp_path / "out.mkv", upscaler=engine(), options=options, progress="none")
    assert times(tmp_path / "out.mkv") == times(source) == [Fraction(time, 1000) for time in TIMES]
    check([planes(made)[0] for made in decode(tmp_path / "out.mkv")])


def test_what_is_not_finite_in_float32_either_ends_the_run(source, tmp_path):
    network = small_rrdb()
    with torch.no_grad():
        network.network.conv_last.bias.fill_(float("nan"))
    upscaler = Upscaler(network, EngineOptions(backend="torch", device="cpu", dtype="float16", threads=1))
    with pytest.raises(EngineError, match="not finite in float32"):
        upscale_video(source, tmp_path / "out.mkv", upscaler=upscaler, options=video_options(), progress="none")
    assert not (tmp_path / "out.mkv").exists()
