"""ESRGAN's usual network on a GPU, in half precision: every way that this project has, and peers, in one run.

    python benchmarks/gpu.py [--sizes 480x270 1280x720] [--rounds 10] [--only NAME ...] [-o gpu.json]
    TRITON_INTERPRET=1 python benchmarks/gpu.py --device cpu --sizes 8x6 --blocks 1 --features 16 --growth 8

RRDBNet x4 with 23 blocks and seeded random weights, the last layer scaled so that values are those of pictures. A pass
is a frame of 8 bits in host memory that becomes one, which is what Real-ESRGAN's loop does too. In each round all ways
compute it in turn, so that each round gives ratios under equal conditions; figures are medians of the rounds, ratios
are to Real-ESRGAN's own half-precision loop. `compiled` is its network in float16, channels last, by torch.compile.
PSNR is against torch in float32, before rounding to 8 bits, but for Real-ESRGAN's, which gives no other. Memory is what
a way allocates on the device at its peak, its weights included. The share of peak is of products of large float16
matrices.

The second line goes through the program without a GPU: its times mean nothing.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from esrgan.archs.rrdbnet import RRDBNet
from esrgan.errors import EsrganError
from esrgan.weights import LoadedNetwork, load_network
from esrgan_video import EngineOptions, Upscaler
from esrgan_video.benchmark.work import flops_per_pixel, matrix_peak
from esrgan_video.cli.benchmark import parse_size
from esrgan_video.engine.backends.config import BackendConfig, TorchConfig, TritonConfig
from esrgan_video.engine.precision import probe_picture, psnr
from machine import describe_machine
from peers import BASE as PEER_NAME
from peers import install, realesrganer

BASE = "Real-ESRGAN float16"
_WARM_UP = 3
"""Passes before the first that is timed: libraries choose their algorithms, graphs are recorded at the second."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What all ways have in common."""

    folder: Path
    """With `net.pth`."""
    loaded: LoadedNetwork
    device: torch.device
    codes: Tensor
    """The frame, `(1, 3, H, W)` uint8 in host memory."""
    sizes: dict[str, int]
    """`blocks`, `features` and `growth` of the network."""
    compile_mode: str


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to compute the frame."""

    run: Callable[[], object]
    """From 8 bits to 8 bits; ends when the result is in host memory."""
    values: Callable[[], Tensor]
    """The result, `(1, 3, 4 H, 4 W)`, in 0..1, as exact as the way gives it."""


def around(network: Callable[[Tensor], Tensor], setting: Setting) -> Way:
    """A way through `network`, which takes and gives float32 on the device."""

    pins = setting.device.type == "cuda"  # as `esrgan_video.transfer` does
    codes = setting.codes.pin_memory() if pins else setting.codes
    arrived: Tensor | None = None

    def values() -> Tensor:
        return network(codes.to(setting.device, non_blocking=True).float() / 255)

    def run() -> Tensor:
        nonlocal arrived
        result = values().clamp(0, 1).mul(255).round().byte()
        if arrived is None:
            arrived = torch.empty(result.shape, dtype=torch.uint8, pin_memory=pins)
        arrived.copy_(result, non_blocking=True)
        if pins:
            torch.cuda.synchronize(setting.device)
        return arrived

    return Way(run=run, values=values)


def upscaler(config: BackendConfig, setting: Setting) -> Upscaler:
    """Ours with this backend."""
    options = EngineOptions(backend=config, device=str(setting.device), dtype="float16", tile=0)
    return Upscaler(setting.loaded, options)


def ours(config: BackendConfig, setting: Setting) -> Way:
    """`Upscaler` with this backend."""
    return around(upscaler(config, setting), setting)


def ours_measured(setting: Setting) -> Way:
    """Torch with graphs, and cuDNN's algorithms measured."""
    graphed = upscaler(TorchConfig(graphs=True), setting)

    def measured(images: Tensor) -> Tensor:
        with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False):
            return graphed(images)

    return around(measured, setting)


def upsampler_of(setting: Setting) -> Any:
    """`RealESRGANer` with `half=True`, as its script makes it."""
    install([PEER_NAME], setting.folder)
    packages = str(setting.folder / "packages")
    if packages not in sys.path:
        sys.path.append(packages)
    return realesrganer(setting.folder, half=True, **setting.sizes)


def compiled(setting: Setting) -> Way:
    """Real-ESRGAN's network in float16, channels last, by torch.compile."""
    network = upsampler_of(setting).model.to(memory_format=torch.channels_last)
    faster = torch.compile(network, mode=setting.compile_mode)

    def run(images: Tensor) -> Tensor:
        images = images.half().contiguous(memory_format=torch.channels_last)
        return faster(images).float().clone()

    return around(run, setting)


def realesrgan(setting: Setting) -> Way:
    """`RealESRGANer.enhance` with `half=True`, as its script calls it."""
    upsampler = upsampler_of(setting)
    bgr = np.ascontiguousarray(setting.codes[0].permute(1, 2, 0).numpy()[..., ::-1])

    def run() -> np.ndarray:
        return upsampler.enhance(bgr, outscale=4)[0]

    def values() -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(run()[..., ::-1])).permute(2, 0, 1)[None].float() / 255

    return Way(run=run, values=values)


WAYS: dict[str, Callable[[Setting], Way]] = {
    BASE: realesrgan,
    "compiled float16": compiled,
    "torch": lambda setting: ours(TorchConfig(), setting),
    "torch, graphs": lambda setting: ours(TorchConfig(graphs=True), setting),
    "torch, graphs, measured": ours_measured,
    "triton": lambda setting: ours(TritonConfig(graphs=False), setting),
    "triton, graphs": lambda setting: ours(TritonConfig(), setting),
}


def save_network(folder: Path, sizes: dict[str, int]) -> LoadedNetwork:
    """RRDBNet x4 with random weights whose output is like a picture."""
    torch.manual_seed(0)
    network = RRDBNet(num_block=sizes["blocks"], num_feat=sizes["features"], num_grow_ch=sizes["growth"])
    with torch.inference_mode():
        small = network(probe_picture(64))
        network.conv_last.weight.mul_(0.2 / small.std())
        network.conv_last.bias.zero_().add_(0.5 - (small * 0.2 / small.std()).mean((0, 2, 3)))
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    torch.save({"params_ema": state}, folder / "net.pth")
    return load_network(folder / "net.pth")


def started(name: str, setting: Setting, expected: Tensor) -> tuple[Way, dict[str, Any]] | None:
    """A way that is warm, and what its result is like; `None`, and a line that says why, where there is none."""
    on_gpu = setting.device.type == "cuda"
    before = 0
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(setting.device)
        before = torch.cuda.memory_allocated(setting.device)
    start = time.perf_counter()
    try:
        way = WAYS[name](setting)
        found = psnr(expected, way.values().to(expected.device))
        first = time.perf_counter() - start
        for _ in range(_WARM_UP):
            way.run()
    except (EsrganError, RuntimeError, ImportError) as error:
        print(f"{name}: left out, {str(error).strip().splitlines()[0]}", flush=True)
        return None
    peak = torch.cuda.max_memory_allocated(setting.device) - before if on_gpu else None
    print(f"{name}: first result after {first:.1f} s", flush=True)
    return way, {"psnr": found, "memory": peak, "first": first}


def measure(setting: Setting, names: list[str], rounds: int, peak: float) -> list[dict[str, Any]]:
    """The ways in paired rounds: a row for each."""
    exact = Upscaler(setting.loaded, EngineOptions(backend="torch", device=str(setting.device), dtype="float32"))
    with torch.inference_mode():
        expected = exact(setting.codes.float() / 255)
        ready = {name: found for name in names if (found := started(name, setting, expected)) is not None}
        times: dict[str, list[float]] = {name: [] for name in ready}
        for _ in range(rounds):
            for name, (way, _) in ready.items():
                start = time.perf_counter()
                way.run()
                times[name].append(time.perf_counter() - start)
    work = flops_per_pixel(setting.loaded) * math.prod(setting.codes.shape[-2:])
    rows = []
    for name, (_, facts) in ready.items():
        seconds = statistics.median(times[name])
        ratios = [base / own for base, own in zip(times.get(BASE, []), times[name], strict=False)]
        rows.append(
            {
                "name": name,
                "fps": 1 / seconds,
                "share_of_peak": work / seconds / peak,
                "ratio": statistics.median(ratios) if ratios else None,
                "ratios": [min(ratios), max(ratios)] if ratios else None,
                "seconds": times[name],
                **facts,
            }
        )
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Lines for a person."""
    lines = [f"{'':<25}{'fps':>9}{'peak':>8}{'ratio':>8}{'':>18}{'PSNR':>8}{'MB':>8}{'first':>8}"]
    for row in rows:
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
        span = "" if row["ratios"] is None else "({:.2f} to {:.2f})".format(*row["ratios"])
        memory = "" if row["memory"] is None else f"{row['memory'] / 1e6:.0f}"
        lines.append(
            f"{row['name']:<25}{row['fps']:>9.3g}{row['share_of_peak']:>8.1%}{ratio:>8}{span:>18}{row['psnr']:>8.1f}"
            f"{memory:>8}{row['first']:>8.1f}"
        )
    return "\n".join(lines)


def describe() -> str:
    """The machine and the versions, those that matter on a GPU included."""
    parts = [describe_machine(), f"CUDA {torch.version.cuda}", f"cuDNN {torch.backends.cudnn.version()}"]
    try:
        parts.append(f"triton {version('triton')}")
    except PackageNotFoundError:
        parts.append("no triton")
    return ", ".join(parts)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N, or cpu to try the program out")
    parser.add_argument("--sizes", nargs="+", type=parse_size, default=[(480, 270), (1280, 720)], help="of frames")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--only", nargs="+", choices=WAYS, default=list(WAYS), metavar="NAME", help=", ".join(WAYS))
    parser.add_argument("--blocks", type=int, default=23)
    parser.add_argument("--features", type=int, default=64)
    parser.add_argument("--growth", type=int, default=32)
    parser.add_argument("--compile-mode", default="max-autotune", help="of torch.compile (default: %(default)s)")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "esrgan-gpu")
    parser.add_argument("-o", "--output", type=Path, help="JSON file")
    given = parser.parse_args()
    device = torch.device(given.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        sys.exit("gpu.py: no CUDA device here; --device cpu, a small size and a small network try the program out")
    given.folder.mkdir(parents=True, exist_ok=True)
    sizes = {"blocks": given.blocks, "features": given.features, "growth": given.growth}
    loaded = save_network(given.folder, sizes)
    peak = matrix_peak(torch.float16 if device.type == "cuda" else torch.float32, device, torch.get_num_threads())
    record: dict[str, Any] = {"machine": describe(), "peak": peak, "network": sizes, "sizes": {}}
    print(record["machine"])
    print(f"product of large matrices: {peak / 1e12:.3g} TFLOP/s", flush=True)
    for width, height in given.sizes:
        codes = (probe_picture(max(width, height))[..., :height, :width] * 255).round().byte().contiguous()
        setting = Setting(
            folder=given.folder,
            loaded=loaded,
            device=device,
            codes=codes,
            sizes=sizes,
            compile_mode=given.compile_mode,
        )
        rows = measure(setting, given.only, given.rounds, peak)
        record["sizes"][f"{width}x{height}"] = rows
        print(f"{width}x{height}, {given.rounds} rounds\n{table(rows)}", flush=True)
    if given.output is not None:
        given.output.write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
