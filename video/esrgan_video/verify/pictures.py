"""`PictureCheck`: whether each output frame shows what the input's frame of the same time shows, in its colours."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from esrgan_video.verify.report import Check, check, not_applicable
from esrgan_video.verify.tally import Tally, text_of
from esrgan_video.verify.thumbnails import Array, Thumbnail

_LEAST_CORRELATION = 0.8
_CLOSE = 0.03
"""Root mean square difference, of 0..1, at which pictures are alike whatever their correlation (fades, flat ones)."""
_BRIGHTNESS = 0.06
"""Largest difference of a frame's mean luma, of 0..1."""
_NEIGHBOURS = 2
"""Frames before and after, one of which must not be more alike."""
_NOISE = 0.002
"""Root mean square difference, of 0..1 and apart from the means, that says nothing of which frame it is ..."""
_TONE = 0.015
"""... and with them: a network that lifts black by a few codes makes each frame of a fade as bright as a later one."""
_COLOUR_GAIN = 0.06
"""Largest deviation from 1, or from 0 across channels, of what luma and colours are multiplied by ..."""
_CHROMA_GAIN = 0.1
"""... and of what a colour difference is multiplied by: fine ones lose contrast where chroma is resampled."""
_COLOUR_OFFSET = 0.03
"""Largest difference of a channel's mean, of 0..1."""
_PRIOR = 1e-4
"""Variance of colours below which a clip says little about what they are multiplied by."""
_ALPHA = 0.05
"""Largest mean difference of transparency, of 0..1."""
_CHANNELS = ("luma", "blue difference", "red difference")


@dataclass(frozen=True)
class _Pair:
    time: Fraction
    source: Array
    target: Array | None
    fault: str | None


class PictureCheck:
    """Takes pairs of thumbnails in order, keeps a few of them, and counts what does not belong together."""

    def __init__(self) -> None:
        self.compared = 0
        """Frames that were compared."""
        self._window: deque[_Pair] = deque(maxlen=2 * _NEIGHBOURS + 1)
        self._unlike = Tally()
        self._elsewhere = Tally()
        self._least_alike = 1.0
        self._moments = np.zeros((4, 4))
        self._products = np.zeros((4, 3))
        self._coloured = 0
        self._alpha = [False, False]
        self._worst_alpha = 0.0

    def add(self, time: Fraction, source: Thumbnail, target: Thumbnail | None) -> None:
        """Add the input's frame at `time` (seconds) and the output's; `None` where the output has none."""
        self._alpha[0] |= source.alpha is not None
        fault = None
        if target is not None:
            self.compared += 1
            self._alpha[1] |= target.alpha is not None
            self._compare_alpha(source, target)
            fault = self._unlikeness(source.luma, target.luma)
            if fault is None:
                self._add_colours(source, target)
        self._window.append(_Pair(time, source.luma, None if target is None else target.luma, fault))
        if len(self._window) > _NEIGHBOURS:
            self._judge(len(self._window) - 1 - _NEIGHBOURS)

    def finish(self) -> None:
        """Judge the last frames."""
        for index in range(max(0, len(self._window) - _NEIGHBOURS), len(self._window)):
            self._judge(index)

    def _judge(self, index: int) -> None:
        pair = self._window[index]
        if pair.target is None:
            return
        if pair.fault is not None:
            self._unlike.add(f"at {text_of(pair.time)} ({pair.fault})")
            return
        for other in self._window:
            if any(
                distance(pair.source, pair.target) - distance(other.source, pair.target)
                > 0.5 * distance(pair.source, other.source) + least
                for distance, least in ((_distance, _TONE), (_distance_of_shapes, _NOISE))
            ):
                self._elsewhere.add(f"at {text_of(pair.time)} that of {text_of(other.time)}")
                return

    def _unlikeness(self, source: Array, target: Array) -> str | None:
        brightness = float(target.mean() - source.mean())
        if abs(brightness) > _BRIGHTNESS:
            return f"{abs(brightness):.0%} {'brighter' if brightness > 0 else 'darker'}"
        spread = float(source.std() * target.std())
        covariance = float(((source - source.mean()) * (target - target.mean())).mean())
        correlation = covariance / spread if spread > 1e-9 else 0.0
        if _distance(source, target) <= _CLOSE:
            return None
        self._least_alike = min(self._least_alike, correlation)
        return f"correlation {correlation:.2f}" if correlation < _LEAST_CORRELATION else None

    def _compare_alpha(self, source: Thumbnail, target: Thumbnail) -> None:
        if source.alpha is not None and target.alpha is not None:
            self._worst_alpha = max(self._worst_alpha, float(np.abs(source.alpha - target.alpha).mean()))

    def _add_colours(self, source: Thumbnail, target: Thumbnail) -> None:
        if source.colours is None or target.colours is None or source.colours.shape != target.colours.shape:
            return
        known = np.concatenate([source.colours, np.ones((len(source.colours), 1))], axis=1)  # (n, 4)
        self._moments += known.T @ known / len(known)
        self._products += known.T @ target.colours / len(known)
        self._coloured += 1

    def checks(self, alpha_excuse: str | None) -> list[Check]:
        """What was found.

        Args:
            alpha_excuse: why the output may lack the input's transparency.
        """
        return [self._picture(), self._colour(), self._transparency(alpha_excuse)]

    def _picture(self) -> Check:
        name = "picture"
        expected = f"each frame shows the input's of its time (correlation ≥ {_LEAST_CORRELATION})"
        if not self.compared:
            return not_applicable(name, expected, "no frame has the time of one of the input")
        found = []
        if self._unlike:
            found.append(f"{self._unlike.count} show something else, the first {self._unlike.first}")
        if self._elsewhere:
            found.append(f"{self._elsewhere.count} show another time's picture, the first {self._elsewhere.first}")
        text = "; ".join(found) or f"{self.compared} compared, the lowest correlation {self._least_alike:.3f}"
        return check(name, expected, text, not found)

    def _colour(self) -> Check:
        name = "colour values"
        expected = f"those of the input: gains ± {_COLOUR_GAIN}, means ± {_COLOUR_OFFSET}"
        if not self._coloured:
            return not_applicable(name, expected, "no frames to compare, or a matrix that is not linear")
        moments, products = self._moments / self._coloured, self._products / self._coloured
        identity = np.eye(4, 3)
        means = moments[3, :3]
        shift = products[3] - means
        centred = moments[:3, :3] - np.outer(means, means)
        crossed = products[:3] - np.outer(means, products[3])
        prior = _PRIOR * np.eye(3)
        deviation = np.linalg.solve(centred + prior, crossed + prior) - identity[:3]
        limits = np.full((3, 3), _COLOUR_GAIN)
        limits[1, 1] = limits[2, 2] = _CHROMA_GAIN
        row, column = np.unravel_index((np.abs(deviation) / limits).argmax(), (3, 3))
        channel = int(np.abs(shift).argmax())
        text = (
            f"{_CHANNELS[column]} from {_CHANNELS[row]} {deviation[row, column]:+.3f}, "
            f"mean of {_CHANNELS[channel]} {shift[channel]:+.3f}"
        )
        ok = abs(deviation[row, column]) <= limits[row, column] and abs(shift[channel]) <= _COLOUR_OFFSET
        return check(name, expected, text, bool(ok))

    def _transparency(self, excuse: str | None) -> Check:
        name = "alpha"
        before, after = self._alpha
        if not before:
            return not_applicable(name, "none", "none" if not after else "opaque")
        if not after:
            if excuse is not None:
                return not_applicable(name, "kept", f"none: {excuse}")
            return check(name, "kept", "none, though the codec can hold it", ok=False)
        found = f"largest mean difference {self._worst_alpha:.3f}"
        return check(name, f"kept, ± {_ALPHA}", found, self._worst_alpha <= _ALPHA)


def _distance(one: Array, other: Array) -> float:
    return float(np.sqrt(((one - other) ** 2).mean()))


def _distance_of_shapes(one: Array, other: Array) -> float:
    """`_distance` apart from the means: the standard deviation of the difference."""
    return float((one - other).std())
