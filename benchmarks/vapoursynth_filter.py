"""The VapourSynth filter against the engine alone, and against one `ModifyFrame` call per frame, in one run.

    python benchmarks/vapoursynth_filter.py [-n MODEL] [--size 96x72] [--frames 48] [--rounds 3] [--format RGBS]

`engine` computes frames that are in memory already, in batches, and throws the results away: the limit for everything
around it. `frame at a time` is the simplest filter there is: `ModifyFrame` on each frame, without batches. All ways
are taken in turn in every round; the ratios are medians of the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import torch

from esrgan.weights import LoadedNetwork, load_network
from esrgan_video import EngineOptions, Upscaler
from esrgan_video.vapoursynth import esrgan
from machine import describe_machine

BATCHES = (1, 4, 8)
STREAMS = (1, 2)


def source(width: int, height: int, frames: int, name: str) -> Any:
    """A clip of noise that costs nothing to read: its frames are made before the clock starts."""
    import vapoursynth as vs

    blank = vs.core.std.BlankClip(format=vs.RGBS, width=width, height=height, length=frames, keep=True)
    pictures = np.random.default_rng(0).random((frames, 3, height, width), dtype=np.float32)

    def fill(n: int, f: Any) -> Any:
        frame = f.copy()
        for plane in range(3):
            np.asarray(frame[plane])[...] = pictures[n, plane]
        return frame

    clip = blank.std.ModifyFrame(blank, fill)
    if name != "RGBS":
        clip = clip.resize.Bicubic(format=getattr(vs, name), matrix=None if name.startswith("RGB") else 1)
    clip.std.SetVideoCache(mode=1, fixedsize=True, maxsize=frames)
    request_all(clip)
    return clip


def frame_at_a_time(clip: Any, upscaler: Upscaler) -> Any:
    """What most scripts do: one frame, one call; float RGB inside, the input's format outside."""
    import vapoursynth as vs

    rgb = clip.resize.Bicubic(format=vs.RGBS)
    blank = rgb.std.BlankClip(width=clip.width * upscaler.scale, height=clip.height * upscaler.scale, keep=True)

    def upscale(n: int, f: list[Any]) -> Any:  # noqa: ARG001 - VapourSynth's interface
        result = f[1].copy()
        picture = upscaler(torch.from_numpy(np.stack([np.asarray(plane) for plane in f[0]]))[None])[0].cpu().numpy()
        for plane in range(3):
            np.asarray(result[plane])[...] = picture[plane]
        return result

    large = blank.std.ModifyFrame([rgb, blank], upscale)
    if clip.format.id == vs.RGBS:
        return large
    return large.resize.Bicubic(format=clip.format.id, matrix=None if clip.format.color_family == vs.RGB else 1)


def request_all(clip: Any) -> None:
    """Request all frames in order, a few ahead, as `vspipe` does."""
    # A garbage collection at the end, which is the default, costs as much as a few frames.
    for _ in clip.frames(close=True, collect_garbage=False):
        pass


def run_engine(upscaler: Upscaler, pictures: torch.Tensor, batch: int) -> None:
    """The engine alone."""
    for part in pictures.split(batch):
        upscaler(part)
    if upscaler.device.type == "cuda":
        torch.cuda.synchronize()


def seconds(work: Callable[[], object]) -> float:
    """Wall-clock time of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def all_ways(loaded: LoadedNetwork, clip: Any, device: str) -> dict[str, Callable[[], Callable[[], object]]]:
    """What is measured, by name: each gives the work for one round, with a new graph, so that no cache answers."""
    pictures = torch.rand(clip.num_frames, 3, clip.height, clip.width)
    plain = Upscaler(loaded, EngineOptions(device=device))
    ways: dict[str, Callable[[], Callable[[], object]]] = {
        "frame at a time": lambda: partial(request_all, frame_at_a_time(clip, plain))
    }
    for batch in BATCHES:
        engine = Upscaler(loaded, EngineOptions(device=device, batch=batch))
        ways[f"engine, batch {batch}"] = partial(partial, run_engine, engine, pictures, batch)
    for batch, streams in product(BATCHES, STREAMS):
        options = {"batch": batch, "num_streams": streams, "device": device}
        ways[f"filter, batch {batch}, streams {streams}"] = lambda options=options: partial(  # type: ignore[misc]
            request_all, esrgan(clip, loaded, **options)
        )
    return ways


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("-n", "--model", default="default")
    parser.add_argument("--size", default="96x72", help="of the input, WIDTHxHEIGHT")
    parser.add_argument("--frames", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--format", default="RGBS", help="VapourSynth's name of the input's format")
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()

    import vapoursynth as vs

    width, height = (int(side) for side in given.size.split("x"))
    loaded = load_network(given.model)
    clip = source(width, height, given.frames, given.format)
    print(f"{describe_machine()}, VapourSynth R{vs.__version__[0]} with {vs.core.num_threads} threads")
    print(
        f"{given.frames} frames of {width}x{height} {given.format}, {loaded.facts.architecture} x{loaded.facts.scale}, "
        f"{loaded.facts.parameters:,} parameters, {Upscaler(loaded, EngineOptions(device=given.device)).dtype}"
    )
    ways = all_ways(loaded, clip, given.device)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        seconds(way())  # the first pass pays for memory and for the choice of algorithms
    for _ in range(given.rounds):
        for name, way in ways.items():
            times[name].append(seconds(way()))
    report(times, given.frames)


def report(times: dict[str, list[float]], frames: int) -> None:
    """Rates, and for each filter its ratio to the engine with its batch and to the frame-at-a-time filter."""
    for name, values in times.items():
        line = f"{name:<28} {frames / statistics.median(values):8.2f} frames/s"
        if name.startswith("filter"):
            engine = times["engine, " + name.split(", ")[1]]
            for label, other in (("engine", engine), ("frame at a time", times["frame at a time"])):
                ratios = [theirs / ours for ours, theirs in zip(values, other, strict=True)]
                line += f"   / {label}: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(line)


if __name__ == "__main__":
    main()
