"""Checking that an upscaled video kept what it promised to keep.

It shares no code with the modules that read, plan and write videos: an error there must not hide itself here. Both
files are read with PyAV.
"""

from __future__ import annotations

from esrgan_video.verify.report import Check, Report, Status
from esrgan_video.verify.run import VerifyOptions, verify_video

__all__ = ["Check", "Report", "Status", "VerifyOptions", "verify_video"]
