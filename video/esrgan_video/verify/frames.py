"""`FrameChecks`: number, times and pictures of the frames, and whether they are interlaced."""

from __future__ import annotations

import re
from fractions import Fraction

from esrgan_video.verify.captions import CaptionCheck
from esrgan_video.verify.facts import VideoFacts
from esrgan_video.verify.media import Media, Timed, seconds
from esrgan_video.verify.pictures import PictureCheck
from esrgan_video.verify.report import Check, check, not_applicable
from esrgan_video.verify.tally import Tally, TimeTally, is_rounded, text_of, text_of_tick
from esrgan_video.verify.thumbnails import Thumbnail, has_alpha, is_full_range, thumbnail, thumbnail_size
from esrgan_video.verify.timeline import Expected

_NO_ALPHA = frozenset({"h264", "hevc", "av1", "mpeg4", "mpeg2video"})
"""Codecs that players show without transparency."""
_FALLBACK_RATE = Fraction(25)
_CLOCK = re.compile(r"(\d+):(\d+):(\d+(?:\.\d+)?)")


class FrameChecks:
    """Takes pairs of frames in order of time.

    Args:
        before: the input.
        after: the output.
        facts: of both videos.
        is_trial: whether the output begins at zero with the first frame of a part.
    """

    def __init__(self, before: Media, after: Media, facts: tuple[VideoFacts, VideoFacts], *, is_trial: bool) -> None:
        self._before, self._after, self._facts = before, after, facts
        self._is_trial = is_trial
        self.per_field = False
        """Whether the output seems to have a frame for each field from its beginning."""
        self.shift = Fraction(0)
        """Seconds that the output's times are later than the input's."""
        self.source_end = Fraction(0)
        """Where the input's last frame ends, on the input's clock."""
        self.sure_end = Fraction(0)
        """The same as far as the file says it: where it gives no duration, the last frame's beginning."""
        self._target_end = Fraction(0)
        self._last_shift = Fraction(0)
        self._period = 1 / (before.rate or _FALLBACK_RATE)
        self._last: tuple[Timed | None, Timed | None] = (None, None)
        self._counts = [0, 0]
        self._interlaced = [0, 0]
        self._second_fields, self._no_second_field = 0, Tally()
        self._times = TimeTally(after.tick)
        self._absent, self._unexpected, self._free = Tally(), Tally(), 0
        self._moved: Fraction | None = None
        self._other_sizes = Tally()
        self._pictures = PictureCheck()
        self._captions = CaptionCheck()
        self._size = thumbnail_size((facts[0].width, facts[0].height), (facts[1].width, facts[1].height))
        self._by_alpha = all(has_alpha(side.pix_fmt) for side in facts)
        self._thumbnails: tuple[Timed, Thumbnail] | None = None

    def settle(self, first: Timed, second: Timed | None, first_out: Timed, second_out: Timed | None) -> None:
        """Find out from the first frames how the output's times relate to the input's."""
        begin, found = (timed.time or Fraction(0) for timed in (first, first_out))
        expected = Fraction(0) if self._is_trial else max(begin, Fraction(0))
        self.shift = expected - begin
        if found != expected and not is_rounded(found - expected, expected, self._after.tick):
            self._moved = found - expected
            self.shift += self._moved
        self._last_shift = self.shift
        if first.frame.interlaced_frame and second is not None and second_out is not None:
            midway = self.shift + begin + ((second.time or begin) - begin) / 2
            self.per_field = abs((second_out.time or found) - midway) < self._after.tick

    @property
    def clock_shift(self) -> Fraction | None:
        """Seconds that the last frame's time is later, where that is otherwise than with the first: in joined files."""
        return None if self._last_shift == self.shift else self._last_shift

    def add(self, wanted: Expected | None, found: Timed | None, shift: Fraction) -> None:
        """Take an expected frame and the output's at its time; `None` for one that has no partner."""
        if wanted is not None and wanted.is_second_field:
            if found is None:
                if wanted.source.frame.interlaced_frame:
                    self._no_second_field.add(text_of(wanted.time + shift))
                return
            self._second_fields += 1
        if wanted is not None:
            self._counts[0] += 1
            self._interlaced[0] += wanted.source.frame.interlaced_frame
            self._last = wanted.source, self._last[1]
        if found is not None:
            self._counts[1] += 1
            self._interlaced[1] += found.frame.interlaced_frame
            self._last = self._last[0], found
            self._note_size(found)
        self._note_time(wanted, found, shift)
        self._last_shift = shift
        self._note_captions(wanted, found)
        if wanted is not None:
            small = self._source_thumbnail(wanted.source)
            large = None if found is None else self._thumbnail(found, 1)
            self._pictures.add(wanted.time, small, large)
        self._note_ends(wanted)

    def _note_size(self, found: Timed) -> None:
        size = found.frame.width, found.frame.height
        if size != (self._facts[1].width, self._facts[1].height):
            self._other_sizes.add(f"{size[0]}x{size[1]} at {text_of(found.time or Fraction(0))}")

    def _note_time(self, wanted: Expected | None, found: Timed | None, shift: Fraction) -> None:
        if wanted is None and found is not None:
            self._unexpected.add(text_of(found.time or Fraction(0)))
        elif found is None and wanted is not None:
            self._absent.add(text_of(wanted.time + shift))
        elif found is not None and wanted is not None:
            if wanted.is_free:
                self._free += 1
            else:
                self._times.add(wanted.time + shift, found.time or Fraction(0))

    def _note_captions(self, wanted: Expected | None, found: Timed | None) -> None:
        source = None if wanted is None or wanted.is_second_field else wanted.source
        time = self._last[0].time if self._last[0] is not None else None
        self._captions.add(
            time or Fraction(0),
            None if source is None else source.frame,
            None if found is None else found.frame,
        )

    def _note_ends(self, wanted: Expected | None) -> None:
        target = self._last[1]
        if wanted is not None:
            length = wanted.source.duration or self._period
            self.sure_end = wanted.time + (wanted.source.duration or 0)
            is_field = wanted.is_second_field or (self._second_fields and wanted.source.frame.interlaced_frame)
            self.source_end = wanted.time + (length / 2 if is_field else length)
        if target is not None:
            self._target_end = (target.time or Fraction(0)) + (target.duration or Fraction(0))

    def _source_thumbnail(self, timed: Timed) -> Thumbnail:
        """Of a frame of the input; the same one twice where there is a frame for each field."""
        if self._thumbnails is None or self._thumbnails[0] is not timed:
            self._thumbnails = timed, self._thumbnail(timed, 0)
        return self._thumbnails[1]

    def _thumbnail(self, timed: Timed, side: int) -> Thumbnail:
        facts = self._facts[side]
        size = min(self._size[0], timed.frame.width), min(self._size[1], timed.frame.height)
        matrix = int(timed.frame.colorspace)
        full_range = is_full_range(timed.frame) if timed.frame.color_range else facts.full_range
        matrix = facts.assumed_matrix if matrix in (0, 2, 3) else matrix
        return thumbnail(timed.frame, size, matrix, full_range, by_alpha=self._by_alpha)

    def checks(self) -> list[Check]:
        """Number, times and end of the frames, their sizes, and interlacing."""
        results = [self._number(), self._time(), self._end(), self._interlacing()]
        if self._other_sizes:
            text = f"{self._other_sizes.count} of another size, the first {self._other_sizes.first}"
            results.append(check("equal sizes", "all frames of one size", text, ok=False))
        return results

    def picture_checks(self) -> list[Check]:
        """What the frames show."""
        self._pictures.finish()
        codec, suffix = self._facts[1].codec, self._after.path.suffix.lower()
        holder = codec if codec in _NO_ALPHA else suffix if suffix == ".mp4" else None
        pictures = self._pictures.checks(None if holder is None else f"{holder} cannot hold it")
        return [*pictures, self._captions.check(codec)]

    def _number(self) -> Check:
        damage = self._before.damaged_packets
        expected = f"{self._counts[0]}"
        if self._second_fields:
            expected += f", {self._second_fields} of them second fields"
        if damage:
            expected += f" ({damage} damaged packet{'s' if damage > 1 else ''} besides)"
        found = f"{self._counts[1]}"
        if self._after.damaged_packets:
            found += f" ({self._after.damaged_packets} damaged packets)"
        uneven = bool(self._second_fields and self._no_second_field)
        if uneven:
            found += f", {self._no_second_field.count} second fields missing, the first {self._no_second_field.first}"
        ok = self._counts[0] == self._counts[1] and not self._after.damaged_packets and not uneven
        return check("frames", expected, found, ok)

    def _time(self) -> Check:
        found = [str(self._times)]
        intended = self.shift - (self._moved or 0)
        if self._moved is not None:
            found.append(f"all moved by {float(self._moved):+.6g} s")
        if self._absent:
            found.append(f"{self._absent.count} without a frame, the first {self._absent.first}")
        if self._unexpected:
            found.append(f"{self._unexpected.count} not of the input, the first {self._unexpected.first}")
        if self._free:
            found.append(f"{self._free} that did not increase corrected")
        expected = "those of the input"
        if intended:
            expected += f", moved by {float(intended):+.6g} s" + ("" if self._is_trial else " to begin at 0")
        ok = not (self._times.wrong or self._absent or self._unexpected) and self._moved is None
        return check("times", expected, "; ".join(found), ok)

    def _end(self) -> Check:
        source, target = self._last
        name = "end"
        if source is None or target is None or source.duration is None:
            return not_applicable(name, "not stated", text_of(self._target_end))
        expected = self.source_end + self._last_shift
        candidates = [self._target_end, *self._stated_ends()]
        best = min(candidates, key=lambda end: abs(end - expected))
        # Containers round the start and the length.
        ok = abs(best - expected) < 2 * self._after.tick or best == expected
        rounded = "" if best == expected else f" (in steps of {text_of_tick(self._after.tick)})"
        return check(name, text_of(expected), f"{text_of(best)}{rounded}", ok)

    def _stated_ends(self) -> list[Fraction]:
        """Where the output's header says that its video ends."""
        video = self._after.main
        found = []
        if video.duration:
            found.append((video.duration + (video.start_time or 0)) * seconds(video.time_base))
        for name, value in video.metadata.items():
            match = _CLOCK.fullmatch(value)
            if name.upper() == "DURATION" and match:  # Matroska, as FFmpeg writes it
                hours, minutes, rest = match.groups()
                found.append(int(hours) * 3600 + int(minutes) * 60 + Fraction(rest))
        return found

    def _interlacing(self) -> Check:
        name = "interlacing"
        count = self._counts[1]
        found = "progressive" if not self._interlaced[1] else f"{self._interlaced[1]} of {count} frames interlaced"
        if self._second_fields:
            found += ", a frame for each field"
        if not self._interlaced[0]:
            return check(name, "progressive", found, not self._interlaced[1])
        return check(name, "deinterlaced, or as the input", found, self._interlaced[1] in (0, self._interlaced[0]))
