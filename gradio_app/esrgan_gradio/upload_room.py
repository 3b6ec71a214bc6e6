"""No upload fills the disk: it is refused, or broken off, where all files together would take more than they may."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from esrgan.errors import UsageError
from esrgan_gradio.remote_files import UPLOAD, Message, Receive, Send, refuse, route_of
from esrgan_gradio.workspace import Workspace

_CHECKED_BYTES = 8_000_000
"""Bytes of an upload between two looks at what is taken."""
_FULL = 507
"""Insufficient storage: RFC 4918, section 11.5."""


class RoomForUploads:
    """ASGI middleware that ends uploads for which there is no room.

    Args:
        app: what answers all requests.
        workspace: where uploads lie.
    """

    def __init__(self, app: Callable[[Message, Receive, Send], Awaitable[None]], workspace: Workspace) -> None:
        self._app = app
        self._workspace = workspace

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["method"] != "POST" or route_of(scope) != UPLOAD:
            await self._app(scope, receive, send)
            return
        came = 0

        async def while_there_is_room() -> Message:
            nonlocal came
            message = await receive()
            came += len(message.get("body", b""))
            if came >= _CHECKED_BYTES:  # others may upload too, and not each request says how large it is
                came = 0
                self._workspace.require_room()
            return message

        try:
            self._workspace.require_room(_announced(scope))
            await self._app(scope, while_there_is_room, send)
        except UsageError as error:  # of ours: nothing has been answered, since nothing has come whole
            await refuse(send, _FULL, str(error))


def _announced(scope: Message) -> int:
    """How many bytes the request says that it has, 0 if it does not."""
    for name, value in scope["headers"]:
        if name.lower() == b"content-length" and value.isdigit():
            return int(value)
    return 0
