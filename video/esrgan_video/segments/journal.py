"""The journal: a line of JSON for the job, one for each finished segment, one when all are finished.

Lines are only ever added, and each is on the disk before work goes on. A crash can tear the last one: reading stops
there, and what follows is written over it.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from esrgan_video.segments.job import Job
from esrgan_video.segments.packets import Segment

_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Completion:
    """Recorded when all segments are finished."""

    frames: int
    """Frames in all of them."""
    damaged_packets: int
    """Packets of the input that could not be decoded."""


class Journal:
    """The journal of one job; `start` or `load` make one.

    Attributes:
        job: what is done, as it was settled when the job began.
        segments: finished segments by their place.
        completion: set when no segment is missing.
    """

    def __init__(self, path: Path, job: Job) -> None:
        self._path = path
        self.job = job
        self.segments: dict[int, Segment] = {}
        self.completion: Completion | None = None

    @classmethod
    def start(cls, path: Path, job: Job) -> Self:
        """Begin a journal, in place of any that is there.

        Raises:
            OSError: it cannot be written.
        """
        temporary = path.with_suffix(".new")
        try:
            _append(temporary, {"version": _VERSION, "job": job.to_json()}, mode="wb")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(path.parent)
        return cls(path, job)

    @classmethod
    def load(cls, path: Path, *, mend: bool) -> Self | None:
        """The journal at `path`; `None` if there is none, or none that can be read.

        Args:
            path: the file.
            mend: cut off a torn last line, so that more can be added.

        Raises:
            OSError: it cannot be read, or mended.
        """
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        records = list(_whole_lines(content))
        if not records or records[0][0].get("version") != _VERSION:
            return None
        journal = cls(path, Job.from_json(records[0][0]["job"]))
        for record, _ in records[1:]:
            journal._note(record)
        whole = records[-1][1]
        if mend and whole < len(content):
            os.truncate(path, whole)
        return journal

    @property
    def frames(self) -> int:
        """Frames in the finished segments."""
        return sum(segment.frames for segment in self.segments.values())

    def add(self, segment: Segment) -> None:
        """Record a finished segment, whose file is on the disk."""
        self._record({"segment": asdict(segment)})

    def remove(self, index: int) -> None:
        """Record that a segment is no longer there."""
        self._record({"removed": index})

    def complete(self, completion: Completion) -> None:
        """Record that all segments are finished."""
        self._record({"completion": asdict(completion)})

    def _record(self, record: dict[str, Any]) -> None:
        _append(self._path, record, mode="ab")
        self._note(record)

    def _note(self, record: dict[str, Any]) -> None:
        if "segment" in record:
            segment = Segment(**record["segment"])
            self.segments[segment.index] = segment
        elif "removed" in record:
            self.segments.pop(record["removed"], None)
            self.completion = None
        elif "completion" in record:
            self.completion = Completion(**record["completion"])


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, where the system can say so."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _append(path: Path, record: dict[str, Any], *, mode: str) -> None:
    with path.open(mode) as file:
        file.write(json.dumps(record).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _whole_lines(content: bytes) -> Iterator[tuple[dict[str, Any], int]]:
    """The records up to the first that is torn, each with the position of its end."""
    position = 0
    for line in content.splitlines(keepends=True):
        position += len(line)
        try:
            record = json.loads(line) if line.endswith(b"\n") else None
        except ValueError:
            return
        if not isinstance(record, dict):
            return
        yield record, position
