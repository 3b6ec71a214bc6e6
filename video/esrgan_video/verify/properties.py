"""Size, shape, rotation, colour tags, depth and HDR metadata of the output against those of the input."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from esrgan_video.verify.facts import VideoFacts
from esrgan_video.verify.report import Check, check, not_applicable

_UNSPECIFIED = 2
_BT601 = (5, 6)
"""Two numbers for the same matrix."""
_IDENTITY = (65536, 0, 0, 0, 65536, 0)
_NO_STATIC_HDR = {
    "vp9": "the encoder has no place for it",
    "ffv1": "the encoder has no place for it",
    "prores": "the encoder has no place for it",
}
"""Codecs whose streams do not carry static HDR metadata."""
_CHROMATICITY_STEP = Fraction(1, 25000)
"""Half of it is the rounding of AV1's 1/65536 and of ST 2086's 0.00002 together."""


def property_checks(before: VideoFacts, after: VideoFacts) -> Iterator[Check]:
    """All checks that need the first frames alone."""
    yield _size(before, after)
    yield _aspect_ratio(before, after)
    yield _rotation(before, after)
    yield _matrix(before, after)
    yield _range(before, after)
    yield _tag("primaries", before.primaries, after.primaries)
    yield _tag("transfer", before.transfer, after.transfer)
    yield _location(before, after)
    yield _mastering(before, after)
    yield _light(before, after)
    yield check("depth", f"at least {before.bits} bits", f"{after.bits} bits", after.bits >= before.bits)
    yield _sampling(before, after)


def _size(before: VideoFacts, after: VideoFacts) -> Check:
    ratios = Fraction(after.width, before.width), Fraction(after.height, before.height)
    found = f"{after.width}x{after.height}"
    if ratios[0] == ratios[1]:
        return check(
            "size", f"{before.width}x{before.height} times a factor", f"{found}, x{_number(ratios[0])}", ok=True
        )
    ratio = f"x{float(ratios[0]):.4g}"
    if abs(after.width * before.height - after.height * before.width) <= max(before.width, before.height):
        ratio += ", sides rounded to whole pixels"
    else:
        ratio += f" across, x{float(ratios[1]):.4g} down"
    same_shape = _deviation(before, after) <= _tolerance(after)
    return check("size", f"{before.width}x{before.height} times a factor", f"{found}, {ratio}", same_shape)


def _aspect_ratio(before: VideoFacts, after: VideoFacts) -> Check:
    name = "aspect ratio"
    stated = "pixels not stated" if before.sar is None else f"pixels {_ratio(before.sar)}"
    expected = f"display {_display(before)}, {stated}"
    found = f"display {_display(after)}, pixels {'not stated' if after.sar is None else _ratio(after.sar)}"
    ok = _deviation(before, after) <= _tolerance(after) and (before.sar in (None, 1) or after.sar is not None)
    return check(name, expected, found, ok)


def _deviation(before: VideoFacts, after: VideoFacts) -> Fraction:
    """Relative change of the display aspect ratio."""
    was, is_ = ((facts.sar or 1) * Fraction(facts.width, facts.height) for facts in (before, after))
    return abs(Fraction(is_) / Fraction(was) - 1)


def _tolerance(after: VideoFacts) -> Fraction:
    """What rounding one side to whole pixels, and a ratio of pixels to small numbers, explains."""
    return Fraction(1, min(after.width, after.height)) + Fraction(1, 4096)


def _rotation(before: VideoFacts, after: VideoFacts) -> Check:
    turns = [tuple(facts.display_matrix[:2] + facts.display_matrix[3:5]) if facts.display_matrix else None
             for facts in (before, after)]  # fmt: skip
    plain = _IDENTITY[:2] + _IDENTITY[3:5]
    turns = [plain if turn is None else turn for turn in turns]
    expected, found = (_turn(turn) for turn in turns)
    if turns[0] == turns[1] == plain:
        return not_applicable("rotation", expected, found)
    return check("rotation", expected, found, turns[0] == turns[1])


def _turn(turn: tuple[int, ...] | None) -> str:
    one = 65536
    names: dict[tuple[int, ...], str] = {
        (one, 0, 0, one): "none",
        (0, one, -one, 0): "90° clockwise",
        (0, -one, one, 0): "90° counterclockwise",
        (-one, 0, 0, -one): "180°",
        (-one, 0, 0, one): "mirrored",
        (one, 0, 0, -one): "mirrored upside down",
    }
    return names.get(turn or (), f"matrix {turn}")


def _matrix(before: VideoFacts, after: VideoFacts) -> Check:
    name = "matrix"
    if after.is_rgb:
        return check(name, "RGB or a stated matrix", "RGB", before.is_rgb or before.chroma != (0, 0))
    if before.chroma == after.chroma == (0, 0):
        return not_applicable(name, "no colour", "no colour")
    stated = f"{after.matrix}" if after.matrix != _UNSPECIFIED else "not stated"
    if before.is_rgb or before.chroma == (0, 0):
        return check(name, "any, stated", stated, after.matrix != _UNSPECIFIED)
    expected = f"{before.matrix}"
    if before.matrix != before.assumed_matrix:
        expected = f"not stated: {before.assumed_matrix}, as players assume, stated"
    same = after.matrix == before.assumed_matrix or (after.matrix in _BT601 and before.assumed_matrix in _BT601)
    return check(name, expected, stated, same)


def _range(before: VideoFacts, after: VideoFacts) -> Check:
    found = ("not stated", "limited", "full")[after.range]
    if after.is_rgb or before.is_rgb or before.chroma == (0, 0):
        return check("range", "any, stated", found, after.range != 0 or after.is_rgb or after.chroma == (0, 0))
    expected = "full" if before.full_range else "limited"
    stated = "" if before.range else "not stated: "
    return check("range", f"{stated}{expected}", found, after.range == (2 if before.full_range else 1))


def _tag(name: str, before: int, after: int) -> Check:
    found = "not stated" if after == _UNSPECIFIED else str(after)
    if before == _UNSPECIFIED:
        return not_applicable(name, "not stated", found)
    return check(name, str(before), found, before == after)


def _location(before: VideoFacts, after: VideoFacts) -> Check:
    names = ("not stated", "left", "center", "topleft", "top", "bottomleft", "bottom")
    expected, found = names[before.location], names[after.location]
    if before.location == 0:
        return not_applicable("chroma location", expected, found)
    if max(after.chroma) < 2 or max(before.chroma) < 2:
        return not_applicable("chroma location", expected, f"{found}: {after.pix_fmt} of {before.pix_fmt}")
    if after.codec == "vp9" and after.location == 0:
        return not_applicable("chroma location", expected, "VP9 has no place for it")
    return check("chroma location", expected, found, before.location == after.location)


def _mastering(before: VideoFacts, after: VideoFacts) -> Check:
    name = "mastering display"
    if before.mastering is None:
        return not_applicable(name, "not stated", "not stated" if after.mastering is None else "stated")
    expected = _display_text(before.mastering)
    if after.mastering is None:
        return _without_hdr(name, expected, after)
    same = all(
        abs(was - is_) <= _CHROMATICITY_STEP for was, is_ in zip(before.mastering[:8], after.mastering[:8], strict=True)
    )
    # AV1 counts the lowest luminance in 1/16384 cd/m², the highest in 1/256.
    lowest, highest = (abs(before.mastering[place] - after.mastering[place]) for place in (8, 9))
    same = same and lowest <= Fraction(1, 10000) and highest <= Fraction(1, 256)
    return check(name, expected, _display_text(after.mastering), same)


def _display_text(values: tuple[Fraction, ...]) -> str:
    points = " ".join(f"{float(x):.4f},{float(y):.4f}" for x, y in zip(values[:8:2], values[1:8:2], strict=True))
    return f"{points}, {float(values[8]):.4f} to {float(values[9]):g} cd/m²"


def _light(before: VideoFacts, after: VideoFacts) -> Check:
    name = "light level"
    if before.light is None:
        return not_applicable(name, "not stated", "not stated" if after.light is None else str(after.light))
    expected = f"{before.light[0]}, {before.light[1]} cd/m²"
    if after.light is None:
        return _without_hdr(name, expected, after)
    return check(name, expected, f"{after.light[0]}, {after.light[1]} cd/m²", before.light == after.light)


def _without_hdr(name: str, expected: str, after: VideoFacts) -> Check:
    if after.codec in _NO_STATIC_HDR:
        return not_applicable(name, expected, f"not stated: {_NO_STATIC_HDR[after.codec]}")
    return check(name, expected, "not stated", ok=False)


def _sampling(before: VideoFacts, after: VideoFacts) -> Check:
    name = "chroma sampling"
    if before.chroma == (0, 0):
        return not_applicable(name, "no colour", after.pix_fmt)
    ok = after.chroma != (0, 0) and after.chroma[0] <= before.chroma[0] and after.chroma[1] <= before.chroma[1]
    return check(name, f"no coarser than {before.pix_fmt}", after.pix_fmt, ok)


def _number(ratio: Fraction) -> str:
    return f"{float(ratio):g}" if float(ratio) == ratio else f"{ratio}"


def _ratio(ratio: Fraction) -> str:
    return f"{ratio.numerator}:{ratio.denominator}"


def _display(facts: VideoFacts) -> str:
    return f"{float((facts.sar or 1) * Fraction(facts.width, facts.height)):.4f}"
