"""`verify_video`: both files once through, in step, and all checks on the way."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from esrgan.errors import MediaError, UsageError
from esrgan.progress import Progress, ProgressMode
from esrgan_video.verify.facts import VideoFacts, video_facts
from esrgan_video.verify.frames import FrameChecks
from esrgan_video.verify.media import Media, Timed, is_picture
from esrgan_video.verify.packets import Window
from esrgan_video.verify.properties import property_checks
from esrgan_video.verify.report import Check, Report
from esrgan_video.verify.streams import StreamChecks, tag_checks
from esrgan_video.verify.tags import chapter_checks, tag_check
from esrgan_video.verify.timeline import Trial, align, expected_frames, selected


@dataclass(frozen=True, kw_only=True)
class VerifyOptions(Trial):
    """Which part of the input was upscaled, and what may be missing."""

    drop_unsupported: bool = False
    """Streams that the output's container cannot hold may be missing."""


def verify_video(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    options: VerifyOptions | None = None,
    progress: ProgressMode = "auto",
) -> Report:
    """Check that an upscaled video kept what its input has.

    Both files are decoded once, in step; memory does not grow with their length.

    Args:
        source: the input.
        target: the output.
        options: the trial that was made, and what may be missing.
        progress: how progress is shown on standard error.

    Raises:
        UsageError: no such file, the same file twice, or a trial without a frame.
        MediaError: a file without a frame that can be decoded.
    """
    source, target = Path(source), Path(target)
    options = options or VerifyOptions()
    if source.exists() and target.exists() and source.samefile(target):
        raise UsageError(f"{target} is the input itself: name the input and its output")
    with Media(source, frame_threads=False) as before, Media(target, frame_threads=True) as after:
        checks = _Run(before, after, options).checks(progress)
    return Report(source=source, target=target, checks=tuple(checks))


class _Run:
    """One verification: its parts, and the order in which they see the files."""

    def __init__(self, before: Media, after: Media, options: VerifyOptions) -> None:
        self._before, self._after, self._options = before, after, options
        self._streams = StreamChecks(before, after, may_drop=options.drop_unsupported)

    def checks(self, progress: ProgressMode) -> list[Check]:
        options = self._options
        sources, first, second = _peek(selected(self._before, options))
        targets, first_out, second_out = _peek(self._after.frames())
        if first is None:
            raise self._no_frame()
        if first_out is None:
            raise MediaError(f"{self._after.path}: not one frame of its video can be decoded")
        facts = video_facts(self._before, first.frame), video_facts(self._after, first_out.frame)
        frames = FrameChecks(self._before, self._after, facts, is_trial=bool(options.start))
        frames.settle(first, second, first_out, second_out)
        self._open_window(frames)
        period = 1 / (self._before.rate or Fraction(25))
        expected = expected_frames(sources, period, all_interlaced=self._before.is_interlaced_by_header)
        if frames.per_field and options.frames is not None:  # which counts pictures
            expected = itertools.islice(expected, options.frames)
        total = None if options.frames or options.start or options.end else self._before.main.frames or None
        with Progress(f"verify {self._after.path.name}", total=total, unit="frame", mode=progress) as shown:
            moved = frames.shift
            for wanted, found, shift in align(expected, targets, frames.shift):
                frames.add(wanted, found, shift)
                if shift != moved:
                    self._streams.follow(shift)
                    moved = shift
                shown.update(wanted is not None and not wanted.is_second_field)
            self._read_on(frames)
        return self._gather(frames, facts)

    def _no_frame(self) -> UsageError | MediaError:
        if self._options.start:
            return UsageError(f"{self._before.path} has no frame after --start {float(self._options.start):g} s")
        return MediaError(f"{self._before.path}: not one frame of its video can be decoded")

    def _open_window(self, frames: FrameChecks) -> None:
        options = self._options
        start = -frames.shift if options.start else None
        end = None if options.end is None else self._before.origin + options.end
        self._streams.open_window(Window(start, end, frames.shift))

    def _read_on(self, frames: FrameChecks) -> None:
        """Hand on the packets behind the last frame, of a trial as far as they belong to it."""
        limit = None
        if self._options.end is not None or self._options.frames is not None:
            limit = frames.source_end
        self._before.finish(limit)
        if self._options.frames is not None:
            self._streams.close_window(min(frames.source_end, frames.sure_end))

    def _gather(self, frames: FrameChecks, facts: tuple[VideoFacts, VideoFacts]) -> list[Check]:
        before, after = self._before, self._after
        ends_early = self._options.end is not None or self._options.frames is not None
        end = frames.source_end + frames.shift if ends_early else None
        has_cover = after.container.format.name.startswith("mov") and any(map(is_picture, after.container.streams))
        return [
            *frames.checks(),
            *property_checks(*facts),
            *frames.picture_checks(),
            *tag_checks(before.main, after.main, after.path, "video"),
            *self._streams.checks(frames.clock_shift),
            *chapter_checks(before.container.chapters(), after.container.chapters(), after.path, frames.shift, end),
            tag_check(before.container.metadata, after.container.metadata, standard_only=has_cover),
        ]


def _peek(frames: Iterator[Timed]) -> tuple[Iterator[Timed], Timed | None, Timed | None]:
    """An iterator with its first two items known."""
    ahead = list(itertools.islice(frames, 2))
    first, second = (*ahead, None, None)[:2]
    return itertools.chain(ahead, frames), first, second
