"""What encoders take of memory, against what the plan of a video expects of them.

    python benchmarks/encoder_memory.py CLIP [--size 3840x2160] [--frames 60]

The clip's first frames are enlarged by bicubic interpolation and played to and fro, in a process of its own for each
encoder. The figure is how far the process grew over what it was before the encoder opened.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av

from esrgan_video.colour import Colour, PixelLayout
from esrgan_video.container import EncoderPlan, OutputVideo, VideoEncoder
from esrgan_video.container.encoder_memory import encoder_bytes
from esrgan_video.container.frame import Frame, from_av
from esrgan_video.engine.memory import peak_memory
from machine import describe_machine

_HELD = 6
"""Frames of the clip, which are there before the encoder opens."""
_ENCODERS: tuple[tuple[str, int, str, dict[str, str]], ...] = (
    ("libx264", 1, "yuv420p", {"preset": "veryfast", "rc-lookahead": "3"}),
    ("libx264", 1, "yuv420p", {"preset": "veryfast"}),
    ("libx264", 3, "yuv420p", {"preset": "veryfast"}),
    ("libx264", 3, "yuv420p", {"preset": "fast"}),
    ("libx264", 12, "yuv420p", {"preset": "fast"}),
    ("libx264", 3, "yuv420p", {"preset": "slow"}),
    ("libx264", 1, "yuv444p10le", {"preset": "veryfast"}),
    ("libx265", 1, "yuv420p", {"preset": "medium", "x265-params": "log-level=error"}),
    ("libx265", 1, "yuv420p10le", {"preset": "medium", "x265-params": "log-level=error"}),
    ("libsvtav1", 0, "yuv420p", {"preset": "6"}),
    ("libsvtav1", 0, "yuv420p10le", {"preset": "6"}),
    ("libvpx-vp9", 2, "yuv420p", {"deadline": "good", "cpu-used": "2", "row-mt": "1"}),
    ("ffv1", 2, "yuv420p", {"level": "3"}),
    ("prores_ks", 2, "yuv422p10le", {}),
)


def enlarged(clip: Path, size: tuple[int, int], pix_fmt: str) -> list[Frame]:
    """The first frames of a clip at another size."""
    unit = Fraction(1, 24)
    with av.open(clip) as container:
        frames = itertools.islice(container.decode(video=0), _HELD)
        return [from_av(frame.reformat(*size, format=pix_fmt), pts=0, time_base=unit) for frame in frames]


def to_and_fro(frames: list[Frame], count: int) -> Iterator[Frame]:
    """`count` frames, there and back again."""
    way = itertools.cycle([*frames, *frames[-2:0:-1]])
    for number, frame in enumerate(itertools.islice(way, count)):
        yield Frame(
            planes=frame.planes,
            layout=frame.layout,
            colour=frame.colour,
            pts=number,
            time_base=frame.time_base,
            duration=1,
        )


def measure(
    clip: Path, size: tuple[int, int], count: int, encoder: str, threads: int, pix_fmt: str, options: dict[str, str]
) -> tuple[int, int]:
    """Bytes that encoding takes, and that it is expected to take."""
    frames = enlarged(clip, size, pix_fmt)
    plan = EncoderPlan(
        encoder=encoder,
        pix_fmt=pix_fmt,
        layout=PixelLayout.of(pix_fmt),
        colour=Colour(matrix=1, full_range=False),
        options=options,
        field_order=1,
    )
    video = OutputVideo(
        plan=plan,
        width=size[0],
        height=size[1],
        time_base=Fraction(1, 24),
        rate=Fraction(24),
        sample_aspect_ratio=None,
        threads=threads,
    )
    before = peak_memory()
    for _ in VideoEncoder(video).packets(to_and_fro(frames, count)):
        pass
    return peak_memory() - before, encoder_bytes(video)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("clip", type=Path)
    parser.add_argument("--size", default="3840x2160")
    parser.add_argument("--frames", type=int, default=60)
    given = parser.parse_args()
    width, height = map(int, given.size.split("x"))
    print(describe_machine())
    print(f"{given.frames} frames of {width}x{height}; bytes for each pixel, measured and expected")
    for encoder, threads, pix_fmt, options in _ENCODERS:
        with multiprocessing.get_context("spawn").Pool(1) as process:
            taken, expected = process.apply(
                measure, (given.clip, (width, height), given.frames, encoder, threads, pix_fmt, options)
            )
        said = " ".join(f"{key}={value}" for key, value in options.items())
        each = f"{taken / (width * height):6.1f} {expected / (width * height):6.1f}"
        print(f"{encoder:<11} {threads:>2} threads {pix_fmt:<12} {said:<36} {each}", flush=True)


if __name__ == "__main__":
    main()
