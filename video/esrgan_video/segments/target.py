"""A video file as the place where the upscaled frames go: its parts are segments in a store until all are joined."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from esrgan_video.container import Frame, VideoEncoder
from esrgan_video.container.encoder_memory import encoder_bytes
from esrgan_video.container.output_path import finished_under
from esrgan_video.frame_target import FrameTarget, StoredTarget, completed
from esrgan_video.options import VideoOptions
from esrgan_video.plan import VideoPlan, plan_video
from esrgan_video.protocol import PlanningUpscaler
from esrgan_video.segments import Completion, SegmentStore, opened_store
from esrgan_video.sources import AnyReader


class VideoTarget(StoredTarget[SegmentStore]):
    """A video file that is joined from closed segments.

    Opening tries out the encoder and the file's header, so that what cannot work fails before the first frame.

    Args:
        plan: of the video.
        store: of its segments.
        keeps_frames: whether frames that were slow to compute are kept until their segment is whole: a later run must
            be able to go on in the middle of a segment.
    """

    def __init__(self, plan: VideoPlan, store: SegmentStore, *, keeps_frames: bool) -> None:
        self._keeps_frames = keeps_frames
        self._plan = plan.settled(store.job)
        encoder = self._plan.video.plan
        dropped = tuple(str(stream) for stream in self._plan.streams.dropped)
        super().__init__(store, layout=encoder.layout, colour=encoder.colour, dropped=dropped)
        with self._plan.muxer(store.scratch):
            pass

    @property
    def held_bytes(self) -> int:
        """Memory that the encoder will hold."""
        return encoder_bytes(self._plan.video)

    @property
    def kept_frames(self) -> int:
        """Frames of unfinished segments that an earlier run computed."""
        return self._store.shelved if self._keeps_frames else 0

    def kept(self, index: int, sources: Iterator[Frame]) -> Iterator[Frame]:
        """The first frames of a segment, where an earlier run computed them.

        Raises:
            MediaError: see `FrameShelf.frames`.
        """
        video = self._plan.video
        if not self._keeps_frames:
            return iter(())
        return self._store.shelf(index).frames(
            sources, layout=self.layout, colour=self.colour, width=video.width, height=video.height
        )

    def write(self, index: int, frames: Iterable[Frame]) -> None:
        """Encode a segment and store it.

        Raises:
            MediaError: the encoder fails, or the disk is full.
        """
        encoder = VideoEncoder(self._plan.video)
        kept = self._store.shelf(index).keeping(frames) if self._keeps_frames else frames
        self._store.add(index, encoder.extradata, encoder.packets(kept))

    def finish(self) -> Completion:
        """Join the segments in the file and, when it has its name, remove them.

        Raises:
            MediaError: the disk is full, or a segment is damaged.
        """
        done, video = completed(self.completion), self._plan.video
        end = self._store.end * video.time_base
        with finished_under(self._plan.target) as unfinished, self._plan.muxer(unfinished, end) as muxer:
            muxer.write(
                self._store.packets(extradata=muxer.extradata, step=video.usual_duration, time_base=video.time_base)
            )
        self._store.discard()
        return done


@contextlib.contextmanager
def open_video_target(
    path: Path, reader: AnyReader, size: tuple[int, int], options: VideoOptions, upscaler: PlanningUpscaler
) -> Iterator[FrameTarget]:
    """A video file; see `open_target`.

    Raises:
        UsageError: as `plan_video` and `opened_store`.
    """
    plan = plan_video(path, reader, size, options, upscaler)
    with opened_store(path, plan.job, restart=options.restart, make=SegmentStore) as store:
        # Faces are followed from the first frame of a segment on.
        yield VideoTarget(plan, store, keeps_frames=options.faces is None and plan.job.can_go_on)
