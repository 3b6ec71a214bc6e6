"""`plain_text`: what a packet of subtitles says, whatever its codec."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from av.packet import Packet

_OVERRIDES = re.compile(rb"\{[^}]*\}")


def plain_text(packet: Packet[Any]) -> bytes:
    """The lines of a packet as UTF-8 without styling, line breaks as `\\n`; empty where nothing is shown."""
    lines = []
    for subtitle in packet.decode():
        text = getattr(subtitle, "dialogue", None) or getattr(subtitle, "text", None) or b""
        text = _OVERRIDES.sub(b"", bytes(text)).replace(b"\\N", b"\n").replace(b"\\n", b"\n").replace(b"\r", b"")
        lines.append(text.strip())
    return b"\n".join(line for line in lines if line)
