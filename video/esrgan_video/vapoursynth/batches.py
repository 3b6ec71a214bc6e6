"""Batches as a graph: the core requests, merges and caches frames, and Python sees whole batches only.

For batches of B frames on S streams, frame number n is the k-th of batch b, with b = n // B and k = n % B. One
`ModifyFrame` per stream gets the frames of a batch as B clips and gives all results in one tall frame; the rest is
cutting and interleaving. Nothing here requests a frame or waits for a lock, so that no graph can lock up, and the
core computes a tall frame once, however many of its parts are requested at the same time.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from esrgan_video.colour import Colour, split_gamut
from esrgan_video.engine import Upscaler
from esrgan_video.engine.remembering import RememberingUpscaler
from esrgan_video.reuse import Picture, RecentPictures, Result, equal_planes
from esrgan_video.transfer import Transfer
from esrgan_video.transform import at_final_size, filled_up
from esrgan_video.vapoursynth.formats import Samples, colour_of

if TYPE_CHECKING:
    import vapoursynth as vs


@dataclass(frozen=True, kw_only=True)
class Target:
    """What one frame becomes."""

    width: int
    """Columns of the result."""
    height: int
    """Rows of the result."""
    color_fix: bool
    """Whether the result gets the low frequencies of the input."""
    reuse: bool
    """Whether a frame that shows what one of the last few of its stream showed gets that one's pixels."""


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
        clip: of constant format and size, see `check_clip`.
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
        compute = _Stream(upscaler, target, _Place(index, streams, batch, frames), clip.format)
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


@dataclass(frozen=True, eq=False)
class _Source:
    """The samples of one frame, copied out of it, and what they mean."""

    planes: tuple[NDArray[Any], ...]
    colour: Colour

    def shows_the_same(self, other: _Source) -> bool:
        return self.colour == other.colour and equal_planes(self.planes, other.planes)


class _Stream:
    """Computes the batches of one stream; the core never calls it twice at the same time."""

    def __init__(self, upscaler: Upscaler, target: Target, place: _Place, video_format: vs.VideoFormat) -> None:
        self._upscaler = RememberingUpscaler(upscaler) if target.reuse else upscaler
        self._target = target
        self._place = place
        self._samples = Samples.of(video_format)
        self._transfer = Transfer(upscaler.device)
        size = target.width * target.height * video_format.num_planes * video_format.bytes_per_sample
        recent = RecentPictures(_Source.shows_the_same, result_bytes=size)
        self._picture_of = recent.of if target.reuse else Picture
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

        frames = f if isinstance(f, list) else [f]
        first = self._place.first_of(n)
        frames = frames[: self._place.frames - first]
        pictures = [self._picture_of(self._read(frame, first + k)) for k, frame in enumerate(frames)]
        with self._on_queue():
            self._compute(list({id(picture): picture for picture in pictures if picture.computed is None}.values()))
        size = self._target.width, self._target.height * self._place.batch
        tall = vs.core.create_video_frame(frames[0].format, *size)
        for index, plane in enumerate(tall):
            rows = torch.from_numpy(np.asarray(plane))
            height = len(rows) // self._place.batch
            for k, picture in enumerate(pictures):
                rows[k * height : (k + 1) * height].copy_(picture.result.planes[index][0])
        return tall

    def _read(self, frame: Any, number: int) -> _Source:
        colour = colour_of(frame.props, self._samples, number=number, format_name=frame.format.name)
        return _Source(tuple(np.array(plane) for plane in frame), colour)

    def _compute(self, pictures: Sequence[Picture[_Source]]) -> None:
        """Give pictures their results, on the CPU."""
        if not pictures:
            return
        rgb = torch.cat([self._rgb(picture.source) for picture in pictures])
        inside, beyond = (rgb, None) if self._samples.is_float_picture else split_gamut(rgb)
        # GPU libraries round differently for batches of different shape: keep one.
        on_cpu = self._upscaler.device.type == "cpu"
        batch = inside if on_cpu else filled_up(inside, self._place.batch)
        large = self._upscaler(batch)  # (N or more, 3, sH, sW)
        results = []
        for index, picture in enumerate(pictures):  # one by one: a result may be large
            one = slice(index, index + 1)
            result, rest = at_final_size(
                large[one],
                inside[one],
                None if beyond is None else beyond[one],
                (self._target.height, self._target.width),
                grey=self._samples.model == "grey",
                color_fix=self._target.color_fix,
            )
            planes = self._samples.from_rgb(result, picture.source.colour, rest)
            # On a processor nothing is copied on the way, and no views of a whole batch are to stay.
            results.append(tuple(plane[None].clone() if on_cpu else plane[None] for plane in planes))
        for picture, arrived in zip(pictures, self._transfer.to_host(results, self._transfer.mark()), strict=True):
            picture.computed = Result(tuple(torch.from_numpy(plane)[None] for plane in arrived))

    def _rgb(self, source: _Source) -> Tensor:
        planes = [self._transfer.to_device([plane])[0] for plane in source.planes]
        return self._samples.to_rgb(planes, source.colour)

    def _on_queue(self) -> contextlib.AbstractContextManager[object]:
        if self._queue is None:
            return contextlib.nullcontext()
        return torch.cuda.stream(self._queue)
