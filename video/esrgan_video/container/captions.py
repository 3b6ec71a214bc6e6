"""Closed captions (CEA-608 and CEA-708): from decoded frames into the packets of H.264 and HEVC."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.frame import VideoFrame

_CAPTIONED = frozenset({"h264", "hevc"})
_WITH_LENGTHS = "_videotoolbox"
"""Encoders that put lengths where others put start codes."""
_KIND = "A53_CC"
"""FFmpeg's name of captions beside a frame: triplets of `cc_data`, ATSC A/53 part 4."""
_MOST_TRIPLETS = 31
"""Of one message: their number has five bits."""
_REGISTERED_USER_DATA = 4
"""ITU-T T.35 in SEI, by H.264 annex D and HEVC annex D alike."""
_ATSC_CAPTIONS = b"\xb5\x00\x31GA94\x03"
"""Country (United States), provider (ATSC), identifier and type of what follows."""
_PROCESS = 0x40
_NAL = re.compile(rb"\x00\x00\x01(.)", re.DOTALL)
_TO_ESCAPE = re.compile(rb"\x00\x00(?=[\x00-\x03])")


@lru_cache(maxsize=16)
def carries_captions(encoder: str) -> bool:
    """Whether the packets of `encoder`, by FFmpeg's name, can be given captions."""
    import av

    return av.Codec(encoder, "w").canonical_name in _CAPTIONED and not encoder.endswith(_WITH_LENGTHS)


def captions_of(decoded: VideoFrame) -> bytes:
    """The captions that came with a frame, in triplets of `cc_data`; empty if it has none."""
    return b"".join(bytes(data) for kind, data in decoded.side_data.items() if kind.name == _KIND)


def with_captions(packet: Packet[Any], captions: bytes, encoder: str) -> Packet[Any]:
    """The packet of a frame with its captions in front of its first slice.

    Args:
        packet: of an encoder that `carries_captions`.
        captions: triplets of `cc_data`.
        encoder: FFmpeg's name of it.
    """
    import av
    from av.packet import Packet

    is_hevc = av.Codec(encoder, "w").canonical_name == "hevc"
    data = bytes(packet)
    place = _first_slice(data, is_hevc=is_hevc)
    made: Packet[Any] = Packet(data[:place] + _message(captions, is_hevc=is_hevc) + data[place:])
    made.pts, made.dts, made.duration, made.time_base = packet.pts, packet.dts, packet.duration, packet.time_base
    made.is_keyframe = packet.is_keyframe
    for item in packet.iter_sidedata():
        made.set_sidedata(item)
    return made


def _first_slice(data: bytes, *, is_hevc: bool) -> int:
    """Where the start code of the first slice begins; slices have the lowest types, but for H.264's 0."""
    for match in _NAL.finditer(data):
        kind = match[1][0] >> 1 & 0x3F if is_hevc else match[1][0] & 0x1F
        if (kind < 32) if is_hevc else (1 <= kind <= 5):
            return match.start() - (data[match.start() - 1 : match.start()] == b"\0")
    return 0


def _message(captions: bytes, *, is_hevc: bool) -> bytes:
    """A NAL unit of supplemental enhancement information, with its start code."""
    header = b"\x4e\x01" if is_hevc else b"\x06"
    size = 3 * _MOST_TRIPLETS
    payloads = [_payload(captions[start : start + size]) for start in range(0, len(captions), size)]
    body = b"".join(bytes([_REGISTERED_USER_DATA, len(payload)]) + payload for payload in payloads)
    return b"\0\0\0\1" + header + _TO_ESCAPE.sub(b"\0\0\3", body + b"\x80")


def _payload(triplets: bytes) -> bytes:
    return _ATSC_CAPTIONS + bytes([_PROCESS | len(triplets) // 3, 0xFF]) + triplets + b"\xff"
