"""Numbered image files, `frames/%05d.png`, in the place of a video file."""
