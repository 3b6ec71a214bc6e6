"""What the tests of the verifier share: a clip with something for every check, and short calls."""

from __future__ import annotations

from fractions import Fraction

from clip_tools import Clip, Tags, small_png, video_options
from esrgan_video import upscale_video
from esrgan_video.container import EncoderOptions
from esrgan_video.verify import VerifyOptions, verify_video

LOSSLESS = EncoderOptions(preset="ultrafast", extra={"qp": "0"})
QUARTER_TURN = (0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)
EVERYTHING = Clip(
    times=[40 * time for time in range(25)],
    time_base=Fraction(1, 1000),
    tags=Tags(matrix=1, color_range=1, primaries=1, transfer=1, location=3),
    sar=Fraction(4, 3),
    matrix=QUARTER_TURN,
    audio=["aac", "libopus"],
    subtitles=[(100, 400, "Hallo <i>Welt</i>"), (500, 900, "Zweite\nZeile")],
    attachments={
        "font.ttf": ("application/x-truetype-font", b"\0\1\0\0" + bytes(range(200))),
        "cover.png": ("image/png", small_png()),
    },
    metadata={"title": "Ein Titel", "artist": "Wer"},
    chapters=[(0, 400, "Eins"), (400, 1000, "Zwei")],
)
"""A clip with something for every check."""


def upscale(source, target, upscaler, encoder=LOSSLESS, **given):
    options = video_options(encoder=encoder, **given)
    upscale_video(source, target, upscaler=upscaler, options=options, progress="none")
    return target


def verify(source, target, **given):
    return verify_video(source, target, options=VerifyOptions(**given), progress="none")


def failed(source, target, **given):
    return {(check.subject, check.name) for check in verify(source, target, **given).failed}
