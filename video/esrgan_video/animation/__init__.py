"""Animated GIF, APNG and WebP, in the place of a video file."""

from esrgan_video.animation.source import animation_source, is_animation

__all__ = ["animation_source", "is_animation"]
