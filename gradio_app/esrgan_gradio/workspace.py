"""`Workspace`: the one folder in which uploads and results lie, and what may be read from it."""

from __future__ import annotations

import contextlib
import math
import os
import re
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from esrgan.errors import UsageError

_UNSAFE = re.compile(r"[^\w.+-]+")
_NAME_LENGTH = 60
_PRUNE_INTERVAL = 60.0
"""Seconds between two looks for old folders, at most."""


@dataclass(frozen=True)
class Upload:
    """A file that a visitor sent."""

    path: Path
    """Where it lies."""
    name: str
    """What it was called, for messages."""

    @property
    def stem(self) -> str:
        """The name without its suffix, fit for a result's name."""
        return _UNSAFE.sub("_", Path(self.name).stem)[:_NAME_LENGTH].strip("._") or "result"


@dataclass(frozen=True)
class Workspace:
    """Folder of all uploads and results of one running app."""

    root: Path
    """The folder, also Gradio's own for uploads."""
    max_bytes: int
    """Largest file that is read."""
    keep_seconds: float
    """Age at which what is left of a job is removed."""
    max_total_bytes: float = math.inf
    """What all files in the folder together may take."""
    _at_work: set[Path] = field(default_factory=set, init=False, repr=False, compare=False)

    def admit(self, sent: object, what: str) -> Upload:
        """The upload that a request names.

        Args:
            sent: Gradio's description of a file, as it came from the visitor: nothing in it is trusted.
            what: what it is to be, for the message: "an image".

        Raises:
            UsageError: nothing was sent, the file is not an upload of this app, is gone, or is too large.
        """
        if sent is None:
            raise UsageError(f"choose {what} first")
        path = sent.get("path") if isinstance(sent, Mapping) else None
        if not isinstance(path, str):
            raise UsageError(f"{what} must be sent as a file")
        real = Path(os.path.realpath(path))
        if not real.is_relative_to(os.path.realpath(self.root)):
            raise UsageError(f"{what} must be an uploaded file; {path!r} is not one")
        if not real.is_file():
            raise UsageError(f"the upload {real.name} is gone, files are removed after a while: send it again")
        if real.stat().st_size > self.max_bytes:
            raise UsageError(f"{real.name} is larger than the {self.max_bytes / 1e6:g} MB that are taken here")
        # The name that the request says is the visitor's; the file's own is what is left of it.
        return Upload(real, real.name)

    def require_room(self, coming: int = 0) -> None:
        """See to it that there is room for `coming` bytes more.

        Raises:
            UsageError: there is not.
        """
        if self._size() + coming > self.max_total_bytes:
            raise UsageError(
                f"there is no room on the server, the {self.max_total_bytes / 1e6:,.0f} MB for all visitors' files are "
                f"taken: try again later, each is removed after {self.keep_seconds / 60:.3g} min"
            )

    def _size(self) -> int:
        """Bytes of all files in the folder; a file with two names counts once."""
        sizes: dict[tuple[int, int], int] = {}
        for folder, _, names in self.root.walk():
            for name in names:
                with contextlib.suppress(OSError):  # files come and go meanwhile
                    found = (folder / name).lstat()
                    sizes[found.st_dev, found.st_ino] = found.st_size
        return sum(sizes.values())

    def job(self) -> Path:
        """A new folder for one request; nobody can guess its name.

        Raises:
            UsageError: there is no room for more files.
        """
        self.prune()
        self.require_room()
        folder = self.root / f"job-{secrets.token_urlsafe(16)}"
        folder.mkdir(parents=True)
        return folder

    @contextlib.contextmanager
    def at_work(self, folder: Path) -> Iterator[None]:
        """Keep a job's folder while the block runs: a job that waits or computes may write nothing for long."""
        self._at_work.add(folder)
        try:
            yield
        finally:
            self._at_work.discard(folder)

    def prune(self) -> None:
        """Remove old folders of jobs, pages that Gradio wrote down for a link to them, and uploads that broke off.

        Gradio removes whole uploads.
        """
        limit = time.time() - self.keep_seconds
        with contextlib.suppress(OSError):
            for folder in (*self.root.glob("job-*"), *self.root.glob("deep_links/*")):
                with contextlib.suppress(OSError):
                    if newest(folder) < limit and folder not in self._at_work:
                        shutil.rmtree(folder)
            for part in self.root.glob(f"{tempfile.gettempprefix()}*"):
                with contextlib.suppress(OSError):
                    if part.is_file() and part.stat().st_mtime < limit:
                        part.unlink()

    @contextlib.contextmanager
    def pruned(self) -> Iterator[None]:
        """Prune while the block runs, so that files go in time where no request comes as well."""
        ended = threading.Event()

        def work() -> None:
            while not ended.wait(min(_PRUNE_INTERVAL, self.keep_seconds)):
                self.prune()

        thread = threading.Thread(target=work, name="remove old files", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def newest(folder: Path) -> float:
    """When anything in `folder` was last changed, in seconds since the epoch."""
    return max(entry.stat().st_mtime for entry in (folder, *folder.rglob("*")))


def borrow(upload: Upload, folder: Path, suffix: str) -> Path:
    """A name of our own for an upload, in a job's folder, so that it stays while the job runs."""
    own = folder / f"input{suffix}"
    try:
        own.hardlink_to(upload.path)
    except OSError:
        shutil.copyfile(upload.path, own)
    return own
