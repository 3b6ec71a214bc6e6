"""Chapters, and the tags of the file."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from esrgan_video.verify.media import seconds
from esrgan_video.verify.report import Check, check, not_applicable
from esrgan_video.verify.tally import TimeTally

_OF_THE_FILE = frozenset({"major_brand", "minor_version", "compatible_brands", "encoder", "duration"})
"""Tags that describe the file itself: another file has others."""
_CHAPTER_TICK = {".mkv": Fraction(1, 10**9), ".webm": Fraction(1, 10**9)}
_STANDARD = frozenset({
    "title", "artist", "album_artist", "composer", "album", "date", "comment", "genre", "copyright", "description",
    "show", "track", "disc", "creation_time", "location",
})  # fmt: skip
"""Tags that MP4 always has a place for."""
_NO_DATE = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
"""What is written where the date is not known."""
_MP4_CHAPTER_TICK = Fraction(1, 1000)


def chapter_checks(
    before: list[Any], after: list[Any], target: Path, shift: Fraction, end: Fraction | None
) -> Iterator[Check]:
    """Titles and times of chapters.

    Args:
        before: the input's.
        after: the output's.
        target: the output's file.
        shift: seconds that the output's times are later.
        end: where the output ends in its own seconds, if that is before the input's end; chapters are cut there.
    """
    wanted = list(_moved(before, shift, end))
    if not wanted and not after:
        yield not_applicable("chapters", "none", "none", "file")
        return
    titles = [title for *_, title in wanted]
    found = [_title(chapter) for chapter in after]
    yield check("chapters", _listed(titles), _listed(found), titles == found, "file")
    if len(wanted) != len(after):
        return
    is_mp4 = target.suffix.lower() not in _CHAPTER_TICK
    tally = TimeTally(_CHAPTER_TICK.get(target.suffix.lower(), _MP4_CHAPTER_TICK))
    stretched = 0
    starts = [first for first, *_ in wanted[1:]]
    for number, ((first, last, _), following, chapter) in enumerate(itertools.zip_longest(wanted, starts, after)):
        begin, until = (chapter[name] * seconds(chapter["time_base"]) for name in ("start", "end"))
        if is_mp4 and number == 0 and begin == 0 != first:
            stretched += 1
        else:
            tally.add(first, begin)
        if is_mp4 and until == following != last:
            stretched += 1
        elif following is not None or end is None:  # where a trial ends was not known when they were written
            tally.add(last, until)
    text = f"{tally}, {stretched} stretched over a gap, which MP4 cannot have" if stretched else str(tally)
    yield check("chapter times", "those of the input", text, not tally.wrong, "file")


def _moved(chapters: list[Any], shift: Fraction, end: Fraction | None) -> Iterator[tuple[Fraction, Fraction, str]]:
    for chapter in chapters:
        unit = seconds(chapter["time_base"])
        first, last = chapter["start"] * unit + shift, chapter["end"] * unit + shift
        if end is not None and first >= end:
            continue
        if last > 0 or first == last >= 0:
            yield max(Fraction(0), first), last if end is None else min(last, end), _title(chapter)


def _title(chapter: Any) -> str:
    return {key.lower(): str(value) for key, value in chapter["metadata"].items()}.get("title", "")


def _listed(titles: list[str]) -> str:
    shown = ", ".join(repr(title) for title in titles[:3])
    return f"{len(titles)}: {shown}{', …' if len(titles) > 3 else ''}" if titles else "none"


def tag_check(before: Mapping[str, str], after: Mapping[str, str], *, standard_only: bool) -> Check:
    """Tags of the file, names without regard to case; dates by what they mean.

    Args:
        before: the input's.
        after: the output's.
        standard_only: whether the output has no place for others than the usual ones.
    """
    wanted = {
        name.lower(): value
        for name, value in before.items()
        if name.lower() not in _OF_THE_FILE and not (name.lower() == "creation_time" and _date(value) == _NO_DATE)
    }
    found = {name.lower(): value for name, value in after.items()}
    if not wanted:
        return not_applicable("tags", "none", f"{len(found.keys() - _OF_THE_FILE)}", "file")
    lost = [name for name, value in wanted.items() if not _means(value, _value(found, name))]
    text = f"{len(wanted) - len(lost)} of {len(wanted)}" + (f", without {', '.join(lost)}" if lost else "")
    if standard_only and lost and not _STANDARD.intersection(lost):
        text, lost = f"{text}: beside cover art MP4 has no place", []
    return check("tags", ", ".join(sorted(wanted)), text, not lost, "file")


def _value(tags: Mapping[str, str], name: str) -> str | None:
    """A tag; a name may have a language behind it, which not every container writes."""
    return tags.get(name, tags.get(name.partition("-")[0]))


def _means(expected: str, found: str | None) -> bool:
    if found is None:
        return False
    date = _date(expected)
    # MP4 may say a tag twice, which FFmpeg joins.
    return any(value == expected or (date is not None and date == _date(value)) for value in (found, *found.split(";")))


def _date(text: str) -> dt.datetime | None:
    try:
        date = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=dt.UTC)
