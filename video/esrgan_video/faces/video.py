"""`VideoFaces`: the faces of the frames of one video, found in batches and followed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from esrgan_video.colour import to_rgb
from esrgan_video.container import Frame
from esrgan_video.faces.face import Detection, Face
from esrgan_video.faces.restorer import FaceRestorer
from esrgan_video.faces.track import FaceTracker
from esrgan_video.reuse import shows_the_same
from esrgan_video.size import resize

WARM_UP = 12
"""Frames before a part of the output that its tracker sees first."""
_BATCH = 8
"""Frames in which faces are looked for at once."""
_THUMBNAIL = 32
"""Side of the pictures that tell one scene from the next ..."""
_NEW_SCENE = 0.15
"""... by their mean absolute difference, white being 1."""


@dataclass(frozen=True, eq=False)
class _Seen:
    """What is known of a frame."""

    found: list[Detection]
    thumbnail: Tensor
    repeats: bool
    """Whether it shows what the frame before showed."""


class VideoFaces:
    """Follows faces through a video that is made in parts.

    Each part has a tracker of its own, which sees the last frames before the part first. So the faces of a part depend
    on the input alone, and not on which parts this run makes: one that goes on where another was interrupted gives the
    same frames. A frame that shows what the one before showed gets the same faces, whether pictures are reused or not.

    Args:
        restorer: finds and restores them; may be shared with others.
    """

    def __init__(self, restorer: FaceRestorer) -> None:
        self.restorer = restorer
        self._before: deque[_Seen | Frame] = deque(maxlen=WARM_UP)
        self._last: Frame | None = None

    def pass_over(self, frame: Frame) -> None:
        """Take note of a frame of a part that is done already."""
        self._before.append(frame)

    def follow(self, frames: Iterable[Frame]) -> Iterator[tuple[Frame, tuple[Face, ...]]]:
        """The frames of the next part, with the faces to restore in each."""
        tracker = FaceTracker() if self.restorer.options.smooth else None
        faces: tuple[Face, ...] = ()
        before: _Seen | None = None
        for seen in self._warm_up():
            faces = _advance(tracker, faces, seen, before)
            before = seen
        for batch in _batches(frames):
            for frame, seen in zip(batch, self._look_at(batch), strict=True):
                faces = _advance(tracker, faces, seen, before)
                before = seen
                self._before.append(seen)
                yield frame, faces

    def _warm_up(self) -> list[_Seen]:
        """The last frames before the part; of those that were passed over, faces are looked for now."""
        waiting = list(self._before)
        passed = [frame for frame in waiting if isinstance(frame, Frame)]
        looked_at = (seen for batch in _batches(passed) for seen in self._look_at(batch))
        seen = [next(looked_at) if isinstance(one, Frame) else one for one in waiting]
        self._before.clear()
        self._before.extend(seen)
        return seen

    def _look_at(self, batch: list[Frame]) -> list[_Seen]:
        """What there is to know of frames of equal size, layout and colour, which follow each other."""
        repeats = []
        for frame in batch:
            repeats.append(self._last is not None and shows_the_same(self._last, frame))
            self._last = frame
        first = batch[0]
        new = [frame for frame, repeated in zip(batch, repeats, strict=True) if not repeated or frame is first]
        planes = [
            torch.from_numpy(np.stack([frame.planes[index] for frame in new]))
            for index in range(first.layout.colour_planes)
        ]
        pictures = to_rgb(planes, first.layout, first.colour).clamp_(0, 1)
        found = iter(self.restorer.detect(pictures))
        thumbnails = iter(resize(pictures.mean(1, keepdim=True), _THUMBNAIL, _THUMBNAIL))
        result: list[_Seen] = []
        for frame, repeated in zip(batch, repeats, strict=True):
            if repeated and frame is not first:
                result.append(_Seen(result[-1].found, result[-1].thumbnail, repeats=True))
            else:
                result.append(_Seen(next(found), next(thumbnails), repeats=repeated))
        return result


def _advance(
    tracker: FaceTracker | None, faces: tuple[Face, ...], seen: _Seen, before: _Seen | None
) -> tuple[Face, ...]:
    """The faces of a frame after one that had `faces`."""
    if tracker is None:
        return tuple(Face(face.landmarks) for face in seen.found)
    if before is not None and seen.repeats:
        return faces
    if before is not None and float((seen.thumbnail - before.thumbnail).abs().mean()) > _NEW_SCENE:
        tracker.cut()
    return tracker.advance(seen.found)


def _batches(frames: Iterable[Frame]) -> Iterator[list[Frame]]:
    batch: list[Frame] = []
    for frame in frames:
        if batch and (len(batch) == _BATCH or not _alike(batch[0], frame)):
            yield batch
            batch = []
        batch.append(frame)
    if batch:
        yield batch


def _alike(one: Frame, other: Frame) -> bool:
    return one.planes[0].shape == other.planes[0].shape and (one.layout, one.colour) == (other.layout, other.colour)
