"""What is upscaled as a video is, whatever it comes from: `open_source` takes the one decision."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from esrgan.errors import UsageError
from esrgan_video.animation.detect import is_animation
from esrgan_video.animation.source import animation_source
from esrgan_video.container import VideoReader
from esrgan_video.container.script import ScriptReader, is_script
from esrgan_video.inputs import sequence_of
from esrgan_video.options import VideoOptions
from esrgan_video.pictures import PictureReader
from esrgan_video.pipes.ends import giving_up_pipes
from esrgan_video.pipes.names import PIPE, refuse_named_pipe
from esrgan_video.prefetch import Prefetch
from esrgan_video.sequences.source import sequence_source

_log = logging.getLogger(__name__)

DEFAULT_RATE = Fraction(25)
"""Frames per second of numbered image files, which do not say it."""

type AnyReader = VideoReader | ScriptReader | PictureReader


def open_source(path: Path, options: VideoOptions) -> AnyReader:
    """The reader for a video file, standard input, a script, numbered image files or an animated image.

    Raises:
        UsageError: no such file, a named pipe, an option that is for another kind, or a range without a frame.
        MediaError: it cannot be read.
    """
    refuse_named_pipe(path)
    pattern = sequence_of(path)
    if pattern is not None:
        if options.rate is None:
            _log.info("%s: %d frames a second, unless --fps says otherwise", path, DEFAULT_RATE)
        return PictureReader(sequence_source(pattern, options.rate or DEFAULT_RATE), options.time_range)
    if options.rate is not None:
        raise UsageError(f"--fps {float(options.rate):g} is for numbered image files: {path} has times of its own")
    if path == PIPE:
        return _pipe(options)
    if is_script(path):
        return ScriptReader(path, options.time_range)
    if is_animation(path):
        return PictureReader(animation_source(path), options.time_range)
    return VideoReader(path, options.time_range, deinterlace=options.deinterlace, strict=options.strict)


def _pipe(options: VideoOptions) -> VideoReader:
    """A pipe is read once, from one end to the other: for other streams than the video it would have to be twice."""
    with Prefetch(_opened_pipe(options), 1) as opened, giving_up_pipes():
        reader = next(opened)
    others = ", ".join(reader.other_streams)
    if others and not options.drop_unsupported:
        reader.close()
        raise UsageError(
            f"only the video comes through a pipe, not {others}: give the file by name, or leave it out with "
            "--drop-unsupported"
        )
    if others:
        _log.warning("standard input: only the video is read, not %s", others)
    return reader


def _opened_pipe(options: VideoOptions) -> Iterator[VideoReader]:
    """One reader, which is made where it is asked for: in a thread that may wait for its first frames."""
    yield VideoReader(PIPE, options.time_range, deinterlace=options.deinterlace, strict=options.strict)
