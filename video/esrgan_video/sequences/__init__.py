"""Numbered image files, `frames/%05d.png`, in the place of a video file."""

from esrgan_video.sequences.pattern import SequencePattern
from esrgan_video.sequences.source import sequence_source

__all__ = ["SequencePattern", "sequence_source"]
