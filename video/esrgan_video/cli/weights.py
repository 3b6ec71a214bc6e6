"""`esrgan info`, `esrgan convert`, `esrgan interpolate` and `esrgan grow`: weights files."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from esrgan.weights import LoadedNetwork


def add_parsers(commands: Any, parents: Sequence[argparse.ArgumentParser]) -> None:
    """Add the four commands to `commands`."""
    info = commands.add_parser("info", parents=parents, help="show what a weights file holds, or list named models")
    info.add_argument("weights", nargs="?", help="weights file or name; without it the named models are listed")
    info.add_argument("--json", action="store_true", help="print JSON")
    info.set_defaults(run=_info)

    convert = commands.add_parser("convert", parents=parents, help="write weights in another layout")
    convert.add_argument("weights", help="weights file or name")
    _add_output(convert)
    convert.set_defaults(run=_convert)

    interpolate = commands.add_parser(
        "interpolate", parents=parents, help="blend two networks: (1 - alpha) A + alpha B, parameter by parameter"
    )
    interpolate.add_argument("a", help="weights file or name, usually the PSNR-oriented network")
    interpolate.add_argument("b", help="weights file or name, usually the GAN")
    interpolate.add_argument("--alpha", type=float, required=True, help="0 is A, 1 is B")
    interpolate.add_argument(
        "--minus",
        metavar="C",
        help="make A + alpha (B - C) instead: what training made of C into B, carried over to A",
    )
    _add_output(interpolate)
    interpolate.set_defaults(run=_interpolate)

    grow = commands.add_parser(
        "grow", parents=parents, help="make a larger RRDBNet that gives the same pictures, to train on from there"
    )
    grow.add_argument("weights", help="weights file or name of the smaller network")
    grow.add_argument("--num-feat", type=int, help="features of the trunk (as they are)")
    grow.add_argument("--num-block", type=int, help="number of RRDBs (as it is)")
    grow.add_argument("--num-grow-ch", type=int, help="growth of the dense blocks (as it is)")
    grow.add_argument("--scale", type=int, help="a smaller one, by pixel-unshuffle, to train for (as it is)")
    grow.add_argument("--seed", type=int, default=0, help="of the new channels' weights (0)")
    _add_output(grow)
    grow.set_defaults(run=_grow)


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", type=Path, required=True, help="file to write: .safetensors or .pth")
    parser.add_argument("--half", action="store_true", help="store float16: half the size")


def _info(given: argparse.Namespace) -> int:
    from esrgan.weights import describe, load_network

    if given.weights is None:
        return _list_models(as_json=given.json)
    rows = dict(describe(load_network(given.weights).facts))
    if given.json:
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
    else:
        width = max(map(len, rows))
        sys.stdout.writelines(f"{name:<{width}}  {value}\n" for name, value in rows.items())
    return 0


def _list_models(*, as_json: bool) -> int:
    from esrgan.weights.registry import MODELS

    if as_json:
        rows = [
            {"name": model.name, "scale": model.scale, "licence": model.licence, "about": model.description}
            for model in MODELS.values()
        ]
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
        return 0
    width = max(map(len, MODELS))
    for model in MODELS.values():
        where = "shipped" if model.address is None else "download"
        sys.stdout.write(f"{model.name:<{width}}  x{model.scale}  {where:<8}  {model.description}\n")
    return 0


def _convert(given: argparse.Namespace) -> int:
    from esrgan.weights import load_network

    _save(load_network(given.weights), given)
    return 0


def _interpolate(given: argparse.Namespace) -> int:
    from esrgan.weights import add_difference, interpolate, load_network

    a, b = load_network(given.a), load_network(given.b)
    if given.minus is None:
        _save(interpolate(a, b, given.alpha), given)
    else:
        _save(add_difference(a, b, load_network(given.minus), given.alpha), given)
    return 0


def _grow(given: argparse.Namespace) -> int:
    import torch

    from esrgan.weights import grow, load_network

    grown = grow(
        load_network(given.weights),
        num_feat=given.num_feat,
        num_block=given.num_block,
        num_grow_ch=given.num_grow_ch,
        scale=given.scale,
        generator=torch.Generator().manual_seed(given.seed),
    )
    _save(grown, given)
    return 0


def _save(loaded: LoadedNetwork, given: argparse.Namespace) -> None:
    from esrgan.weights import save_network

    written = save_network(loaded, given.output, dtype="float16" if given.half else "float32")
    sys.stdout.write(f"{written}\n")
