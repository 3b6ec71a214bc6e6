"""`FrameTarget`: what the pipeline asks of an output, and what outputs of several kinds have in common."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from esrgan.errors import MediaError, UsageError
from esrgan_video.colour import Colour, PixelLayout
from esrgan_video.container import EncoderOptions, Frame, VideoReader
from esrgan_video.segments import Completion, Segment, SegmentStore
from esrgan_video.sources import AnyReader

_log = logging.getLogger(__name__)


class FrameTarget(Protocol):
    """An output that is open. It takes frames in parts; a part that is written may outlive the run."""

    @property
    def layout(self) -> PixelLayout:
        """Planes that frames must have."""
        ...

    @property
    def colour(self) -> Colour:
        """What their values must mean."""
        ...

    @property
    def dropped(self) -> tuple[str, ...]:
        """Streams of the input that the output lacks."""
        ...

    @property
    def part_frames(self) -> int | None:
        """Frames of each part but the last; `None`: all frames are one part."""
        ...

    @property
    def held_bytes(self) -> int:
        """Memory that what writes will hold, beyond the frame that it is given."""
        ...

    @property
    def finished(self) -> Mapping[int, Segment]:
        """Parts that an earlier run has written, by their place."""
        ...

    @property
    def completion(self) -> Completion | None:
        """Set when no part is missing."""
        ...

    @property
    def kept_frames(self) -> int:
        """Frames of unfinished parts that an earlier run computed."""
        ...

    def kept(self, index: int, sources: Iterator[Frame]) -> Iterator[Frame]:
        """The first frames of part `index` as an earlier run computed them; uses up as many of `sources`."""
        ...

    def write(self, index: int, frames: Iterable[Frame]) -> None:
        """Write part `index`, the frames that are kept included."""
        ...

    def complete(self, frames: int, damaged_packets: int) -> None:
        """Say that all parts are written, and have `frames` frames."""
        ...

    def finish(self) -> Completion:
        """Give the output its name, when all parts are written."""
        ...


@dataclass(kw_only=True)
class WholeTarget:
    """An output that is written in one go: nothing outlives the run."""

    layout: PixelLayout
    """Planes that frames must have."""
    colour: Colour
    """What their values must mean."""
    write_all: Callable[[Iterable[Frame]], int]
    """Takes all frames, finishes the output and returns how many it wrote; called once."""
    dropped: tuple[str, ...] = ()
    """Streams of the input that the output lacks."""
    part_frames: None = None
    """All frames are one part."""
    held_bytes: int = 0
    """A frame at a time."""
    finished: Mapping[int, Segment] = field(default_factory=dict)
    """None."""
    completion: Completion | None = None
    """Set when all is written."""
    kept_frames: int = 0
    """None."""
    _written: int = 0

    def kept(self, _index: int, _sources: Iterator[Frame]) -> Iterator[Frame]:
        """None."""
        return iter(())

    def write(self, _index: int, frames: Iterable[Frame]) -> None:
        """Write all frames."""
        self._written = self.write_all(frames)

    def complete(self, frames: int, damaged_packets: int) -> None:
        """Say that there were `frames` frames.

        Raises:
            MediaError: another number of them was written.
        """
        if self._written != frames:
            raise MediaError(
                f"{frames} frames were decoded but {self._written} written: this is a bug, please report it"
            )
        self.completion = Completion(frames=frames, damaged_packets=damaged_packets)

    def finish(self) -> Completion:
        """Nothing is left to do."""
        return completed(self.completion)


class StoredTarget[Store: SegmentStore]:
    """Base of outputs whose parts are recorded in a store, and so outlive the run.

    Args:
        store: records the parts.
        layout: planes that frames must have.
        colour: what their values must mean.
        dropped: streams of the input that the output lacks.
    """

    def __init__(self, store: Store, *, layout: PixelLayout, colour: Colour, dropped: tuple[str, ...]) -> None:
        self._store = store
        self.layout = layout
        """Planes that frames must have."""
        self.colour = colour
        """What their values must mean."""
        self.dropped = dropped
        """Streams of the input that the output lacks."""

    @property
    def part_frames(self) -> int:
        """Frames of each part but the last."""
        return self._store.job.segment_frames

    @property
    def finished(self) -> Mapping[int, Segment]:
        """Parts that are in the store."""
        return self._store.segments

    @property
    def completion(self) -> Completion | None:
        """Set when no part is missing."""
        return self._store.completion

    @property
    def held_bytes(self) -> int:
        """A frame at a time, unless a subclass holds more."""
        return 0

    @property
    def kept_frames(self) -> int:
        """None, unless a subclass keeps them."""
        return 0

    def kept(self, _index: int, _sources: Iterator[Frame]) -> Iterator[Frame]:
        """None, unless a subclass keeps them."""
        return iter(())

    def complete(self, frames: int, damaged_packets: int) -> None:
        """Say that no part is missing, and that all together have `frames` frames."""
        self._store.complete(frames, damaged_packets)


def completed(completion: Completion | None) -> Completion:
    """The completion of an output of which all parts are written."""
    if completion is None:
        raise ValueError("parts are missing")
    return completion


def refuse_encoder(encoder: EncoderOptions, subject: str) -> None:
    """Refuse choices of a video encoder where there is none.

    Args:
        encoder: what was chosen.
        subject: who has no choice, with its verb.

    Raises:
        UsageError: anything was chosen.
    """
    given: dict[str, object] = {
        "--codec": encoder.codec,
        "--crf": encoder.crf,
        "--preset": encoder.preset,
        "--pix-fmt": encoder.pix_fmt,
        "--encoder-option": encoder.extra or None,
    }
    names = [name for name, value in given.items() if value is not None]
    if names:
        raise UsageError(f"{subject} no choice of video encoder: leave out {', '.join(names)}")


def report_other_streams(reader: AnyReader, why: str) -> tuple[str, ...]:
    """The streams beside the video, after a warning that they are left out because of `why`."""
    others = reader.other_streams if isinstance(reader, VideoReader) else ()
    if reader.info.captions:
        others = (*others, "closed captions")
    if others:
        _log.warning("%s, left out: %s", why, ", ".join(others))
    return others
