"""Which files a command works on, and what its results are called."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import get_args

from esrgan.errors import UsageError
from esrgan_video.animation.detect import is_animation
from esrgan_video.images import is_image
from esrgan_video.pipes.names import PIPE, PipeFormat, path_of, refuse_named_pipe
from esrgan_video.sequences.pattern import SequencePattern

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"})
"""Suffixes of the images that are read and written."""
VIDEO_OUTPUT_SUFFIXES = frozenset({".mp4", ".mkv", ".mov", ".webm"})
"""Suffixes of the videos that are written."""
ANIMATION_SUFFIXES = frozenset({".gif", ".apng", ".png", ".webp"})
"""Suffixes of the animations that are read and written."""
VIDEO_SUFFIXES = VIDEO_OUTPUT_SUFFIXES | {
    ".avi", ".m4v", ".ts", ".mts", ".m2ts", ".flv", ".wmv", ".mpg", ".mpeg", ".ogv", ".3gp", ".y4m", ".nut",
    ".vob", ".mxf", ".asf", ".m2v", ".m1v", ".m2t", ".divx", ".rm", ".rmvb", ".f4v", ".3g2", ".ogm", ".wtv", ".qt",
}  # fmt: skip
"""Suffixes of the videos that are looked for in folders; any file that is no image is read as a video."""

SCRIPT_SUFFIXES = frozenset({".vpy"})
"""Suffixes of VapourSynth scripts. They are programs: only those named one by one are run."""

_UNREAD_IMAGES = frozenset({
    ".avif", ".heic", ".heif", ".jxl", ".jp2", ".j2k", ".ico", ".psd", ".exr", ".hdr", ".tga", ".dds", ".qoi", ".svg",
    ".ppm", ".pgm", ".pbm", ".pnm", ".dng", ".cr2", ".nef", ".arw",
})  # fmt: skip
"""Suffixes of images that are not read, though FFmpeg takes some of them for a video of one frame."""
_KNOWN_SUFFIXES = IMAGE_SUFFIXES | VIDEO_SUFFIXES | ANIMATION_SUFFIXES


def is_video(path: Path) -> bool:
    """Whether it is upscaled as a video is: a pipe, a script, numbered files, an animation, or a file that is no image.

    A file that is there is an image if its suffix is that of one, or if it begins as one.
    """
    suffix = path.suffix.lower()
    if path == PIPE or suffix in VIDEO_SUFFIXES | SCRIPT_SUFFIXES or sequence_of(path) is not None:
        return True
    named_so = suffix in IMAGE_SUFFIXES | ANIMATION_SUFFIXES | _UNREAD_IMAGES
    return is_animation(path) or not (named_so or not path.is_file() or is_image(path))


def sequence_of(path: Path) -> SequencePattern | None:
    """The pattern of image files that `path` is; `None` for other files, and where a file has that very name.

    Raises:
        UsageError: more than one number in the name.
    """
    if path.suffix.lower() not in IMAGE_SUFFIXES or path.exists():
        return None
    return SequencePattern.parse(path)


def expand_inputs(patterns: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """The files that `patterns` name, each once, in the order given.

    A pattern is a file (with any suffix), a folder (its images and videos, sorted, not those of
    folders in it, no hidden ones), numbered image files (`%05d.png`, which stay together), or a glob (`*`, `?`, `[…]`,
    `**`) of images and videos, sorted. A file or folder that exists under the very name wins over what the name may
    look like.

    Raises:
        UsageError: a pattern that matches nothing, a named pipe, or no pattern at all.
    """
    files = [file for pattern in patterns for file in _expand(os.fspath(pattern))]
    if not files:
        raise UsageError("no input: name at least one file, folder or pattern")
    return list(dict.fromkeys(files))


def _expand(pattern: str) -> list[Path]:
    path = path_of(pattern)
    if path == PIPE:
        return [path]
    if pattern and path.is_dir():
        found = _media(child for child in path.iterdir() if not child.name.startswith("."))
        if not found:
            raise UsageError(f"no images or videos in the folder {path}")
        return found
    if pattern and path.exists():
        refuse_named_pipe(path)
        return [path]
    if sequence_of(path) is not None:
        return [path]
    if not glob.has_magic(pattern):
        raise UsageError(f"no such file or folder: {pattern!r}")
    found = _media(Path(match) for match in glob.glob(pattern, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
    if not found:
        raise UsageError(f"no image or video matches {pattern!r}")
    return found


def _media(paths: Iterable[Path]) -> list[Path]:
    return sorted(path for path in paths if path.suffix.lower() in _KNOWN_SUFFIXES and path.is_file())


def output_path(
    source: Path, output: str | os.PathLike[str], *, suffix: str = "out", ext: str = "auto", many: bool = False
) -> Path:
    """Where the result for `source` goes.

    `output` is a folder when it is one already, ends in a slash, or has no file suffix; the result is
    then `output/NAME_SUFFIX.EXT`. Otherwise `output` is the file itself.

    Args:
        source: the input file.
        output: the file or folder that the user named.
        suffix: put after the name with an underscore; empty for none.
        ext: `png`, `mkv` … or `auto`: that of the input, or png or mkv where that cannot be written.
        many: whether there is more than one input.

    Raises:
        UsageError: many inputs for one file, an `ext` that is unknown, of the wrong kind, or at odds with `output`.
    """
    text, output = os.fspath(output), Path(output)
    if output == PIPE:
        return _to_pipe(source, ext, many=many)
    if text.endswith(("/", os.sep)) or output.is_dir() or not (output.exists() or output.suffix):
        result = _result_suffix(source, ext)
        return output / f"{_stem(source, result)}{'_' if suffix else ''}{suffix}{result}"
    if many:
        raise UsageError(f"several inputs need a folder as output, {output} is a file name")
    if ext != "auto" and output.suffix.lower() != _result_suffix(source, ext):
        raise UsageError(f"the output {output} does not end in .{ext.lstrip('.')}: leave out one of the two")
    return output


def _to_pipe(source: Path, ext: str, *, many: bool) -> Path:
    if many or not is_video(source):
        what = "several inputs" if many else f"the image {source}"
        raise UsageError(f"standard output takes one video, not {what}: name a file or folder")
    if ext.lstrip(".").lower() not in ("auto", *get_args(PipeFormat)):
        raise UsageError(f"--ext {ext} cannot go to standard output: use {' or '.join(get_args(PipeFormat))}")
    return PIPE


def _stem(source: Path, result: str) -> str:
    """What the name of the result begins with: for numbered files that become one, the name of their folder."""
    if source == PIPE:
        return "stdin"
    if sequence_of(source) is not None and result not in IMAGE_SUFFIXES:
        return source.absolute().parent.name
    return source.stem


def _writable(source: Path) -> frozenset[str]:
    """Suffixes that a result may have; those of images only where they stay what they are."""
    if not is_video(source):
        return IMAGE_SUFFIXES
    videos = VIDEO_OUTPUT_SUFFIXES | {".gif", ".apng"}
    if sequence_of(source) is not None:
        return videos | IMAGE_SUFFIXES
    return videos | ANIMATION_SUFFIXES if is_animation(source) else videos


def _result_suffix(source: Path, ext: str) -> str:
    writable = _writable(source)
    if ext == "auto":
        own = source.suffix.lower()
        return own if own in writable else (".mkv" if is_video(source) else ".png")
    wanted = f".{ext.lstrip('.').lower()}"
    if wanted not in writable:
        kind = "video" if is_video(source) else "image"
        allowed = ", ".join(sorted(known.lstrip(".") for known in writable))
        raise UsageError(f"extension {ext!r} does not fit the {kind} {source}: use auto or one of {allowed}")
    return wanted


def plan_outputs(
    sources: Sequence[Path],
    output: str | os.PathLike[str],
    *,
    suffix: str = "out",
    ext: str = "auto",
    many: bool = False,
) -> list[tuple[Path, Path]]:
    """Pair every source with its result, before any work starts.

    Args:
        sources: from `expand_inputs`.
        output: see `output_path`.
        suffix: see `output_path`.
        ext: see `output_path`; among images and videos together it is for the kind that it belongs to.
        many: `output` must be a folder though there is one source, because more might have come.

    Raises:
        UsageError: as `output_path`, or two sources with the same result, or a result that would replace a source.
    """
    many = many or len(sources) > 1
    is_mixed = len({is_video(source) for source in sources}) > 1
    pairs = [
        (source, output_path(source, output, suffix=suffix, ext=_ext_for(source, ext, is_mixed), many=many))
        for source in sources
    ]
    real_sources = {os.path.realpath(source): source for source in sources if source != PIPE}
    taken: dict[str, Path] = {}
    for source, target in pairs:
        real_target = os.path.realpath(target)
        if real_target in real_sources:
            raise UsageError(f"the result for {source} would replace the input {real_sources[real_target]}")
        first = taken.setdefault(os.path.normcase(real_target), source)
        if first is not source:
            raise UsageError(f"{first} and {source} would both become {target}: rename one, or use another ext")
    return pairs


def _ext_for(source: Path, ext: str, is_mixed: bool) -> str:
    others = IMAGE_SUFFIXES if is_video(source) else VIDEO_OUTPUT_SUFFIXES
    return "auto" if is_mixed and f".{ext.lstrip('.').lower()}" in others else ext
