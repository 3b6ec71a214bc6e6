"""Whether the images of a run can be used: folders, pairs, sizes, colours, whole files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from esrgan.errors import DataError
from esrgan.progress import Progress, ProgressMode
from esrgan.training.data.bicubic_folder import hr_images
from esrgan.training.data.image_files import ImageFacts, probe
from esrgan.training.options.run_options import DatasetOptions, OptionsFile
from esrgan.training.parts import full_name, registered

_SHOWN = 5
"""Problems that `train` names; `check` names all."""
_THREADS = min(32, 4 * (os.cpu_count() or 1))


@dataclass(frozen=True)
class SetFiles:
    """The image files of a set; either list may be empty, not both."""

    hr: list[Path]
    lr: list[Path]
    """Of the same length and order as `hr`, unless one is empty."""


def require_usable_data(options: OptionsFile) -> None:
    """The quick part of the checks, before training.

    Raises:
        DataError: something is wrong; one line for each of the first problems.
    """
    problems = [line for name in options.sets() for line in set_problems(options, name, thorough=False)]
    if problems:
        more = [f"... and {len(problems) - _SHOWN} more: `basicsr check -opt {options.file}` names all"]
        raise DataError("\n".join(problems[:_SHOWN] + (more if len(problems) > _SHOWN else [])))


def set_problems(options: OptionsFile, name: str, *, thorough: bool, progress: ProgressMode = "none") -> list[str]:
    """One line for everything that is wrong with the set `datasets: NAME`.

    Args:
        options: checked options.
        name: key below `datasets:`.
        thorough: decode every image instead of looking at its header and its end.
        progress: how the reading of images is shown.
    """
    dataset, place = options.run.datasets[name], f"datasets:{name}"
    roots = {key: getattr(dataset, key) for key in ("dataroot_gt", "dataroot_lq") if getattr(dataset, key)}
    lines = [line for key, root in roots.items() for line in _root_problems(f"{place}:{key}", Path(root))]
    lines += _list_problems(place, dataset)
    if lines or (dataset.io_backend is not None and dataset.io_backend.type != "disk"):
        return lines if lines or dataset.io_backend is None else _lmdb_problems(place, dataset)
    makes_rgb = getattr(registered("dataset").get(full_name("dataset", dataset.type) or ""), "makes_rgb", False)
    try:
        files = SetFiles(hr=hr_images(Path(dataset.dataroot_gt or "")), lr=[]) if makes_rgb else _files(dataset, place)
    except DataError as error:
        return str(error).splitlines()
    if files is None:
        return []
    facts, lines = _probe_all(place, files, thorough=thorough, progress=progress)
    if not makes_rgb:
        lines += _colour_problems(place, facts, options, dataset)
    lines += _size_problems(place, files, facts, options, is_training=name == "train")
    return lines


def _root_problems(place: str, root: Path) -> Iterator[str]:
    if not root.exists():
        yield f"{place}: the folder {root} does not exist"
    elif not root.is_dir():
        yield f"{place}: {root} is a file, not a folder"
    elif all(path.name.startswith(".") for path in root.iterdir()):
        yield f"{place}: the folder {root} is empty"


def _list_problems(place: str, dataset: DatasetOptions) -> Iterator[str]:
    for key in ("meta_info_file", "meta_info"):
        file = getattr(dataset, key)
        if file is not None and not Path(file).is_file():
            yield f"{place}:{key}: the file {file} does not exist"


def _lmdb_problems(place: str, dataset: DatasetOptions) -> list[str]:
    keys: dict[str, set[str]] = {}
    for key in ("dataroot_gt", "dataroot_lq"):
        root = getattr(dataset, key)
        if root is None:
            continue
        missing = [name for name in ("data.mdb", "meta_info.txt") if not (Path(root) / name).is_file()]
        if missing:
            return [f"{place}:{key}: {root} has no {' and no '.join(missing)}: it is not BasicSR's LMDB"]
        text = (Path(root) / "meta_info.txt").read_text(encoding="utf-8")
        keys[key] = {line.split(".")[0] for line in text.splitlines() if line}
    if len(keys) == 2 and (odd := keys["dataroot_gt"] ^ keys["dataroot_lq"]):
        return [f"{place}: {len(odd)} images are in one of the two LMDBs only: {_some(sorted(odd))}"]
    return []


def _files(dataset: DatasetOptions, place: str) -> SetFiles | None:
    """The files that BasicSR will read; `None` for sets of another structure, such as folders of frames."""
    hr_root, lr_root = dataset.dataroot_gt, dataset.dataroot_lq
    named = _listed_names(dataset)
    if hr_root is not None and lr_root is not None:
        pairs = list(named) if named is not None else _names(Path(hr_root))
        if not pairs:
            return None
        return _paired(dataset, place, Path(hr_root), Path(lr_root), pairs, listed=named is not None)
    root = Path(hr_root or lr_root or "")
    names = list(named) if named is not None else _names(root)
    files = [root / name for name in names]
    if not files:
        return None
    return SetFiles(hr=files, lr=[]) if hr_root is not None else SetFiles(hr=[], lr=files)


def _names(folder: Path) -> list[str]:
    """Files as BasicSR finds them: all that are not hidden, whatever their suffix."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_file() and not entry.name.startswith("."))


def _listed_names(dataset: DatasetOptions) -> Sequence[str] | None:
    """Names in the meta information file, without the sizes behind them."""
    file = dataset.meta_info_file or dataset.meta_info
    if file is None:
        return None
    lines = Path(file).read_text(encoding="utf-8").splitlines()
    return [line.split(" ")[0].rstrip(",") for line in lines if line.strip()]


def _paired(
    dataset: DatasetOptions, place: str, hr_root: Path, lr_root: Path, names: list[str], *, listed: bool
) -> SetFiles:
    def lr_name(name: str) -> str:
        path = Path(name)
        return f"{dataset.filename_tmpl.format(path.stem)}{path.suffix}"

    there = set(_names(lr_root))
    lines = [
        f"{place}: {hr_root / name} has no LR image {lr_root / lr_name(name)}"
        for name in names
        if lr_name(name) not in there
    ]
    if not listed:
        spare = sorted(there - {lr_name(name) for name in names})
        lines += [f"{place}: {lr_root / name} has no HR image in {hr_root}" for name in spare]
    if lines:
        raise DataError("\n".join(lines))
    return SetFiles(hr=[hr_root / name for name in names], lr=[lr_root / lr_name(name) for name in names])


def _probe_all(
    place: str, files: SetFiles, *, thorough: bool, progress: ProgressMode
) -> tuple[dict[Path, ImageFacts], list[str]]:
    every = files.hr + files.lr
    facts: dict[Path, ImageFacts] = {}
    lines: list[str] = []

    def look(file: Path) -> ImageFacts | str:
        try:
            return probe(file, thorough=thorough)
        except DataError as error:
            return str(error)

    with ThreadPoolExecutor(_THREADS) as pool, Progress(place, total=len(every), unit="image", mode=progress) as bar:
        for file, found in zip(every, pool.map(look, every), strict=True):
            if isinstance(found, str):
                lines.append(f"{place}: {file} {found}")
            else:
                facts[file] = found
            bar.update()
    return facts, lines


def _colour_problems(
    place: str, facts: Mapping[Path, ImageFacts], options: OptionsFile, dataset: DatasetOptions
) -> Iterator[str]:
    generator = options.run.networks.get("network_g")
    channels = generator.arguments.get("num_in_ch", 3) if generator is not None else 3
    takes_grey = channels == 1 or dataset.extra.get("color") == "y"
    for file, fact in facts.items():
        if fact.has_alpha:
            yield f"{place}: {file} has an alpha channel: `basicsr prepare --convert` makes it RGB"
        elif fact.is_grey and not takes_grey:
            yield f"{place}: {file} is grey, the network takes RGB: `basicsr prepare --convert` makes it RGB"


def _size_problems(
    place: str, files: SetFiles, facts: Mapping[Path, ImageFacts], options: OptionsFile, *, is_training: bool
) -> Iterator[str]:
    scale, patch = options.run.scale, options.run.datasets[place.partition(":")[2]].gt_size
    for number, hr_file in enumerate(files.hr):
        hr = facts.get(hr_file)
        lr_file = files.lr[number] if files.lr else None
        lr = facts.get(lr_file) if lr_file is not None else None
        if hr is None or (lr_file is not None and lr is None):
            continue  # already named
        wrong = _pair_problem(hr, lr, lr_file, scale, is_training=is_training)
        if wrong is None and is_training and patch is not None and lr is not None and min(hr.width, hr.height) < patch:
            wrong = f"is {hr.size}, smaller than gt_size {patch}"
        if wrong is not None:
            yield f"{place}: {hr_file} {wrong}"


def _pair_problem(
    hr: ImageFacts, lr: ImageFacts | None, lr_file: Path | None, scale: int, *, is_training: bool
) -> str | None:
    if lr is None:
        return None
    # BasicSR cuts HR images that are a little too large, but for training it does not.
    if is_training and (hr.width % scale or hr.height % scale):
        return f"is {hr.size}, no multiple of the scale {scale}"
    if (hr.width // scale, hr.height // scale) != (lr.width, lr.height):
        return f"is {hr.size}, but {lr_file} is {lr.size}: not {scale} times as large"
    return None


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (" ..." if len(names) > _SHOWN else "")
