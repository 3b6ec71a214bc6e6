"""Choosing batch and tile so that one pass of the network fits the memory that is free."""

from __future__ import annotations

import math
from dataclasses import dataclass

from esrgan.errors import EngineError
from esrgan_video.engine.options import EngineOptions
from esrgan_video.engine.tiles import window_side

MIN_TILE = 16
"""Smallest side of a tile that the planner goes down to, in input pixels without overlap."""

_PASS_PIXELS = {"cpu": 8_192, "cuda": 1_048_576, "mps": 262_144}
"""Input pixels in a pass beyond which more of them make nothing faster."""
_MAX_BATCH = 16
_PARALLEL_PIXELS = 4_194_304
"""Input pixels in a pass up to which pictures are computed at the same time: large ones keep several threads busy each,
and their results fill memory."""
_MEMORY_SWING = 1.1
"""How far a pass may exceed what the memory that is free by now would allow. The rest of it makes up for that."""
_KEPT_PLANS = 16


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How frames of one size go through the network."""

    batch: int
    """Frames in a pass or, where frames are cut, tiles in a pass."""
    tile: int | None
    """Side of a tile in input pixels without overlap; `None` leaves frames whole."""
    overlap: int
    """Input pixels that a tile sees beyond each side."""


def make_plan(
    height: int,
    width: int,
    *,
    options: EngineOptions,
    multiple: int,
    max_pixels: int,
    device_type: str,
    workers: int = 1,
) -> Plan:
    """Plan for frames of `height` x `width`, of which a pass may hold `max_pixels` input pixels.

    Where `workers` pictures are computed at the same time, a pass has as many, unless they are large. An explicit tile
    or batch is taken as given, as long as it fits.

    Raises:
        EngineError: not even the smallest tile fits.
    """
    wanted = options.tile or None
    if options.tile == 0 or (wanted is None and height * width <= max_pixels):
        tile, pixels = None, height * width
    else:
        tile = wanted or _largest_tile(height, width, options.overlap, multiple, max_pixels)
        pixels = _window_pixels(height, width, tile, options.overlap, multiple)
        while pixels > max_pixels and tile > MIN_TILE:
            tile = max(MIN_TILE, tile // 2)
            pixels = _window_pixels(height, width, tile, options.overlap, multiple)
    if pixels > max_pixels:
        raise EngineError(
            f"not enough memory for {width}x{height}: a pass may hold {max_pixels} input pixels, the smallest "
            f"possible one has {pixels}; use a smaller --tile or --tile-pad, another --device, or free memory"
        )
    fitting = max(1, max_pixels // pixels)
    together = min(workers, max(1, _PARALLEL_PIXELS // pixels))
    useful = max(together, min(_MAX_BATCH, round(_PASS_PIXELS.get(device_type, 8_192) / pixels)))
    return Plan(batch=min(fitting, options.batch or useful), tile=tile, overlap=options.overlap)


class Planner:
    """Plans for one network on one device, which stay as they are while they fit.

    What is free changes all the time. With a new plan each time, the frames of a video would be cut in different
    places, and no tile of one could be compared with the next.

    Args:
        options: as the caller chose.
        multiple: sides of windows are multiples of this.
        device_type: `cpu`, `cuda` or `mps`.
        workers: pictures that are computed at the same time.
    """

    def __init__(self, options: EngineOptions, *, multiple: int, device_type: str, workers: int = 1) -> None:
        self._options = options
        self._workers = workers
        self._multiple = multiple
        self._device_type = device_type
        self._known: dict[tuple[int, int], tuple[Plan, int]] = {}  # with the pixels that a pass could hold

    def plan(self, height: int, width: int, *, max_pixels: int) -> Plan:
        """The last plan for this size, unless it does not fit any more or a pass could hold twice as much by now.

        Raises:
            EngineError: not even the smallest tile fits.
        """
        plan, held = self._known.get((height, width), (None, 0))
        if plan is None or max_pixels >= 2 * held or self._pixels(height, width, plan) > _MEMORY_SWING * max_pixels:
            plan = make_plan(
                height,
                width,
                options=self._options,
                multiple=self._multiple,
                max_pixels=max_pixels,
                device_type=self._device_type,
                workers=self._workers,
            )
            if len(self._known) >= _KEPT_PLANS:
                self._known.clear()
            self._known[height, width] = plan, max_pixels
        return plan

    def forget(self) -> None:
        """Plan anew for every size."""
        self._known.clear()

    def _pixels(self, height: int, width: int, plan: Plan) -> int:
        return plan.batch * image_pixels(height, width, plan=plan, multiple=self._multiple)


def image_pixels(height: int, width: int, *, plan: Plan, multiple: int) -> int:
    """Input pixels in a frame or tile that goes through the network, for frames of `height` x `width`."""
    if plan.tile is None:
        return height * width
    return _window_pixels(height, width, plan.tile, plan.overlap, multiple)


def smaller_pass(height: int, width: int, *, plan: Plan, multiple: int) -> int:
    """Input pixels that a pass may hold after `plan` ran out of memory for frames of `height` x `width`.

    Half of what was tried, but not less than the smallest tile has, unless that was what failed.
    """
    tried = image_pixels(height, width, plan=plan, multiple=multiple)
    half = plan.batch * tried // 2
    smallest = _window_pixels(height, width, MIN_TILE, plan.overlap, multiple)
    return max(half, smallest) if tried > smallest else half


def _largest_tile(height: int, width: int, overlap: int, multiple: int, max_pixels: int) -> int:
    side = math.isqrt(max_pixels) - 2 * overlap
    side = max(MIN_TILE, min(side, max(height, width)))
    while side > MIN_TILE and _window_pixels(height, width, side, overlap, multiple) > max_pixels:
        side = max(MIN_TILE, side - multiple * 8)
    return side


def _window_pixels(height: int, width: int, tile: int, overlap: int, multiple: int) -> int:
    return window_side(height, tile=tile, overlap=overlap, multiple=multiple) * window_side(
        width, tile=tile, overlap=overlap, multiple=multiple
    )
