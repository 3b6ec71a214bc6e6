"""Animated GIF, APNG and WebP in and out, compared with what Pillow and PyAV read."""

from __future__ import annotations

import io
import itertools
import struct
import zlib
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from clip_tools import Clip, decode, times, video_options, write_clip
from esrgan.archs.compact import SRVGGNetCompact
from esrgan.errors import MediaError, UsageError
from esrgan_video import upscale_video
from esrgan_video.animation.detect import is_animation
from esrgan_video.animation.source import animation_source
from esrgan_video.cli.main import main
from esrgan_video.container import EncoderOptions
from esrgan_video.inputs import is_video, output_path
from esrgan_video.pictures import PictureReader, pixels_of

FORMATS = ["gif", "apng", "webp"]
DELAYS = [40, 100, 30, 250, 20]
"""Milliseconds, all whole hundredths of a second."""
LOSSLESS = EncoderOptions(codec="ffv1")


def pictures(count=5, size=(20, 14), *, transparent=False):
    """Few colours, a square that moves over a background that changes too; RGBA arrays."""
    made = []
    for number in range(count):
        pixels = np.zeros((size[1], size[0], 4), np.uint8)
        pixels[...] = (30, 60, 90 + 20 * number, 255)
        pixels[:, ::4] = (200, 200, 10, 255)
        if transparent:
            pixels[:, : 3 + number] = 0
        pixels[2 + number : 7 + number, 3 + 2 * number : 9 + 2 * number] = (250, 20, 30, 255)
        made.append(pixels)
    return made


def save(path, frames, *, delays=None, loop=0, **given):
    """With Pillow: another encoder than the one at work here."""
    delays = DELAYS if delays is None else delays
    images = [Image.fromarray(frame) for frame in frames]
    kind = {"gif": "GIF", "apng": "PNG", "png": "PNG", "webp": "WEBP"}[path.suffix[1:]]
    lossless = {"lossless": True} if kind == "WEBP" else {}
    repeats = {} if loop is None else {"loop": loop}
    images[0].save(path, kind, save_all=True, append_images=images[1:], duration=delays, **repeats, **lossless, **given)
    return path


def read(path):
    """Frames as RGBA, delays in milliseconds, and what Pillow calls `loop`."""
    frames, delays = [], []
    with Image.open(path) as image:
        for index in range(image.n_frames):
            image.seek(index)
            image.load()
            delays.append(image.info["duration"])
            frames.append(np.array(image.convert("RGBA")))
        return frames, delays, image.info.get("loop")


def run(source, target, upscaler, **given):
    return upscale_video(source, target, upscaler=upscaler, options=video_options(**given), progress="none")


def repeated(pixels):
    return pixels.repeat(2, 0).repeat(2, 1)


def same(one, other):
    """Whether RGBA pictures look the same: colours under full transparency do not count."""
    hidden = (one[..., 3] == 0) & (other[..., 3] == 0)
    return bool(((one == other).all(axis=-1) | hidden).all())


def as_rgba(pixels):
    if pixels.shape[2] == 4:
        return pixels
    opaque = np.full((*pixels.shape[:2], 1), 255, np.uint8)
    return np.concatenate((pixels.repeat(3, 2) if pixels.shape[2] == 1 else pixels, opaque), axis=2)


# Telling animations from stills


@pytest.mark.parametrize("suffix", ["gif", "apng", "png", "webp"])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_more_than_one_frame_is_an_animation(suffix, count, tmp_path):
    path = save(tmp_path / f"a.{suffix}", pictures(count), delays=DELAYS[:count] if count > 1 else 40)
    with Image.open(path) as image:
        assert getattr(image, "n_frames", 1) == count
    assert is_animation(path) == is_video(path) == (count > 1)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif", "gif"])
def test_a_still_image_is_none(suffix, tmp_path):
    Image.new("RGB", (5, 4), "red").save(tmp_path / f"a.{suffix}")
    assert not is_animation(tmp_path / f"a.{suffix}")


def test_what_cannot_be_read_is_no_animation(tmp_path):
    assert not is_animation(tmp_path / "missing.gif")
    for suffix in FORMATS:
        whole = save(tmp_path / f"a.{suffix}", pictures(2), delays=[40, 40]).read_bytes()
        for length in (0, 5, 11, 15, 30, 60):
            (tmp_path / "cut").write_bytes(whole[:length])
            is_animation(tmp_path / "cut")  # whatever it says, it does not fail


# Reading


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("transparent", [False, True])
def test_frames_and_delays_are_those_that_pillow_reads(suffix, transparent, tmp_path):
    given = {"disposal": 2} if suffix == "gif" and transparent else {}
    path = save(tmp_path / f"a.{suffix}", pictures(transparent=transparent), loop=3, **given)
    frames, delays, _ = read(path)
    with PictureReader(animation_source(path)) as reader:
        found = list(reader.frames())
        assert reader.info.layout.alpha == transparent
    assert [frame.duration * frame.time_base * 1000 for frame in found] == delays == DELAYS
    starts = itertools.accumulate(DELAYS, initial=0)
    assert [frame.time * 1000 for frame in found] == list(starts)[:-1]
    for frame, expected in zip(found, frames, strict=True):
        assert same(as_rgba(pixels_of(frame)), expected)


@pytest.mark.parametrize("disposal", [1, 2])
def test_a_gif_is_composed_as_ffmpeg_composes_it(disposal, tmp_path):
    path = save(tmp_path / "a.gif", pictures(transparent=True), disposal=disposal)
    with PictureReader(animation_source(path)) as reader, av.open(str(path)) as container:
        for frame, decoded in zip(reader.frames(), container.decode(video=0), strict=True):
            assert same(as_rgba(pixels_of(frame)), decoded.to_ndarray(format="rgba"))


def test_what_is_disposed_of_is_transparent_as_in_browsers(tmp_path):
    """All frames opaque but for what they leave uncovered: Pillow shows the background's colour there."""
    frames = [Image.new("P", size, color) for size, color in (((20, 14), 1), ((8, 6), 2), ((20, 14), 3))]
    for frame in frames:
        frame.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    blocks = [(2, 0, 0, frames[0]), (3, 5, 4, frames[1]), (1, 0, 0, frames[1])]
    path = tmp_path / "a.gif"
    path.write_bytes(gif(blocks))
    with PictureReader(animation_source(path)) as reader:
        found = [as_rgba(pixels_of(frame)) for frame in reader.frames()]
    red, green, none = (255, 0, 0, 255), (0, 255, 0, 255), (0, 0, 0, 0)
    expected = np.zeros((3, 14, 20, 4), np.uint8)
    expected[0], expected[1:] = red, none  # the first is replaced by nothing
    expected[1, 4:10, 5:13] = green
    expected[2, :6, :8] = green  # the second is taken back
    assert all(same(one, other) for one, other in zip(found, expected, strict=True))


def gif(blocks):
    """A file of 20 x 14 from images with disposal and place, each image through Pillow alone."""
    parts = []
    for disposal, left, top, image in blocks:
        buffer = io.BytesIO()
        image.save(buffer, "GIF")
        data = buffer.getvalue()
        table = data[13 : 13 + 3 * (2 << (data[10] & 7))]
        place = data.index(b",", 13 + len(table))
        control = struct.pack("<BBBBHBB", 0x21, 0xF9, 4, disposal << 2, 7, 0, 0)
        size = struct.pack("<4H", left, top, *image.size)
        parts.append(control + b"," + size + bytes([0x80 | (data[10] & 7)]) + table + data[place + 10 : -1])
    return b"GIF89a" + struct.pack("<HHBBB", 20, 14, 0, 0, 0) + b"".join(parts) + b";"


def test_partial_opacity_of_a_png_is_blended_as_its_specification_says(tmp_path):
    """PNG, third edition, section 13.16: straight alpha; Pillow itself does otherwise."""
    below = np.full((6, 8, 4), (200, 40, 10, 128), np.uint8)
    above = np.full((6, 8, 4), (10, 90, 250, 128), np.uint8)
    path = save(tmp_path / "a.apng", [below, above], delays=[40, 40], blend=[0, 1])
    with PictureReader(animation_source(path)) as reader:
        second = pixels_of(list(reader.frames())[1])
    top, base = 128 / 255, 128 / 255 * (1 - 128 / 255)
    alpha = top + base
    expected = [(a * top + b * base) / alpha for a, b in ((10, 200), (90, 40), (250, 10))] + [alpha * 255]
    assert abs(second.astype(float) - expected).max() <= 1.5


@pytest.mark.parametrize(
    ("suffix", "loop", "plays"),
    [("gif", None, 1), ("gif", 0, 0), ("gif", 4, 5), ("apng", 0, 0), ("apng", 4, 4), ("webp", 0, 0), ("webp", 4, 4)],
)
def test_a_gif_counts_repetitions_and_the_others_times(suffix, loop, plays, tmp_path):
    assert animation_source(save(tmp_path / f"a.{suffix}", pictures(), loop=loop)).plays == plays


def test_a_delay_of_zero_is_a_tenth_of_a_second(tmp_path):
    path = save(tmp_path / "a.gif", pictures(), delays=[0, 20, 0, 20, 10])
    with PictureReader(animation_source(path)) as reader:
        assert [frame.duration * frame.time_base for frame in reader.frames()] == [
            Fraction(number, 100) for number in (10, 2, 10, 2, 1)
        ]


def test_delays_of_a_png_are_exact_fractions(tmp_path):
    steps = [Fraction(1, 30), Fraction(1001, 24000), Fraction(1, 7), Fraction(2, 3), Fraction(1, 30)]
    path = save(tmp_path / "a.apng", pictures())
    data = bytearray(path.read_bytes())
    place = -1
    for step in steps:
        place = data.index(b"fcTL", place + 1)
        struct.pack_into(">HH", data, place + 24, step.numerator, step.denominator)
        struct.pack_into(">I", data, place + 30, zlib.crc32(data[place : place + 30]))
    path.write_bytes(data)
    source = animation_source(path)
    with PictureReader(source) as reader:
        found = [frame.duration * frame.time_base for frame in reader.frames()]
    assert found == steps
    assert source.length == sum(steps)


def test_the_picture_for_readers_without_animation_is_left_out(tmp_path):
    path = save(tmp_path / "a.apng", pictures(), delays=DELAYS[1:], default_image=True)
    with PictureReader(animation_source(path)) as reader:
        found = [as_rgba(pixels_of(frame)) for frame in reader.frames()]
    assert len(found) == 4
    assert all(same(one, other) for one, other in zip(found, pictures()[1:], strict=True))


def test_a_range_of_an_animation(tmp_path, nearest):
    path = save(tmp_path / "a.gif", pictures())
    result = run(path, tmp_path / "out.apng", nearest, start="0.1", frames=2)
    frames, delays, _ = read(tmp_path / "out.apng")
    assert result.frames == 2
    assert delays == [30, 250]  # the first that is shown at 0.1 s or later begins at 0.14 s
    assert all(same(one, repeated(other)) for one, other in zip(frames, pictures()[2:4], strict=True))


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_damaged_animation_is_one_line(suffix, tmp_path, nearest):
    path = save(tmp_path / f"a.{suffix}", pictures(2, (64, 48)), delays=[40, 40])
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 9 // 10])
    with pytest.raises((MediaError, UsageError)) as caught:
        run(path, tmp_path / "out.mkv", nearest)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out.mkv").exists()


# Writing


@pytest.mark.parametrize("transparent", [False, True])
@pytest.mark.parametrize(("source", "target"), list(itertools.product(FORMATS, FORMATS)))
def test_from_any_to_any_nothing_changes_but_the_size(source, target, transparent, tmp_path, nearest):
    given = {"disposal": 2} if source == "gif" and transparent else {}
    before = save(tmp_path / f"in.{source}", pictures(transparent=transparent), loop=2, **given)
    result = run(before, tmp_path / f"out.{target}", nearest)
    frames, delays, loop = read(tmp_path / f"out.{target}")
    assert result.frames == len(frames) == 5
    assert delays == DELAYS
    plays = 3 if source == "gif" else 2
    assert loop == (plays - 1 if target == "gif" else plays)
    expected = [repeated(frame) for frame in read(before)[0]]
    assert all(same(one, other) for one, other in zip(frames, expected, strict=True))


@pytest.mark.parametrize(("loop", "expected"), [(None, None), (0, 0), (1, 1), (7, 7)])
def test_the_repetitions_of_a_gif_are_kept(loop, expected, tmp_path, nearest):
    run(save(tmp_path / "in.gif", pictures(), loop=loop), tmp_path / "out.gif", nearest)
    assert read(tmp_path / "out.gif")[2] == expected


@pytest.mark.parametrize("suffix", FORMATS)
def test_equal_frames_last_as_long_as_all_of_them(suffix, tmp_path, nearest):
    frames = pictures()
    frames = [frames[0], frames[1], frames[1], frames[2], frames[2]]
    source = tmp_path / "%d.png"
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(str(source) % number)
    run(source, tmp_path / f"out.{suffix}", nearest, rate=Fraction(10))
    written, delays, loop = read(tmp_path / f"out.{suffix}")
    assert sum(delays) == 500
    assert loop == 0
    assert len(written) == (3 if suffix == "webp" else 5)  # libwebp makes one of those that are equal
    assert same(written[-1], repeated(frames[-1]))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_an_animation_becomes_a_video_with_its_times(suffix, tmp_path, nearest):
    path = save(tmp_path / "a.gif", pictures(size=(20, 14)))
    encoder = EncoderOptions(preset="ultrafast") if suffix == ".mp4" else LOSSLESS
    run(path, tmp_path / f"out{suffix}", nearest, encoder=encoder)
    assert [time * 1000 for time in times(tmp_path / f"out{suffix}")] == list(itertools.accumulate(DELAYS, initial=0))[
        :-1
    ]
    if suffix == ".mkv":
        for frame, expected in zip(decode(tmp_path / "out.mkv"), pictures(), strict=True):
            np.testing.assert_array_equal(frame.to_ndarray(format="rgb24"), repeated(expected)[..., :3])


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_video_becomes_an_animation_with_its_times(suffix, tmp_path, nearest, caplog):
    clip = Clip(
        times=[0, 4, 5, 11, 30], time_base=Fraction(1, 100), last_duration=70, options={"bf": "0"}, audio=["aac"]
    )
    source = write_clip(tmp_path / "in.mp4", clip)
    result = run(source, tmp_path / f"out.{suffix}", nearest)
    frames, delays, loop = read(tmp_path / f"out.{suffix}")
    assert (len(frames), loop) == (5, 0)
    assert delays == [40, 10, 60, 190, 700]
    assert result.dropped_streams == ("#1 (audio, aac, eng)",)
    assert "left out: #1 (audio, aac, eng)" in caplog.text
    if suffix == "gif":  # 256 colours
        return
    for before, after in zip(decode(source), frames, strict=True):
        # FFmpeg's conversion to RGB enlarges chroma otherwise: what must agree is the picture as a whole.
        assert abs(before.to_ndarray(format="rgb24").astype(float).mean((0, 1)) - after[..., :3].mean((0, 1))).max() < 3


def test_a_gif_of_many_colours_is_dithered_close_to_them(tmp_path, identity):
    across, down = np.meshgrid(np.arange(64), np.arange(48))
    ramp = np.stack((across * 4, down * 5, (across + down) * 2), axis=2).astype(np.uint8)
    Image.fromarray(ramp).save(tmp_path / "1.png")
    run(tmp_path / "%d.png", tmp_path / "out.gif", identity)
    with Image.open(tmp_path / "out.gif") as image:
        written = np.array(image.convert("RGB")).astype(float)
    blurred = [plane.reshape(6, 8, 8, 8, 3).mean((1, 3)) for plane in (written, ramp.astype(float))]
    differences = abs(blurred[0] - blurred[1])
    assert differences.mean() < 1.5
    assert differences.max() < 20  # at the rim of the colours that the palette spans, dithering cannot reach further


@pytest.mark.parametrize("alpha", [False, True])
def test_sixteen_bits_of_a_png_are_kept(alpha, tmp_path, nearest):
    generator = np.random.default_rng(0)
    frames = [generator.integers(1, 65536, (6, 8, 3 + alpha), dtype=np.uint16) for _ in range(3)]
    for number, frame in enumerate(frames):
        cv2.imwrite(str(tmp_path / f"{number}.png"), frame)
    run(tmp_path / "%d.png", tmp_path / "middle.apng", nearest, rate=Fraction(30000, 1001))
    run(tmp_path / "middle.apng", tmp_path / "out.apng", nearest)
    order = [2, 1, 0, 3][: 3 + alpha]
    found = [frame.to_ndarray(format="rgba64le" if alpha else "rgb48le") for frame in decode(tmp_path / "out.apng")]
    for written, frame in zip(found, frames, strict=True):
        np.testing.assert_array_equal(written, repeated(repeated(frame))[..., order])
    assert animation_source(tmp_path / "out.apng").length == 3 * Fraction(1001, 30000)


def test_choices_of_a_video_encoder_are_refused(plain, tmp_path, nearest):
    with pytest.raises(UsageError, match=r"\.gif has no choice of video encoder: leave out --crf"):
        run(plain, tmp_path / "out.gif", nearest, encoder=EncoderOptions(crf=3))
    with pytest.raises(UsageError, match=r"does not know the option.*nonsense"):
        run(plain, tmp_path / "out.webp", nearest, encoder=EncoderOptions(extra={"nonsense": "1"}))
    assert not list(tmp_path.iterdir())


def test_a_webp_is_lossy_on_request(plain, tmp_path, nearest):
    run(plain, tmp_path / "exact.webp", nearest, frames=3)
    extra = {"lossless": "0", "quality": "30"}
    run(plain, tmp_path / "small.webp", nearest, frames=3, encoder=EncoderOptions(extra=extra))
    assert (tmp_path / "small.webp").stat().st_size < (tmp_path / "exact.webp").stat().st_size / 2


def test_a_gif_says_what_it_cannot_show(tmp_path, nearest, caplog):
    fast = write_clip(tmp_path / "fast.mkv", Clip(time_base=Fraction(1, 60), rate=Fraction(60), times=range(6)))
    run(fast, tmp_path / "out.gif", nearest)
    assert "browsers slow down" in caplog.text
    assert sum(read(tmp_path / "out.gif")[1]) == 100
    too_fast = write_clip(
        tmp_path / "too_fast.mkv", Clip(time_base=Fraction(1, 120), rate=Fraction(120), times=range(6))
    )
    with pytest.raises(UsageError, match="at most 100 frames a second"):
        run(too_fast, tmp_path / "out2.gif", nearest)


def test_a_failure_leaves_what_was_there(plain, tmp_path, nearest):
    save(tmp_path / "out.gif", pictures())
    before = (tmp_path / "out.gif").read_bytes()

    class Broken(type(nearest)):
        def __call__(self, _batch):
            raise MediaError("no")

    with pytest.raises(MediaError, match="no"):
        run(plain, tmp_path / "out.gif", Broken())
    assert (tmp_path / "out.gif").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["out.gif"]


# Names


@pytest.mark.parametrize(
    ("suffix", "ext", "expected"),
    [
        ("gif", "auto", "a_out.gif"),
        ("webp", "auto", "a_out.webp"),
        ("png", "auto", "a_out.png"),
        ("gif", "mp4", "a_out.mp4"),
        ("gif", "webp", "a_out.webp"),
    ],
)
def test_an_animation_stays_what_it_is(suffix, ext, expected, tmp_path):
    path = save(tmp_path / f"a.{suffix}", pictures())
    assert output_path(path, tmp_path / "x", ext=ext) == tmp_path / "x" / expected


def test_a_still_gif_becomes_a_png(tmp_path):
    Image.new("P", (4, 4)).save(tmp_path / "a.gif")
    assert output_path(tmp_path / "a.gif", tmp_path / "x") == tmp_path / "x" / "a_out.png"


@pytest.mark.parametrize("suffix", ["gif", "png", "jpg"])
def test_a_still_image_becomes_a_gif_of_one_frame_on_request(suffix, tmp_path, capsys):
    network = SRVGGNetCompact(num_feat=4, num_conv=1, upscale=2)
    torch.save({"params": network.state_dict()}, tmp_path / "tiny.pth")
    Image.new("RGB", (6, 4), "red").save(tmp_path / f"a.{suffix}")
    arguments = [
        tmp_path / f"a.{suffix}",
        "-o",
        tmp_path / "out.gif",
        "-n",
        tmp_path / "tiny.pth",
        "--progress",
        "none",
    ]
    assert main(["upscale", *map(str, arguments)]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'out.gif'}\n"
    with Image.open(tmp_path / "out.gif") as image:
        assert (image.size, image.n_frames) == ((12, 8), 1)
