"""Fetching a weights file once, and trusting only its checksum."""

from __future__ import annotations

import hashlib
import http.client
import logging
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import AbstractContextManager
from email.message import Message
from pathlib import Path
from typing import IO

from esrgan.errors import WeightsError
from esrgan.progress import Progress, ProgressMode
from esrgan.weights.atomic import written_beside

logger = logging.getLogger(__name__)

Opener = Callable[[str], AbstractContextManager[http.client.HTTPResponse]]

_TIMEOUT = 30.0
"""Seconds without a byte before a download is given up."""
_CHUNK = 1 << 18
_MAX_BYTES = 1 << 30
"""Largest download where the size is not known beforehand."""

_NETWORK_ERRORS = (urllib.error.URLError, http.client.HTTPException, ssl.SSLError, TimeoutError, ConnectionError)


class _HttpsOnly(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if not newurl.startswith("https://"):
            fp.close()
            raise urllib.error.URLError(f"redirected to {newurl}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def open_https(address: str) -> AbstractContextManager[http.client.HTTPResponse]:
    """Open an https address, following redirects to https only; proxies are taken from the environment.

    Raises:
        urllib.error.URLError: the address is not https, or cannot be reached.
    """
    if not address.startswith("https://"):
        raise urllib.error.URLError("only https addresses are opened")
    response: AbstractContextManager[http.client.HTTPResponse]
    response = urllib.request.build_opener(_HttpsOnly).open(address, timeout=_TIMEOUT)
    return response


def fetch(
    address: str,
    target: Path,
    *,
    sha256: str,
    size_bytes: int | None = None,
    progress: ProgressMode = "auto",
    opener: Opener = open_https,
) -> Path:
    """`target`, downloaded from `address` unless it is there already with the right checksum.

    Args:
        address: where the file is published.
        target: where it is kept; its folder is made.
        sha256: checksum in hexadecimal, checked before the file gets its name and at every call.
        size_bytes: exact size, where known.
        progress: how the download is shown.
        opener: opens `address`; by default https only.

    Raises:
        WeightsError: no connection, an incomplete answer, the wrong content, or no room to write.
    """
    if target.is_file():
        if _is_good(target, sha256, size_bytes):
            return target
        logger.warning("%s is damaged (its checksum differs); downloading it again", target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with written_beside(target) as temporary:
            found = _download(address, temporary, size_bytes, progress, opener)
            if found != sha256:
                raise WeightsError(
                    f"{address} is not the file expected: SHA-256 {found}, expected {sha256}; nothing was kept"
                )
    except _NETWORK_ERRORS as error:
        raise WeightsError(
            f"cannot download {address}: {_reason(error)}; try again, or get it by other means and put it at {target}"
        ) from error
    except OSError as error:
        raise WeightsError(
            f"cannot write {target}: {error.strerror or error}; set ESRGAN_CACHE to a folder that you can write to"
        ) from error
    return target


def _is_good(file: Path, sha256: str, size_bytes: int | None) -> bool:
    if size_bytes is not None and file.stat().st_size != size_bytes:
        return False
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == sha256


def _download(address: str, file: Path, size_bytes: int | None, progress: ProgressMode, opener: Opener) -> str:
    """Write what `address` sends to `file`; its SHA-256. A wrong number of bytes is an error."""
    name = address.rpartition("/")[2]
    digest = hashlib.sha256()
    with opener(address) as response, file.open("xb") as stream:
        total = size_bytes if size_bytes is not None else _content_length(response.headers)
        limit = total if total is not None else _MAX_BYTES
        with Progress(f"downloading {name}", total=total, unit="B", mode=progress) as bar:
            for chunk in iter(lambda: response.read(_CHUNK), b""):
                if bar.done + len(chunk) > limit:
                    raise urllib.error.URLError(f"it sends more than the {limit} bytes expected")
                digest.update(chunk)
                stream.write(chunk)
                bar.update(len(chunk))
    if total is not None and bar.done < total:
        raise urllib.error.URLError(f"the answer ended after {bar.done} of {total} bytes")
    return digest.hexdigest()


def _content_length(headers: Message) -> int | None:
    text = headers.get("Content-Length") or ""
    return int(text) if text.isascii() and text.isdigit() else None


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        error.close()  # it holds the connection
        return f"the server answered {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        reason = error.reason
        return (reason.strerror or str(reason)) if isinstance(reason, OSError) else str(reason)
    return str(error) or type(error).__name__
