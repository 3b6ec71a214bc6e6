"""What a run holds in memory beside the network's passes: known before it starts, and left free for it."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Iterator

from esrgan.system_memory import available_bytes
from esrgan_video.colour import PixelLayout
from esrgan_video.engine import Upscaler
from esrgan_video.engine.memory import LEAST_BYTES
from esrgan_video.protocol import BatchUpscaler, PlanningUpscaler

_log = logging.getLogger(__name__)

QUEUED_BATCHES = 2
"""Batches that may wait before the network, and again before the encoder."""
_RGB_BYTES = 12
"""Of a pixel as the network gives it: three values in float32."""


def frame_bytes(layout: PixelLayout, size: tuple[int, int], batch: int) -> int:
    """Bytes of the frames between the network and what writes, where `batch` go through at once.

    The network's output for one of them, the batch that is made, those that wait, the one that is written, and what the
    encoder's wrapper copies.

    Args:
        layout: planes of the output.
        size: its columns and rows.
        batch: frames.
    """
    width, height = size
    samples = sum(rows * columns for rows, columns in layout.plane_shapes(height, width))
    codes = samples * (1 if layout.bits == 8 else 2)
    return width * height * _RGB_BYTES + codes * (batch * (QUEUED_BATCHES + 2) + 2)


@contextlib.contextmanager
def left_free(
    upscaler: PlanningUpscaler, *, writer: int, layout: PixelLayout, size: tuple[int, int], batch: int, name: str
) -> Iterator[None]:
    """Have `upscaler` plan its passes beside what is going to be held; warn where that alone is too much.

    Args:
        upscaler: plans by memory if it is the engine's and runs on the processor.
        writer: bytes that what writes will hold.
        layout: planes of the output.
        size: its columns and rows.
        batch: frames that go through at once, with all memory.
        name: of what is upscaled, for the warning.
    """
    _warn_if_short(
        writer + frame_bytes(layout, size, 1),
        f"{name}: encoder and frames",
        "A smaller output, --preset ultrafast or, in .mkv, --codec ffv1 needs less",
    )
    held = writer + frame_bytes(layout, size, batch)
    with upscaler.beside(held) if isinstance(upscaler, Upscaler) else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def picture_left_free(
    upscaler: BatchUpscaler, *, source: tuple[int, int], size: tuple[int, int], pixel_bytes: int
) -> Iterator[None]:
    """Have `upscaler` plan its passes beside the result of one picture; warn where that alone is too much.

    Args:
        upscaler: plans by memory if it is the engine's and runs on the processor.
        source: columns and rows of the picture.
        size: columns and rows of the result.
        pixel_bytes: of a pixel of the result, as integers.
    """
    network_size = (source[0] * upscaler.scale, source[1] * upscaler.scale)
    held = math.prod(network_size) * _RGB_BYTES + math.prod(size) * pixel_bytes
    if network_size != size:
        held += math.prod(size) * _RGB_BYTES
    if not isinstance(upscaler, Upscaler) or upscaler.device.type != "cpu":
        yield
        return
    _warn_if_short(held, f"a result of {size[0]}x{size[1]} pixels", "Cut the picture, or free memory")
    with upscaler.beside(held):
        yield


def _warn_if_short(least: int, what: str, advice: str) -> None:
    free = available_bytes()
    if least + LEAST_BYTES > free:
        _log.warning(
            "%s will take about %d MiB of memory, and %d are free: the system may end this run. %s",
            what,
            least >> 20,
            free >> 20,
            advice,
        )
