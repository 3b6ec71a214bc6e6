"""Animated GIF, APNG and WebP as pictures with times: each frame as it is shown, with its own delay, exactly."""

from __future__ import annotations

import math
import struct
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from pathlib import Path
from typing import Literal, cast

import numpy as np
from PIL import Image

from esrgan.errors import MediaError
from esrgan_video.animation.apng import apng_delays
from esrgan_video.animation.gif import gif_frames
from esrgan_video.container.formats import open_input, reason
from esrgan_video.container.frame import from_av
from esrgan_video.images import ImageMetadata, Pixels, StillImage
from esrgan_video.images.modes import array_of
from esrgan_video.images.pillow import quiet_pillow
from esrgan_video.pictures import Picture, PictureSource, frame_layout, pixels_of

Kind = Literal["gif", "apng", "webp"]

_KINDS: dict[str, Kind] = {"GIF": "gif", "PNG": "apng", "WEBP": "webp"}
"""By Pillow's names."""
_NO_DELAY = Fraction(1, 10)
"""Seconds that browsers show a frame whose delay is zero."""
_MOST_TICKS = 1_000_000
"""Ticks a second, at most: more is no longer read by every player."""
_GREY_ALPHA = {"ya8": "rgba", "ya16be": "rgba64le", "ya16le": "rgba64le"}
"""Formats without planar counterpart."""


@dataclass(frozen=True)
class _Facts:
    """What the file says of the whole animation."""

    kind: Kind
    plays: int
    """How often it is shown, 0 for ever."""
    metadata: ImageMetadata


def animation_source(path: Path) -> PictureSource:
    """The frames of a GIF, PNG or WebP as they are shown: composed, with disposal and blending done.

    All are decoded once before, to know their delays and whether any is transparent. A delay of zero becomes 0.1 s, as
    in browsers.

    Raises:
        MediaError: the file is damaged, or none of these.
    """
    facts = _facts(path)
    durations: list[Fraction] = []
    channels, depth = 1, 8
    for pixels, duration in _decoded(path, facts):
        durations.append(duration or _NO_DELAY)
        channels = max(channels, _channels_used(pixels))
        depth = max(depth, pixels.dtype.itemsize * 8)
    if not durations:
        raise MediaError(f"{path} has no frame")
    begins = list(accumulate(durations, initial=Fraction(0)))
    layout = frame_layout(channels=[channels], depth=depth)

    def pictures() -> Generator[Picture]:
        # The file may have been cut since: then there are fewer frames.
        for (pixels, _), begin, duration in zip(_decoded(path, facts), begins, durations, strict=False):
            kept = pixels if layout.alpha or pixels.shape[2] in (1, 3) else pixels[:, :, :-1]
            yield Picture(begin, duration, lambda kept=kept: StillImage(kept, facts.metadata))  # type: ignore[misc]

    return PictureSource(
        path=path,
        kind=facts.kind,
        count=len(durations),
        length=begins[-1],
        time_base=_time_base(durations),
        layout=layout,
        pictures=pictures,
        plays=facts.plays,
    )


def _channels_used(pixels: Pixels) -> int:
    """Channels without an alpha that is opaque everywhere."""
    count = int(pixels.shape[2])
    opaque = count in (2, 4) and int(pixels[:, :, -1].min()) == np.iinfo(pixels.dtype).max
    return count - 1 if opaque else count


def _time_base(durations: Sequence[Fraction]) -> Fraction:
    denominators: list[int] = [duration.denominator for duration in durations]
    return Fraction(1, min(math.lcm(*denominators), _MOST_TICKS))


def _facts(path: Path) -> _Facts:
    try:
        with quiet_pillow(path), Image.open(path, formats=tuple(_KINDS)) as image:
            kind = _KINDS[str(image.format)]
            loop = image.info.get("loop")
            profile = image.info.get("icc_profile") or None
            return _Facts(
                kind,
                _gif_plays(loop) if kind == "gif" else int(loop or 0),
                ImageMetadata(icc_profile=profile),
            )
    except Exception as error:  # on damaged files decoders raise anything
        detail = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
        raise MediaError(f"cannot read {path}: {detail}") from error


def _gif_plays(loop: int | None) -> int:
    """A GIF counts repetitions after the first time; without a count it is shown once."""
    return 1 if loop is None else 0 if loop == 0 else loop + 1


def _decoded(path: Path, facts: _Facts) -> Iterator[tuple[Pixels, Fraction]]:
    """Each frame as shown, with its delay in seconds."""
    if facts.kind == "apng":
        return zip(_apng_frames(path), apng_delays(path), strict=False)
    return _guarded(path, gif_frames(path) if facts.kind == "gif" else _webp_frames(path))


def _apng_frames(path: Path) -> Iterator[Pixels]:
    """Through FFmpeg: Pillow blends partial alpha otherwise than the PNG specification says, and has 8 bits only."""
    import av

    with open_input(path) as container:
        try:
            for frame in container.decode(container.streams.video[0]):
                name = _GREY_ALPHA.get(frame.format.name, frame.format.name)
                yield pixels_of(from_av(frame.reformat(format=name, threads=1), pts=0, time_base=Fraction(1)))
        except av.error.FFmpegError as error:
            raise MediaError(f"cannot read {path} any further: {reason(error)}") from error


def _webp_frames(path: Path) -> Iterator[tuple[Pixels, Fraction]]:
    """Through Pillow: FFmpeg reads a WebP only where it is still."""
    with Image.open(path, formats=("WEBP",)) as image:
        for index in range(getattr(image, "n_frames", 1)):
            image.seek(index)
            image.load()
            yield array_of(image), Fraction(cast("int", image.info.get("duration", 0)), 1000)


def _guarded(path: Path, frames: Iterator[tuple[Pixels, Fraction]]) -> Iterator[tuple[Pixels, Fraction]]:
    try:
        yield from frames
    except (OSError, EOFError, SyntaxError, ValueError, IndexError, struct.error) as error:
        raise MediaError(f"cannot read {path} any further: {error}") from error
