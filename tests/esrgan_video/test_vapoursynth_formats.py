"""Formats: what the network sees, and what comes back, against H.273's formulas and the core's resizer."""

import itertools

import numpy as np
import pytest
import torch

from clip_tools import Clip, Tags, decode, planes, write_clip
from esrgan_video.container import EncoderOptions
from esrgan_video.engine import EngineOptions, Upscaler
from esrgan_video.options import VideoOptions
from esrgan_video.pipeline import upscale_video
from esrgan_video.vapoursynth import esrgan
from network_tools import small_rrdb
from vs_tools import all_planes, as_batch, clip_of, planes_of, random_planes, repeat

vs = pytest.importorskip("vapoursynth")

EXACT = {"device": "cpu", "dtype": "float32", "batch": 2}
WHOLE = [
    "GRAY8",
    "GRAY9",
    "GRAY10",
    "GRAY12",
    "GRAY14",
    "GRAY16",
    "RGB24",
    "RGB27",
    "RGB30",
    "RGB36",
    "RGB42",
    "RGB48",
    "YUV444P8",
    "YUV444P9",
    "YUV444P10",
    "YUV444P12",
    "YUV444P14",
    "YUV444P16",
]
SUBSAMPLED = [
    "YUV410P8",
    "YUV410P16",
    "YUV411P8",
    "YUV411P16",
    "YUV420P8",
    "YUV420P9",
    "YUV420P10",
    "YUV420P12",
    "YUV420P14",
    "YUV420P16",
    "YUV422P8",
    "YUV422P9",
    "YUV422P10",
    "YUV422P12",
    "YUV422P14",
    "YUV422P16",
    "YUV440P8",
    "YUV440P16",
]
FLOAT = [
    "GRAYH",
    "GRAYS",
    "RGBH",
    "RGBS",
    "YUV444PH",
    "YUV444PS",
    "YUV422PH",
    "YUV420PS",
    "YUV440PH",
    "YUV411PS",
    "YUV410PH",
]
KR_KB = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
}
"""Weights of red and blue: ITU-T H.273, table 4."""


@pytest.fixture
def seen(monkeypatch) -> list[torch.Tensor]:
    """What upscalers are given."""
    batches = []
    original = Upscaler.__call__

    def remember(self, batch, **options):
        batches.append(batch.clone())
        return original(self, batch, **options)

    monkeypatch.setattr(Upscaler, "__call__", remember)
    return batches


def odd_size(video_format) -> tuple[int, int]:
    """Sides as odd as the subsampling lets them be."""
    return (7 if not video_format.subsampling_w else 3 << video_format.subsampling_w), (
        5 if not video_format.subsampling_h else 3 << video_format.subsampling_h
    )


def tagged(name: str, frames: list, **props):
    yuv = {"_Matrix": 1} if name.startswith("YUV") else {}
    return clip_of(frames, getattr(vs, name), props=[{**yuv, **props}] * len(frames))


@pytest.mark.parametrize(
    ("name", "full_range"),
    [*((name, None) for name in WHOLE), *itertools.product(["GRAY8", "RGB24", "YUV444P8", "YUV444P16"], [0, 1])],
)
def test_every_code_value_survives_a_network_that_repeats_pixels(name, full_range):
    video_format = vs.core.get_video_format(getattr(vs, name))
    frames = random_planes(video_format, *odd_size(video_format), 3)
    clip = tagged(name, frames, **({} if full_range is None else {"_Range": full_range}))
    result = esrgan(clip, repeat(2), **EXACT)
    assert (result.format.id, result.width, result.height) == (video_format.id, 14, 10)
    for planes_in, planes_out in zip(frames, all_planes(result), strict=True):
        assert np.array_equal([plane.repeat(2, 0).repeat(2, 1) for plane in planes_in], planes_out)


@pytest.mark.parametrize("name", SUBSAMPLED)
def test_with_subsampled_chroma_luma_survives_and_so_does_even_chroma(name):
    video_format = vs.core.get_video_format(getattr(vs, name))
    width, height = odd_size(video_format)
    frames = random_planes(video_format, width, height, 2)
    for n, (_, blue, red) in enumerate(frames):
        blue[...], red[...] = blue.flat[n], red.flat[n]
    result = esrgan(tagged(name, frames), repeat(2), **EXACT)
    assert (result.format.id, result.width, result.height) == (video_format.id, 2 * width, 2 * height)
    for planes_in, planes_out in zip(frames, all_planes(result), strict=True):
        assert all(
            np.array_equal(before.repeat(2, 0).repeat(2, 1), after)
            for before, after in zip(planes_in, planes_out, strict=True)
        )


@pytest.mark.parametrize("name", FLOAT)
def test_float_formats_come_back_within_their_own_rounding(name):
    video_format = vs.core.get_video_format(getattr(vs, name))
    width, height = odd_size(video_format)
    frames = random_planes(video_format, width, height, 2)
    for _, *chroma in frames if "YUV" in name else ():
        for plane in chroma:
            plane[...] = plane.flat[0]
    result = esrgan(tagged(name, frames), repeat(2), **EXACT)
    assert (result.format.id, result.width, result.height) == (video_format.id, 2 * width, 2 * height)
    tolerance = 1e-3 if name.endswith("H") else 1e-6
    for planes_in, planes_out in zip(frames, all_planes(result), strict=True):
        for before, after in zip(planes_in, planes_out, strict=True):
            np.testing.assert_allclose(after, before.repeat(2, 0).repeat(2, 1), rtol=0, atol=tolerance)


@pytest.mark.parametrize("full_range", [0, 1])
@pytest.mark.parametrize("matrix", KR_KB)
def test_the_network_sees_what_h273_says_the_codes_mean(seen, matrix, full_range):
    kr, kb = KR_KB[matrix]
    rgb = np.array([0.7, 0.4, 0.2])
    luma = kr * rgb[0] + (1 - kr - kb) * rgb[1] + kb * rgb[2]
    differences = (rgb[2] - luma) / (2 - 2 * kb), (rgb[0] - luma) / (2 - 2 * kr)
    low, span, chroma = (0, 65535, 65535) if full_range else (16 << 8, 219 << 8, 224 << 8)
    codes = [low + span * luma, *((1 << 15) + chroma * difference for difference in differences)]
    frame = [np.full((4, 4), round(code), np.uint16) for code in codes]
    result = esrgan(tagged("YUV444P16", [frame], _Matrix=matrix, _Range=full_range), repeat(2), **EXACT)
    assert np.array_equal(planes_of(result.get_frame(0)), [plane.repeat(2, 0).repeat(2, 1) for plane in frame])
    np.testing.assert_allclose(seen[0].amin((0, 2, 3)), rgb, rtol=0, atol=2e-5)
    np.testing.assert_allclose(seen[0].amax((0, 2, 3)), rgb, rtol=0, atol=2e-5)


def test_every_frame_is_coded_as_its_own_properties_say(seen):
    frames = random_planes(vs.core.get_video_format(vs.YUV444P8), 5, 4, 6)
    frames = [frames[0]] * 6
    props = [{"_Matrix": matrix, "_Range": full} for matrix in (1, 6, 9) for full in (0, 1)]
    result = esrgan(clip_of(frames, vs.YUV444P8, props=props), repeat(2), **{**EXACT, "batch": 6})
    for n, frame in enumerate(result.frames(collect_garbage=False)):
        assert np.array_equal(planes_of(frame), [plane.repeat(2, 0).repeat(2, 1) for plane in frames[n]])
        assert {name: frame.props[name] for name in props[n]} == props[n]
    assert len({tuple(picture.flatten().tolist()) for picture in seen[0]}) == 6


@pytest.mark.parametrize("location", [None, *range(6)])
@pytest.mark.parametrize("name", ["YUV420P8", "YUV422P10", "YUV411P8"])
def test_chroma_lies_where_the_frame_says(seen, name, location):
    frames = random_planes(vs.core.get_video_format(getattr(vs, name)), 16, 12, 1)
    props = {} if location is None else {"_ChromaLocation": location}
    result = esrgan(tagged(name, frames, **props), repeat(2), **EXACT).get_frame(0)
    assert result.props.get("_ChromaLocation") == location
    stated = {"matrix_in": 1, "range_in": 0, "chromaloc_in": location or 0}
    expected = clip_of(frames, getattr(vs, name)).resize.Bilinear(format=vs.RGBS, **stated)
    torch.testing.assert_close(seen[0], as_batch(all_planes(expected)).clamp(0, 1), rtol=0, atol=1e-6)
    large = clip_of([_repeated(expected)], vs.RGBS).resize.Bilinear(format=vs.YUV444PS, matrix=1)
    video_format = result.format
    steps = (1 << video_format.subsampling_w, 1 << video_format.subsampling_h)
    siting = {0: (0, 0.5), 1: (0.5, 0.5), 2: (0, 0), 3: (0.5, 0), 4: (0, 1), 5: (0.5, 1)}[location or 0]
    unit = 1 << (video_format.bits_per_sample - 8)
    for ours, full in zip(planes_of(result)[1:], all_planes(large)[0][1:], strict=True):
        mean = _box(_box(full.astype(float), steps[0], siting[0]).T, steps[1], siting[1]).T
        np.testing.assert_allclose(ours, 128 * unit + 224 * unit * mean, rtol=0, atol=0.501)


def _repeated(clip):
    return [plane.repeat(2, 0).repeat(2, 1) for plane in all_planes(clip)[0]]


def _box(full, step, siting):
    """Means of `step` columns around each chroma sample's place, counted in half columns; edges repeat."""
    halves = np.pad(full.repeat(2, 1), ((0, 0), (2 * step, 2 * step)), mode="edge")
    starts = [round(2 * (n * step + siting * (step - 1) - step / 2) + 1) for n in range(full.shape[1] // step)]
    return np.stack([halves[:, 2 * step + start : 4 * step + start].mean(1) for start in starts], 1)


def test_grey_stays_grey_through_a_network_that_tints():
    network = repeat(2)
    tint = torch.tensor([0.3, 0.0, -0.3]).view(1, 3, 1, 1)
    network.network.register_forward_hook(lambda _module, _inputs, output: output + tint)
    frames = random_planes(vs.core.get_video_format(vs.GRAYS), 5, 3, 2)
    for (before,), (after,) in zip(frames, all_planes(esrgan(tagged("GRAYS", frames), network, **EXACT)), strict=True):
        np.testing.assert_allclose(after, before.repeat(2, 0).repeat(2, 1), rtol=0, atol=1e-6)


@pytest.mark.parametrize("matrix", [None, 0, 2, 3])
def test_an_unknown_matrix_is_asked_for_by_name(matrix):
    frames = random_planes(vs.core.get_video_format(vs.YUV420P8), 6, 4, 3)
    clip = clip_of(
        frames, vs.YUV420P8, props=[{"_Matrix": 1}, {} if matrix is None else {"_Matrix": matrix}, {"_Matrix": 1}]
    )
    result = esrgan(clip, repeat(2), **{**EXACT, "batch": 1})
    assert result.get_frame(0).width == 12
    with pytest.raises(
        vs.Error, match=r'esrgan: frame 1 \(YUV420P8\) does not say which matrix .* matrix_in, one of "709"'
    ):
        result.get_frame(1)


def test_a_matrix_without_conversion_is_named():
    frames = random_planes(vs.core.get_video_format(vs.YUV444P8), 6, 4, 1)
    with pytest.raises(vs.Error, match="has matrix 14, which is not converted"):
        esrgan(tagged("YUV444P8", frames, _Matrix=14), repeat(2), **EXACT).get_frame(0)


@pytest.mark.parametrize(("given", "code"), [("709", 1), ("170m", 6), (9, 9), (vs.MATRIX_BT470_BG, 5)])
@pytest.mark.parametrize("own", [{}, {"_Matrix": 4}])
def test_matrix_in_goes_before_the_frames_own_and_is_passed_on(seen, given, code, own):
    frames = random_planes(vs.core.get_video_format(vs.YUV444P8), 6, 4, 1)
    clip = clip_of(frames, vs.YUV444P8, props=[own])
    frame = esrgan(clip, repeat(2), matrix_in=given, **EXACT).get_frame(0)
    assert frame.props["_Matrix"] == code
    expected = clip_of(frames, vs.YUV444P8).resize.Bilinear(format=vs.RGBS, matrix_in=code)
    torch.testing.assert_close(seen[0], as_batch(all_planes(expected)).clamp(0, 1), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["RGB24", "GRAY8"])
def test_a_matrix_that_has_no_meaning_does_not_disturb(name):
    frames = random_planes(vs.core.get_video_format(getattr(vs, name)), 6, 4, 1)
    frame = esrgan(tagged(name, frames, _Matrix=1, _Transfer=3, _FieldBased=2), repeat(2), **EXACT).get_frame(0)
    assert np.array_equal(planes_of(frame), [plane.repeat(2, 0).repeat(2, 1) for plane in frames[0]])
    assert (frame.props["_Matrix"], frame.props["_FieldBased"]) == (1, 2)


@pytest.mark.parametrize(
    ("pix_fmt", "name", "location"),
    [
        ("gray", "GRAY8", 0),
        ("gray16le", "GRAY16", 0),
        ("gbrp10le", "RGB30", 0),
        ("yuv444p", "YUV444P8", 0),
        ("yuv422p10le", "YUV422P10", 1),
        ("yuv411p", "YUV411P8", 0),
        ("yuv410p", "YUV410P8", 0),
        ("yuv420p16le", "YUV420P16", 1),
        *(("yuv420p", "YUV420P8", location) for location in range(5)),
        *(("yuv420p10le", "YUV420P10", location) for location in (0, 3)),
    ],
)
@pytest.mark.parametrize("color_fix", [False, True])
def test_pixels_equal_the_commands_before_encoding(tmp_path, pix_fmt, name, location, color_fix):
    """On saturated noise, where any two filters for chroma differ most. FFV1 keeps what it is given."""
    model = "gray" if name.startswith("GRAY") else name[:3]
    tags = Tags(matrix=0 if model == "RGB" else 1, color_range=1 if model == "YUV" else 2, location=location)
    video_format = vs.core.get_video_format(getattr(vs, name))
    order = (1, 2, 0) if model == "RGB" else range(video_format.num_planes)
    frames = random_planes(video_format, 32, 24, 5)
    clip = Clip(
        codec="ffv1",
        pix_fmt=pix_fmt,
        size=(32, 24),
        times=range(5),
        tags=tags,
        options={},
        planes=[[frame[plane] for plane in order] for frame in frames],
    )
    source = write_clip(tmp_path / "in.mkv", clip)
    network = small_rrdb()
    options = VideoOptions(encoder=EncoderOptions(codec="ffv1", pix_fmt=pix_fmt), color_fix=color_fix)
    upscaler = Upscaler(network, EngineOptions(device="cpu", dtype="float32"))
    upscale_video(source, tmp_path / "out.mkv", upscaler=upscaler, options=options, progress="none")
    props = {"_Range": int(tags.color_range == 2)} | ({"_ChromaLocation": location - 1} if location else {})
    large = esrgan(tagged(name, frames, **props), network, color_fix=color_fix, device="cpu", dtype="float32")
    commands = decode(tmp_path / "out.mkv")
    assert len(commands) == large.num_frames == 5
    for theirs, ours in zip(commands, all_planes(large), strict=True):
        assert theirs.format.name == pix_fmt
        assert all(np.array_equal(ours[plane], planes(theirs)[k]) for k, plane in enumerate(order))
