"""Tags and chapters: what is carried over, and what would be false in the output."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from av.container.core import Chapter

_WRITTEN_BY_MUXER = frozenset({"major_brand", "minor_version", "compatible_brands", "encoder", "duration"})
_STATISTICS = ("bps", "number_of_frames", "number_of_bytes", "_statistics_", "duration", "encoder", "alpha_mode")
"""Beginnings of tags that describe an encoded stream (mkvmerge writes them): no longer true of another one."""
_ITUNES = frozenset({
    "title", "artist", "album_artist", "composer", "album", "date", "comment", "genre", "copyright",
    "grouping", "lyrics", "description", "synopsis", "show", "episode_id", "network", "keywords", "track",
    "disc", "tmpo", "compilation", "gapless_playback", "media_type", "hd_video", "season_number",
    "episode_sort", "creation_time", "location", "timecode",
})  # fmt: skip
"""Tags that MP4's usual form has a place for."""


def container_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """The file's tags without those that the muxer writes itself."""
    return {key: _once(value) for key, value in tags.items() if key.lower() not in _WRITTEN_BY_MUXER}


def _once(value: str) -> str:
    """A value that the file says twice, as MP4 may say the date of creation; FFmpeg joins the two with a semicolon."""
    first, *others = value.split(";")
    return first if others and all(other == first for other in others) else value


def stream_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """A stream's tags by the names that muxers look for: MP4's `name` is read as that, and written from `title`."""
    names = {key.lower() for key in tags}
    return {"title" if key.lower() == "name" and "title" not in names else key: value for key, value in tags.items()}


def video_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags of the video's stream without those that describe the old encoding."""
    return {key: value for key, value in stream_tags(tags).items() if not key.lower().startswith(_STATISTICS)}


def tags_without_place(tags: Iterable[str]) -> list[str]:
    """Of `tags` (names) those that MP4's usual form has no place for."""
    return [name for name in tags if name.lower().split("-")[0] not in _ITUNES]


def moved_chapters(chapters: Iterable[Chapter], shift: Fraction, end: Fraction | None) -> list[Any]:
    """Chapters with `shift` seconds taken off, cut to what lies between zero and `end` (seconds; `None`: no end)."""
    moved = []
    for chapter in chapters:
        time_base = Fraction(chapter["time_base"].numerator, chapter["time_base"].denominator)
        ticks = round(shift / time_base)
        first, last = max(0, chapter["start"] - ticks), chapter["end"] - ticks
        if end is not None:
            last = min(last, round(end / time_base))
        if last > first or (last == first and chapter["start"] == chapter["end"]):
            moved.append({**chapter, "start": first, "end": last})
    return moved
