"""`FrameTransform`: decoded frames in, frames for the encoder out. All that happens to pixels happens here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from esrgan_video.alpha import enlarged, flat_areas, nearest_visible, spread_visible
from esrgan_video.color_fix import match_low_frequencies
from esrgan_video.colour import Colour, PixelLayout, from_rgb, restore_gamut, split_gamut, to_rgb
from esrgan_video.compare import Comparison
from esrgan_video.container import Frame
from esrgan_video.container.frame import Plane
from esrgan_video.protocol import DeferringUpscaler, PlanningUpscaler
from esrgan_video.reuse import FrameGroup, Picture, Result, picture_finder
from esrgan_video.size import resize
from esrgan_video.transfer import Transfer

if TYPE_CHECKING:
    from esrgan_video.faces.blend import RestoredFace
    from esrgan_video.faces.video import VideoFaces

_LONGEST_GROUP = 8
"""Times the frames that go through at once: how long a group may grow while frames show what was there before."""


@dataclass(frozen=True)
class UpscaledGroup:
    """Frames whose new pixels may still be on their way to, or on, the device."""

    sources: list[Frame]
    """The frames as they were decoded."""
    pictures: list[Picture[Frame]]
    """What each of them shows."""
    results: list[Result]
    """Of each frame, the planes of `layout`, and whether they may stay."""
    layout: PixelLayout
    """What the planes are."""
    colour: Colour
    """What their values mean."""
    reused: int
    """How many of the frames show what an earlier one showed, and were not computed again."""
    transfer: Transfer
    """The way from the device."""
    ready: torch.cuda.Event | None
    """What tells that the planes are computed, where that happens on CUDA."""
    again: Callable[[Picture[Frame]], Result]
    """Computes a picture that may not stay as it is."""

    def frames(self, start: int = 0) -> Iterator[Frame]:
        """The frames in memory, from `start` on; waits for the device."""
        results = self.results[start:]
        there = [result.planes if result.good is None else (*result.planes, result.good) for result in results]
        arrived = self.transfer.to_host(there, self.ready)
        members = zip(self.sources[start:], self.pictures[start:], results, arrived, strict=True)
        for source, picture, result, values in members:
            planes = values[: len(result.planes)]
            if not all(good.all() for good in values[len(planes) :]):
                planes = self._exact_planes(picture, result)
            yield Frame(
                planes=planes,
                layout=self.layout,
                colour=self.colour,
                pts=source.pts,
                time_base=source.time_base,
                duration=source.duration,
                captions=source.captions,
                metadata=source.metadata,
            )

    def _exact_planes(self, picture: Picture[Frame], rounded: Result) -> tuple[Plane, ...]:
        """In memory; frames that show the picture later on find them computed."""
        exact = self.again(picture) if picture.result is rounded else picture.result
        (planes,) = self.transfer.to_host([exact.planes], self.transfer.mark())
        picture.computed = exact
        return planes


@dataclass(frozen=True, kw_only=True)
class FrameTransform:
    """Takes groups of decoded frames to their new size and to the encoder's planes."""

    upscaler: PlanningUpscaler
    """The network at work."""
    layout: PixelLayout
    """Planes that the encoder takes."""
    colour: Colour
    """Meaning of their values."""
    width: int
    """Columns of the result."""
    height: int
    """Rows of the result."""
    batch: int | None = None
    """Frames that go through at once; by default what the upscaler plans."""
    color_fix: bool = False
    """Whether the result gets the low frequencies of the input."""
    comparison: Comparison | None = None
    """How input and result share the picture; by default the result has it alone."""
    reuse: bool = True
    """Whether a frame that shows what one of the last few showed gets that one's pixels."""
    faces: VideoFaces | None = None
    """What finds and restores the faces; by default they are upscaled as all else is."""
    full_batches: bool | None = None
    """Whether a batch that would be short is filled up, so that all have one shape; by default on all devices but the
    CPU: GPU libraries choose their way of computing by the shape, and round differently. With one shape for all, a
    frame's result does not depend on what it shares its batch with."""
    deferred: bool | None = None
    """Whether what the network gave is looked at only where frames are delivered; by default on all devices but the
    CPU: looking waits for the device, which then waits for the next batch."""

    def batch_for(self, frame: Frame) -> int:
        """Frames like `frame` that go through at once."""
        if self.batch is not None:
            return self.batch
        plan = self.upscaler.plan(frame.height, frame.width)
        return max(1, plan.batch) if plan.tile is None else 1

    def groups(self, frames: Iterator[Frame]) -> Iterator[FrameGroup]:
        """Consecutive frames of equal size, layout and colour, with as many new pictures as go through at once.

        A picture is computed with the first group that has it, so groups must be upscaled in this order. Faces are
        looked for here, a few frames ahead.

        Args:
            frames: of one part of the output: faces are followed within it.
        """
        picture_of = picture_finder(reuse=self.reuse, layout=self.layout, height=self.height, width=self.width)
        group = FrameGroup()
        limit = 1
        followed = ((frame, ()) for frame in frames) if self.faces is None else self.faces.follow(frames)
        for frame, faces in followed:
            if group and (_is_full(group, limit) or not _alike(group.frames[0], frame)):
                yield group
                group = FrameGroup()
            if not group:
                limit = self.batch_for(frame)
            group.add(frame, picture_of(frame, faces))
        if group:
            yield group

    def pass_over(self, frame: Frame) -> None:
        """Take note of a frame of a part that is done already: faces of the next part may go on from it."""
        if self.faces is not None:
            self.faces.pass_over(frame)

    @torch.inference_mode()
    def __call__(self, group: FrameGroup) -> UpscaledGroup:
        """Upscale one of `groups`."""
        if group.new:
            on_cpu = self.upscaler.device.type == "cpu"
            self._compute(group.new, deferred=not on_cpu if self.deferred is None else self.deferred)
        return UpscaledGroup(
            group.frames,
            group.pictures,
            [picture.result for picture in group.pictures],
            self.layout,
            self.colour,
            reused=len(group) - len(group.new),
            transfer=self._transfer,
            ready=self._transfer.mark(),
            again=self._again,
        )

    @cached_property
    def _transfer(self) -> Transfer:
        return Transfer(self.upscaler.device)

    @torch.inference_mode()
    def _again(self, picture: Picture[Frame]) -> Result:
        """The result of a picture, looked at at once, and in float32 where it must be."""
        other = Picture(picture.source, faces=picture.faces)
        self._compute([other], deferred=False)
        return other.result

    def _compute(self, pictures: list[Picture[Frame]], *, deferred: bool) -> None:
        """Give pictures of equal size, layout and colour their results."""
        first = pictures[0].source
        planes = [
            self._transfer.to_device([picture.source.planes[index] for picture in pictures])
            for index in range(first.layout.colour_planes)
        ]
        rgb = to_rgb(planes, first.layout, first.colour)
        alphas, alphas_good = self._large_alphas(pictures, deferred=deferred)
        for colours, picture, alpha in zip(rgb, pictures, alphas, strict=True):
            places = None if alpha is None else nearest_visible(picture.source.planes[-1])
            if places is not None:
                spread_visible(colours, self._transfer.to_device([places])[0])
        inside, beyond = split_gamut(rgb)
        faces = self._restored_faces(inside, pictures)
        large, good = self._upscaled(inside, first, deferred=deferred)  # (N or more, 3, sH, sW)
        if good is not None and alphas_good is not None:
            good = good & alphas_good.all()
        for index, picture in enumerate(pictures):  # one by one: a frame of the output may be large
            one = slice(index, index + 1)
            made = self._finish(large[one], inside[one], beyond[one], alphas[index], first, faces[index])
            picture.computed = Result(made, None if good is None else good[one, None])

    def _upscaled(self, batch: Tensor, source: Frame, *, deferred: bool) -> tuple[Tensor, Tensor | None]:
        """The network's output for a batch, or a longer one, and which of it may stay; `None` where all may."""
        full = self.upscaler.device.type != "cpu" if self.full_batches is None else self.full_batches
        if full:
            batch = filled_up(batch, self.batch_for(source))
        if deferred and isinstance(self.upscaler, DeferringUpscaler):
            return self.upscaler.unchecked(batch)
        return self.upscaler(batch), None

    def _restored_faces(self, inside: Tensor, pictures: list[Picture[Frame]]) -> Sequence[Sequence[RestoredFace]]:
        """The faces of each picture, restored together."""
        if self.faces is None:
            return [()] * len(pictures)
        wanted = [picture.faces for picture in pictures]
        return self.faces.restorer.restore(inside, wanted, color_fix=self.color_fix)  # type: ignore[arg-type]

    def _large_alphas(
        self, pictures: list[Picture[Frame]], *, deferred: bool
    ) -> tuple[Sequence[Tensor | None], Tensor | None]:
        """Opacity of each picture at its final size, `(1, 1, height, width)` in 0..1; `None` where there is none.

        And, in any shape, whether all of it may stay; `None` where it may.
        """
        source = pictures[0].source
        if not (source.layout.alpha and self.layout.alpha):
            return [None] * len(pictures), None
        planes = [picture.source.planes[-1] for picture in pictures]
        varied = [index for index, plane in enumerate(planes) if plane.min() != plane.max()]
        large: dict[int, Tensor] = {}
        good = None
        if varied:
            batch = self._transfer.to_device([planes[index] for index in varied])
            batch = batch.float().div_(source.layout.peak).unsqueeze(1).expand(-1, 3, -1, -1)  # (N, 3, H, W)
            upscaled, good = self._upscaled(batch.contiguous(), source, deferred=deferred)
            large = dict(zip(varied, upscaled, strict=False))
        return [self._finish_alpha(plane, large.get(index), source) for index, plane in enumerate(planes)], good

    def _finish_alpha(self, plane: Plane, large: Tensor | None, source: Frame) -> Tensor:
        """Opacity at its final size: the network's where it varies, else what it was."""
        own = self._transfer.to_device([enlarged(plane, self.height, self.width)])[0]
        result = own.float().div_(source.layout.peak)[None, None]
        if large is not None:
            smooth = resize(large.mean(0, keepdim=True)[None], self.height, self.width).clamp_(0, 1)
            flat = self._transfer.to_device([enlarged(flat_areas(plane), self.height, self.width)])[0]
            result = torch.where(flat, result, smooth)
        if self.comparison is not None:
            before = self._transfer.to_device([plane.astype(np.float32) / source.layout.peak])
            result = self.comparison(before[None], result)
        return result

    def _finish(
        self,
        large: Tensor,
        inside: Tensor,
        beyond: Tensor,
        alpha: Tensor | None,
        source: Frame,
        faces: Sequence[RestoredFace],
    ) -> tuple[Tensor, ...]:
        """The network's output at its final size, as code values."""
        size = (self.height, self.width)
        grey = source.layout.model == "grey"
        rgb, rest = at_final_size(large, inside, beyond, size, grey=grey, color_fix=self.color_fix, faces=faces)
        if self.comparison is not None:
            rgb = self.comparison(inside + beyond, rgb if rest is None else restore_gamut(rgb, rest))
            rest = None
        return from_rgb(
            rgb,
            self.layout,
            self.colour,
            beyond=rest,
            alpha=None if alpha is None else alpha[:, 0],
            dither=source.layout.bits > self.layout.bits,
        )


def filled_up(batch: Tensor, count: int) -> Tensor:
    """`(N, C, H, W)` with copies of its last picture behind: `count` pictures, if there are not more already."""
    missing = max(0, count - len(batch))
    return torch.cat((batch, batch[-1:].expand(missing, -1, -1, -1)))


def at_final_size(
    large: Tensor,
    inside: Tensor,
    beyond: Tensor | None,
    size: tuple[int, int],
    *,
    grey: bool,
    color_fix: bool,
    faces: Sequence[RestoredFace] = (),
) -> tuple[Tensor, Tensor | None]:
    """What becomes of the network's output for one picture, in every front end.

    Args:
        large: `(1, 3, sH, sW)`, the output. It may be changed.
        inside: `(1, 3, H, W)`, the input that the network saw.
        beyond: `(1, 3, H, W)`, what `split_gamut` took away from it; `None` where nothing was, and the output is not
            to be clamped either.
        size: rows and columns of the result.
        grey: whether the input has no colour. A network may tint it.
        color_fix: whether the result gets the low frequencies of the input.
        faces: what goes over it.

    Returns:
        `(1, 3, *size)`, and what `restore_gamut` is still to do to it: `beyond`, or `None` where that is done or is not
        to be. `from_rgb` does it on its way, for a pass over a large result takes time.
    """
    # Networks give channels-last memory; planes are what comes next.
    rgb = resize(large, *size).contiguous()
    if color_fix:
        rgb = match_low_frequencies(rgb, inside)
    for face in faces:
        face.paste(rgb, (inside.shape[-2], inside.shape[-1]))
    if not grey:
        return rgb, beyond
    rgb = rgb if beyond is None else restore_gamut(rgb, beyond)
    return rgb.mean(1, keepdim=True).expand(-1, 3, -1, -1), None


def _is_full(group: FrameGroup, limit: int) -> bool:
    return len(group.new) == limit or len(group) == limit * _LONGEST_GROUP


def _alike(one: Frame, other: Frame) -> bool:
    return one.planes[0].shape == other.planes[0].shape and (one.layout, one.colour) == (other.layout, other.colour)
