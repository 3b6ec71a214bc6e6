"""Make `examples/demo.mp4`: moving texture, text and edges with a sound track, all computed here.

    python examples/make_demo_clip.py [OUTPUT]

The pictures are drawn at four times the clip's size and reduced with an area filter, as a camera would.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT, SCALE = 192, 144, 4
RATE = Fraction(24)
SECONDS = 3
SAMPLE_RATE = 48_000


def texture(time: float) -> NDArray[np.float64]:
    """Drifting ridges of several sizes, `(HEIGHT * SCALE, WIDTH * SCALE)` in 0..1."""
    y, x = np.mgrid[0 : HEIGHT * SCALE, 0 : WIDTH * SCALE] / SCALE
    generator = np.random.default_rng(7)
    total = np.zeros_like(x)
    for octave in range(6):
        angle, phase = generator.uniform(0, np.pi), generator.uniform(0, 2 * np.pi)
        frequency = 0.035 * 1.7**octave
        bend = 2.5 * np.sin(0.03 * (x * np.sin(angle) - y * np.cos(angle)) + phase)
        along = x * np.cos(angle) + y * np.sin(angle) + bend * 3
        total += np.sin(2 * np.pi * frequency * along + phase + 2.2 * time * (octave % 3 - 1)) / 1.35**octave
    return 0.5 + 0.13 * total


def draw(time: float) -> Image.Image:
    """One frame at full size."""
    shade = texture(time)[..., None]
    colour = np.array([0.85, 0.72, 0.55]) * shade + np.array([0.05, 0.10, 0.20]) * (1 - shade)
    image = Image.fromarray((colour.clip(0, 1) * 255).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    centre = np.array([WIDTH * 0.72, HEIGHT * 0.40]) * SCALE
    for points, inner, radius, fill, speed in ((7, 0.45, 42, (236, 84, 60), 0.9), (5, 0.5, 20, (250, 226, 120), -1.6)):
        turn = speed * time + np.arange(2 * points) * np.pi / points
        length = np.where(np.arange(2 * points) % 2, inner, 1.0) * radius * SCALE
        corners = centre + np.stack([np.cos(turn), np.sin(turn)], 1) * length[:, None]
        pen.polygon([tuple(corner) for corner in corners], fill=fill, outline=(20, 20, 30), width=SCALE)
    for row, size in enumerate((26, 15, 10)):
        font = ImageFont.load_default(size * SCALE)
        left = (8 + 6 * np.sin(1.4 * time + row)) * SCALE
        top = (HEIGHT - 74 + (0, 32, 52)[row]) * SCALE
        pen.text(
            (left, top),
            "ESRGAN Aa Qq 0689"[: 6 + 6 * row],
            (250, 250, 245),
            font,
            stroke_width=SCALE // 2,
            stroke_fill=(15, 15, 25),
        )
    for stripe in range(12):  # fine edges at a slant that changes
        left = (8 + stripe * (2 + 0.4 * stripe)) * SCALE
        pen.line([(left, 8 * SCALE), (left + 14 * SCALE * np.sin(time), 34 * SCALE)], (245, 245, 240), SCALE)
    return image


def pictures() -> Iterator[av.VideoFrame]:
    """The frames of the clip."""
    for number in range(int(SECONDS * RATE)):
        small = draw(float(number / RATE)).resize((WIDTH, HEIGHT), Image.Resampling.BOX)
        frame = av.VideoFrame.from_image(small)
        frame.pts, frame.time_base = number, 1 / RATE
        yield frame


def sound() -> NDArray[np.float32]:
    """A plucked chord each half second, `(2, samples)` in -1..1."""
    time = np.arange(SECONDS * SAMPLE_RATE) / SAMPLE_RATE
    since_pluck = time % 0.5
    roots = 220 * 2 ** (np.array([0, 3, 7, 5, 10, 12])[(time // 0.5).astype(int) % 6] / 12)
    channels = [
        sum(np.sin(2 * np.pi * roots * ratio * since_pluck) / ratio for ratio in (1, 1.5, detuned))
        for detuned in (2.0, 2.01)
    ]
    return (0.2 * np.stack(channels) * np.exp(-5 * since_pluck)).astype(np.float32)


def main(target: Path) -> None:
    """Write the clip."""
    with av.open(target, "w") as container:
        container.metadata["title"] = "ESRGAN demo"
        video = container.add_stream("libx264", rate=RATE, options={"crf": "20", "preset": "slow"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="stereo")
        audio.bit_rate = 96_000
        for frame in pictures():
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        samples = av.AudioFrame.from_ndarray(sound(), format="fltp", layout="stereo")
        samples.sample_rate, samples.pts = SAMPLE_RATE, 0
        container.mux(audio.encode(samples))
        container.mux(audio.encode(None))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("demo.mp4"))
