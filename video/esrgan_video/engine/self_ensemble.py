"""The mean over the eight ways to turn and mirror a picture, which users of other upscalers know as TTA."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

_ORIENTATIONS: tuple[tuple[bool, tuple[int, ...]], ...] = tuple(
    (is_transposed, flips) for is_transposed in (False, True) for flips in ((), (-1,), (-2,), (-2, -1))
)
"""Whether the sides are exchanged, and the dimensions that are mirrored then."""


def self_ensemble(run: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """What `run` gives for `images` in each of their eight orientations, turned back and averaged.

    A network does not give a mirrored picture for a mirrored picture, quite; what differs is error, and the mean has
    less of it. It is the geometric self-ensemble of Lim et al. 2017, "Enhanced Deep Residual Networks for Single Image
    Super-Resolution" (EDSR+ there), with the mean in float32.

    Args:
        run: `(N, C, h, w)` -> `(N, C, h * s, w * s)`, for `(h, w)` as in `images` and exchanged.
        images: `(N, C, H, W)`.

    Returns:
        `(N, C, H * s, W * s)`, the mean of the eight results.

    Raises:
        Exception: what `run` raises.
    """
    total = _once(run, images, *_ORIENTATIONS[0]).contiguous()
    for is_transposed, flips in _ORIENTATIONS[1:]:
        total += _once(run, images, is_transposed, flips)
    return total.div_(len(_ORIENTATIONS))


def _once(run: Callable[[Tensor], Tensor], images: Tensor, is_transposed: bool, flips: tuple[int, ...]) -> Tensor:
    turned = images.transpose(-2, -1) if is_transposed else images
    result = run(turned.flip(flips).contiguous()).flip(flips)
    return result.transpose(-2, -1) if is_transposed else result
