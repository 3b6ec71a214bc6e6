"""The project's own float32 kernel against torch's float32, in paired rounds of one run.

    python benchmarks/native_kernel.py [-n MODEL] [--size 320x180] [--rounds 3] [--threads 2]

`plain` is eager torch on the whole frame in its usual memory layout, as in Real-ESRGAN's script; `torch` is this
project's torch backend in float32. Without a model it is the network of the paper, 23 blocks, with random weights.
Errors are against the network in float64, for a crop of the frame.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable

import torch

from esrgan.archs.rrdbnet import RRDBNet
from esrgan.weights import LoadedNetwork, load_network, network_from_state_dict
from esrgan_video import EngineOptions, Upscaler
from esrgan_video.benchmark.work import matrix_peak
from esrgan_video.engine.precision import probe_picture
from machine import describe_machine

ERROR_SIDE = 64


def network_of_the_paper() -> LoadedNetwork:
    """RRDBNet x4 with 23 blocks and random weights."""
    torch.manual_seed(0)
    return network_from_state_dict(RRDBNet().state_dict())


def seconds(work: Callable[[], object]) -> float:
    """Wall-clock time of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("-n", "--model")
    parser.add_argument("--size", default="320x180", help="width x height of the frame")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()

    torch.set_num_threads(given.threads)
    loaded = network_of_the_paper() if given.model is None else load_network(given.model)
    width, height = map(int, given.size.split("x"))
    frame = probe_picture(max(width, height))[..., :height, :width].contiguous()
    engines = {
        name: Upscaler(
            loaded, EngineOptions(backend=name, device="cpu", dtype="float32", tile=0, threads=given.threads)
        )
        for name in ("native", "torch")
    }
    ways: dict[str, Callable[[], object]] = {
        "native": lambda: engines["native"](frame),
        "torch": lambda: engines["torch"](frame),
        "plain": lambda: loaded.network(frame),
    }
    peak = matrix_peak(torch.float32, torch.device("cpu"), given.threads)
    print(describe_machine())
    print(
        f"{loaded.facts.architecture} x{loaded.facts.scale}, {loaded.facts.parameters:,} parameters, {width}x{height}, "
        f"{dict(engines['native'].identity)['kernel']}, float32 product of matrices {peak / 1e9:.0f} GFLOP/s"
    )
    times: dict[str, list[float]] = {name: [] for name in ways}
    with torch.inference_mode():
        for _ in range(given.rounds):
            for name, way in ways.items():
                times[name].append(seconds(way))
        crop = frame[..., :ERROR_SIDE, :ERROR_SIDE]
        exact = copy.deepcopy(loaded.network).double()(crop.double())
        for name, values in times.items():
            result = loaded.network(crop) if name == "plain" else engines[name](crop)
            error = result.double() - exact
            relative = (error.square().mean() / exact.square().mean()).sqrt()
            print(
                f"{name:<7}{statistics.median(values):8.3f} s a frame, relative rms error {relative:.1e}, "
                f"largest {error.abs().max() * 255:.1e}/255"
            )
    for other in ("torch", "plain"):
        ratios = [theirs / ours for ours, theirs in zip(times["native"], times[other], strict=True)]
        print(f"native is {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) times {other}")


if __name__ == "__main__":
    main()
