"""Plain text subtitles from one container's codec to another's."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from av.packet import Packet

_log = logging.getLogger(__name__)

_HEADER = (
    "[Script Info]\r\nScriptType: v4.00+\r\nPlayResX: 384\r\nPlayResY: 288\r\n\r\n"
    "[V4+ Styles]\r\n"
    "Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, "
    "Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, "
    "MarginR, MarginV, Encoding\r\n"
    "Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,0\r\n\r\n"
    "[Events]\r\n"
    "Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\r\n"
)
"""What FFmpeg's text encoders want to know of styles before they start: its own defaults."""


def prepare(target: Any, time_base: Any) -> None:
    """Set up a new output stream for converted subtitles whose times are in `time_base`."""
    target.codec_context.subtitle_header = _HEADER.encode()
    target.codec_context.time_base = time_base
    target.time_base = time_base


_BARE_TEXT = frozenset({"srt", "subrip", "text"})
"""Codecs whose packets are the lines and nothing else."""
_OLD_ENCODING = "cp1252"
"""What files that are not UTF-8 are taken for: Windows' letters of Western Europe, which has Latin-1's."""


class SubtitleConverter:
    """Decodes packets of `source` and encodes them for `target`, which `prepare` was called for."""

    def __init__(self, source: Any, target: Any) -> None:
        self._decoder = source.codec_context
        self._encoder = target.codec_context
        self._is_bare = self._decoder.name in _BARE_TEXT
        self._index = source.index
        self._has_warned = False

    def convert(self, packet: Packet[Any]) -> Packet[Any] | None:
        """The same lines at the same time; `None` where nothing is shown (MP4 stores such pauses).

        Raises:
            av.error.FFmpegError: the packet is damaged.
        """
        lines = self._decoder.decode2(self._in_utf8(packet) if self._is_bare else packet)
        if lines is None or not len(lines):
            return None
        result: Packet[Any] = self._encoder.encode_subtitle(lines)
        if not result.size:
            return None
        result.time_base = packet.time_base
        result.pts, result.dts, result.duration = packet.pts, packet.dts, packet.duration
        return result

    def _in_utf8(self, packet: Packet[Any]) -> Packet[Any]:
        """The packet as the decoder wants it: it refuses lines in any other encoding."""
        from av.packet import Packet

        data = bytes(packet)
        try:
            data.decode()
        except UnicodeDecodeError:
            if not self._has_warned:
                _log.warning("stream #%d: lines that are not UTF-8 are read as Windows-1252", self._index)
                self._has_warned = True
            made: Packet[Any] = Packet(data.decode(_OLD_ENCODING, errors="replace").encode())
            made.time_base = packet.time_base
            made.pts, made.dts, made.duration = packet.pts, packet.dts, packet.duration
            return made
        return packet
