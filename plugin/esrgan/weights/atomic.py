"""Files that appear whole under their final name, or not at all."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SHOWN = 40
"""Characters of a file's name in the one that it has before it is whole."""


@contextmanager
def written_beside(path: Path) -> Iterator[Path]:
    """Yield a hidden path in the folder of `path`; rename it to `path` when the block ends well, else remove it.

    The caller creates the file, so it gets the user's usual permissions.
    """
    # Of the name a part, since it may be as long as names can be.
    temporary = path.with_name(f".{path.name[:_SHOWN]}.{secrets.token_hex(4)}.part")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
