"""Adam beside Muon: the same network from the same weights on the same patches, at several learning rates of each.

    python benchmarks/optimizers.py options/rrdb_lite_psnr_muon.yml -o optimizers.json --plot docs/optimizers.png
    python benchmarks/optimizers.py options/rrdb_lite_psnr_muon.yml --optimizers Adam:1e-3 Muon:2e-3 --iterations 3000

Each is trained by `basicsr train` with the options that are given, without earlier weights, with the learning rate's
cosine ending at `--iterations`. What is in the output already is not trained again, and a run that was interrupted
continues.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from machine import describe_machine
from short_run import train

OPTIMIZERS = ("Adam:5e-4", "Adam:1e-3", "Adam:2e-3", "Muon:1e-3", "Muon:2e-3", "Muon:4e-3")
_VALIDATIONS = 5


def train_with(optimizer: str, options: Path, iterations: int) -> dict[str, Any]:
    """Train with one optimiser, `type:learning rate`; its scores by iteration, and the seconds of an iteration."""
    kind, rate = optimizer.split(":")
    name = f"optimizer_{kind}_{rate}"
    began = time.monotonic()
    scores = train(options, name, {"train:optim_g": {"type": kind, "lr": float(rate)}}, iterations, _VALIDATIONS)
    return {
        "iterations": [score["iter"] for score in scores],
        "psnr_y": [score["psnr_y"] for score in scores],
        "seconds": (time.monotonic() - began) / iterations,
    }


def plot(record: dict[str, Any], file: Path) -> None:
    """PSNR of the averaged weights by iteration."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), dpi=120, layout="constrained")
    axes = figure.subplots()
    for name, run in record["runs"].items():
        kind, rate = name.split(":")
        shade = 0.35 + 0.3 * sorted(other for other in record["runs"] if other.startswith(kind)).index(name)
        colour = ("tab:orange", "tab:blue")[kind == "Muon"]
        axes.plot(
            run["iterations"], run["psnr_y"], marker="o", color=colour, alpha=min(shade, 1), label=f"{kind} {rate}"
        )
    axes.set_xlabel("iterations, the learning rate falling to nothing at the last")
    axes.set_ylabel("PSNR Y of the validation set in dB")
    axes.set_title(f"{record['network']}\n{record['machine']}", fontsize=7)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(file)


def main() -> None:
    """Train what is missing, and print and draw all."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("options", type=Path, help="options file of `basicsr train`")
    parser.add_argument("--optimizers", nargs="+", default=OPTIMIZERS, metavar="TYPE:LR")
    parser.add_argument("--iterations", type=int, default=1500)
    parser.add_argument("-o", "--output", type=Path, default=Path("optimizers.json"))
    parser.add_argument("--plot", type=Path)
    given = parser.parse_args()

    record: dict[str, Any] = {"runs": {}}
    if given.output.exists():
        record = json.loads(given.output.read_text())
    record |= {"machine": describe_machine(), "network": f"{given.options.stem}, {given.iterations:,} iterations"}
    for optimizer in given.optimizers:
        if optimizer not in record["runs"]:
            record["runs"][optimizer] = train_with(optimizer, given.options, given.iterations)
            given.output.write_text(json.dumps(record, indent=1))
    print(record["machine"])
    print("| optimiser | PSNR Y by iteration | s an iteration |\n|---|---|---|")
    for name, run in record["runs"].items():
        scores = ", ".join(f"{score:.2f}" for score in run["psnr_y"])
        print(f"| {name.replace(':', ' ')} | {scores} | {run['seconds']:.3f} |")
    if given.plot is not None:
        plot(record, given.plot)


if __name__ == "__main__":
    main()
