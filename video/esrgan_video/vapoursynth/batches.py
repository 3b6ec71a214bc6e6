"""Batches as a graph: the core requests, merges and caches frames, and Python sees whole batches only.

For batches of B frames on S streams, frame number n is the k-th of batch b, with b = n // B and k = n % B. One
`ModifyFrame` per stream gets the frames of a batch as B clips and gives all results in one tall frame; the rest is
cutting and interleaving. Nothing here requests a frame or waits for a lock, so that no graph can lock up, and the
core computes a tall frame once, however many of its parts are requested at the same time.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from esrgan_video.engine import Upscaler
from esrgan_video.size import resize
from esrgan_video.transform import add_enlarged, split_gamut

if TYPE_CHECKING:
    import vapoursynth as vs


@dataclass(frozen=True, kw_only=True)
class Target:
    """What one frame becomes."""

    width: int
    """Columns of the result."""
    height: int
    """Rows of the result."""
    is_exact: bool
    """Float formats get what the network gives. Others get 0..1, and what their input had beyond that range
    (super-white, colours out of gamut) goes around the network."""


@dataclass(frozen=True)
class _Place:
    """Which batches a stream computes: the batches `index`, `index + streams` …"""

    index: int
    streams: int
    batch: int
    frames: int
    """Frames of the whole clip."""

    def first_of(self, n: int) -> int:
        """Number of the first frame of this stream's batch `n`."""
        return (n * self.streams + self.index) * self.batch


def upscale_batches(clip: vs.VideoNode, upscalers: Sequence[Upscaler], *, target: Target, batch: int) -> vs.VideoNode:
    """Frames of `clip`, upscaled `batch` at a time.

    Args:
        clip: RGB or GRAY in float, constant format and size.
        upscalers: one per stream; streams may share one.
        target: of each frame.
        batch: frames that are handed to an upscaler at once, at least 1.

    Returns:
        A clip of as many frames in the same format, without frame properties.
    """
    streams, frames = len(upscalers), clip.num_frames
    cycle = batch * streams
    rounds = -(-frames // cycle)
    padded = clip + clip[-1] * (rounds * cycle - frames) if frames % cycle else clip
    template = clip.std.BlankClip(width=target.width, height=target.height * batch, length=rounds, keep=True)
    tall = []
    for index, upscaler in enumerate(upscalers):
        members = [_every(padded, cycle, index * batch + k) for k in range(batch)]
        compute = _Stream(upscaler, target, _Place(index, streams, batch, frames))
        tall.append(template.std.ModifyFrame(members, compute))
    return _cut(_interleaved(tall), target, batch)[:frames]


def _cut(tall: vs.VideoNode, target: Target, batch: int) -> vs.VideoNode:
    """Single frames from tall ones."""
    import vapoursynth as vs

    if batch == 1:
        return tall
    # A part may be requested after the next batches, by as many frames as are computed at once.
    tall.std.SetVideoCache(mode=1, fixedsize=True, maxsize=2 + -(-vs.core.num_threads // batch))
    parts = [tall.std.CropAbs(target.width, target.height, left=0, top=k * target.height) for k in range(batch)]
    return _interleaved(parts)


def _every(clip: vs.VideoNode, cycle: int, offset: int) -> vs.VideoNode:
    return clip if cycle == 1 else clip.std.SelectEvery(cycle, [offset], modify_duration=False)


def _interleaved(clips: list[vs.VideoNode]) -> vs.VideoNode:
    import vapoursynth as vs

    return clips[0] if len(clips) == 1 else vs.core.std.Interleave(clips, modify_duration=False)


class _Stream:
    """Computes the batches of one stream; the core never calls it twice at the same time."""

    def __init__(self, upscaler: Upscaler, target: Target, place: _Place) -> None:
        self._upscaler = upscaler
        self._target = target
        self._place = place
        self._queue: torch.cuda.Stream | None = None
        if upscaler.device.type == "cuda":
            # What freed frames leave in torch's pool would otherwise stay until the process ends.
            weakref.finalize(self, torch.cuda.empty_cache).atexit = False
            if place.streams > 1:
                self._queue = torch.cuda.Stream(upscaler.device)  # type: ignore[no-untyped-call]
                self._queue.wait_stream(torch.cuda.default_stream(upscaler.device))

    @torch.inference_mode()
    def __call__(self, n: int, f: Any) -> vs.VideoFrame:
        """The tall frame `n`: `f` is the batch's frames, or the one frame if the batch is 1."""
        import vapoursynth as vs

        sources = f if isinstance(f, list) else [f]
        sources = sources[: self._place.frames - self._place.first_of(n)]
        height = self._target.height
        tall = vs.core.create_video_frame(sources[0].format, self._target.width, height * self._place.batch)
        planes = [torch.from_numpy(np.asarray(plane)) for plane in tall]
        with self._on_queue():
            for k, picture in enumerate(self._upscale(_read(sources))):
                for plane, values in zip(planes, picture, strict=True):
                    plane[k * height : (k + 1) * height].copy_(values)
        return tall

    def _upscale(self, frames: Tensor) -> Iterator[Tensor]:
        """`(N, C, H, W)`, C = 1 or 3, to `(C, height, width)` on the CPU, one after the other."""
        frames = frames.to(self._upscaler.device).float()
        rgb = frames.expand(-1, 3, -1, -1)
        inside, beyond = (rgb, None) if self._target.is_exact else split_gamut(rgb)
        large = self._upscaler(inside)  # (N, 3, sH, sW)
        for index in range(len(frames)):  # one by one: a result may be large
            picture = resize(large[index : index + 1], self._target.height, self._target.width)
            if beyond is not None:
                picture = picture.contiguous().clamp_(0, 1)
                add_enlarged(picture, beyond[index : index + 1])
            if frames.shape[1] == 1:  # a network may tint what has no colour
                picture = picture.mean(1, keepdim=True)
            yield picture[0].cpu()

    def _on_queue(self) -> contextlib.AbstractContextManager[object]:
        if self._queue is None:
            return contextlib.nullcontext()
        return torch.cuda.stream(self._queue)


def _read(frames: Sequence[Any]) -> Tensor:
    """`(N, C, H, W)` in the frames' own float type."""
    return torch.from_numpy(np.stack([[np.asarray(plane) for plane in frame] for frame in frames]))
