"""Pictures with times that are no video file: numbered image files and animated images, read as a video is."""

from esrgan_video.pictures.planes import frame_layout, pixels_of, planes_of
from esrgan_video.pictures.reader import Picture, PictureReader, PictureSource

__all__ = ["Picture", "PictureReader", "PictureSource", "frame_layout", "pixels_of", "planes_of"]
