"""RRDBNet in several sizes, trained alike for a short time: what features, blocks and growth give for the computing.

    python benchmarks/network_sizes.py options/rrdb_lite_psnr.yml -o sizes.json --plot docs/network_sizes.png
    python benchmarks/network_sizes.py options/rrdb_lite_psnr.yml -o sizes.json --sizes 64/3/32 --iterations 2000

Each size (features/blocks/growth) is trained by `basicsr train` with the options that are given, from the same seed and
without earlier weights, with the learning rate's cosine ending at `--iterations`. What is in the output already is not
trained again, and a run that was interrupted continues. Speed is processor time in the default engine, 320x180.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from esrgan.archs.rrdbnet import RRDBNet
from esrgan.weights import network_from_state_dict
from esrgan_video import EngineOptions, Upscaler
from esrgan_video.benchmark.work import flops_per_pixel
from machine import describe_machine
from short_run import train

SIZES = (
    *("16/20/8", "24/8/12", "32/4/16", "48/1/24"),  # as much computing as the lite network, about
    *("32/16/16", "48/6/24", "64/2/32"),  # about three times as much
)
_ROUNDS = 5


def train_size(size: str, options: Path, iterations: int, batch: int) -> dict[str, Any]:
    """Train one size; its last scores and the time of a step."""
    features, blocks, growth = map(int, size.split("/"))
    changes = {
        "network_g:num_feat": features,
        "network_g:num_block": blocks,
        "network_g:num_grow_ch": growth,
        "datasets:train:batch_size_per_gpu": batch,
    }
    scores = train(options, f"size_{features}_{blocks}_{growth}", changes, iterations)[-1]
    return {key: value for key, value in scores.items() if "_" in key}


def cost(size: str) -> dict[str, float]:
    """Parameters, operations for an input pixel, and processor time of a frame with random weights."""
    features, blocks, growth = map(int, size.split("/"))
    torch.manual_seed(0)
    loaded = network_from_state_dict(RRDBNet(num_feat=features, num_block=blocks, num_grow_ch=growth).state_dict())
    upscaler = Upscaler(loaded, EngineOptions(device="cpu"))
    frame = torch.rand(1, 3, 180, 320)
    upscaler(frame)
    times = []
    for _ in range(_ROUNDS):
        began = time.process_time()
        upscaler(frame)
        times.append(time.process_time() - began)
    return {
        "parameters": loaded.facts.parameters,
        "flops": flops_per_pixel(loaded),
        "processor": statistics.median(times),
    }


def table(rows: dict[str, dict[str, Any]]) -> str:
    """As Markdown."""
    lines = [
        "| features/blocks/growth | parameters | kFLOP a pixel | cpu s a frame | PSNR Y | SSIM Y |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {size} | {row['parameters']:,} | {row['flops'] / 1e3:,.0f} | {row['processor']:.2f} "
        f"| {row['psnr_y']:.2f} | {row['ssim_y']:.4f} |"
        for size, row in rows.items()
    ]
    return "\n".join(lines)


def plot(rows: dict[str, dict[str, Any]], title: str, file: Path) -> None:
    """PSNR against computing."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), dpi=120, layout="constrained")
    axes = figure.subplots()
    for size, row in rows.items():
        axes.scatter(row["flops"] / 1e6, row["psnr_y"], color="tab:blue")
        axes.annotate(size, (row["flops"] / 1e6, row["psnr_y"]), (5, 4), textcoords="offset points", fontsize=8)
    axes.set_xlabel("million operations for an input pixel")
    axes.set_ylabel("PSNR Y of the validation set in dB")
    axes.set_title(f"features/blocks/growth of RRDBNet ×4, trained alike\n{title}", fontsize=8)
    axes.grid(alpha=0.3)
    figure.savefig(file)


def main() -> None:
    """Train what is missing, and print and draw all."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("options", type=Path, help="options file of `basicsr train`")
    parser.add_argument("--sizes", nargs="+", default=SIZES, metavar="F/B/G")
    parser.add_argument("--iterations", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("-o", "--output", type=Path, default=Path("sizes.json"))
    parser.add_argument("--plot", type=Path)
    given = parser.parse_args()

    record: dict[str, Any] = {"sizes": {}}
    if given.output.exists():
        record = json.loads(given.output.read_text())
    record |= {"machine": describe_machine(), "iterations": given.iterations, "batch": given.batch}
    for size in given.sizes:
        if size not in record["sizes"]:
            scores = train_size(size, given.options, given.iterations, given.batch)
            record["sizes"][size] = scores | cost(size)
            given.output.write_text(json.dumps(record, indent=1))
    rows = dict(sorted(record["sizes"].items(), key=lambda item: item[1]["flops"]))
    print(record["machine"])
    print(table(rows))
    if given.plot is not None:
        plot(rows, f"{given.iterations:,} iterations of {given.batch} patches", given.plot)


if __name__ == "__main__":
    main()
