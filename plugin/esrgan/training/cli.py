"""The `basicsr` command: parse, call one function, turn an error into lines and an exit code."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from esrgan.errors import EsrganError, MissingExtraError

if TYPE_CHECKING:
    from esrgan.training.launch import Launch
    from esrgan.training.options.run_options import OptionsFile, Task

_INTERRUPTED = 130  # 128 + SIGINT, as shells report it


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code: 0 done, 1 failed, 2 wrong call, 130 interrupted."""
    parser = build_parser()
    given = parser.parse_args(arguments)
    try:
        return int(given.run(given))
    except EsrganError as error:
        rank = os.environ.get("RANK", "0")
        speaker = "basicsr" if rank == "0" else f"basicsr (process {rank})"
        sys.stderr.write("".join(f"{speaker}: {line}\n" for line in str(error).splitlines()))
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("basicsr: interrupted\n")
        return _INTERRUPTED


def build_parser() -> argparse.ArgumentParser:
    """The parser of all subcommands."""
    parser = argparse.ArgumentParser("basicsr", description="Train and test networks with BasicSR and its plugins.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_train(commands)
    _add_test(commands)
    _add_check(commands)
    _add_prepare(commands)
    return parser


def _add_options_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-opt", type=Path, required=True, metavar="FILE", help="options file (YAML)")
    parser.add_argument(
        "--force_yml",
        "--force-yml",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY:KEY=VALUE",
        help="values in place of the file's: train:ema_decay=0.999 train:optim_g:lr=1e-4",
    )


def _add_launching(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--launcher", choices=["none", "pytorch", "slurm"], default="none", help="what starts several processes"
    )
    parser.add_argument("--debug", action="store_true", help="validate, save and log every few iterations")
    # torch.distributed.launch passes one or the other, by its version.
    parser.add_argument("--local-rank", "--local_rank", type=int, default=None, help=argparse.SUPPRESS)


def _add_train(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("train", help="train a network", description="Train a network.")
    _add_options_file(parser)
    _add_launching(parser)
    parser.add_argument(
        "--auto_resume", "--auto-resume", action="store_true", help="continue from the newest checkpoint of the run"
    )
    parser.set_defaults(run=_train)


def _add_test(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("test", help="measure a network", description="Measure a network, save its pictures.")
    _add_options_file(parser)
    _add_launching(parser)
    parser.add_argument("--auto_resume", "--auto-resume", action="store_true", help=argparse.SUPPRESS)
    parser.set_defaults(run=_test)


def _add_check(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "check",
        help="find what is wrong before a run",
        description="Check options, images and weights, and estimate memory and time. Exit code 1 for any problem.",
    )
    _add_options_file(parser)
    parser.add_argument(
        "--steps", type=int, default=3, help="iterations to measure the time of; 0 for none (default: %(default)s)"
    )
    parser.set_defaults(run=_check)


def _add_prepare(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "prepare",
        help="cut photographs into training pairs",
        description="Cut photographs into HR sub-images and their bicubic LR. An interrupted run continues.",
    )
    parser.add_argument("images", type=Path, help="folder of photographs")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder that gets hr/ and lr/")
    parser.add_argument("--scale", type=int, default=4, help="size ratio of HR to LR (default: %(default)s)")
    parser.add_argument("--crop", type=int, default=160, help="side of an HR sub-image; 0 keeps whole images")
    parser.add_argument("--step", type=int, default=80, help="distance between sub-images (default: %(default)s)")
    parser.add_argument("--convert", action="store_true", help="make grey images and images with alpha RGB")
    parser.add_argument("--vary", action="store_true", help="add smaller, vivid and recoloured copies")
    parser.add_argument("--flat", action="store_true", help="add collages of flat colours: black, white, bars, fades")
    parser.add_argument("--meta_info", "--meta-info", action="store_true", help="also write meta_info.txt")
    parser.add_argument("--lmdb", action="store_true", help="also write hr.lmdb and lr.lmdb")
    parser.add_argument("--workers", type=int, default=None, help="processes (default: one per core)")
    parser.add_argument(
        "--progress", choices=_progress_modes(), default="auto", help="bar, lines, json or none (default: auto)"
    )
    parser.set_defaults(run=_prepare)


def _progress_modes() -> tuple[str, ...]:
    from esrgan.progress import ProgressMode

    return get_args(ProgressMode)


@contextlib.contextmanager
def _launched(given: argparse.Namespace, task: Task) -> Iterator[tuple[OptionsFile, Launch]]:
    """The options of the file, and this process among those that run it."""
    from esrgan.training.launch import launched
    from esrgan.training.options.run_options import read_options
    from esrgan.training.parts import register_all

    register_all()
    options = read_options(given.opt, task, overrides=given.force_yml, debug=given.debug)
    port = (options.run.dist_params or {}).get("port")
    with launched(given.launcher, options.run.num_gpu, port=port, local_rank=given.local_rank) as launch:
        yield options, launch


def _train(given: argparse.Namespace) -> int:
    _require_basicsr()
    from esrgan.training.run.training import train

    with _launched(given, "train") as (options, launch):
        return 0 if train(options, launch, auto_resume=given.auto_resume) else _INTERRUPTED


def _test(given: argparse.Namespace) -> int:
    _require_basicsr()
    from esrgan.training.run.testing import run_test

    with _launched(given, "test") as (options, launch):
        run_test(options, launch)
    return 0


def _check(given: argparse.Namespace) -> int:
    _require_basicsr()
    from esrgan.training.check.command import check
    from esrgan.training.parts import register_all

    register_all()
    return check(given.opt, overrides=given.force_yml, steps=given.steps)


def _prepare(given: argparse.Namespace) -> int:
    from esrgan.training.data.prepare import PrepareOptions, prepare

    options = PrepareOptions(
        scale=given.scale,
        crop=given.crop or None,
        step=given.step,
        convert=given.convert,
        vary=given.vary,
        flat=given.flat,
        meta_info=given.meta_info,
        lmdb=given.lmdb,
    )
    result = prepare(given.images, given.output, options, workers=given.workers, progress=given.progress)
    sys.stdout.write(f"{result.pairs} pairs in {given.output}\n")
    for line in result.problems:
        sys.stderr.write(f"basicsr: {line}\n")
    return 1 if result.problems else 0


def _require_basicsr() -> None:
    from importlib.util import find_spec

    if find_spec("basicsr") is None:
        raise MissingExtraError("training", "train")


if __name__ == "__main__":
    sys.exit(main())
