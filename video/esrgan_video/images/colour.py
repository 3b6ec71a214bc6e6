"""Conversions between colour spaces, for the few formats that cannot keep an image's own."""

from __future__ import annotations

import io
import logging

from PIL import Image, ImageCms

_log = logging.getLogger(__name__)


def to_srgb(image: Image.Image, icc_profile: bytes | None) -> Image.Image:
    """`image` (grey or CMYK) as RGB in sRGB.

    Through its profile, with perceptual intent; by Pillow's plain formula where there is none or it does not fit.
    """
    if icc_profile is None:
        return image.convert("RGB")
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(icc_profile))
        converted = ImageCms.profileToProfile(
            image,
            source,
            ImageCms.createProfile("sRGB"),
            outputMode="RGB",
            flags=ImageCms.Flags.NOOPTIMIZE,  # the coarse tables made otherwise are off by several levels in the dark
        )
    except (ImageCms.PyCMSError, OSError) as error:
        _log.warning("the ICC profile does not fit the image (%s): colours are converted without it", error)
        return image.convert("RGB")
    assert converted is not None  # only inPlace=True gives None
    return converted


def fitting_profile(icc_profile: bytes | None, channels: int) -> bytes | None:
    """The profile if it describes images of that many channels (1 and 2 are grey), else `None` and a warning.

    The colour space is at byte 16 of a profile's header (ICC.1:2022, section 7.2).
    """
    expected = b"GRAY" if channels < 3 else b"RGB "
    if not icc_profile or icc_profile[16:20] == expected:
        return icc_profile or None
    _log.warning(
        "an ICC profile for %r on %s pixels: left out", icc_profile[16:20].decode("latin-1"), expected.decode().strip()
    )
    return None
