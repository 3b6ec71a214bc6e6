"""The size of the output, and the resampling to it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from esrgan.errors import UsageError
from esrgan_video.size import OutputSize, resize


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (OutputSize(), (400, 200)),
        (OutputSize(scale=2), (200, 100)),
        (OutputSize(scale=0.505), (51, 25)),  # 50.5 is rounded up, 25.25 down
        (OutputSize(scale=0.001), (1, 1)),
        (OutputSize(width=150), (150, 75)),
        (OutputSize(height=75), (150, 75)),
        (OutputSize(width=1), (1, 1)),
        (OutputSize(width=7, height=9), (7, 9)),
    ],
)
def test_size_follows_from_what_is_given(size, expected):
    assert size.resolve(100, 50, 4) == expected


@pytest.mark.parametrize(
    ("options", "value"),
    [
        ({"scale": 0}, "0"),
        ({"scale": -2.5}, "-2.5"),
        ({"scale": float("nan")}, "nan"),
        ({"scale": float("inf")}, "inf"),
        ({"width": 0}, "0"),
        ({"height": -3}, "-3"),
        ({"scale": 2.0, "width": 77}, "77"),
        ({"scale": 2.0, "height": 77}, "77"),
    ],
)
def test_impossible_sizes_are_refused_with_the_value(options, value):
    with pytest.raises(UsageError, match=value):
        OutputSize(**options)


@pytest.mark.parametrize(("height", "width"), [(5, 3), (31, 46), (12, 60), (1, 1), (64, 64)])
def test_resize_is_pillows_bicubic(height, width):
    plane = np.random.default_rng(1).random((17, 23), dtype=np.float32)
    expected = np.asarray(Image.fromarray(plane).resize((width, height), Image.Resampling.BICUBIC))
    result = resize(torch.from_numpy(plane)[None, None], height, width)
    assert result.shape == (1, 1, height, width)
    np.testing.assert_allclose(result[0, 0].numpy(), expected, atol=2e-5)


def test_resize_to_the_same_size_changes_nothing():
    batch = torch.rand(2, 3, 5, 7)
    assert resize(batch, 5, 7) is batch
