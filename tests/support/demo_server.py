"""The browser demo in a process of its own, as the command starts it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

_START = 120
"""Seconds that the start may take on a busy machine."""


@contextlib.contextmanager
def demo(folder: Path, *arguments: str) -> Iterator[str]:
    """Run `esrgan app` with `arguments`; gives the page's address.

    Uploads lie in `folder/uploads`. In the end the command has left nothing there, and no request of the block has
    failed in a way that nobody foresaw.
    """
    folder.mkdir(exist_ok=True)
    said, complained, uploads = folder / "stdout.txt", folder / "stderr.txt", folder / "uploads"
    command = [sys.executable, "-m", "esrgan_video.cli.main", "app", "--device", "cpu", *arguments]
    with said.open("w") as out, complained.open("w") as err:
        process = subprocess.Popen(command, stdout=out, stderr=err, env={**os.environ, "GRADIO_TEMP_DIR": str(uploads)})
    try:
        deadline = time.monotonic() + _START
        while not said.read_text() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        assert said.read_text(), f"the demo did not start: {complained.read_text()}"
        yield said.read_text().split()[4]
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(60)
    assert code == 0, code
    assert "a request failed" not in complained.read_text(), complained.read_text()[-4000:]
    assert list(uploads.iterdir()) == []
