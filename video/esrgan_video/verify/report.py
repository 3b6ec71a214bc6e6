"""`Check` and `Report`: what was checked, what was expected and found, as a table or as JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

Status = Literal["ok", "failed", "not applicable"]

_HEADINGS = ("check", "expected", "found", "result")
_WIDTHS = (30, 36, 42)
"""Columns of the table in characters, but for the last; longer cells are broken."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One point of the contract."""

    name: str
    """What was checked: `frames`, `times`, `packets` ..."""
    subject: str
    """What it was checked of: `video`, `file`, or a stream of the input such as `#1 audio`."""
    expected: str
    """What the input asks for."""
    found: str
    """What the output has."""
    status: Status
    """`not applicable` is what the input does not have, or the container has no place for; `found` says which."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """All checks of an output against its input."""

    source: Path
    """The input."""
    target: Path
    """The output."""
    checks: tuple[Check, ...]
    """In the order in which they are shown."""

    @property
    def failed(self) -> tuple[Check, ...]:
        """The breaches."""
        return tuple(check for check in self.checks if check.status == "failed")

    def table(self) -> str:
        """The checks in columns, and a last line that says whether all holds."""
        rows = [_HEADINGS, tuple("-" * len(heading) for heading in _HEADINGS)]
        rows += [(_title(check), check.expected, check.found, check.status) for check in self.checks]
        lines = [line for row in rows for line in _wrapped(row)]
        count = sum(check.status != "not applicable" for check in self.checks)
        verdict = f"{len(self.failed)} of {count} checks failed" if self.failed else f"all {count} checks hold"
        return "\n".join([*lines, "", f"{self.target}: {verdict}"])

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "input": str(self.source),
            "output": str(self.target),
            "ok": not self.failed,
            "checks": [asdict(check) for check in self.checks],
        }


def _title(check: Check) -> str:
    return check.name if check.subject in ("video", "file") else f"{check.subject}: {check.name}"


def _wrapped(row: tuple[str, ...]) -> Iterator[str]:
    cells = [textwrap.wrap(cell, width) or [""] for cell, width in zip(row, _WIDTHS, strict=False)]
    for number in range(max(map(len, cells))):
        columns = [
            (cell[number] if number < len(cell) else "").ljust(width)
            for cell, width in zip(cells, _WIDTHS, strict=True)
        ]
        yield "  ".join([*columns, row[-1] if number == 0 else ""]).rstrip()


def check(name: str, expected: str, found: str, ok: bool, subject: str = "video") -> Check:
    """A check that holds or not."""
    return Check(name=name, subject=subject, expected=expected, found=found, status="ok" if ok else "failed")


def not_applicable(name: str, expected: str, found: str, subject: str = "video") -> Check:
    """A check that there is nothing to say of."""
    return Check(name=name, subject=subject, expected=expected, found=found, status="not applicable")
