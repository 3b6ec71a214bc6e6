"""From errors to sentences on the page."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from esrgan.errors import EsrganError

_log = logging.getLogger(__name__)

UNEXPECTED = "Something went wrong on this side. It was written to the log; please tell whoever runs this page."


@contextlib.contextmanager
def sentences() -> Iterator[None]:
    """Turn what goes wrong inside into a `gradio.Error` whose message is a sentence.

    Raises:
        gradio.Error: in place of any other exception.
    """
    import gradio as gr

    try:
        yield
    except gr.Error:
        raise
    except Exception as error:
        raise gr.Error(sentence(error), duration=None, print_exception=False) from error


def sentence(error: Exception) -> str:
    """What to tell a visitor: the message of an error of ours; any other is logged and not shown."""
    if not isinstance(error, EsrganError):
        _log.error("a request failed", exc_info=error)
        return UNEXPECTED
    text = str(error)
    if re.match(r"[a-z]+\b(?![./])", text):  # a word, not the name of a file
        text = text[0].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else f"{text}."


@contextlib.contextmanager
def naming(names: Mapping[Path, str]) -> Iterator[None]:
    """Let the messages of errors inside speak of files as the visitor does, not by their paths here."""
    try:
        yield
    except EsrganError as error:
        text = str(error)
        for path, name in names.items():
            text = text.replace(str(path), name)
        error.args = (text,)
        raise
