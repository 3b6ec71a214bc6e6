"""`esrgan app`: the browser demo."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from esrgan.errors import MissingExtraError
from esrgan_video.engine.backends.config import BACKEND_HELP


def add_parser(commands: Any, parents: Sequence[argparse.ArgumentParser]) -> None:
    """Add the command to `commands`."""
    parser = commands.add_parser(
        "app",
        parents=parents,
        help="open the browser demo",
        description="Serve the browser demo, on this machine only unless --host or --share says otherwise.",
    )
    parser.set_defaults(run=run)
    place = parser.add_argument_group("where")
    place.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 for all (default: %(default)s)"
    )
    place.add_argument("--port", type=int, help="port to listen on (default: the first free one from 7860)")
    place.add_argument("--share", action="store_true", help="ask Gradio's servers for a public link")
    place.add_argument("--open-browser", action="store_true", help="open the page in this machine's browser")
    work = parser.add_argument_group("what visitors may use")
    work.add_argument(
        "-n",
        "--model-name",
        "--model_name",
        "--model",
        dest="models",
        action="append",
        default=[],
        help="offer these weights only, names or files; repeat it (default: all known names)",
    )
    work.add_argument("--backend", default="usual", help=BACKEND_HELP)
    work.add_argument(
        "--faces", metavar="MODEL", help="let visitors have faces restored with this network, see `esrgan upscale`"
    )
    work.add_argument("--face-dir", type=Path, help="folder with the files of its detector")
    work.add_argument("--device", default="auto", help="auto, cpu, mps, cuda or cuda:N (default: %(default)s)")
    limits = parser.add_argument_group("limits")
    limits.add_argument("--queue-size", type=int, default=16, help="requests that may wait (default: %(default)s)")
    limits.add_argument("--max-upload-mb", type=float, default=512, help="largest file (default: %(default)s)")
    limits.add_argument(
        "--max-total-mb",
        type=float,
        metavar="MB",
        help="all uploads and results together (default: half of what is free on their disk at the start)",
    )
    limits.add_argument(
        "--max-megapixels", type=float, default=9, help="largest image or frame (default: %(default)s, a 4K frame)"
    )
    limits.add_argument("--max-seconds", type=float, default=600, help="longest video (default: %(default)s)")
    limits.add_argument(
        "--keep-minutes", type=float, default=60, help="uploads and results are removed then (default: %(default)s)"
    )


def run(given: argparse.Namespace) -> int:
    """Run the command until it is interrupted."""
    try:
        from esrgan_gradio import AppOptions, launch_app
    except ImportError as error:
        raise MissingExtraError("the browser demo", "gradio") from error
    from esrgan_video.faces.options import FaceOptions

    options = AppOptions(
        host=given.host,
        port=given.port,
        share=given.share,
        open_browser=given.open_browser,
        models=tuple(given.models),
        backend=given.backend,
        faces=None if given.faces is None else FaceOptions(model=given.faces, folder=given.face_dir),
        device=given.device,
        queue_size=given.queue_size,
        max_upload_mb=given.max_upload_mb,
        max_total_mb=given.max_total_mb,
        max_megapixels=given.max_megapixels,
        max_seconds=given.max_seconds,
        keep_minutes=given.keep_minutes,
    )
    try:
        launch_app(options, on_ready=_say)
    except KeyboardInterrupt:
        sys.stderr.write("esrgan: the demo has ended, its uploads and results are removed\n")
    return 0


def _say(address: str) -> None:
    sys.stdout.write(f"the demo is at {address} (Ctrl-C ends it)\n")
    sys.stdout.flush()
