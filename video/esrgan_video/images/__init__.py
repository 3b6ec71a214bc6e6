"""Still images: read, upscaled and written without losing depth, alpha or metadata."""

from esrgan_video.images.reading import is_image, read_image
from esrgan_video.images.still import MAX_PIXELS, ImageMetadata, Pixels, StillImage
from esrgan_video.images.upscale import upscale_image, upscale_pixels
from esrgan_video.images.writing import ImageFormat, check_target, image_format, write_image

__all__ = [
    "MAX_PIXELS",
    "ImageFormat",
    "ImageMetadata",
    "Pixels",
    "StillImage",
    "check_target",
    "image_format",
    "is_image",
    "read_image",
    "upscale_image",
    "upscale_pixels",
    "write_image",
]
