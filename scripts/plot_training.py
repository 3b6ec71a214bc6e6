"""Plot the loss and the validation PSNR of a training run from BasicSR's logs.

    python scripts/plot_training.py LOG... -o FILE.png

Several logs are one run that was resumed: where iterations repeat, the later log counts.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt

_LOSS = re.compile(r"iter:\s*([\d,]+),.*l_pix: ([\d.e+-]+)")
_VALIDATED = re.compile(r"# psnr_y: ([\d.]+)")


def read_log(path: Path) -> tuple[dict[int, float], dict[int, float]]:
    """Loss and validation PSNR by iteration."""
    losses: dict[int, float] = {}
    scores: dict[int, float] = {}
    iteration = 0
    for line in path.read_text().splitlines():
        if found := _LOSS.search(line):
            iteration = int(found[1].replace(",", ""))
            losses[iteration] = float(found[2])
        elif found := _VALIDATED.search(line):
            scores[iteration] = float(found[1])
    return losses, scores


def main() -> None:
    """Draw the plot."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("logs", nargs="+", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    losses: dict[int, float] = {}
    scores: dict[int, float] = {}
    for log in given.logs:
        newer_losses, newer_scores = read_log(log)
        first = min(newer_losses, default=0)
        losses = {step: value for step, value in losses.items() if step < first} | newer_losses
        scores = {step: value for step, value in scores.items() if step < first} | newer_scores
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    left.plot(list(losses), list(losses.values()), linewidth=0.8)
    left.set(xlabel="iteration", ylabel="L1 loss", yscale="log")
    right.plot(list(scores), list(scores.values()), marker="o")
    right.set(xlabel="iteration", ylabel="validation PSNR on Y, dB")
    figure.savefig(given.output, dpi=110)


if __name__ == "__main__":
    mpl.use("Agg")
    main()
