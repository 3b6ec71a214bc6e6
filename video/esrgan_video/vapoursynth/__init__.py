"""The engine as a VapourSynth function: `esrgan(clip) -> clip`."""

from esrgan_video.vapoursynth.filter import esrgan

__all__ = ["esrgan"]
