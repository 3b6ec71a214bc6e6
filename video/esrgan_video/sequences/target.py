"""Numbered image files as the place where the upscaled frames go: finished ones are not made again after a crash."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from esrgan_video.container import EncoderPlan, Frame, OutputVideo
from esrgan_video.container.fields import PROGRESSIVE
from esrgan_video.frame_target import FrameTarget, StoredTarget, completed, refuse_encoder, report_other_streams
from esrgan_video.inputs import sequence_of
from esrgan_video.options import VideoOptions
from esrgan_video.protocol import PlanningUpscaler
from esrgan_video.segments import (
    Completion,
    Job,
    Journal,
    Segment,
    SegmentStore,
    input_facts,
    opened_store,
    settings_facts,
)
from esrgan_video.sequences.pattern import SequencePattern
from esrgan_video.sequences.writer import FIRST_NUMBER, SequenceWriter
from esrgan_video.sources import AnyReader

_PART_FRAMES = 24
"""Files between two records in the journal: what a crash may cost."""


class _FileStore(SegmentStore):
    """The journal of files that stand under their own names; a segment is a run of them."""

    def __init__(self, folder: Path, target: Path, journal: Journal, pattern: SequencePattern, first: int) -> None:
        self._pattern, self._first = pattern, first
        super().__init__(folder, target, journal)

    def files(self, index: int, frames: int) -> list[Path]:
        """The files of part `index`."""
        start = self._first + index * self.job.segment_frames
        return [self._pattern.file(start + place) for place in range(frames)]

    def holds(self, segment: Segment) -> bool:
        """Whether its files are there, in all of the size that they had."""
        try:
            return self._bytes(segment.index, segment.frames) == segment.size
        except OSError:
            return False

    def note(self, index: int, frames: list[Frame]) -> None:
        """Record part `index`, whose files are written; the frames' pixels are not looked at.

        Raises:
            MediaError: the journal cannot be written.
        """
        last = frames[-1]
        self.record(
            Segment(
                index=index,
                frames=len(frames),
                first=frames[0].pts,
                last=last.pts,
                end=last.pts + last.duration,
                delay=0,
                size=self._bytes(index, len(frames)),
                checksum=0,
            )
        )

    def _bytes(self, index: int, frames: int) -> int:
        return sum(file.stat().st_size for file in self.files(index, frames))


class SequenceTarget(StoredTarget[_FileStore]):
    """Files that get their names one by one, and a journal beside them until all are there."""

    def __init__(self, writer: SequenceWriter, store: _FileStore, dropped: tuple[str, ...]) -> None:
        super().__init__(store, layout=writer.layout, colour=writer.colour, dropped=dropped)
        self._writer = writer

    def write(self, index: int, frames: Iterable[Frame]) -> None:
        """Write the files of part `index`.

        Raises:
            MediaError: a file cannot be written; those before it are whole.
        """
        written: list[Frame] = []
        for frame in frames:
            self._writer.write(index * self.part_frames + len(written), frame)
            written.append(frame.without_pixels())
        self._store.note(index, written)

    def finish(self) -> Completion:
        """Remove the journal."""
        done = completed(self.completion)
        self._writer.report_rest(done.frames)
        self._store.discard()
        return done


@contextlib.contextmanager
def open_sequence_target(
    path: Path, reader: AnyReader, size: tuple[int, int], options: VideoOptions, upscaler: PlanningUpscaler
) -> Iterator[FrameTarget]:
    """Numbered files, from the number of the input's first or from 1; see `open_target`.

    Raises:
        UsageError: an option of video encoders, or as `SequenceWriter`.
    """
    info, pattern = reader.info, sequence_of(path)
    assert pattern is not None
    refuse_encoder(options.encoder, "image files have")
    first = FIRST_NUMBER if info.first_number is None else info.first_number + round(reader.shift * info.rate)
    writer = SequenceWriter(pattern, first=first, info=info, size=size, quality=options.quality)
    dropped = report_other_streams(reader, "image files hold only pictures")
    plan = EncoderPlan(
        encoder=path.suffix.lower(),
        pix_fmt=writer.layout.pix_fmt,
        layout=writer.layout,
        colour=writer.colour,
        options={},
        field_order=PROGRESSIVE,
    )
    job = Job(
        facts={
            **input_facts(reader.path),
            **settings_facts(options, OutputVideo.of(info, plan, *size), upscaler),
            "first number": str(first),
        },
        segment_frames=options.segment_frames or _PART_FRAMES,
        threads=1,
    )

    def make_store(folder: Path, target: Path, journal: Journal) -> _FileStore:
        return _FileStore(folder, target, journal, pattern, first)

    with opened_store(path, job, restart=options.restart, make=make_store) as store:
        yield SequenceTarget(writer, store, dropped)
