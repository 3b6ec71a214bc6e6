"""Cutting a frame into windows of one size that overlap, and putting the results together."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from torch import Tensor


@dataclass(frozen=True)
class Span:
    """One axis of a tile, in input pixels: what the network sees, and which part of that is kept."""

    start: int
    """First pixel of the window."""
    stop: int
    """One past the last pixel of the window."""
    keep_start: int
    """First pixel that this tile contributes, `start <= keep_start`."""
    keep_stop: int
    """One past the last pixel that it contributes, `keep_stop <= stop`."""


@dataclass(frozen=True)
class Tile:
    """A window of the frame: rows and columns."""

    rows: Span
    columns: Span


def cut(height: int, width: int, *, tile: int, overlap: int, multiple: int = 1) -> list[Tile]:
    """Cut a `height` x `width` frame (multiples of `multiple`) into tiles that keep at most `tile` pixels a side.

    All windows have the same size, so that they can share a batch, and none reaches beyond the
    frame: a window at the border is moved inwards, not padded, because the network pads there itself
    and the result has to be the same. The kept parts cover each pixel exactly once.
    """
    rows = _spans(height, tile, overlap, multiple)
    columns = _spans(width, tile, overlap, multiple)
    return [Tile(row, column) for row, column in product(rows, columns)]


def window(frame: Tensor, tile: Tile) -> Tensor:
    """What the network sees of `frame`, `(C, H, W)`."""
    return frame[:, tile.rows.start : tile.rows.stop, tile.columns.start : tile.columns.stop]


def kept(result: Tensor, tile: Tile, scale: int) -> Tensor:
    """The place of a tile in the result of the whole frame, `(C, scale * H, scale * W)`."""
    rows, columns = tile.rows, tile.columns
    return result[
        :, rows.keep_start * scale : rows.keep_stop * scale, columns.keep_start * scale : columns.keep_stop * scale
    ]


def kept_of_window(output: Tensor, tile: Tile, scale: int) -> Tensor:
    """What a tile contributes of its window's output, `(C, scale * h, scale * w)`."""
    rows, columns = tile.rows, tile.columns
    return output[
        :,
        (rows.keep_start - rows.start) * scale : (rows.keep_stop - rows.start) * scale,
        (columns.keep_start - columns.start) * scale : (columns.keep_stop - columns.start) * scale,
    ]


def window_side(length: int, *, tile: int, overlap: int, multiple: int = 1) -> int:
    """Side of the windows that `cut` makes along an axis of `length` pixels."""
    first = _spans(length, tile, overlap, multiple)[0]
    return first.stop - first.start


def _spans(length: int, tile: int, overlap: int, multiple: int) -> list[Span]:
    tile = _round_up(min(tile, length), multiple)
    overlap = _round_up(overlap, multiple)
    count = -(-length // tile)
    if count == 1:
        return [Span(0, length, 0, length)]
    tile = _round_up(-(-length // count), multiple)  # even tiles: no sliver at the end
    window = min(length, tile + 2 * overlap)
    spans: list[Span] = []
    for keep_start in range(0, length, tile):
        start = min(max(0, keep_start - overlap), length - window)
        spans.append(Span(start, start + window, keep_start, min(length, keep_start + tile)))
    return spans


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
