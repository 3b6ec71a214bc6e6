"""Entry point of `esrgan`: parse, call one function, turn an error into one line and an exit code."""

from __future__ import annotations

import argparse
import contextlib
import errno
import io
import logging
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

from tqdm import tqdm

from esrgan import __version__
from esrgan.errors import EsrganError, one_line
from esrgan_video.cli import app, benchmark, export, sweep, upscale, verify, weights
from esrgan_video.engine.cores import prepare_threads

_INTERRUPTED = 130  # 128 + SIGINT, as shells report it
_MISTAKES = frozenset(
    {errno.ENOENT, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EROFS}
)
"""Errors of the system that tell of a path that cannot be meant; others, such as a full disk, are failures."""
_NOTHING_LEFT = "nothing was left under the output's name"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code: 0 done, 1 failed, 2 wrong call, 130 interrupted."""
    parser = build_parser()
    given = parser.parse_args(arguments)
    _configure_logging(given.verbose)
    if arguments is None:  # called as the command: the process is ours, and nothing that reads this is loaded yet
        prepare_threads(getattr(given, "threads", None))
        _print_any_name()
    previous = signal.signal(signal.SIGTERM, _terminate)
    try:
        # torch would import it inside C code, which drops what Ctrl-C raises meanwhile: the run would go on.
        import numpy as np  # noqa: F401

        code = int(given.run(given))
        sys.stdout.flush()  # what it fails with is told below
        return code
    except EsrganError as error:
        sys.stderr.write(f"esrgan: {one_line(error)}\n")
        return error.exit_code
    except KeyboardInterrupt as interrupt:
        sys.stderr.write(f"esrgan: interrupted, {one_line(interrupt) or _NOTHING_LEFT}\n")
        return _INTERRUPTED
    except BrokenPipeError:  # the reader of our standard output went away, as `head` does
        return 1
    except OSError as error:
        sys.stderr.write(f"esrgan: {_of_the_system(error)}\n")
        return 2 if error.errno in _MISTAKES else 1
    finally:
        signal.signal(signal.SIGTERM, previous)
        _finish_output()


def build_parser() -> argparse.ArgumentParser:
    """The parser of all subcommands."""
    parser = argparse.ArgumentParser("esrgan", description="Upscale images and video with ESRGAN.")
    parser.add_argument("--version", action="version", version=f"esrgan {__version__}")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("-v", "--verbose", action="count", default=0, help="say more; twice for debugging")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    upscale.add_parser(commands, parents=[common])
    verify.add_parser(commands, parents=[common])
    weights.add_parsers(commands, parents=[common])
    export.add_parser(commands, parents=[common])
    sweep.add_parser(commands, parents=[common])
    benchmark.add_parser(commands, parents=[common])
    app.add_parser(commands, parents=[common])
    return parser


class _BarAwareHandler(logging.Handler):
    """Writes records above a progress bar instead of through it."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stderr)


def _configure_logging(verbosity: int) -> None:
    handler = _BarAwareHandler()
    handler.setFormatter(logging.Formatter("esrgan: %(levelname)s: %(message)s"))
    level = {0: logging.WARNING, 1: logging.INFO}.get(verbosity, logging.DEBUG)
    for name in ("esrgan", "esrgan_video", "esrgan_gradio"):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(level)


def _print_any_name() -> None:
    """Let names of files be printed as they are, also those that are not in the encoding of the terminal."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")


def _of_the_system(error: OSError) -> str:
    """What went wrong, and with what."""
    return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)


def _finish_output() -> None:
    """Write what is still in the buffers, or let it go nowhere: Python would fail, and report it, once more."""
    try:
        sys.stdout.flush()
    except OSError:
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    """Leave as Ctrl-C does, so that unfinished files are removed."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
