"""Training pairs from a folder of photographs: sub-images and their MATLAB-like bicubic LR."""

from __future__ import annotations

import json
import os
import signal
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from esrgan.errors import DataError, FailedError, UsageError
from esrgan.progress import Progress, ProgressMode
from esrgan.training.data.bicubic import downscale
from esrgan.training.data.image_files import SUFFIXES, probe, read_bgr, write_png
from esrgan.training.data.lmdb_output import write_lmdb
from esrgan.training.data.varied import Pixels, collage, copies
from esrgan.weights.atomic import written_beside

KINDS = ("hr", "lr")
_RECORD = "prepared.json"
"""What the pairs in a folder were made with: other options would leave a mixture."""


@dataclass(frozen=True, kw_only=True)
class PrepareOptions:
    """How photographs become pairs.

    Raises:
        UsageError: sizes that do not fit together.
    """

    scale: int = 4
    """Size ratio of HR to LR."""
    crop: int | None = 160
    """Side of an HR sub-image in pixels, a multiple of `scale`; `None` keeps whole images."""
    step: int = 80
    """Distance between sub-images in HR pixels, a multiple of `scale`."""
    convert: bool = False
    """Make grey images and images with alpha RGB, instead of leaving them out."""
    vary: bool = False
    """Add smaller copies, and vivid ones and ones with exchanged channels of some: see `varied`."""
    flat: bool = False
    """Add collages of flat colours and parts of some photographs: see `varied`."""
    meta_info: bool = False
    """Also write `meta_info.txt`, which spares BasicSR the listing of large folders."""
    lmdb: bool = False
    """Also write `hr.lmdb` and `lr.lmdb`."""

    def __post_init__(self) -> None:
        if self.scale < 1:
            raise UsageError(f"--scale must be at least 1, got {self.scale}")
        for name, value in (("--crop", self.crop), ("--step", self.step)):
            if value is not None and (value < 1 or value % self.scale):
                raise UsageError(f"{name} must be a positive multiple of the scale {self.scale}, got {value}")


@dataclass(frozen=True)
class Prepared:
    """What became of a folder of photographs."""

    pairs: int
    """Pairs that are there now."""
    problems: list[str]
    """One line for each photograph that was left out."""


@dataclass(frozen=True)
class _Image:
    """What became of one photograph."""

    names: dict[str, tuple[int, int]]
    """File name of each pair -> height and width of its HR image."""
    problem: str | None = None


def prepare(
    source: Path,
    target: Path,
    options: PrepareOptions,
    *,
    workers: int | None = None,
    progress: ProgressMode = "auto",
) -> Prepared:
    """Write `target/hr/*.png` and `target/lr/*.png` for every photograph in `source`.

    The LR picture is made from the whole HR image (cut to a multiple of the scale) before it is cut
    into sub-images, so these have no border of their own. A picture whose pairs are all there is left
    as it is: an interrupted run continues. A photograph that cannot be used is named and left out.

    Args:
        source: folder of photographs; folders in it are not looked into.
        target: folder for the pairs, made if need be.
        options: sizes and extras.
        workers: processes; one for each core by default.
        progress: how it is shown.

    Raises:
        UsageError: `target` holds pairs of other options, or two photographs would give the same names.
        DataError: `source` holds no photograph.
        FailedError: `target` cannot be written to.
    """
    photographs = _photographs(source)
    _open_target(target, options)
    work = partial(_prepare_image, target=target, options=options)
    done: list[_Image] = []
    with Progress("prepare", total=len(photographs), unit="image", mode=progress) as bar:
        for image in _mapped(work, photographs, workers or os.cpu_count() or 1):
            done.append(image)
            bar.update()
    sizes = {name: size for image in done for name, size in image.names.items()}
    if options.meta_info:
        _write_meta_info(target, sizes)
    if options.lmdb:
        for kind in KINDS:
            write_lmdb(target / kind, sorted(sizes), target / f"{kind}.lmdb", progress=progress)
    return Prepared(pairs=len(sizes), problems=[image.problem for image in done if image.problem])


def _photographs(source: Path) -> list[Path]:
    if not source.is_dir():
        raise DataError(f"the folder {source} does not exist")
    files = sorted(
        path for path in source.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )
    if not files:
        raise DataError(f"no images in {source}: expected files ending in {', '.join(sorted(SUFFIXES))}")
    by_stem: defaultdict[str, list[Path]] = defaultdict(list)
    for file in files:
        by_stem[file.stem.casefold()].append(file)
    for same in by_stem.values():
        if len(same) > 1:
            raise UsageError(f"{same[0]} and {same[1].name} would give pairs of the same names: rename one")
    return files


def _open_target(target: Path, options: PrepareOptions) -> None:
    made_with: dict[str, int | None] = {"scale": options.scale, "crop": options.crop, "step": options.step}
    made_with |= {name: True for name in ("vary", "flat") if getattr(options, name)}
    record = target / _RECORD
    try:
        for kind in KINDS:
            (target / kind).mkdir(parents=True, exist_ok=True)
        before = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else made_with
        if before != made_with:
            raise UsageError(f"{target} holds pairs of other options ({_listed(before)}): choose another folder")
        with written_beside(record) as temporary:
            temporary.write_text(json.dumps(made_with) + "\n", encoding="utf-8")
    except (OSError, ValueError) as error:
        raise FailedError(f"cannot write to {target}: {error}") from error


def _listed(values: dict[str, int | None]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _mapped(work: partial[_Image], files: Sequence[Path], workers: int) -> Iterator[_Image]:
    """`work` on each file, in order; in this process when there is one worker."""
    if min(workers, len(files)) == 1:
        yield from map(work, files)
        return
    # Forks of a fresh process: forks of this one would copy the locks of threads that libraries started.
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker) as pool:
        try:
            yield from pool.map(work, files)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _start_worker() -> None:
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; the first process ends the others
    cv2.setNumThreads(1)


def _prepare_image(path: Path, *, target: Path, options: PrepareOptions) -> _Image:
    try:
        return _Image(names=_write_pairs(path, target, options))
    except DataError as error:
        return _Image(names={}, problem=f"{path} {error}")


def _write_pairs(path: Path, target: Path, options: PrepareOptions) -> dict[str, tuple[int, int]]:
    """Write the pairs of one photograph that are not there yet; returns the names and sizes of all."""
    facts = probe(path, thorough=True)
    if not options.convert and (facts.is_grey or facts.has_alpha):
        raise DataError(f"{'has an alpha channel' if facts.has_alpha else 'is grey'}; --convert makes it RGB")
    hr = read_bgr(path)  # (H, W, 3); turned by EXIF, so its sides may not be those of the file
    names = _write_image(hr, path.stem, target, options)
    for kind, made in _made_of(hr, path.stem, options):
        if min(made.shape[:2]) >= (options.crop or options.scale):
            names |= _write_image(made, f"{path.stem}.{kind}", target, options)
    return names


def _made_of(hr: Pixels, stem: str, options: PrepareOptions) -> Iterator[tuple[str, Pixels]]:
    """The further pictures that are asked for, with the name of each kind."""
    if options.vary:
        yield from copies(hr, stem)
    if options.flat and (flat := collage(hr, stem)) is not None:
        yield "flat", flat


def _write_image(hr: Pixels, stem: str, target: Path, options: PrepareOptions) -> dict[str, tuple[int, int]]:
    boxes = dict(_boxes(hr.shape[0], hr.shape[1], stem, options))
    missing = [name for name in boxes if not all((target / kind / name).exists() for kind in KINDS)]
    if missing:
        scale = options.scale
        hr = hr[: hr.shape[0] // scale * scale, : hr.shape[1] // scale * scale]
        lr = downscale(hr, scale)
        for name in missing:
            top, left, height, width = boxes[name]
            write_png(target / "hr" / name, hr[top : top + height, left : left + width])
            top, left, height, width = (value // scale for value in boxes[name])
            write_png(target / "lr" / name, lr[top : top + height, left : left + width])
    return {name: (height, width) for name, (_, _, height, width) in boxes.items()}


def _boxes(height: int, width: int, stem: str, options: PrepareOptions) -> Iterator[tuple[str, tuple[int, ...]]]:
    """File name and (top, left, height, width) of each sub-image, in HR pixels."""
    height, width = (side // options.scale * options.scale for side in (height, width))
    least = options.scale if options.crop is None else options.crop
    if min(height, width) < least:
        raise DataError(
            f"is {width}x{height}, smaller than {'the scale' if options.crop is None else 'the crop'} {least}"
        )
    if options.crop is None:
        yield f"{stem}.png", (0, 0, height, width)
        return
    number = 0
    for top in range(0, height - options.crop + 1, options.step):
        for left in range(0, width - options.crop + 1, options.step):
            number += 1
            yield f"{stem}_s{number:03d}.png", (top, left, options.crop, options.crop)


def _write_meta_info(target: Path, sizes: dict[str, tuple[int, int]]) -> None:
    """`meta_info.txt` as BasicSR reads it: a name, a space, a size."""
    if spaced := next((name for name in sizes if " " in name), None):
        raise DataError(f"{spaced!r} cannot stand in meta_info.txt, which ends names at a space: rename the photograph")
    with written_beside(target / "meta_info.txt") as temporary:
        lines = [f"{name} ({height},{width},3)\n" for name, (height, width) in sorted(sizes.items())]
        temporary.write_text("".join(lines), encoding="utf-8")
