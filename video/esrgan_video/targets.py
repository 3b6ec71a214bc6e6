"""Where the upscaled frames go, whatever it is: `open_target` takes the one decision."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from esrgan.errors import UsageError
from esrgan_video.animation.target import open_animation_target
from esrgan_video.animation.writer import WRITERS
from esrgan_video.container.output_path import check_paths
from esrgan_video.frame_target import FrameTarget
from esrgan_video.inputs import ANIMATION_SUFFIXES, IMAGE_SUFFIXES, sequence_of
from esrgan_video.options import VideoOptions
from esrgan_video.pipes.names import PIPE
from esrgan_video.pipes.target import open_pipe_target
from esrgan_video.protocol import PlanningUpscaler
from esrgan_video.segments.target import open_video_target
from esrgan_video.sequences.pattern import SequencePattern
from esrgan_video.sequences.target import open_sequence_target
from esrgan_video.sources import AnyReader


@contextlib.contextmanager
def open_target(
    path: Path, reader: AnyReader, size: tuple[int, int], options: VideoOptions, upscaler: PlanningUpscaler
) -> Iterator[FrameTarget]:
    """Open the output. What was under its name stays until `finish` has ended well.

    Args:
        path: where to.
        reader: what the frames come from.
        size: their width and height.
        options: how they are to be written.
        upscaler: what makes them; results of another one are not continued.

    Raises:
        UsageError: an option or a combination that cannot work, a size or stream that the output cannot hold, another
            run at work on the output, or an unfinished one of another input or other settings.
        MediaError: it cannot be written.
    """
    with _opener(path)(path, reader, size, options, upscaler) as target:
        yield target


def _opener(path: Path) -> Callable[..., AbstractContextManager[FrameTarget]]:
    if path == PIPE:
        return open_pipe_target
    if sequence_of(path) is not None:
        return open_sequence_target
    return open_animation_target if path.suffix.lower() in WRITERS else open_video_target


def check_ends(source: Path, target: Path) -> None:
    """Refuse, before anything is opened, paths that cannot work.

    Raises:
        UsageError: a target that is a folder or the source itself, or whose folder is missing, or a terminal.
    """
    if target == PIPE:
        if sys.stdout.isatty():
            raise UsageError("- writes raw video to standard output, which is a terminal: pipe it into a program")
        return
    inputs, outputs = sequence_of(source), sequence_of(target)
    if outputs is None:
        check_paths(source, target)
        _check_single(source, inputs, target)
    elif inputs is not None and _same_files(inputs, outputs):
        raise UsageError(f"the output {target} is the input: write to another folder or name")


def _check_single(source: Path, inputs: SequencePattern | None, target: Path) -> None:
    """Refuse one file that is among the files of the input, or is an image that can hold one frame only."""
    files = [] if inputs is None or not target.exists() else map(inputs.file, inputs.numbers())
    if any(target.samefile(file) for file in files):
        raise UsageError(f"the output {target} is one of the files {source}: write to another file")
    if target.suffix.lower() in IMAGE_SUFFIXES - ANIMATION_SUFFIXES:
        numbered = target.with_name(f"{target.stem}_%05d{target.suffix}")
        raise UsageError(f"{target} cannot hold the frames of {source}: number the files, as in {numbered}")


def _same_files(one: SequencePattern, other: SequencePattern) -> bool:
    same_names = (one.before, one.after) == (other.before, other.after)
    return same_names and one.folder.resolve() == other.folder.resolve()
