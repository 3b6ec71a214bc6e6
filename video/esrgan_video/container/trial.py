"""`PacketTrial`: whether a muxer takes a packet, found out before it is written."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

from esrgan_video.container.plan import add_copy

if TYPE_CHECKING:
    from av.packet import Packet
    from av.stream import Stream


class PacketTrial:
    """A file with one stream that is written to nowhere.

    Muxers look into packets, and refuse damaged ones (ADTS, AC-3). With several streams they hold packets back to put
    them in order. What they then refuse shows at a packet of another stream, or ends a file that is being finished.

    Args:
        stream: of the input, whose packets are to be copied.
        muxer: FFmpeg's name of the output's muxer.
    """

    def __init__(self, stream: Stream, muxer: str) -> None:
        import av

        self._output = av.open(os.devnull, "w", format=muxer)
        try:
            self._target = add_copy(self._output, stream)
            self._output.start_encoding()
        except BaseException:
            self.close()
            raise

    def write(self, packet: Packet[Any]) -> None:
        """Write a packet, which stays as it is.

        Raises:
            av.error.FFmpegError: it is damaged.
        """
        kept = packet.stream, packet.pts, packet.dts, packet.duration, packet.time_base
        packet.stream = self._target
        try:
            self._output.mux_one(packet)
        finally:  # the muxer has times of its own
            packet.stream, packet.pts, packet.dts, packet.duration, packet.time_base = kept

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(Exception):  # nothing of it is kept
            self._output.close()
