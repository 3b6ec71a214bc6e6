"""Sets of PNG files as LMDB, in the layout that BasicSR reads."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import mkdtemp

from esrgan.errors import DataError, FailedError, MissingExtraError
from esrgan.progress import Progress, ProgressMode
from esrgan.training.data.image_files import probe

_OVERHEAD = 8192
"""Bytes of pages and keys for each image, more than there are."""
_PNG_LEVEL = 3
"""Recorded in `meta_info.txt`; no reader uses it."""


def write_lmdb(folder: Path, names: Sequence[str], target: Path, *, progress: ProgressMode = "auto") -> None:
    """Write `folder/NAME` for all `names` to the LMDB folder `target`, which appears whole or not at all.

    Keys are the names without `.png`. One that is there already is replaced.

    Raises:
        MissingExtraError: the package lmdb is not installed.
        DataError: a name that BasicSR's reader would cut: it ends keys at the first dot.
        FailedError: the LMDB cannot be written.
    """
    try:
        import lmdb
    except ImportError as error:
        raise MissingExtraError("--lmdb", "train") from error
    keys = {name: Path(name).stem for name in names}
    if dotted := next((key for key in keys.values() if "." in key), None):
        raise DataError(
            f"{dotted!r} cannot be a key of BasicSR's LMDB, which ends keys at a dot: rename the photograph"
        )
    size = sum((folder / name).stat().st_size for name in names) + _OVERHEAD * (len(names) + 16)
    beside = Path(mkdtemp(prefix=f".{target.name}_", dir=target.parent))
    try:
        lines = []
        with (
            lmdb.open(str(beside), map_size=2 * size) as environment,
            environment.begin(write=True) as transaction,
            Progress(target.name, total=len(names), unit="image", mode=progress) as bar,
        ):
            for name, key in keys.items():
                file = folder / name
                facts = probe(file)
                transaction.put(key.encode(), file.read_bytes())
                lines.append(f"{name} ({facts.height},{facts.width},3) {_PNG_LEVEL}\n")
                bar.update()
        (beside / "meta_info.txt").write_text("".join(lines), encoding="utf-8")
        beside.chmod(0o755)  # mkdtemp keeps it to the user
        shutil.rmtree(target, ignore_errors=True)
        beside.replace(target)
    except (OSError, lmdb.Error) as error:
        raise FailedError(f"{target} cannot be written: {error}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
