"""Pillow without its limit of pixels and without its warnings."""

from __future__ import annotations

import contextlib
import logging
import threading
import warnings
from collections.abc import Iterator

from PIL import Image

_log = logging.getLogger(__name__)

_lock = threading.RLock()


@contextlib.contextmanager
def quiet_pillow(subject: object) -> Iterator[None]:
    """Lift Pillow's limit of pixels, in whose place stands `check_size`, and log warnings instead of raising them.

    Limit and warnings are settings of the process: one thread at a time changes them, and puts them back.

    Args:
        subject: what is worked on, for the log.
    """
    with _lock, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit
    for warning in caught:
        _log.debug("%s: %s", subject, warning.message)
