"""The `basicsr` command: upstream's training and testing, with plugins registered first."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path

from esrgan.errors import EsrganError, UsageError
from esrgan.training.compat import patch_torchvision

PLUGIN_GROUP = "basicsr.plugins"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `basicsr train|test|prepare`; returns the exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _run(arguments)
    except EsrganError as error:
        sys.stderr.write(f"basicsr: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("basicsr: interrupted\n")
        return 130


def _run(arguments: list[str]) -> int:
    if arguments and arguments[0] == "prepare":
        return _prepare(arguments[1:])
    if not arguments or arguments[0] not in ("train", "test"):
        sys.stderr.write(_USAGE)
        return 0 if arguments[:1] in (["-h"], ["--help"]) else 2
    patch_torchvision()
    for plugin in entry_points(group=PLUGIN_GROUP):
        plugin.load()()
    # Upstream's pipelines read their options from sys.argv, and write below the folder they are given.
    sys.argv = [f"basicsr {arguments[0]}", *arguments[1:]]
    _require_options_file(arguments[1:])
    if arguments[0] == "train":
        from basicsr.train import train_pipeline

        train_pipeline(os.getcwd())
    else:
        from basicsr.test import test_pipeline

        test_pipeline(os.getcwd())
    return 0


_USAGE = """\
usage: basicsr train -opt FILE      train from a YAML options file
       basicsr test -opt FILE       evaluate weights
       basicsr prepare IMAGES -o DIR  cut photographs into training pairs
"""


def _require_options_file(arguments: Sequence[str]) -> None:
    if "-opt" not in arguments or arguments.index("-opt") + 1 == len(arguments):
        raise UsageError("no options file: use -opt FILE")
    path = Path(arguments[arguments.index("-opt") + 1])
    if not path.is_file():
        raise UsageError(f"options file not found: {path}")


def _prepare(arguments: Sequence[str]) -> int:
    from esrgan.training.prepare import PrepareOptions, prepare

    parser = argparse.ArgumentParser("basicsr prepare", description="Cut photographs into HR and bicubic LR pairs.")
    parser.add_argument("images", type=Path, help="folder of photographs")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder that gets hr/ and lr/")
    parser.add_argument("--scale", type=int, default=4, help="size ratio of HR to LR (default: %(default)s)")
    parser.add_argument("--crop", type=int, default=160, help="side of an HR sub-image; 0 keeps whole images")
    parser.add_argument("--step", type=int, default=80, help="distance between sub-images (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=None, help="processes (default: one per core)")
    given = parser.parse_args(arguments)
    options = PrepareOptions(scale=given.scale, crop=given.crop or None, step=given.step)
    count = prepare(given.images, given.output, options, workers=given.workers)
    sys.stdout.write(f"{count} pairs in {given.output}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
