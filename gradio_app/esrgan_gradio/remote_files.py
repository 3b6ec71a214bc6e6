"""No request makes this machine fetch anything: Gradio would download an address in place of a file, of any size.

Nor does one hand it files but as uploads: of the routes that take them, Gradio's other gives a recording to FFmpeg.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_MAX_BODY = 8_000_000
"""Bytes of a request that is not an upload."""
UPLOAD = "/gradio_api/upload"
"""The one route that takes files."""
_FILE_ROUTES = ("/gradio_api/file=", "/gradio_api/file/")
"""Routes that give a file, or what is behind an address in its place."""
_SCHEMES = ("http:", "https:")
_REFUSAL = "files must be uploaded; addresses are not fetched here"
_TOO_LARGE = "the request is too large; files must be uploaded"
_UNCLEAR = "a request has one content type"


class LocalFilesOnly:
    """ASGI middleware that refuses requests whose files are addresses, and files but for uploads.

    Args:
        app: what answers all other requests.
    """

    def __init__(self, app: Callable[[Message, Receive, Send], Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        refusal = _refusal(scope) if scope["type"] == "http" else None
        if refusal is not None:
            await refuse(send, 400, refusal)
            return
        if scope["type"] != "http" or scope["method"] != "POST" or route_of(scope) == UPLOAD:
            await self._app(scope, receive, send)
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if len(body) > _MAX_BODY:
                await refuse(send, 413, _TOO_LARGE)
                return
            if not message.get("more_body"):
                break
        if _names_address(_parsed(body)):
            await refuse(send, 400, _REFUSAL)
            return
        whole: list[Message] = [{"type": "http.request", "body": body}]

        async def again() -> Message:
            return whole.pop() if whole else await receive()

        await self._app(scope, again, send)


def _refusal(scope: Message) -> str | None:
    """Why a request is refused by its path and headers, if it is."""
    path = route_of(scope)
    for route in _FILE_ROUTES:
        if path.startswith(route) and _is_address(path.removeprefix(route)):
            return _REFUSAL
    kinds = [value.lower() for name, value in scope["headers"] if name.lower() == b"content-type"]
    if len(kinds) > 1:  # of which this class and Gradio may each believe another
        return _UNCLEAR
    if path != UPLOAD and any(b"multipart/" in kind for kind in kinds):
        return _REFUSAL
    return None


def route_of(scope: Message) -> str:
    """The path of a request without the prefix that a proxy in front may have."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _names_address(value: Any) -> bool:
    """Whether a description of a file, anywhere in `value`, has an address as its path."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            path = one.get("path")
            if isinstance(path, str) and _is_address(path):
                return True
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)
    return False


def _is_address(path: str) -> bool:
    return path.strip().lower().startswith(_SCHEMES)


async def refuse(send: Send, status: int, sentence: str) -> None:
    """Answer a request with a sentence instead of what it asked for."""
    body = json.dumps({"detail": sentence, "error": sentence}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
