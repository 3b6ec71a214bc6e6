"""Video files: reading frames with exact times, and writing them with everything else that the input holds.

`VideoReader` and `VideoMuxer` are the two ends, `VideoEncoder` makes packets of frames; `plan_streams` and
`plan_encoder` settle what they will do before any work is done. FFmpeg's libraries come with PyAV; no program is run.
"""

from esrgan_video.container.encoder import EncoderOptions, EncoderPlan, plan_encoder
from esrgan_video.container.encoding import OutputVideo, VideoEncoder
from esrgan_video.container.formats import FORMATS, ContainerFormat, format_of
from esrgan_video.container.frame import Frame
from esrgan_video.container.info import VideoInfo
from esrgan_video.container.muxer import VideoMuxer
from esrgan_video.container.plan import StreamDecision, StreamPlan, plan_streams
from esrgan_video.container.reader import VideoReader
from esrgan_video.container.timing import TimeRange

__all__ = [
    "FORMATS",
    "ContainerFormat",
    "EncoderOptions",
    "EncoderPlan",
    "Frame",
    "OutputVideo",
    "StreamDecision",
    "StreamPlan",
    "TimeRange",
    "VideoEncoder",
    "VideoInfo",
    "VideoMuxer",
    "VideoReader",
    "format_of",
    "plan_encoder",
    "plan_streams",
]
