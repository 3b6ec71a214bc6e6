"""`esrgan verify`: check an upscaled video against its input."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from esrgan.progress import ProgressMode
from esrgan_video.cli.times import parse_time


def add_parser(commands: Any, parents: Sequence[argparse.ArgumentParser]) -> None:
    """Add the command to `commands`."""
    parser = commands.add_parser(
        "verify",
        parents=parents,
        help="check that an upscaled video lost nothing of its input",
        description=(
            "Compare an upscaled video with its input: frames and their times, pictures, colour, shape, all other "
            "streams, chapters and tags. Exits with 0 if all holds, 1 on a breach, 2 on a wrong call."
        ),
    )
    parser.set_defaults(run=_run)
    parser.add_argument("source", type=Path, metavar="INPUT", help="the video that was upscaled")
    parser.add_argument("target", type=Path, metavar="OUTPUT", help="what came out")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--start", type=parse_time, help="the trial's --start")
    parser.add_argument("--end", type=parse_time, help="the trial's --end")
    parser.add_argument("--frames", type=int, help="the trial's --frames")
    parser.add_argument(
        "--drop-unsupported", action="store_true", help="accept that streams are missing that OUTPUT's kind cannot hold"
    )
    parser.add_argument(
        "--progress", choices=get_args(ProgressMode), default="auto", help="bar, lines, json or none (default: auto)"
    )


def _run(given: argparse.Namespace) -> int:
    from esrgan_video.verify import VerifyOptions, verify_video

    options = VerifyOptions(
        start=given.start, end=given.end, frames=given.frames, drop_unsupported=given.drop_unsupported
    )
    report = verify_video(given.source, given.target, options=options, progress=given.progress)
    if given.json:
        sys.stdout.write(json.dumps(report.as_dict(), indent=2, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(report.table() + "\n")
    return 1 if report.failed else 0
