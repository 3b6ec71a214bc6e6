"""Every backend and precision on one picture: time, ratio to the plain float32 loop, and PSNR against it.

    python benchmarks/backends.py [WEIGHTS] [--blocks 23] [--size 180x320] [--only openvino/int8 …] [--passes 2]

Without WEIGHTS, `--blocks` makes an RRDBNet x4 with random weights, whose PSNR says little.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor

from esrgan.archs.rrdbnet import RRDBNet
from esrgan.weights import LoadedNetwork, load_network, network_from_state_dict
from esrgan_video import EngineOptions, Upscaler
from esrgan_video.cli.export import parse_size
from esrgan_video.engine.precision import probe_picture, psnr
from esrgan_video.export.int8 import calibrate
from machine import describe_machine

RUNS = (
    "torch/float32",
    "torch/bfloat16",
    "openvino/float32",
    "openvino/bfloat16",
    "openvino/int8",
    "onnxruntime/float32",
)


def network_for(given: argparse.Namespace) -> LoadedNetwork:
    """The network that the command line names."""
    if given.weights:
        return load_network(given.weights)
    torch.manual_seed(0)
    return network_from_state_dict(RRDBNet(num_block=given.blocks).state_dict())


def measure(run: Callable[[Tensor], Tensor], image: Tensor, passes: int) -> tuple[float, float, Tensor]:
    """Seconds of the first pass and of the fastest after it, and the result."""
    taken = []
    for _ in range(1 + passes):
        start = time.perf_counter()
        with torch.inference_mode():
            result = run(image)
        taken.append(time.perf_counter() - start)
    return taken[0], min(taken[1:]), result


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", nargs="?")
    parser.add_argument("--blocks", type=int, default=23)
    parser.add_argument("--size", type=parse_size, default=(180, 320))
    parser.add_argument("--passes", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=RUNS, default=RUNS)
    given = parser.parse_args()
    loaded = network_for(given)
    height, width = given.size
    image = probe_picture(max(height, width))[..., :height, :width].contiguous()
    print(describe_machine())
    print(f"{loaded.facts.parameters:,} parameters, {width}x{height} -> x{loaded.facts.scale}")
    _, plain, exact = measure(loaded.network, image, given.passes)
    print(f"{'plain float32 loop':<22}{plain:8.3f} s")
    calibration = calibrate(loaded, image)
    for name in given.only:
        backend, dtype = name.split("/")
        start = time.perf_counter()
        options = EngineOptions(
            backend=backend, dtype=dtype, device="cpu", tile=0, calibration=calibration if dtype == "int8" else None
        )
        upscaler = Upscaler(loaded, options)
        ready = time.perf_counter() - start
        first, seconds, result = measure(upscaler, image, given.passes)
        print(
            f"{name:<22}{seconds:8.3f} s  x{plain / seconds:5.2f}  {psnr(exact, result):6.1f} dB  "
            f"ready in {ready:.2f} s, first pass {first:.2f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
