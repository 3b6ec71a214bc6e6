"""Plot losses and validation scores of training runs, out of their folders below `experiments`.

    python scripts/plot_training.py experiments/NAME... -o FILE.png

Several runs are drawn into the same plots.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt

_LOSSES = {"l_pix": "pixel loss", "l_g_percep": "perceptual loss", "l_g_gan": "adversarial loss of the generator"}
_SCORES = {"psnr_y": "PSNR on Y, dB", "niqe": "NIQE (lower is better)"}

Curves = dict[str, list[tuple[int, float]]]


def read(file: Path) -> Curves:
    """Each number in the records of a file, with its iteration."""
    curves: Curves = defaultdict(list)
    if file.is_file():
        for line in file.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            for name, value in record.items():
                if isinstance(value, float):
                    curves[name].append((record["iter"], value))
    return curves


def main() -> None:
    """Draw the plot."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("runs", metavar="RUN", nargs="+", type=Path, help="folder of a run")
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    found = {run.name: (read(run / "losses.jsonl"), read(run / "scores.jsonl")) for run in given.runs}
    panels = [
        (source, key, title)
        for source, titles in enumerate((_LOSSES, _SCORES))
        for key, title in titles.items()
        if any(curves[source].get(key) for curves in found.values())
    ]
    figure, axes = plt.subplots(1, len(panels), figsize=(3.6 * len(panels), 3.2), layout="constrained", squeeze=False)
    for axis, (source, key, title) in zip(axes[0], panels, strict=True):
        for number, curves in enumerate(found.values()):
            if points := curves[source].get(key):
                marker = "o" if source else None
                axis.plot(*zip(*points, strict=True), color=f"C{number}", linewidth=1, marker=marker, ms=3)
        axis.set(xlabel="iteration", title=title)
        axis.title.set_fontsize(10)
        axis.locator_params(axis="x", nbins=5)
    if len(found) > 1:
        handles = [plt.Line2D([], [], color=f"C{number}", label=run) for number, run in enumerate(found)]
        figure.legend(handles=handles, fontsize=8, loc="outside lower center", ncols=len(panels))
    figure.savefig(given.output, dpi=110)


if __name__ == "__main__":
    mpl.use("Agg")
    main()
