"""The VapourSynth filter: pixels against the engine, properties, and how often things are computed."""

import copy
import sys
from collections import Counter
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from esrgan.errors import MissingExtraError, UsageError
from esrgan.weights import load_network, save_network
from esrgan_video.color_fix import match_low_frequencies
from esrgan_video.engine import EngineOptions, Upscaler
from esrgan_video.engine.precision import probe_picture
from esrgan_video.export.int8 import calibrate
from esrgan_video.vapoursynth import esrgan, filter  # noqa: A004 - the module's name
from network_tools import small_rrdb
from vs_tools import all_planes, as_batch, clip_of, planes_of, random_planes, repeat

vs = pytest.importorskip("vapoursynth")

FRAMES = 17
BATCHES = [1, 2, 3, 8]
FLOAT32 = EngineOptions(device="cpu", dtype="float32")


@pytest.fixture
def rgbs() -> list:
    return random_planes(vs.core.get_video_format(vs.RGBS), 13, 9, FRAMES)


@pytest.fixture
def computed(monkeypatch) -> list[int]:
    """Sizes of the batches that upscalers are given."""
    sizes: list[int] = []
    original = Upscaler.__call__

    def count(self, batch, **options):
        sizes.append(len(batch))
        return original(self, batch, **options)

    monkeypatch.setattr(Upscaler, "__call__", count)
    return sizes


@pytest.mark.parametrize("streams", [1, 2, 3])
@pytest.mark.parametrize("batch", [*BATCHES, 100])
def test_pixels_equal_the_engines_on_the_same_batches_exactly(rgbs, batch, streams):
    network = small_rrdb()
    clip = clip_of(rgbs, vs.RGBS)
    result = all_planes(esrgan(clip, network, batch=batch, num_streams=streams, device="cpu", dtype="float32"))
    engine = Upscaler(network, replace(FLOAT32, batch=batch))
    expected = torch.cat([engine(part) for part in as_batch(rgbs).split(batch)])
    assert torch.equal(as_batch(result), expected)


def test_another_library_gives_the_same_picture(rgbs):
    pytest.importorskip("onnxruntime")
    network = small_rrdb()
    first, second = (
        as_batch(all_planes(esrgan(clip_of(rgbs, vs.RGBS), network, backend=name, device="cpu", dtype="float32")))
        for name in ("torch", "onnxruntime:cpu")
    )
    torch.testing.assert_close(second, first, rtol=0, atol=1e-6)
    with pytest.raises(UsageError, match="got 'ncnn'"):
        esrgan(clip_of(rgbs, vs.RGBS), network, backend="ncnn")


def test_a_calibration_of_the_clips_own_frames_gives_the_engines_8_bit_picture():
    pytest.importorskip("onnx")
    pytest.importorskip("openvino")
    network = load_network("default")
    picture = probe_picture(32)[0]
    frames = [list(picture.roll(7 * n, -1).numpy()) for n in range(3)]
    clip = clip_of(frames, vs.RGBS)
    seen = [torch.from_numpy(np.stack([np.asarray(plane) for plane in clip.get_frame(n)])) for n in (0, 2)]
    calibration = calibrate(network, seen)
    large = esrgan(clip, network, backend="openvino", dtype="int8", calibration=calibration, batch=1)
    result = as_batch(all_planes(large))
    options = EngineOptions(backend="openvino", dtype="int8", calibration=calibration, batch=1)
    expected = torch.cat([Upscaler(network, options)(frame[None]) for frame in as_batch(frames)])
    assert torch.equal(result, expected)
    with torch.no_grad():
        exact = copy.deepcopy(network.network).double()(as_batch(frames).double())
    error = (result.clamp(0, 1) - exact.clamp(0, 1)).square().mean()
    assert 40 < -10 * error.log10() < 80  # float32 has more than 120 dB


def test_half_floats_go_in_exactly_and_are_rounded_once_at_the_end():
    frames = random_planes(vs.core.get_video_format(vs.RGBH), 6, 5, 3)
    network = small_rrdb()
    result = all_planes(esrgan(clip_of(frames, vs.RGBH), network, batch=2, dtype="float32", device="cpu"))
    engine = Upscaler(network, FLOAT32)
    expected = torch.cat([engine(part.float()) for part in as_batch(frames).split(2)]).half()
    assert torch.equal(as_batch(result), expected)


def test_float_frames_are_not_clamped_on_either_side():
    frames = [
        [plane * 3 - 1 for plane in planes] for planes in random_planes(vs.core.get_video_format(vs.RGBS), 4, 3, 2)
    ]
    result = all_planes(esrgan(clip_of(frames, vs.RGBS), repeat(2), dtype="float32", device="cpu"))
    assert as_batch(frames).min() < -0.5
    assert torch.equal(as_batch(result), F.interpolate(as_batch(frames), scale_factor=2.0, mode="nearest"))


@pytest.mark.parametrize(
    "video_format", [vs.RGBS, vs.YUV420P8, vs.GRAY16], ids=lambda code: vs.PresetVideoFormat(code).name
)
@pytest.mark.parametrize("streams", [1, 2])
@pytest.mark.parametrize("batch", BATCHES)
def test_every_frame_keeps_its_own_properties(video_format, batch, streams):
    frames = random_planes(vs.core.get_video_format(video_format), 8, 6, FRAMES)
    props = [
        {
            "_DurationNum": 1001 + 7 * n * n,
            "_DurationDen": 30000 + n,
            "_SceneChangePrev": n % 2,
            "_AbsoluteTime": n / 3,
            "name": f"frame {n}",
            "list": [n, n + 1],
        }
        | ({"_Matrix": 1 + 5 * (n % 2)} if video_format == vs.YUV420P8 else {})
        for n in range(FRAMES)
    ]
    clip = clip_of(frames, video_format, props=props, fps=(0, 1))
    result = esrgan(clip, repeat(2), batch=batch, num_streams=streams, dtype="float32", device="cpu")
    assert (result.num_frames, result.fps, result.format.id) == (FRAMES, Fraction(0), int(video_format))
    assert (result.width, result.height) == (16, 12)
    for n, frame in enumerate(result.frames(collect_garbage=False)):
        own = clip.get_frame(n).props
        assert dict(frame.props) == {**own, "ESRGANModel": "Repeat"}
        assert set(props[n]) <= set(own)


@pytest.mark.parametrize("fps", [(24000, 1001), (25, 1), (0, 1)])
def test_the_frame_rate_is_kept(rgbs, fps):
    result = esrgan(clip_of(rgbs, vs.RGBS, fps=fps), repeat(), batch=3, num_streams=2, device="cpu", dtype="float32")
    assert result.fps == Fraction(*fps)


@pytest.mark.parametrize("video_format", [vs.RGBS, vs.YUV444P8], ids=["RGBS", "YUV444P8"])
@pytest.mark.parametrize("streams", [1, 2])
@pytest.mark.parametrize("batch", BATCHES)
def test_a_linear_pass_asks_for_each_frame_once_and_computes_each_once(computed, video_format, batch, streams):
    asked: Counter[int] = Counter()
    frames = random_planes(vs.core.get_video_format(video_format), 8, 6, FRAMES)
    clip = clip_of(
        frames, video_format, asked=asked, props=[{"_Matrix": 1} if video_format == vs.YUV444P8 else {}] * FRAMES
    )
    result = esrgan(clip, repeat(), batch=batch, num_streams=streams, device="cpu", dtype="float32")
    assert len(list(result.frames(collect_garbage=False))) == FRAMES
    assert asked == Counter(range(FRAMES))
    assert sorted(computed, reverse=True) == [batch] * (FRAMES // batch) + ([FRAMES % batch] if FRAMES % batch else [])


def test_asking_for_a_whole_batch_at_once_computes_it_once(rgbs, computed):
    result = esrgan(clip_of(rgbs, vs.RGBS), small_rrdb(), batch=8, device="cpu", dtype="float32")
    futures = [result.get_frame_async(n) for n in (3, 1, 7, 0, 5, 2, 6, 4, 3)]
    assert all(future.result().width == 52 for future in futures)
    assert computed == [8]


def test_frames_out_of_order_are_those_of_a_linear_pass(rgbs):
    linear = all_planes(esrgan(clip_of(rgbs, vs.RGBS), repeat(), batch=3, device="cpu", dtype="float32"))
    jumping = esrgan(clip_of(rgbs, vs.RGBS), repeat(), batch=3, num_streams=2, device="cpu", dtype="float32")
    for n in [16, 0, 9, 8, 15, 3, 3, 1, 14, 2, 16]:
        assert np.array_equal(planes_of(jumping.get_frame(n)), linear[n]), n
    assert np.array_equal(all_planes(jumping[::-1]), linear[::-1])


@pytest.mark.parametrize("video_format", [vs.RGBS, vs.YUV420P8], ids=["RGBS", "YUV420P8"])
@pytest.mark.parametrize(("batch", "streams"), [(1, 1), (3, 1), (8, 1), (2, 2)])
def test_frames_that_show_the_same_are_computed_once_and_are_not_a_bit_different(
    computed, video_format, batch, streams
):
    sequence = "AABBBBABCCCDAEEEEF"
    pictures = dict(zip("ABCDEF", random_planes(vs.core.get_video_format(video_format), 8, 6, 6), strict=True))
    props = [{"_Matrix": 1, "number": n} for n in range(len(sequence))]
    clip = clip_of([pictures[name] for name in sequence], video_format, props=props)
    network = small_rrdb()
    options = {"batch": batch, "num_streams": streams, "device": "cpu", "dtype": "float32"}
    plain = all_planes(esrgan(clip, network, reuse=False, **options))
    assert sum(computed) == len(sequence)
    computed.clear()
    result = esrgan(clip, network, **options)
    for n, frame in enumerate(result.frames(collect_garbage=False)):
        assert all(np.array_equal(a, b) for a, b in zip(planes_of(frame), plain[n], strict=True))
        assert frame.props["number"] == n
    assert sum(computed) == 6 if streams == 1 else 6 <= sum(computed) <= 12


def test_equal_codes_that_mean_other_colours_are_computed_apart(computed):
    frames = random_planes(vs.core.get_video_format(vs.YUV444P8), 8, 6, 1) * 4
    clip = clip_of(frames, vs.YUV444P8, props=[{"_Matrix": matrix} for matrix in (1, 6, 1, 6)])
    all_planes(esrgan(clip, small_rrdb(), batch=4, device="cpu", dtype="float32"))
    assert computed == [2]


@pytest.mark.parametrize("scale", [4, 2.5])
def test_color_fix_gives_the_low_frequencies_of_the_input(rgbs, scale):
    network = small_rrdb()
    options = {"scale": scale, "batch": 2, "device": "cpu", "dtype": "float32"}
    before = as_batch(all_planes(esrgan(clip_of(rgbs, vs.RGBS), network, **options)))
    after = as_batch(all_planes(esrgan(clip_of(rgbs, vs.RGBS), network, color_fix=True, **options)))
    means = as_batch(rgbs).mean((2, 3))
    assert (before.mean((2, 3)) - means).abs().max() > 0.1
    assert (after.mean((2, 3)) - means).abs().max() < 0.02
    torch.testing.assert_close(after, match_low_frequencies(before, as_batch(rgbs)), rtol=0, atol=1e-6)


def test_nothing_is_computed_before_a_frame_is_asked_for(rgbs, computed):
    asked: Counter[int] = Counter()
    esrgan(clip_of(rgbs, vs.RGBS, asked=asked), repeat(), batch=3, device="cpu", dtype="float32")
    assert not asked
    assert not computed


@pytest.mark.parametrize(
    ("size", "frames", "threads", "batch"), [((6, 5), 40, 1, 16), ((120, 100), 4, 1, 1), ((120, 100), 4, 3, 3)]
)
def test_the_batch_is_the_engines_plan_for_the_size(computed, monkeypatch, size, frames, threads, batch):
    monkeypatch.setenv("OMP_NUM_THREADS", str(threads))
    planes = random_planes(vs.core.get_video_format(vs.RGBS), *size, frames)
    clip = esrgan(clip_of(planes, vs.RGBS), repeat(), device="cpu", dtype="float32")
    clip.get_frame(0)
    assert computed == [batch]


@pytest.mark.parametrize("scale", [0.7, 1, 1.5, 3, 4, 6])
def test_another_scale_is_bicubic_resampling_of_the_networks_result(rgbs, scale):
    network = small_rrdb()
    result = all_planes(
        esrgan(clip_of(rgbs[:3], vs.RGBS), network, scale=scale, batch=2, device="cpu", dtype="float32")
    )
    engine = Upscaler(network, FLOAT32)
    large = torch.cat([engine(part) for part in as_batch(rgbs[:3]).split(2)])
    size = (int(9 * scale + 0.5), int(13 * scale + 0.5))
    expected = F.interpolate(large, size=size, mode="bicubic", antialias=True, align_corners=False)
    torch.testing.assert_close(as_batch(result), expected, rtol=0, atol=1e-5)


def test_tile_and_overlap_reach_the_engine():
    network = small_rrdb()
    options = EngineOptions(device="cpu", dtype="float32", tile=16, overlap=1, batch=2)
    planes = random_planes(vs.core.get_video_format(vs.RGBS), 40, 24, 2)
    expected = Upscaler(network, options)(as_batch(planes))
    result = esrgan(clip_of(planes, vs.RGBS), network, tile=16, overlap=1, batch=2, device="cpu", dtype="float32")
    assert torch.equal(as_batch(all_planes(result)), expected)
    assert not torch.equal(expected, Upscaler(network, FLOAT32)(as_batch(planes)))


def test_the_mean_over_orientations_is_the_engines(rgbs):
    network = small_rrdb()
    expected = Upscaler(network, replace(FLOAT32, batch=3, tta=True))
    result = esrgan(clip_of(rgbs[:3], vs.RGBS), network, batch=3, tta=True, device="cpu", dtype="float32")
    assert torch.equal(as_batch(all_planes(result)), expected(as_batch(rgbs[:3])))
    assert not torch.equal(as_batch(all_planes(result)), Upscaler(network, FLOAT32)(as_batch(rgbs[:3])))


def test_mirrored_borders_are_the_engines(rgbs):
    network = small_rrdb()
    expected = Upscaler(network, replace(FLOAT32, batch=3, pre_pad=2))
    result = esrgan(clip_of(rgbs[:3], vs.RGBS), network, batch=3, pre_pad=2, device="cpu", dtype="float32")
    assert torch.equal(as_batch(all_planes(result)), expected(as_batch(rgbs[:3])))
    assert not torch.equal(as_batch(all_planes(result)), Upscaler(network, FLOAT32)(as_batch(rgbs[:3])))


def test_several_devices_share_the_batches(rgbs, monkeypatch):
    made = []
    monkeypatch.setattr(filter, "Upscaler", lambda *args: made.append(Upscaler(*args)) or made[-1])
    network = small_rrdb()
    clip = esrgan(clip_of(rgbs, vs.RGBS), network, batch=3, device=("cpu", "cpu"), num_streams=2, dtype="float32")
    expected = torch.cat([Upscaler(network, FLOAT32)(part) for part in as_batch(rgbs).split(3)])
    assert torch.equal(as_batch(all_planes(clip)), expected)
    assert len(made) == 2


@pytest.mark.parametrize("alpha", [0, 0.25, 1])
def test_interpolation_blends_every_parameter(rgbs, alpha):
    a, b = small_rrdb(1), small_rrdb(2)
    blended = small_rrdb(3)
    theta_a, theta_b = a.network.state_dict(), b.network.state_dict()
    mixed = {key: ((1 - alpha) * theta_a[key].double() + alpha * theta_b[key].double()).float() for key in theta_a}
    blended.network.load_state_dict(mixed)
    expected = Upscaler(blended, FLOAT32)(as_batch(rgbs[:2]))
    for how in ({"interpolate": (b, alpha)}, {"interpolate": b, "alpha": alpha}):
        clip = esrgan(clip_of(rgbs[:2], vs.RGBS), a, batch=2, device="cpu", dtype="float32", **how)
        assert torch.equal(as_batch(all_planes(clip)), expected)
        assert clip.get_frame(0).props["ESRGANModel"] == f"RRDBNet * {1 - alpha:g} + RRDBNet * {alpha:g}"


def test_a_property_names_the_weights_that_ran(rgbs, tmp_path):
    path = save_network(small_rrdb(), tmp_path / "my own 100%.safetensors")
    named = esrgan(clip_of(rgbs[:1], vs.RGBS), path, device="cpu", dtype="float32")
    assert named.get_frame(0).props["ESRGANModel"] == "my own 100%"
    default = esrgan(clip_of(rgbs[:1], vs.RGBS), device="cpu", dtype="float32")
    assert default.get_frame(0).props["ESRGANModel"] == "rrdb-lite-x4-psnr"


def test_an_alpha_picture_of_the_old_size_is_left_out(rgbs):
    clip = clip_of(rgbs[:2], vs.RGBS)
    mask = vs.core.std.BlankClip(clip, format=vs.GRAYS)
    result = esrgan(clip.std.ClipToProp(mask, prop="_Alpha"), repeat(), device="cpu", dtype="float32")
    assert set(result.get_frame(1).props) == {"_DurationNum", "_DurationDen", "ESRGANModel"}


def _blank(**changes):
    return vs.core.std.BlankClip(**{"format": vs.RGBS, "width": 8, "height": 6, "length": 2, **changes})


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: "video.mkv", "esrgan takes a clip of constant size and format: RGB, YUV or GRAY.*; got str"),
        (lambda: _blank(varsize=True), "esrgan takes .*; got a clip of variable size: .*resize"),
        (lambda: _blank(varformat=True), "esrgan takes .*; got a clip of variable format: .*resize"),
        (lambda: _blank(format=vs.GRAY32), "esrgan takes .* integer of 8 to 16 bits.*; got Gray32"),
        (vs.core.std.BlankAudio, "esrgan takes .*; got AudioNode"),
    ],
)
def test_what_is_no_fitting_clip_is_refused_with_what_would_be(make, said):
    with pytest.raises(UsageError, match=said):
        esrgan(make())


@pytest.mark.parametrize(
    ("changes", "arguments", "said"),
    [
        ({}, {"num_streams": 0}, "num_streams=0"),
        ({}, {"device": ()}, r"device=\(\)"),
        ({}, {"batch": 0}, "batch must be at least 1, got 0"),
        ({}, {"tile": -1}, "tile must be 0"),
        ({}, {"scale": 0}, "scale must be a positive number, got 0"),
        ({}, {"device": "cpu:x"}, "unknown device 'cpu:x'"),
        ({}, {"dtype": "int4"}, "dtype must be one of auto, float32"),
        ({}, {"dtype": "int8"}, "dtype int8 is calibrated .*: give calibration=.* or use `esrgan upscale SCRIPT"),
        ({}, {"dtype": "int8", "backend": "openvino"}, "dtype int8 is calibrated .*: give calibration="),
        ({}, {"model": "no such weights"}, "'no such weights' is neither a weights file nor a known model"),
        ({}, {"model": small_rrdb(), "alpha": 0.5}, "alpha=0.5 of a network without a name: give interpolate"),
        ({}, {"interpolate": "default"}, "interpolate='default' wants alpha"),
        ({}, {"interpolate": ("default", 0.5), "alpha": 0.1}, "leave out alpha=0.1"),
        ({}, {"interpolate": ("default", 1.5)}, "alpha must be 0 to 1, got 1.5"),
        ({}, {"matrix_in": "709"}, "esrgan: matrix_in='709' is for YUV clips, got RGBS"),
        ({"format": vs.YUV444P8}, {"matrix_in": "rec709"}, "matrix_in must be one of \"709\", .*got 'rec709'"),
        ({"format": vs.YUV444P8}, {"matrix_in": 2}, "matrix_in must be one of .*got 2"),
        ({"format": vs.YUV420P8, "width": 10}, {"scale": 1.5}, "YUV420P8 cannot be 15x9, .* multiples of 2 and 2"),
    ],
)
def test_a_wrong_argument_is_named_with_what_it_takes(changes, arguments, said):
    with pytest.raises(UsageError, match=said):
        esrgan(_blank(**changes), **{"model": "default", "device": "cpu", "dtype": "float32", **arguments})


def test_without_vapoursynth_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "vapoursynth", None)
    with pytest.raises(MissingExtraError, match=r'pip install "esrgan\[vapoursynth\]"'):
        esrgan(None)


def test_an_error_of_the_network_reaches_whoever_asks_for_the_frame(rgbs):
    broken = [[np.full_like(plane, np.nan) for plane in planes] for planes in rgbs[:1]]
    clip = esrgan(clip_of(broken, vs.RGBS), small_rrdb(), device="cpu", dtype="float32")
    with pytest.raises(vs.Error, match="not finite in float32"):
        clip.get_frame(0)


@pytest.mark.gpu
def test_freeing_the_clip_gives_the_devices_memory_back():
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    before = torch.cuda.memory_reserved()
    large = random_planes(vs.core.get_video_format(vs.RGBS), 640, 480, 4)
    clip = esrgan(clip_of(large, vs.RGBS), small_rrdb(), batch=2, num_streams=2, device="cuda")
    assert len(list(clip.frames(close=True))) == 4
    during = torch.cuda.memory_reserved()
    del clip
    assert torch.cuda.memory_reserved() - before < (during - before) / 4
