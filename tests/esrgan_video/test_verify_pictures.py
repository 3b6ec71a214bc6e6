"""What `verify` makes of fades, where frames differ by little more than brightness."""

from fractions import Fraction

import numpy as np
import pytest

from esrgan_video.verify.pictures import PictureCheck
from esrgan_video.verify.thumbnails import Thumbnail

FRAMES = 12


def faded_in(contrast: float) -> list[np.ndarray]:
    """A picture that comes up from black: luma of 0..1, `(h, w)`."""
    picture = 0.6 + contrast * np.random.default_rng(5).uniform(-1, 1, (24, 32))
    return [picture * number / (FRAMES - 1) for number in range(FRAMES)]


def verdict(sources: list[np.ndarray], targets: list[np.ndarray]):
    check = PictureCheck()
    for number, (source, target) in enumerate(zip(sources, targets, strict=True)):
        check.add(Fraction(number, 24), Thumbnail(source, None, None), Thumbnail(target, None, None))
    check.finish()
    return check.checks(None)[0]


@pytest.mark.parametrize("lift", [1, 2, 3])
@pytest.mark.parametrize("slowness", [1, 4, 8])
def test_black_that_a_network_lifts_is_not_another_time(lift, slowness):
    sources = [picture / slowness for picture in faded_in(0.3)]
    targets = [picture + lift / 255 * np.exp(-picture * 255 / 8) for picture in sources]
    result = verdict(sources, targets)
    assert result.status == "ok", result.found


@pytest.mark.parametrize("contrast", [0.0, 0.3])
@pytest.mark.parametrize("moved", ["swapped", "early", "late"])
def test_frames_out_of_place_in_a_fade_are_found(contrast, moved):
    sources = faded_in(contrast)
    order = list(range(FRAMES))
    if moved == "swapped":
        order[5], order[6] = 6, 5
    elif moved == "early":
        order[5:8] = [6, 7, 8]
    else:
        order[5:8] = [4, 5, 6]
    result = verdict(sources, [sources[number] for number in order])
    assert result.status == "failed", result.found


def test_frames_out_of_place_in_a_slow_fade_are_found_by_their_contrast():
    sources = [picture / 2 for picture in faded_in(0.3)]
    assert "another time" in verdict(sources, [sources[0], *sources[:-1]]).found
