"""`plain_text`: what a packet of subtitles says, whatever its codec."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from av.packet import Packet

_LENGTH_FIRST = "mov_text"
"""The codec whose packets are more than the lines."""
_OVERRIDES = re.compile(rb"\{[^}]*\}")


def plain_text(packet: Packet[Any]) -> bytes:
    """The lines of a packet as UTF-8 without styling, line breaks as `\\n`; empty where nothing is shown."""
    lines = []
    for subtitle in _decoded(packet):
        text = getattr(subtitle, "dialogue", None) or getattr(subtitle, "text", None) or b""
        text = _OVERRIDES.sub(b"", bytes(text)).replace(b"\\N", b"\n").replace(b"\\n", b"\n").replace(b"\r", b"")
        lines.append(text.strip())
    return b"\n".join(line for line in lines if line)


def _decoded(packet: Packet[Any]) -> list[Any]:
    """The subtitles of a packet; none where it is damaged. Lines that are not UTF-8 are taken for Windows-1252."""
    import av

    data = bytes(packet)
    try:
        return list(packet.decode())
    except av.error.InvalidDataError:
        codec: Any = packet.stream.codec_context
        if codec.name == _LENGTH_FIRST:
            return []
    try:
        return list(codec.decode2(av.Packet(data.decode("cp1252", errors="replace").encode())) or ())
    except av.error.InvalidDataError:
        return []
