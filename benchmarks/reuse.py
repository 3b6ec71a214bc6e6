"""What reuse of unchanged frames and tiles saves, on a screen recording and on an ordinary clip.

    python benchmarks/reuse.py [CLIP] [-n MODEL] [--size 192x144] [--frames 100] [--rounds 3] [--tile 48]

The recording is made here, by a script: text that is typed letter by letter, a cursor that blinks, and now and then the
page scrolls; encoded with x264 without loss, and with loss as recorders do, which changes many frames a little that
were drawn the same. Each video is upscaled with reuse and without, in turn, whole and in tiles. The ratios are medians
of the rounds, of wall-clock and of processor time. The outputs are compared packet by packet.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from esrgan.weights import LoadedNetwork, load_network
from esrgan_video import EngineOptions, Upscaler, VideoOptions, upscale_video
from esrgan_video.container import EncoderOptions, TimeRange
from machine import describe_machine

TEXT = "def upscale(clip, model): return model(clip)  # every frame once and no frame twice, at its exact time   "
RATE = 25
LINE = 14
TYPED_EVERY = 5
"""Frames between two letters: five letters a second."""
BLINK = 12
"""Frames that the cursor is on, and then off."""


def screen_recording(width: int, height: int, frames: int) -> Iterator[NDArray[np.uint8]]:
    """Pictures `(height, width, 3)`: typing, a cursor, and a page that moves up by a line in seven frames when full."""
    columns, rows = (width - 16) // 8, (height - 40) // LINE
    top = 0.0
    for number in range(frames):
        letters = columns * rows - 6 + number // TYPED_EVERY  # so that the page is full, and scrolls, early on
        lines = (TEXT * (1 + letters // len(TEXT)))[:letters]
        wrapped = [lines[start : start + columns] for start in range(0, len(lines), columns)]
        wanted = max(0, len(wrapped) - rows)
        top = min(wanted, top + 1 / 7)
        picture = np.full((height, width, 3), (40, 36, 33), np.uint8)
        for row, line in enumerate(wrapped):
            y = round(34 + (row + 1 - top) * LINE)
            if 24 < y < height + LINE:
                cv2.putText(picture, line, (8, y), cv2.FONT_HERSHEY_PLAIN, 0.8, (220, 225, 230), 1, cv2.LINE_AA)
        picture[:24] = (90, 70, 60)
        cv2.putText(picture, "notes.py", (8, 17), cv2.FONT_HERSHEY_PLAIN, 1, (240, 240, 240), 1, cv2.LINE_AA)
        if number // BLINK % 2 == 0:
            (wide, _), _ = cv2.getTextSize(wrapped[-1], cv2.FONT_HERSHEY_PLAIN, 0.8, 1)
            x, y = 10 + wide, round(34 + (len(wrapped) - top) * LINE)
            picture[y - 10 : y + 2, x : x + 2] = (230, 230, 120)
        yield picture


LOSSLESS = {"qp": "0", "preset": "veryfast"}
LOSSY = {"crf": "18", "preset": "veryfast", "tune": "zerolatency"}


def record(path: Path, pictures: Iterator[NDArray[np.uint8]], options: dict[str, str]) -> int:
    """Encode with x264; returns how many pictures equal the one before."""
    repeated, before = 0, None
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", RATE, options)
        for picture in pictures:
            if before is None:
                stream.height, stream.width = picture.shape[:2]
            repeated += before is not None and np.array_equal(picture, before)
            before = picture
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        output.mux(stream.encode(None))
    return repeated


@dataclass
class Runs:
    """Times of one video in one way of cutting, with reuse and without."""

    seconds: dict[bool, list[float]] = field(default_factory=lambda: {True: [], False: []})
    processor: dict[bool, list[float]] = field(default_factory=lambda: {True: [], False: []})
    share: str = ""


def packets(path: Path) -> list[bytes]:
    """Payloads of the video."""
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


def measure(clip: Path, loaded: LoadedNetwork, given: argparse.Namespace, *, tile: int, folder: Path) -> Runs:
    """Upscale `clip` with reuse and without, in turn."""
    upscaler = Upscaler(loaded, EngineOptions(tile=tile))
    runs = Runs()
    encoder = EncoderOptions(preset="ultrafast")
    for number in range(given.rounds):
        made = {}
        for reuse in (True, False) if number % 2 else (False, True):
            options = VideoOptions(encoder=encoder, reuse=reuse, time_range=TimeRange(frames=given.frames))
            target = folder / f"{reuse}.mp4"
            began, spent = time.perf_counter(), time.process_time()
            result = upscale_video(clip, target, upscaler=upscaler, options=options, progress="none")
            runs.seconds[reuse].append(time.perf_counter() - began)
            runs.processor[reuse].append(time.process_time() - spent)
            made[reuse] = packets(target)
            if reuse:
                runs.share = f"{result.reused_frames} of {result.frames} frames, {result.reused_tiles} tiles"
        assert made[True] == made[False], "reuse changed the output"
    return runs


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("clip", type=Path, nargs="?", default=Path(__file__).parents[1] / "examples" / "demo.mp4")
    parser.add_argument("-n", "--model", default="default")
    parser.add_argument("--size", default="192x144", help="of the recording, WIDTHxHEIGHT")
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tile", type=int, default=48, help="side of the tiles in the second way")
    given = parser.parse_args()

    loaded = load_network(given.model)
    width, height = (int(side) for side in given.size.split("x"))
    print(f"{describe_machine()}\n{loaded.facts.architecture}, {loaded.facts.parameters:,} parameters")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clips = [given.clip]
        for kind, options in (("lossless", LOSSLESS), ("lossy", LOSSY)):
            clips.append(folder / f"{kind} recording.mp4")
            repeated = record(clips[-1], screen_recording(width, height, given.frames), options)
            print(f"{kind} recording: {given.frames} frames of {width}x{height}, {repeated} drawn as the one before")
        for clip in clips:
            for tile in (0, given.tile):
                report(clip, tile, measure(clip, loaded, given, tile=tile, folder=folder))


def report(clip: Path, tile: int, runs: Runs) -> None:
    """One line: what was reused, and how much sooner it was done."""
    cut = f"tiles of {tile}" if tile else "whole frames"
    wall, processor = (
        [plain / ours for ours, plain in zip(spent[True], spent[False], strict=True)]
        for spent in (runs.seconds, runs.processor)
    )
    print(
        f"{clip.name}, {cut}: reused {runs.share}; {statistics.median(wall):.2f} times as fast as without "
        f"({min(wall):.2f} to {max(wall):.2f}), processor time {statistics.median(processor):.2f}; same output",
        flush=True,
    )


if __name__ == "__main__":
    main()
