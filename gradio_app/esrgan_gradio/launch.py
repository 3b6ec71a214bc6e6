"""`launch_app`: serve the demo until it is interrupted, and leave nothing behind."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from esrgan.errors import FailedError, UsageError
from esrgan_gradio.device import Device
from esrgan_gradio.options import AppOptions
from esrgan_gradio.workspace import Workspace

_log = logging.getLogger(__name__)

_FOLDER_VARIABLE = "GRADIO_TEMP_DIR"
"""Where Gradio puts uploads; it has no argument for that."""
_FIRST_PORT, _PORTS = 7860, 100


def launch_app(options: AppOptions, on_ready: Callable[[str], None] | None = None) -> None:
    """Build the app, serve it, and return when it is interrupted (Ctrl-C).

    Args:
        options: see there.
        on_ready: called with the page's address once it is served.

    Raises:
        MissingExtraError: gradio is not installed.
        UsageError: models that do not exist, or a port that is taken.
        FailedError: the server cannot start.
    """
    with served(options) as address:
        if on_ready is not None:
            on_ready(address)
        threading.Event().wait()


@contextlib.contextmanager
def served(options: AppOptions) -> Iterator[str]:
    """The app, served while the block runs; gives the page's address. Raises as `launch_app`."""
    from esrgan_gradio.app import build_app
    from esrgan_gradio.remote_files import LocalFilesOnly
    from esrgan_gradio.theme import STYLE, make_theme
    from esrgan_gradio.upload_room import RoomForUploads

    with _own_folder() as folder:
        device = Device(options.device, backend=options.backend, faces=options.faces)
        total = shutil.disk_usage(folder).free / 2 if options.max_total_mb is None else options.max_total_mb * 1e6
        workspace = Workspace(folder, options.max_bytes, options.keep_seconds, total)
        app = build_app(options, workspace, device)
        from starlette.middleware import Middleware  # comes with gradio, whose absence is known by now

        try:
            _, address, shared = app.launch(
                server_name=options.host,
                server_port=options.port,
                share=options.share,
                inbrowser=options.open_browser,
                prevent_thread_lock=True,
                quiet=True,
                show_error=True,
                max_file_size=options.max_bytes,
                allowed_paths=[],
                app_kwargs={"middleware": [Middleware(LocalFilesOnly), Middleware(RoomForUploads, workspace)]},
                footer_links=["api"],
                run_history=False,
                enable_monitoring=False,
                ssr_mode=False,
                pwa=False,
                mcp_server=False,
                theme=make_theme(),
                css_paths=[STYLE],
            )
        except OSError as error:
            place = f"{options.host}:{options.port or f'{_FIRST_PORT} to {_FIRST_PORT + _PORTS - 1}'}"
            raise UsageError(f"cannot listen on {place}: {error}; choose another --port or --host") from error
        except (ValueError, RuntimeError) as error:
            raise FailedError(f"the demo could not start: {error}") from error
        try:
            with workspace.pruned():
                yield shared or address
        finally:
            app.close(verbose=False)
            device.close()


@contextlib.contextmanager
def _own_folder() -> Iterator[Path]:
    """A new folder, only this user's, for all uploads and results; removed in the end."""
    outer = os.environ.get(_FOLDER_VARIABLE)
    if outer:
        Path(outer).mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="esrgan-app-", dir=outer or None)).resolve()
    os.environ[_FOLDER_VARIABLE] = str(folder)
    try:
        yield folder
    finally:
        if outer is None:
            del os.environ[_FOLDER_VARIABLE]
        else:
            os.environ[_FOLDER_VARIABLE] = outer
        shutil.rmtree(folder, ignore_errors=True)
