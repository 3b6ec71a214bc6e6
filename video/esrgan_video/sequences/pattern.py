"""`SequencePattern`: names of numbered files, written as `frames/%05d.png`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from esrgan.errors import UsageError

_TOKENS = re.compile(r"%%|%0?(\d*)d")


@dataclass(frozen=True)
class SequencePattern:
    """Files of one folder whose names differ in a number."""

    folder: Path
    """Where they are; no part of its name is read as a pattern."""
    before: str
    """What stands before the number."""
    digits: int
    """Digits of the number, at least; shorter numbers have zeros before them."""
    after: str
    """What stands after the number, suffix included."""

    @classmethod
    def parse(cls, path: Path) -> Self | None:
        """The pattern that the last part of `path` is; `None` if it has no `%d`.

        `%d` and `%05d` stand for the number, `%%` for a percent sign; any other percent sign is itself.

        Raises:
            UsageError: more than one number.
        """
        numbers = [match for match in _TOKENS.finditer(path.name) if match[0] != "%%"]
        if not numbers:
            return None
        if len(numbers) > 1:
            raise UsageError(f"{path} has {len(numbers)} numbers: a sequence has one, and %% is a percent sign")
        (number,) = numbers
        before, after = (text.replace("%%", "%") for text in (path.name[: number.start()], path.name[number.end() :]))
        return cls(path.parent, before, int(number[1] or 0), after)

    def __str__(self) -> str:
        before, after = (text.replace("%", "%%") for text in (self.before, self.after))
        number = f"%0{self.digits}d" if self.digits else "%d"
        return str(self.folder / f"{before}{number}{after}")

    def file(self, number: int) -> Path:
        """The file of `number`."""
        return self.folder / f"{self.before}{number:0{self.digits}d}{self.after}"

    def numbers(self) -> list[int]:
        """Numbers of the files that exist, in order.

        Raises:
            UsageError: there is no such folder.
        """
        if not self.folder.is_dir():
            raise UsageError(f"no files {self}: there is no folder {self.folder}")
        name = re.compile(re.escape(self.before) + r"(\d+)" + re.escape(self.after))
        matches = (name.fullmatch(path.name) for path in self.folder.iterdir())
        found = (match[1] for match in matches if match)
        return sorted(int(digits) for digits in found if digits == f"{int(digits):0{self.digits}d}")
