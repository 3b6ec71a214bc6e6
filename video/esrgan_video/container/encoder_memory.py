"""How much memory an encoder will take, estimated before it is opened, and how x264 gets along with less.

An encoder holds tens of frames at once: those that it looks ahead at, those that others refer to, and one for each of
its threads. At 7680x4320 that is some GB. The figures here were found by encoding upscaled video, see
`benchmarks/encoder_memory.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil
from typing import Self

from esrgan_video.colour import PixelLayout
from esrgan_video.container.encoder import X264
from esrgan_video.container.encoding import OutputVideo

_MARGIN = 1.15
"""Over what x264's frames are known to take: its tables for each thread, and what the allocator loses."""
_BYTES_PER_PIXEL = {"libx265": (220, 350), "libsvtav1": (350, 550), "libvpx-vp9": (140, 280), "ffv1": (35, 70)}
"""By encoder: what it takes at its usual settings for each pixel of a frame, with 8 bits and with more."""
_OTHERS = (30, 60)
"""The same for any other encoder: a few frames."""
_SHORTEST = 3
"""Frames of the shortest lookahead, as many as x264 takes for B-frames alone."""


@dataclass(frozen=True)
class _X264Frames:
    """The settings of x264 that decide how many frames it holds."""

    lookahead: int
    b_frames: int
    references: int

    @classmethod
    def of(cls, options: Mapping[str, str]) -> Self:
        """What `options` lead to; those that x264 would refuse count as not given."""
        preset = _PRESETS.get(options.get("preset", "medium"), _PRESETS["medium"])
        given = dict(part.partition("=")[::2] for part in options.get("x264-params", "").split(":"))
        return cls(
            _number(given.get("rc-lookahead", options.get("rc-lookahead")), preset.lookahead),
            _number(given.get("bframes", options.get("bf")), preset.b_frames),
            _number(given.get("ref", options.get("refs")), preset.references),
        )

    def inputs(self, threads: int) -> int:
        """Frames that wait to be encoded, or are at it."""
        of_its_thread = self.b_frames + 1 if threads > 1 else 0
        return max(self.lookahead, self.b_frames) + self.b_frames + 2 + of_its_thread + threads - 1

    def references_held(self, threads: int) -> int:
        """Encoded frames that others refer to; a pyramid of B-frames takes four."""
        return (max(self.references, 4) if self.b_frames else self.references) + threads


_PRESETS: Mapping[str, _X264Frames] = {
    "ultrafast": _X264Frames(0, 0, 1),
    "superfast": _X264Frames(0, 3, 1),
    "veryfast": _X264Frames(10, 3, 1),
    "faster": _X264Frames(20, 3, 2),
    "fast": _X264Frames(30, 3, 2),
    "medium": _X264Frames(40, 3, 3),
    "slow": _X264Frames(50, 3, 5),
    "slower": _X264Frames(60, 3, 8),
    "veryslow": _X264Frames(60, 8, 16),
    "placebo": _X264Frames(60, 16, 16),
}
"""As `x264 --fullhelp` lists them."""


def encoder_bytes(video: OutputVideo) -> int:
    """Bytes that the encoder of `video` is expected to take, once it has all the frames that it wants to see."""
    plan, pixels = video.plan, video.width * video.height
    if plan.encoder not in X264:
        eight, more = _BYTES_PER_PIXEL.get(plan.encoder, _OTHERS)
        return pixels * (eight if plan.layout.bits == 8 else more)
    held, threads = _X264Frames.of(plan.options), max(1, video.threads)
    sample = 1 if plan.layout.bits == 8 else 2
    full_planes = plan.layout.colour_planes if _has_full_chroma(plan.layout) else 1
    samples = _samples(plan.layout)
    # In four phases at a quarter of the size for the lookahead, with the costs of each block; and, once encoded, at
    # three positions between pixels.
    each_input = sample * (samples + 1) + 0.35
    each_reference = sample * (samples + 3 * full_planes) + 0.3
    return ceil(_MARGIN * pixels * (held.inputs(threads) * each_input + held.references_held(threads) * each_reference))


def fitting_lookahead(video: OutputVideo, room: int) -> int | None:
    """How far x264 is to look ahead for its memory to stay under `room` bytes; `None` leaves it as it is.

    The longest of a half, a quarter ... of what the preset says, or the shortest there is where none fits. What the
    user has said of the lookahead stays.
    """
    options = video.plan.options
    said = "rc-lookahead" in options or "rc-lookahead" in options.get("x264-params", "")
    if video.plan.encoder not in X264 or said or encoder_bytes(video) <= room:
        return None
    lookahead = _X264Frames.of(options).lookahead
    if lookahead <= _SHORTEST:
        return None
    while lookahead > _SHORTEST and encoder_bytes(with_lookahead(video, lookahead)) > room:
        lookahead = max(_SHORTEST, lookahead // 2)
    return lookahead


def with_lookahead(video: OutputVideo, lookahead: int | None) -> OutputVideo:
    """`video` with x264 looking ahead so many frames; `None` changes nothing."""
    if lookahead is None:
        return video
    options = {**video.plan.options, "rc-lookahead": str(lookahead)}
    return replace(video, plan=replace(video.plan, options=options))


def _has_full_chroma(layout: PixelLayout) -> bool:
    return (layout.chroma_x, layout.chroma_y) == (1, 1)


def _samples(layout: PixelLayout) -> float:
    """Of all planes, for each pixel."""
    return 1 + (layout.colour_planes - 1) / (layout.chroma_x * layout.chroma_y)


def _number(said: str | None, usual: int) -> int:
    return int(said) if said is not None and said.isdigit() else usual
