"""Faces: found, aligned, restored by a network of their own, and blended into the upscaled picture.

`FaceOptions` says how; `FaceRestorer` does it for pictures, `esrgan_video.faces.video.VideoFaces` for the frames of a
video. The detector and the parser are facexlib's networks, the rest is here.
"""
