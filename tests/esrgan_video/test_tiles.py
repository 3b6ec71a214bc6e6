"""Cutting frames into windows."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from esrgan_video.engine.tiles import cut, window_side

multiples = st.sampled_from((1, 2, 4))


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 30), st.integers(0, 9), multiples)
def test_kept_parts_cover_each_pixel_exactly_once(rows: int, columns: int, tile: int, overlap: int, multiple: int):
    height, width = rows * multiple, columns * multiple
    covered = np.zeros((height, width), int)
    for part in cut(height, width, tile=tile, overlap=overlap, multiple=multiple):
        covered[part.rows.keep_start : part.rows.keep_stop, part.columns.keep_start : part.columns.keep_stop] += 1
    assert (covered == 1).all()


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 30), st.integers(0, 9), multiples)
def test_windows_are_equal_aligned_and_inside_the_frame(
    rows: int, columns: int, tile: int, overlap: int, multiple: int
):
    height, width = rows * multiple, columns * multiple
    tiles = cut(height, width, tile=tile, overlap=overlap, multiple=multiple)
    for axis, length in (("rows", height), ("columns", width)):
        spans = [getattr(part, axis) for part in tiles]
        side = window_side(length, tile=tile, overlap=overlap, multiple=multiple)
        assert {span.stop - span.start for span in spans} == {side}
        assert all(span.start >= 0 and span.stop <= length for span in spans)
        assert all(span.start % multiple == 0 for span in spans)


@given(st.integers(1, 200), st.integers(1, 60), st.integers(0, 20))
def test_every_kept_pixel_has_its_overlap_or_the_frame_ends_there(length: int, tile: int, overlap: int):
    for part in cut(length, 1, tile=tile, overlap=overlap):
        span = part.rows
        assert span.start == 0 or span.keep_start - span.start >= overlap
        assert span.stop == length or span.stop - span.keep_stop >= overlap
