"""`SegmentStore`: the finished segments of one output, in a hidden folder beside it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from esrgan.errors import MediaError, UsageError
from esrgan_video.container.output_path import hidden_beside
from esrgan_video.segments.job import Job
from esrgan_video.segments.joining import joined
from esrgan_video.segments.journal import Completion, Journal, sync_folder
from esrgan_video.segments.lock import locked
from esrgan_video.segments.packets import Segment, checksum_of, write_segment
from esrgan_video.segments.shelf import FrameShelf

if TYPE_CHECKING:
    from av.packet import Packet

_log = logging.getLogger(__name__)

_JOURNAL, _LOCK = "journal.jsonl", "lock"
_OURS = (_JOURNAL, "journal.new", "*.segment", "*.frames", "*.part")
"""What a store puts into its folder, beside the lock."""


def folder_for(target: Path) -> Path:
    """The folder of the segments of `target`, beside what it is a link to."""
    return hidden_beside(target, ".esrgan")


@contextlib.contextmanager
def opened_store[S: SegmentStore](
    target: Path, wanted: Job, *, restart: bool, make: Callable[[Path, Path, Journal], S]
) -> Iterator[S]:
    """The store of `target`, with what an earlier run of the same job left in it.

    Errors and interrupts that leave the block get a note of what is kept, see `esrgan.errors.one_line`. A store without
    segments leaves nothing behind, nor does one of a job that cannot go on, as a pipe's; what a run of such a job left
    that was killed is removed.

    Args:
        target: the output.
        wanted: the job as it would begin now. Where an earlier run finished a segment, what it settled beside the facts
            stays.
        restart: throw away what an earlier run left.
        make: `SegmentStore`, or one of its kind, from the folder, the output and the journal.

    Raises:
        UsageError: another run is at work on `target`, or an earlier one had another input or other settings.
        MediaError: nothing can be written beside `target`.
    """
    folder = folder_for(target)
    with contextlib.ExitStack() as stack:
        with _writing(target):
            folder.mkdir(exist_ok=True)
            stack.callback(_remove_empty, folder)
            stack.enter_context(locked(folder / _LOCK, target=target))
            store = make(folder, target, _journal(folder, wanted, target, restart=restart))
            stack.callback(store.leave)
        try:
            yield store
        except BaseException as error:
            kept = store.frames + store.shelved
            if kept and store.job.can_go_on:
                error.add_note(f"{kept} finished frames are kept in {folder}: the same command goes on from there")
            raise


class SegmentStore:
    """Finished segments and their journal; `opened_store` makes one.

    A segment counts once it is whole on the disk and in the journal: killed at any moment, a store is in order.
    """

    def __init__(self, folder: Path, target: Path, journal: Journal) -> None:
        self._folder = folder
        self._target = target
        self._journal = journal
        for stale in folder.glob("*.part"):
            stale.unlink()
        for path, index in _shelf_files(folder):
            if index in journal.segments:  # the run ended between two steps of `add`
                path.unlink()
        for segment in list(journal.segments.values()):
            if not self.holds(segment):
                _log.warning("%s: part %d is damaged or gone: it is made again", target, segment.index)
                journal.remove(segment.index)
        self._shelves = _shelves(folder, journal)

    @property
    def job(self) -> Job:
        """The job, as it was settled when it began."""
        return self._journal.job

    @property
    def completion(self) -> Completion | None:
        """Set when no segment is missing."""
        return self._journal.completion

    @property
    def segments(self) -> Mapping[int, Segment]:
        """Finished segments by their place."""
        return self._journal.segments

    @property
    def scratch(self) -> Path:
        """A place for a file that is gone when the store is left."""
        return self._folder / "scratch.part"

    @property
    def frames(self) -> int:
        """Frames in the finished segments."""
        return self._journal.frames

    @property
    def shelved(self) -> int:
        """Frames of unfinished segments on their shelves."""
        return sum(map(len, self._shelves.values()))

    def shelf(self, index: int) -> FrameShelf:
        """Where the frames of segment `index` may be until it is finished."""
        if index not in self._shelves:
            self._shelves[index] = FrameShelf(self._shelf_path(index))
        return self._shelves[index]

    @property
    def end(self) -> int:
        """Moment at which the last finished frame ends, in the video's time base."""
        return max(segment.end for segment in self.segments.values())

    def add(self, index: int, extradata: bytes, packets: Iterable[Packet[Any]]) -> None:
        """Store a segment.

        Args:
            index: its place.
            extradata: the codec's headers.
            packets: its packets in order of decoding, at least one; what they raise leaves no trace.

        Raises:
            MediaError: the disk is full, or cannot be written to.
        """
        temporary = self._path(index).with_suffix(".part")
        with _writing(self._target):
            try:
                segment = write_segment(temporary, index, extradata, packets)
                temporary.replace(self._path(index))
            finally:
                temporary.unlink(missing_ok=True)
            sync_folder(self._folder)
        self.record(segment)
        shelf = self._shelves.pop(index, None)
        if shelf:
            shelf.drop()

    def holds(self, segment: Segment) -> bool:
        """Whether a recorded segment is on the disk, whole."""
        return _is_whole(self._path(segment.index), segment)

    def record(self, segment: Segment) -> None:
        """Note in the journal a segment that is whole on the disk.

        Raises:
            MediaError: the disk is full, or cannot be written to.
        """
        with _writing(self._target):
            self._journal.add(segment)

    def complete(self, frames: int, damaged_packets: int) -> None:
        """Say that no segment is missing.

        Raises:
            MediaError: the segments do not have `frames` frames, or the disk is full.
        """
        if self.frames != frames or sorted(self.segments) != list(range(len(self.segments))):
            raise MediaError(f"{frames} frames were decoded but {self.frames} encoded: this is a bug, please report it")
        with _writing(self._target):
            self._journal.complete(Completion(frames=frames, damaged_packets=damaged_packets))

    def packets(self, *, extradata: bytes, step: int, time_base: Fraction) -> Iterator[Packet[Any]]:
        """The packets of all segments as one video; see `joined`."""
        segments = [(segment, self._path(index)) for index, segment in sorted(self.segments.items())]
        return joined(segments, extradata=extradata, step=step, time_base=time_base)

    def discard(self) -> None:
        """Remove all segments: the output is whole under its name."""
        _clear(self._folder)
        self._journal.segments.clear()
        self._shelves.clear()

    def leave(self) -> None:
        """Remove what is of no use to a later run."""
        self.scratch.unlink(missing_ok=True)
        if not self.job.can_go_on or not (self.segments or self.shelved):
            _clear(self._folder)

    def _path(self, index: int) -> Path:
        return self._folder / f"{index:06d}.segment"

    def _shelf_path(self, index: int) -> Path:
        return self._folder / f"{index:06d}.frames"


def _shelf_files(folder: Path) -> list[tuple[Path, int]]:
    """Files of shelves, each with the place of its segment."""
    return [(path, int(path.stem)) for path in folder.glob("*.frames") if path.stem.isdecimal()]


def _shelves(folder: Path, journal: Journal) -> dict[int, FrameShelf]:
    """The shelves of segments that are not finished, by their place."""
    return {index: FrameShelf(path) for path, index in _shelf_files(folder) if index not in journal.segments}


@dataclass(frozen=True)
class UnfinishedJob:
    """What an earlier run has left."""

    job: Job
    """What it was about."""
    frames: int
    """Frames that are done."""
    encoded: bool
    """Whether some of them are encoded."""

    def changes(self, now: Job) -> list[str]:
        """Why work cannot go on, in words; empty if it can."""
        return self.job.changes(now.facts, encoded=self.encoded)


def unfinished_job(target: Path) -> UnfinishedJob | None:
    """What an earlier run of `target` has left, without touching it.

    Raises:
        MediaError: it cannot be read.
    """
    folder = folder_for(target)
    try:
        journal = Journal.load(folder / _JOURNAL, mend=False)
    except OSError as error:
        raise MediaError(f"cannot read what is left of {target}: {error.strerror or error}") from error
    if journal is None or not journal.job.can_go_on:
        return None
    frames = journal.frames + sum(map(len, _shelves(folder, journal).values()))
    return UnfinishedJob(journal.job, frames, encoded=bool(journal.segments)) if frames else None


def _journal(folder: Path, wanted: Job, target: Path, *, restart: bool) -> Journal:
    """The journal to go on with."""
    path = folder / _JOURNAL
    journal = None if restart else Journal.load(path, mend=True)
    if journal is not None and not journal.job.can_go_on:
        journal = None
    if journal is None or not (journal.segments or any(_shelves(folder, journal).values())):
        _clear(folder)
        return Journal.start(path, wanted)
    changes = journal.job.changes(wanted.facts, encoded=bool(journal.segments))
    if changes:
        raise UsageError(
            f"{target} was begun otherwise: {'; '.join(changes)}. Go back to that, or begin anew with --restart"
        )
    if not journal.segments:  # the encoder as it is wanted now: an earlier one may have been too large for the memory
        return Journal.start(path, wanted)
    return journal


def _is_whole(path: Path, segment: Segment) -> bool:
    try:
        return path.stat().st_size == segment.size and checksum_of(path) == segment.checksum
    except OSError:
        return False


def _clear(folder: Path) -> None:
    """Remove everything but the lock; the journal first, so that it never names what is gone."""
    for pattern in _OURS:
        for path in folder.glob(pattern):
            with contextlib.suppress(OSError):
                path.unlink()


def _remove_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):  # segments are kept in it
        folder.rmdir()


@contextlib.contextmanager
def _writing(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise MediaError(f"cannot write {target}: {error.strerror or error}") from error
