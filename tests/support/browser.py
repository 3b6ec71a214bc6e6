"""Chromium for the tests of the browser demo, and what they do in it."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
"""For a machine without a display, as root too, and without traffic of the browser's own."""


def find_chromium() -> Path:
    """The browser, installed if it is missing and this may be done.

    Raises:
        LookupError: there is none; the message says why.
    """
    with (Path(tempfile.gettempdir()) / "esrgan_tests_chromium.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run in several processes, and apt-get refuses a second at once
        if _installed() is None:
            _install()
    found = _installed()
    if found is None:
        raise LookupError("no Chromium: apt-get could not install the package chromium")
    return found


def open_tab(page: Any, name: str) -> None:
    """Open the tab of that name."""
    page.get_by_role("tab", name=name, exact=True).click()


def choose(page: Any, control: str, value: str) -> None:
    """Choose a value of a drop-down list."""
    page.locator(f"{control} input").click()
    option = page.get_by_role("option", name=value, exact=True)
    option.click()
    option.wait_for(state="detached")  # the list fades out, and may cover what comes next


def _installed() -> Path | None:
    return next((Path(path) for name in NAMES if (path := shutil.which(name))), None)


def _install() -> None:
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise LookupError("no Chromium, and it is installed by itself only for root on Debian: apt install chromium")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update"], ["install", "-y", "--no-install-recommends", "chromium"]):
        subprocess.run(["apt-get", "-qq", *arguments], env=environment, capture_output=True, timeout=280, check=False)
