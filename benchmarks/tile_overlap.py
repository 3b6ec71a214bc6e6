"""The error that each tile overlap leaves, against the untiled picture.

    python benchmarks/tile_overlap.py IMAGE... [-n MODEL]... [--tile 48] [--plot FILE.png]

For every model the largest and the 99.9th percentile difference over all images, in 8-bit code values, in float32.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image

from esrgan.weights import load_network
from esrgan_video import EngineOptions, Upscaler
from machine import describe_machine

OVERLAPS = (0, 2, 4, 8, 12, 16, 24, 32)


def read(path: Path, limit: int) -> torch.Tensor:
    """The top left `limit` pixels of an image as `(1, 3, H, W)` in 0..1."""
    pixels = np.asarray(Image.open(path).convert("RGB"))[:limit, :limit].copy()
    return torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255


def errors(model: str, images: list[torch.Tensor], tile: int) -> list[tuple[float, float]]:
    """Largest and 99.9th percentile difference in code values for each overlap."""
    loaded = load_network(model)
    whole = Upscaler(loaded, EngineOptions(dtype="float32", tile=0))
    expected = [whole(image) for image in images]
    rows: list[tuple[float, float]] = []
    for overlap in OVERLAPS:
        tiled = Upscaler(loaded, EngineOptions(dtype="float32", tile=tile, overlap=overlap))
        pairs = zip(images, expected, strict=True)
        differences = np.concatenate([(tiled(image) - wanted).abs().cpu().numpy().ravel() for image, wanted in pairs])
        differences *= 255
        rows.append((float(differences.max()), float(np.quantile(differences, 0.999))))
    return rows


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("images", nargs="+", type=Path)
    parser.add_argument("-n", "--model", action="append")
    parser.add_argument("--tile", type=int, default=48)
    parser.add_argument("--limit", type=int, default=192, help="pixels of each image to take")
    parser.add_argument("--plot", type=Path)
    given = parser.parse_args()
    print(describe_machine())
    images = [read(path, given.limit) for path in given.images]
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for model in given.model or ["default"]:
        rows = errors(model, images, given.tile)
        name = Path(model).stem
        for overlap, (largest, high) in zip(OVERLAPS, rows, strict=True):
            print(f"{name:<28} overlap {overlap:>2}: largest {largest:8.4f}, 99.9 % {high:8.4f} code values")
        axes.semilogy(OVERLAPS, [max(largest, 1e-5) for largest, _ in rows], marker="o", label=name)
    axes.axhline(1, color="grey", linestyle=":", label="one code value (1/255)")
    axes.set(xlabel="overlap, input pixels", ylabel="largest difference to untiled, code values")
    axes.legend()
    if given.plot:
        figure.savefig(given.plot, dpi=120)


if __name__ == "__main__":
    mpl.use("Agg")
    main()
