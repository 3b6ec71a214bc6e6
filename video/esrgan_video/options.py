"""`VideoOptions`: all that a caller may choose about a video, whichever front end asks."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from types import MappingProxyType

from esrgan.errors import UsageError
from esrgan_video.container.encoder import EncoderOptions
from esrgan_video.container.fields import Deinterlace
from esrgan_video.container.timing import TimeRange
from esrgan_video.faces.options import FaceOptions
from esrgan_video.pipes.names import PipeFormat
from esrgan_video.size import OutputSize

_NO_EFFECT = MappingProxyType({"affects_result": False})
"""Marks what may change between two runs that make one output together."""


@dataclass(frozen=True, kw_only=True)
class VideoOptions:
    """How a video is upscaled. The defaults lose nothing.

    Raises:
        UsageError: a batch or a segment without frames, or a frame rate that is not positive.
    """

    size: OutputSize = field(default_factory=OutputSize)
    """Of the output; by default the input's times the network's scale."""
    encoder: EncoderOptions = field(default_factory=EncoderOptions)
    """Codec, quality and pixel format; by default visually lossless at the input's depth."""
    batch: int | None = None
    """Frames that are handed to the upscaler at once; by default what it plans."""
    time_range: TimeRange = field(default_factory=TimeRange)
    """The part to keep. With a start, the output begins at zero, with the first frame shown then or later; sound and
    subtitles begin with the first packet after that frame's time."""
    deinterlace: Deinterlace = "frame"
    """What becomes of interlaced frames: `frame` makes one progressive frame of each, at its time; `field` makes one of
    each field, at the field's time, so twice as many; `off` upscales the fields woven together as they are."""
    rate: Fraction | None = None
    """Frames per second of numbered image files, 25 by default; everything else has times of its own."""
    quality: int = 95
    """Of JPEG and WebP files in a sequence of images, 1 to 100."""
    pipe_format: PipeFormat = field(default="y4m", metadata=_NO_EFFECT)
    """What goes to standard output: `y4m`, which more programs read, or `nut`, which has exact times, RGB and alpha."""
    drop_unsupported: bool = False
    """Leave out streams that the container cannot hold instead of refusing."""
    color_fix: bool = False
    """Give the result the low frequencies of the input, for networks that tint or shift brightness."""
    faces: FaceOptions | None = None
    """Find faces and restore them with a network of their own; by default they are upscaled as all else is."""
    compare: bool = False
    """Show the input, enlarged by plain bicubic, in the left half of the picture, and the result in the right one."""
    reuse: bool = field(default=True, metadata=_NO_EFFECT)
    """Compute frames that show what one of the last few showed only once; the output is the same."""
    strict: bool = field(default=False, metadata=_NO_EFFECT)
    """Stop at the first damaged packet or frame of the input instead of counting it and going on."""
    segment_frames: int | None = None
    """Frames of each segment that a crash cannot take away any more; by default about a minute of computing."""
    restart: bool = field(default=False, metadata=_NO_EFFECT)
    """Begin anew, whatever an earlier run of the same output has left."""

    def __post_init__(self) -> None:
        if self.batch is not None and self.batch < 1:
            raise UsageError(f"--batch must be at least 1, got {self.batch}")
        if self.rate is not None and self.rate <= 0:
            raise UsageError(f"--fps must be more than 0, got {float(self.rate):g}")
        if self.segment_frames is not None and self.segment_frames < 1:
            raise UsageError(f"--segment-frames must be at least 1, got {self.segment_frames}")
