"""The engine: a batch of frames in, a batch of larger frames out. Every front end runs this one."""

from esrgan_video.engine.options import DType, EngineOptions
from esrgan_video.engine.planner import Plan
from esrgan_video.engine.upscaler import Upscaler

__all__ = ["DType", "EngineOptions", "Plan", "Upscaler"]
