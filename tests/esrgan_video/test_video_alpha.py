"""Transparency of video: read, enlarged and kept, against the planes that FFmpeg's decoders give through PyAV."""

from __future__ import annotations

import re

import av
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from clip_tools import Clip, Tags, make_frame, times, video_options, write_clip
from esrgan.errors import EngineError
from esrgan_video import upscale_video
from esrgan_video.alpha import flat_areas, nearest_visible
from esrgan_video.container import EncoderOptions
from esrgan_video.container.reader import VideoReader

FAST_VP9 = EncoderOptions(extra={"deadline": "realtime", "cpu-used": "8"})
LOSSLESS = EncoderOptions(codec="ffv1")
SIZE = (48, 32)


def run(source, target, upscaler, encoder=LOSSLESS, **given):
    options = video_options(encoder=encoder, **given)
    return upscale_video(source, target, upscaler=upscaler, options=options, progress="none")


def decode(path) -> list[av.VideoFrame]:
    """All frames, VP8 and VP9 through libvpx, which knows their transparency."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        name = {"vp8": "libvpx", "vp9": "libvpx-vp9"}.get(stream.codec_context.name)
        context = stream.codec_context if name is None else av.CodecContext.create(name, "r")
        return [
            frame for packet in container.demux(stream) for frame in context.decode(packet if packet.size else None)
        ]


def rgba(frame: av.VideoFrame) -> np.ndarray:
    """`(H, W, 4)` in 0..1; planar RGB is read as it stands, everything else goes through swscale."""
    name = "gbrap16le" if frame.format.components[0].bits > 8 else "gbrap"
    if frame.format.name != name:
        frame = frame.reformat(format=name, threads=1)
    dtype = np.uint16 if name.endswith("16le") else np.uint8
    green, blue, red, alpha = (
        np.frombuffer(plane, dtype).reshape(frame.height, -1)[:, : frame.width] / np.iinfo(dtype).max
        for plane in frame.planes
    )
    return np.stack([red, green, blue, alpha], 2)


def alpha_codes(frame: av.VideoFrame) -> np.ndarray:
    dtype = np.uint16 if frame.format.components[0].bits > 8 else np.uint8
    plane = frame.planes[3]
    rows = np.frombuffer(plane, dtype).reshape(plane.height, -1)
    return rows[:, : frame.width]


def picture(pix_fmt: str, number: int = 0, alpha: np.ndarray | None = None) -> list[np.ndarray]:
    """Planes of a frame: flat colour under a disc of opacity that moves, with a ramp as its edge."""
    bits = 10 if "10" in pix_fmt else 12 if "12" in pix_fmt else 16 if "16" in pix_fmt else 8
    dtype = np.uint8 if bits == 8 else np.uint16
    y, x = np.mgrid[: SIZE[1], : SIZE[0]]
    if alpha is None:
        alpha = np.clip((12 - np.hypot(x - 20 - number, y - 16)) / 4, 0, 1)
    chroma = (SIZE[1] // (2 if "420" in pix_fmt else 1), SIZE[0] // (1 if "444" in pix_fmt or "gbr" in pix_fmt else 2))
    values = [120, 90, 160] if pix_fmt.startswith("yuva") else [100, 50, 200]
    shapes = [SIZE[::-1], chroma, chroma] if pix_fmt.startswith("yuva") else [SIZE[::-1]] * 3
    planes = [np.full(shape, value << (bits - 8), dtype) for shape, value in zip(shapes, values, strict=True)]
    return [*planes, np.round(alpha * ((1 << bits) - 1)).astype(dtype)]


def clip(pix_fmt: str, codec: str = "ffv1", count: int = 4, **given) -> Clip:
    planes = [picture(pix_fmt, number) for number in range(count)]
    colour = Tags(matrix=1, color_range=1) if pix_fmt.startswith("yuva") else Tags()
    return Clip(codec=codec, pix_fmt=pix_fmt, size=SIZE, times=range(count), options={}, planes=planes, tags=colour,
                **given)  # fmt: skip


def repack(clip_given: Clip, packed: str, codec: str, path):
    """The clip in a codec that takes packed formats only."""
    with av.open(str(path), "w") as output:
        video = output.add_stream(codec, 25)
        video.width, video.height, video.pix_fmt = *SIZE, packed
        for number in range(len(clip_given.times)):
            frame = make_frame(clip_given, number).reformat(format=packed, threads=1)
            frame.pts = number
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
    return path


# From codec to codec


@pytest.fixture(params=["ffv1 yuva420p", "ffv1 gbrap10le", "qtrle", "png", "prores", "vp9", "vp8"])
def source(request, tmp_path):
    match request.param:
        case "qtrle":
            return repack(clip("gbrap"), "argb", "qtrle", tmp_path / "in.mov")
        case "png":
            return repack(clip("gbrap"), "rgba", "png", tmp_path / "in.mov")
        case "prores":
            return write_clip(tmp_path / "in.mov", clip("yuva444p10le", "prores_ks"))
        case "vp9" | "vp8":
            codec = "libvpx" if request.param == "vp8" else "libvpx-vp9"
            given = clip("yuva420p", codec)
            options = {"auto-alt-ref": "0", "crf": "4", "b": "0" if request.param == "vp9" else "20M"}
            return write_clip(tmp_path / "in.webm", Clip(**{**vars(given), "options": options}))
        case _:
            return write_clip(tmp_path / "in.mkv", clip(request.param.split()[1]))


@pytest.mark.parametrize(
    ("suffix", "encoder"),
    [(".mkv", LOSSLESS), (".mkv", None), (".webm", None), (".mov", None)],
    ids=["ffv1", "mkv", "webm", "mov"],
)
def test_opacity_is_kept_by_what_each_container_holds_by_default(source, suffix, encoder, tmp_path, nearest, caplog):
    target = tmp_path / f"out{suffix}"
    run(source, target, nearest, encoder or EncoderOptions())
    before, after = decode(source), decode(target)
    assert len(before) == len(after) == 4
    assert times(target) == times(source)
    assert "transparency" not in caplog.text
    for one, other in zip(before, after, strict=True):
        expected = rgba(one)[..., 3].repeat(2, 0).repeat(2, 1)
        difference = np.abs(rgba(other)[..., 3] - expected)
        assert difference.max() <= (0.002 if encoder is LOSSLESS else 0.06)  # of a lossy codec
        assert difference.mean() <= 0.003
        visible = expected > 0.5
        colours = np.abs(rgba(other)[..., :3] - rgba(one)[..., :3].repeat(2, 0).repeat(2, 1))
        assert colours[visible].mean() < 0.02


@pytest.mark.parametrize("suffix", [".mkv", ".webm"])
def test_a_matroska_file_says_that_there_is_transparency(suffix, tmp_path, nearest):
    source = write_clip(tmp_path / "in.mkv", clip("yuva420p"))
    run(source, tmp_path / f"out{suffix}", nearest, FAST_VP9)
    run(source, tmp_path / f"plain{suffix}", nearest, EncoderOptions(codec="vp9", pix_fmt="yuv420p"))
    tags = []
    for name in ("out", "plain"):
        with av.open(str(tmp_path / f"{name}{suffix}")) as container:
            tags.append({key.lower() for key in container.streams.video[0].metadata})
    assert "alpha_mode" in tags[0]
    assert "alpha_mode" not in tags[1]


@pytest.mark.parametrize(
    ("pix_fmt", "codec", "expected"),
    [
        ("yuva420p", "ffv1", "yuva420p"), ("yuva422p10le", "ffv1", "yuva422p10le"), ("gbrap", "ffv1", "bgra"),
        ("gbrap16le", "ffv1", "gbrap16le"), ("yuva444p12le", "ffv1", "yuva444p12le"),
        ("gbrap", "prores", "yuva444p12le"), ("gbrap", "vp9", "yuva420p"), ("yuva444p10le", "vp9", "yuva420p"),
    ],
)  # fmt: skip
def test_the_format_keeps_opacity_first_then_depth_and_sampling(pix_fmt, codec, expected, tmp_path, nearest):
    given = clip("gbrap" if pix_fmt == "gbrap" else pix_fmt)
    source = tmp_path / "in.mkv"
    if pix_fmt == "gbrap":  # ffv1 has it packed only
        repack(given, "bgra", "ffv1", source)
    else:
        write_clip(source, given)
    run(source, tmp_path / "out.mkv", nearest, EncoderOptions(codec=codec))
    frames = decode(tmp_path / "out.mkv")
    assert {frame.format.name for frame in frames} == {expected}


def test_a_real_clip_keeps_its_transparency(assets, tmp_path, nearest):
    source = assets / "media/transparent.webm"
    run(source, tmp_path / "out.mkv", nearest, frames=5)
    before, after = decode(source)[:5], decode(tmp_path / "out.mkv")
    assert {frame.format.name for frame in before} == {frame.format.name for frame in after} == {"yuva420p"}
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(alpha_codes(other), alpha_codes(one).repeat(2, 0).repeat(2, 1))
        assert 0 < alpha_codes(one).mean() < 255


def test_a_file_that_says_so_but_has_none_is_read_as_it_is(assets):
    with VideoReader(assets / "media/vfr_no_duration.webm") as reader:
        assert reader.info.layout.pix_fmt == "yuv420p"


# What is said


@pytest.mark.parametrize(
    ("name", "encoder", "message"),
    [
        ("out.mp4", EncoderOptions(), r"which libx264 in \.mp4 does not hold: write \.webm, \.mov or \.mkv to keep it"),
        ("out.mkv", EncoderOptions(codec="h264"), "which libx264 does not hold: use --codec vp9 or ffv1 to keep it"),
        ("out.mov", EncoderOptions(codec="h264"), "which libx264 does not hold: use --codec prores to keep it"),
        ("out.mp4", EncoderOptions(codec="vp9"), r"which libvpx-vp9 in \.mp4 does not hold: write"),
        ("out.mkv", EncoderOptions(codec="ffv1", pix_fmt="yuv420p"), "which yuv420p does not hold: leave out --pix"),
    ],
)
def test_what_loses_transparency_is_said_once_with_what_keeps_it(name, encoder, message, tmp_path, nearest, caplog):
    source = write_clip(tmp_path / "in.mkv", clip("yuva420p"))
    run(source, tmp_path / name, nearest, encoder)
    said = [record.getMessage() for record in caplog.records if "transparency" in record.getMessage()]
    assert len(said) == 1
    assert re.search(message, said[0])


# Through the network


def sharpened(batch):
    """x2 that overshoots at edges and lifts everything a little, as networks do."""
    large = F.interpolate(batch, scale_factor=2.0, mode="bicubic")
    return large + 0.5 * (large - F.avg_pool2d(large, 3, 1, 1, count_include_pad=False)) + 0.02


@pytest.fixture
def sharpening(make_upscaler):
    class Sharpening(make_upscaler):
        def __call__(self, batch):
            super().__call__(batch)
            return sharpened(batch)

    return Sharpening()


def pictures_seen(upscaler) -> int:
    return sum(shape[0] for shape in upscaler.batches)


def test_opacity_goes_through_the_network_and_flat_areas_stay_exact(tmp_path, sharpening):
    source = write_clip(tmp_path / "in.mkv", clip("yuva420p"))
    run(source, tmp_path / "out.mkv", sharpening)
    assert pictures_seen(sharpening) == 8  # colours and opacity of each
    for one, other in zip(decode(source), decode(tmp_path / "out.mkv"), strict=True):
        alpha = alpha_codes(one)
        expected = sharpened(torch.from_numpy(alpha / 255).float()[None, None].expand(1, 3, -1, -1)).mean(1)[0]
        expected = (expected.clamp(0, 1) * 255).round().numpy()
        padded = np.pad(alpha, 1, mode="edge")
        around = np.stack([padded[y : y + SIZE[1], x : x + SIZE[0]] for y in range(3) for x in range(3)])
        flat = (around == alpha).all(0).repeat(2, 0).repeat(2, 1)
        expected[flat] = alpha.repeat(2, 0).repeat(2, 1)[flat]
        assert np.abs(alpha_codes(other) - expected).max() <= 1
        assert (alpha_codes(other)[flat] == expected[flat]).all()
        assert not flat.all()


@pytest.mark.parametrize("value", [1.0, 0.5, 0.0])
def test_one_opacity_everywhere_needs_no_network(value, tmp_path, sharpening):
    planes = [picture("yuva420p", alpha=np.full(SIZE[::-1], value))]
    given = Clip(codec="ffv1", pix_fmt="yuva420p", size=SIZE, times=[0], options={}, planes=planes)
    run(write_clip(tmp_path / "in.mkv", given), tmp_path / "out.mkv", sharpening)
    assert pictures_seen(sharpening) == 1
    assert (alpha_codes(decode(tmp_path / "out.mkv")[0]) == round(value * 255)).all()


def test_no_dark_fringe(tmp_path, sharpening):
    """A white disc on transparent black: whatever lies under it, the composite stays between the two."""
    shape = SIZE[::-1]
    y, x = np.mgrid[: shape[0], : shape[1]]
    disc = np.hypot(x - 24, y - 16) < 10
    white = np.where(disc, 255, 0).astype(np.uint8)
    given = Clip(codec="ffv1", pix_fmt="gbrap", size=SIZE, times=[0], options={}, planes=[[white] * 4])
    source = repack(given, "bgra", "ffv1", tmp_path / "in.mkv")
    run(source, tmp_path / "out.mkv", sharpening)
    after = rgba(decode(tmp_path / "out.mkv")[0])
    assert (after[..., :3] == 1).all()  # white to the last pixel that is seen, and behind it
    assert 0 < after[..., 3].mean() < 1


def test_where_opacity_is_left_out_colours_are_what_they_were(tmp_path, nearest):
    source = write_clip(tmp_path / "in.mkv", clip("yuva444p10le"))
    run(source, tmp_path / "out.mkv", nearest, EncoderOptions(codec="ffv1", pix_fmt="yuv444p10le"))
    frame = decode(tmp_path / "out.mkv")[0]
    for plane, value in zip(frame.planes, (120, 90, 160), strict=True):
        rows = np.frombuffer(plane, np.uint16).reshape(frame.height, -1)[:, : frame.width]
        assert (rows == value << 2).all()


def test_an_opaque_source_in_a_format_with_alpha_is_opaque(tmp_path, nearest):
    source = write_clip(tmp_path / "in.mkv", Clip(codec="ffv1", pix_fmt="yuv420p", options={}, times=[0]))
    run(source, tmp_path / "out.mkv", nearest, EncoderOptions(codec="ffv1", pix_fmt="yuva420p"))
    assert (alpha_codes(decode(tmp_path / "out.mkv")[0]) == 255).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_nearest_visible_pixels_equal_a_search(dtype):
    generator = np.random.default_rng(0)
    alpha = (generator.random((17, 23)) > 0.9).astype(dtype) * 200
    places = nearest_visible(alpha)
    visible = np.argwhere(alpha > 0)
    for y, x in np.ndindex(alpha.shape):
        found = np.array(divmod(int(places[y, x]), 23))
        distances = np.hypot(*(visible - [y, x]).T)
        assert alpha[tuple(found)] > 0
        assert np.hypot(*(found - [y, x])) <= distances.min() * 1.05  # the distance transform is an estimate
    assert nearest_visible(np.zeros((4, 4), dtype)) is None
    assert nearest_visible(np.ones((4, 4), dtype)) is None


def test_flat_areas_are_those_whose_neighbours_are_equal():
    alpha = np.zeros((6, 7), np.uint16)
    alpha[:, 4:] = 1000
    assert flat_areas(alpha).tolist() == [[True, True, True, False, False, True, True]] * 6


@pytest.mark.parametrize("suffix", [".mkv", ".webm", ".mov"])
def test_a_run_that_goes_on_gives_the_same_transparency(suffix, tmp_path, stopping):
    source = write_clip(tmp_path / "in.mkv", clip("yuva420p", count=8))
    encoder = EncoderOptions() if suffix == ".mov" else FAST_VP9
    given = {"batch": 1, "segment_frames": 3}
    run(source, tmp_path / f"whole{suffix}", stopping(), encoder, **given)
    with pytest.raises(EngineError, match="enough"):
        # Two passes a frame. Of seven frames two may wait for the encoder, so it has stored the first segment.
        run(source, tmp_path / f"out{suffix}", stopping(14), encoder, **given)
    result = run(source, tmp_path / f"out{suffix}", stopping(), encoder, **given)
    assert result.resumed_frames >= 3
    after, whole = decode(tmp_path / f"out{suffix}"), decode(tmp_path / f"whole{suffix}")
    assert len(after) == 8
    for frame, other in zip(after, whole, strict=True):
        np.testing.assert_array_equal(rgba(frame), rgba(other))
        assert 0 < rgba(frame)[..., 3].mean() < 1
