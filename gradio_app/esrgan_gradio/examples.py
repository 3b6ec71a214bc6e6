"""Things to try, made here: a harbour at dusk, an emblem on nothing, and a clip that pans over the harbour."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

WIDTH, HEIGHT = 160, 120
_FINE = 8
"""The scene is drawn so many times larger and reduced with an area filter, as a camera does."""
_EMBLEM = 96
_CLIP_SIZE, _FRAMES, _RATE = (128, 96), 48, 24
_SOUND_RATE = 48_000


def example_pictures(folder: Path) -> list[Path]:
    """Write the examples into `folder`, which is made if need be, and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / "harbour.png", folder / "emblem.png"]
    for path, picture in zip(paths, (harbour(), emblem()), strict=True):
        picture.save(path, "PNG")
    return paths


def example_clip(folder: Path) -> Path:
    """Write two seconds of H.264 with a bell in AAC into `folder`, which is made if need be, and return the path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "harbour.mp4"
    scene = _harbour()
    with av.open(str(path), "w") as output:
        video = output.add_stream("libx264", _RATE, {"preset": "veryfast", "crf": "16"})
        video.width, video.height, video.pix_fmt = _CLIP_SIZE[0], _CLIP_SIZE[1], "yuv420p"
        sound = output.add_stream("aac", _SOUND_RATE)
        sound.layout = "mono"
        for number in range(_FRAMES):
            left, top = 5 * number, 2 * number  # in fine pixels: less than a pixel of the clip
            window = scene.crop((left, top, left + _CLIP_SIZE[0] * _FINE, top + _CLIP_SIZE[1] * _FINE))
            frame = av.VideoFrame.from_ndarray(np.asarray(window.resize(_CLIP_SIZE, Image.Resampling.BOX)), "rgb24")
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
        for part in _bell():
            output.mux(sound.encode(part))
        output.mux(sound.encode(None))
    return path


def _bell() -> Iterator[av.AudioFrame]:
    times = np.arange(_SOUND_RATE * _FRAMES // _RATE) / _SOUND_RATE
    partials = ((1.0, 1.0), (2.4, 0.5), (3.0, 0.35), (4.5, 0.2))
    tone = sum(share * np.sin(2 * np.pi * 330 * ratio * times) for ratio, share in partials)
    samples = (0.12 * tone * np.exp(-2.4 * (times % 1.0))).astype(np.float32)
    for start in range(0, len(samples), 1024):
        frame = av.AudioFrame.from_ndarray(samples[None, start : start + 1024], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = _SOUND_RATE, start, Fraction(1, _SOUND_RATE)
        yield frame


def harbour() -> Image.Image:
    """Sky, hills, two boats with rigging, and their light on the water, `WIDTH` x `HEIGHT`, RGB."""
    return _harbour().resize((WIDTH, HEIGHT), Image.Resampling.BOX)


def _harbour() -> Image.Image:
    scene = _sky_and_water()
    pen = ImageDraw.Draw(scene)
    pen.ellipse(_box(112, 34, 11), (255, 236, 190))
    for seed, base, height, colour in ((3, 66, 20, (92, 84, 118)), (8, 70, 11, (58, 56, 88))):
        pen.polygon(_ridge(seed, base, height), colour)
    _houses(pen)
    _boat(pen, 46, 84, 30, (206, 62, 52))
    _boat(pen, 104, 80, 20, (242, 242, 236))
    font = ImageFont.load_default(5 * _FINE)
    pen.text((6 * _FINE, 108 * _FINE), "ESRGAN · harbour at dusk", (240, 226, 206), font)
    return scene


def emblem() -> Image.Image:
    """A compass rose on transparency, `_EMBLEM` squared, RGBA."""
    side = _EMBLEM * _FINE
    picture = Image.new("RGBA", (side, side), (0, 0, 0, 0))
    pen = ImageDraw.Draw(picture)
    middle = side / 2
    pen.ellipse((side * 0.04, side * 0.04, side * 0.96, side * 0.96), (28, 48, 84, 255))
    pen.ellipse((side * 0.09, side * 0.09, side * 0.91, side * 0.91), outline=(236, 214, 160, 255), width=_FINE)
    for points, length, colour in ((8, 0.26, (120, 146, 188, 255)), (4, 0.39, (236, 214, 160, 255))):
        corners = []
        for corner in range(2 * points):
            reach = side * (length if corner % 2 == 0 else 0.07)
            angle = math.pi * corner / points - math.pi / 2
            corners.append((middle + reach * math.cos(angle), middle + reach * math.sin(angle)))
        pen.polygon(corners, colour)
    return picture.resize((_EMBLEM, _EMBLEM), Image.Resampling.BOX)


def _sky_and_water() -> Image.Image:
    rows = np.linspace(0, 1, HEIGHT * _FINE)[:, None, None]
    columns = np.linspace(0, 1, WIDTH * _FINE)[None, :, None]
    sky = _mixed((52, 62, 120), (250, 176, 122), np.clip(rows / 0.58, 0, 1) ** 1.4)
    water = _mixed((206, 138, 112), (24, 34, 70), np.clip((rows - 0.58) / 0.42, 0, 1) ** 0.7)
    depth = np.clip((rows - 0.58) / 0.42, 0.02, 1)
    ripples = np.sin(26 / depth + 9 * np.sin(columns * 14 + 5 / depth)) * np.exp(-(((columns - 0.7) / 0.16) ** 2))
    pixels = np.where(rows < 0.58, sky, water + 34 * np.clip(ripples, 0, 1) * [1.0, 0.86, 0.6])
    pixels = np.broadcast_to(pixels, (HEIGHT * _FINE, WIDTH * _FINE, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(1))


def _mixed(first: tuple[int, ...], second: tuple[int, ...], share: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array(first, np.float64) * (1 - share) + np.array(second, np.float64) * share


def _box(x: float, y: float, radius: float) -> tuple[float, float, float, float]:
    return (x - radius) * _FINE, (y - radius) * _FINE, (x + radius) * _FINE, (y + radius) * _FINE


def _ridge(seed: int, base: float, height: float) -> list[tuple[float, float]]:
    generator = np.random.default_rng(seed)
    phases = generator.uniform(0, 2 * math.pi, 5)
    line = []
    for x in range(WIDTH + 1):
        wave = sum(math.sin(x * 0.035 * 1.9**octave + phase) / 1.7**octave for octave, phase in enumerate(phases))
        line.append((float(x * _FINE), (base - height * (0.5 + 0.3 * wave)) * _FINE))
    return [*line, (WIDTH * _FINE, 70 * _FINE), (0, 70 * _FINE)]


def _houses(pen: ImageDraw.ImageDraw) -> None:
    generator = np.random.default_rng(21)
    x = 4.0
    while x < WIDTH - 12:
        width, height = generator.uniform(6, 11), generator.uniform(5, 11)
        shade = tuple(int(value) for value in generator.uniform(70, 150, 3))
        top = (70 - height) * _FINE
        pen.rectangle((x * _FINE, top, (x + width) * _FINE, 71 * _FINE), shade)
        roof = [(x * _FINE, top), ((x + width / 2) * _FINE, top - 3.2 * _FINE), ((x + width) * _FINE, top)]
        pen.polygon(roof, (110, 48, 44))
        for column in range(int(width // 3)):
            left, upper = (x + 1 + 3 * column) * _FINE, top + 1.6 * _FINE
            pen.rectangle((left, upper, left + 1.2 * _FINE, upper + 1.7 * _FINE), (255, 222, 140))
        x += width + generator.uniform(0, 5)


def _boat(pen: ImageDraw.ImageDraw, x: float, y: float, size: float, hull: tuple[int, int, int]) -> None:
    def place(across: float, down: float) -> tuple[float, float]:
        return (x + across * size) * _FINE, (y + down * size) * _FINE

    pen.polygon([place(-0.6, 0), place(0.62, 0), place(0.42, 0.22), place(-0.46, 0.22)], hull)
    pen.polygon([place(-0.6, 0), place(0.62, 0), place(0.58, 0.05), place(-0.57, 0.05)], (250, 246, 236))
    pen.polygon([place(0.04, -1.35), place(0.04, -0.08), place(0.6, -0.08)], (244, 238, 226))
    pen.polygon([place(-0.02, -1.2), place(-0.02, -0.08), place(-0.46, -0.08)], (222, 212, 200))
    thin = max(1, _FINE // 3)
    for foot in (-0.58, 0.6):
        pen.line([place(0.01, -1.42), place(foot, 0)], (30, 28, 44), thin)
    pen.line([place(0.01, -1.45), place(0.01, 0.02)], (58, 40, 34), max(1, round(size * _FINE * 0.035)))
    for seam in range(1, 5):
        rise = -0.08 - 0.24 * seam
        pen.line([place(0.04, rise), place(0.6 + 0.44 * (rise + 0.08), rise)], (188, 178, 166), thin)
