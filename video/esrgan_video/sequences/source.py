"""Numbered image files as pictures with times."""

from __future__ import annotations

import logging
from collections.abc import Generator, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

from esrgan.errors import UsageError
from esrgan_video.images import read_image
from esrgan_video.images.header import ImageHeader, read_header
from esrgan_video.pictures import Picture, PictureSource, frame_layout
from esrgan_video.sequences.pattern import SequencePattern

_log = logging.getLogger(__name__)

_NAMED_GAPS = 3


def sequence_source(pattern: SequencePattern, rate: Fraction) -> PictureSource:
    """The files of `pattern`, `rate` a second. The headers of all are read, so that what is wrong is said at once.

    Files of different depth or number of channels become what holds them all.

    Raises:
        UsageError: no file, a number that is missing between the first and the last, or different sizes.
        MediaError: a file that is no image.
    """
    numbers = pattern.numbers()
    if not numbers:
        raise UsageError(f"no file matches {pattern}")
    _check_gaps(pattern, numbers)
    files = [pattern.file(number) for number in numbers]
    headers = [read_header(file) for file in files]
    _check_sizes(pattern, files, headers)
    layout = frame_layout(
        channels=(header.channels for header in headers), depth=max(header.depth for header in headers)
    )
    kinds = sorted({(header.depth, header.channels) for header in headers})
    if len(kinds) > 1:
        mixed = ", ".join(f"{channels} channels of {depth} bits" for depth, channels in kinds)
        _log.warning("%s: its files differ (%s): all are read as %s", pattern, mixed, layout.pix_fmt)
    _log.info("%s: %d files from %s to %s", pattern, len(files), files[0].name, files[-1].name)

    def pictures() -> Generator[Picture]:
        for index, file in enumerate(files):
            yield Picture(index / rate, 1 / rate, lambda file=file: read_image(file))  # type: ignore[misc]

    return PictureSource(
        path=Path(str(pattern)),
        kind=f"{files[0].suffix.lower().lstrip('.')} files",
        count=len(files),
        length=len(files) / rate,
        time_base=1 / rate,
        layout=layout,
        pictures=pictures,
        first_number=numbers[0],
    )


def _check_gaps(pattern: SequencePattern, numbers: Sequence[int]) -> None:
    gaps = [(before + 1, after - 1) for before, after in pairwise(numbers) if after > before + 1]
    if not gaps:
        return
    count = sum(last - first + 1 for first, last in gaps)
    names = [
        pattern.file(first).name if first == last else f"{pattern.file(first).name} to {pattern.file(last).name}"
        for first, last in gaps[:_NAMED_GAPS]
    ]
    more = ", …" if len(gaps) > _NAMED_GAPS else ""
    raise UsageError(
        f"{pattern}: {count} file{'s are' if count > 1 else ' is'} missing between {pattern.file(numbers[0]).name} and "
        f"{pattern.file(numbers[-1]).name}: {', '.join(names)}{more}; a sequence has no gaps"
    )


def _check_sizes(pattern: SequencePattern, files: Sequence[Path], headers: Sequence[ImageHeader]) -> None:
    first = headers[0]
    others = [
        (file, header)
        for file, header in zip(files, headers, strict=True)
        if (header.width, header.height) != (first.width, first.height)
    ]
    if others:
        file, header = others[0]
        raise UsageError(
            f"{pattern}: {file.name} has {header.width}x{header.height} pixels where {files[0].name} has "
            f"{first.width}x{first.height} ({len(others)} of {len(files)} files differ): a sequence has one size"
        )
