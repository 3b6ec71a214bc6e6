"""Pixel shape and display matrix of an output of another size."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction


def scaled_sample_aspect_ratio(
    sar: Fraction | None, source: tuple[int, int], target: tuple[int, int]
) -> Fraction | None:
    """The shape of the output's pixels that keeps the shape of the picture.

    Args:
        sar: of the input; `None` if it does not say, which players take for square.
        source: width and height of the input.
        target: width and height of the output.

    Returns:
        `sar` itself where both sides grow alike, up to the rounding of a side to whole pixels.
    """
    (width, height), (new_width, new_height) = source, target
    if abs(new_width * height - new_height * width) <= max(width, height):  # within one pixel of the output
        return sar
    shape = (sar or 1) * Fraction(width * new_height, height * new_width)
    return shape.limit_denominator(4096)


def scaled_display_matrix(matrix: tuple[int, ...], source: tuple[int, int], target: tuple[int, int]) -> list[int]:
    """The display matrix for another size: rotation and mirroring as they are, the translation scaled."""
    # Elements 6 and 7 are lengths in pixels, the others ratios.
    ratios = {6: Fraction(target[0], source[0]), 7: Fraction(target[1], source[1])}
    return [round(value * ratios.get(place, Fraction(1))) for place, value in enumerate(matrix)]


def orientation(matrix: Sequence[int] | None) -> int:
    """The EXIF orientation (1 to 8) that turns and mirrors as a display matrix does, to the nearest right angle.

    A stored point (x, y) is shown at x' = m[0] x + m[3] y + m[6], y' = m[1] x + m[4] y + m[7].
    """
    if matrix is None:
        return 1
    if abs(matrix[0]) >= abs(matrix[3]):
        return {(False, False): 1, (True, False): 2, (True, True): 3, (False, True): 4}[matrix[0] < 0, matrix[4] < 0]
    return {(False, False): 5, (True, False): 6, (True, True): 7, (False, True): 8}[matrix[3] < 0, matrix[1] < 0]
