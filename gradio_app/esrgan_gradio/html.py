"""Pieces of the page that are plain HTML."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Literal

Tone = Literal["idle", "busy", "done", "error"]


def status(text: str, tone: Tone = "idle", share: float | None = None) -> str:
    """A line that says what goes on, with a bar above it.

    Args:
        text: plain text.
        tone: what it is about.
        share: of the work that is done, 0 to 1; `None` where that is unknown or no work goes on.
    """
    # A screen reader speaks results and errors, not every step.
    role = {"done": ' role="status"', "error": ' role="alert"'}.get(tone, "")
    return f'<div class="job {tone}">{_bar(tone, share)}<p{role}>{escape(text)}</p></div>'


def _bar(tone: Tone, share: float | None) -> str:
    if tone == "busy" and share is None:
        return '<div class="bar endless" role="progressbar" aria-label="Working"><span></span></div>'
    percent = 100 * min(1.0, max(0.0, share or 0.0))
    if tone != "busy":
        return f'<div class="bar" aria-hidden="true"><span style="width:{100 if tone == "done" else 0}%"></span></div>'
    return (
        '<div class="bar" role="progressbar" aria-label="Progress" aria-valuemin="0" aria-valuemax="100" '
        f'aria-valuenow="{percent:.0f}"><span style="width:{percent:.1f}%"></span></div>'
    )


def table(rows: Sequence[Sequence[str]], header: Sequence[str] = (), caption: str = "") -> str:
    """A table of plain text; the first cell of each row names it."""
    head = f"<thead><tr>{''.join(f'<th scope="col">{escape(cell)}</th>' for cell in header)}</tr></thead>"
    body = "".join(
        f'<tr><th scope="row">{escape(first)}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in rest)}</tr>'
        for first, *rest in rows
    )
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f'<table class="facts">{title}{head if header else ""}<tbody>{body}</tbody></table>'


def duration(seconds: float) -> str:
    """`8.4 s`, `42 s`, `3 min 05 s`, `1 h 10 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60:02d} s" if whole % 60 else "")
    minutes = whole % 3600 // 60
    return f"{whole // 3600} h" + (f" {minutes:02d} min" if minutes else "")
