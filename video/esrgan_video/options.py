"""`VideoOptions`: all that a caller may choose about a video, whichever front end asks."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

from esrgan.errors import UsageError
from esrgan_video.container.encoder import EncoderOptions
from esrgan_video.container.fields import Deinterlace
from esrgan_video.container.timing import TimeRange
from esrgan_video.size import OutputSize


@dataclass(frozen=True, kw_only=True)
class VideoOptions:
    """How a video is upscaled. The defaults lose nothing.

    Raises:
        UsageError: a batch without frames, or a frame rate that is not positive.
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
    drop_unsupported: bool = False
    """Leave out streams that the container cannot hold instead of refusing."""
    color_fix: bool = False
    """Give the result the low frequencies of the input, for networks that tint or shift brightness."""
    compare: bool = False
    """Show the input, enlarged by plain bicubic, in the left half of the picture, and the result in the right one."""
    reuse: bool = True
    """Compute frames that show what one of the last few showed only once; the output is the same."""

    def __post_init__(self) -> None:
        if self.batch is not None and self.batch < 1:
            raise UsageError(f"--batch must be at least 1, got {self.batch}")
        if self.rate is not None and self.rate <= 0:
            raise UsageError(f"--fps must be more than 0, got {float(self.rate):g}")
