"""The options of a run as frozen values. An options file is checked here, before anything else happens."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from esrgan.training.options.binding import Component, Problems, bind, freeze
from esrgan.training.options.yaml_file import read_document

Task = Literal["train", "test"]

_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class StorageOptions:
    """`io_backend`: how the files of a set are read."""

    type: Literal["disk", "lmdb", "memcached"]
    extra: Mapping[str, Any] = _NOTHING
    """Arguments of the storage backend."""


@dataclass(frozen=True, kw_only=True)
class DatasetOptions:
    """One set of images, below `datasets:`."""

    name: str
    type: str
    io_backend: StorageOptions | None = None
    dataroot_gt: str | None = None
    """Folder of HR images, or an `.lmdb` folder."""
    dataroot_lq: str | None = None
    """Folder of LR images, or an `.lmdb` folder."""
    meta_info_file: str | None = None
    meta_info: str | None = None
    filename_tmpl: str = "{}"
    """Name of an LR file, where `{}` is the name of its HR file; both without suffix."""
    gt_size: int | None = None
    """Side of an HR patch in pixels."""
    use_hflip: bool | None = None
    use_rot: bool | None = None
    num_worker_per_gpu: int | None = None
    batch_size_per_gpu: int | None = None
    dataset_enlarge_ratio: float = 1.0
    """An epoch is this many times the set, which saves restarts of the loader for small sets."""
    prefetch_mode: Literal["cpu", "cuda"] | None = None
    num_prefetch_queue: int = 1
    pin_memory: bool = False
    persistent_workers: bool = False
    use_shuffle: bool = True
    """In many options files; BasicSR reads it nowhere."""
    extra: Mapping[str, Any] = _NOTHING
    """Keys that only this type of set knows."""


@dataclass(frozen=True, kw_only=True)
class PathOptions:
    """Files that a run starts from. Pairs of `pretrain_network_*` and `strict_load_*` for each network."""

    pretrained: Mapping[str, str | None] = field(default=_NOTHING, metadata={"parts": "pretrain_network_*"})
    strict: Mapping[str, bool] = field(default=_NOTHING, metadata={"parts": "strict_load_*"})
    """Whether every weight of the network must be in the file; true where not given."""
    param_key: Mapping[str, str | None] = field(default=_NOTHING, metadata={"parts": "param_key_*"})
    """`params` or `params_ema`: which weights of the file to take."""
    resume_state: str | None = None
    ignore_resume_networks: tuple[str, ...] = ()
    extra: Mapping[str, Any] = _NOTHING
    """Keys that only this type of model knows."""


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """`train:` the length of a run, its optimisers and its losses."""

    total_iter: int
    warmup_iter: int = -1
    """Iterations in which the learning rate grows to its value; -1 for none."""
    ema_decay: float = 0.0
    optimisers: Mapping[str, Component] = field(default=_NOTHING, metadata={"parts": "optim_*"})
    scheduler: Component | None = None
    losses: Mapping[str, Component | None] = field(default=_NOTHING, metadata={"parts": "*_opt"})
    extra: Mapping[str, Any] = _NOTHING
    """Keys that only this type of model knows; for this project's models those of `step_options`."""


@dataclass(frozen=True, kw_only=True)
class ValOptions:
    """`val:` when and how a network is measured.

    PSNR and SSIM, on Y and on RGB, are always measured where a set has HR images.
    """

    val_freq: int = 5000
    save_img: bool = False
    suffix: str | None = None
    """Added to the names of pictures that `test` saves."""
    pbar: bool = False
    metrics: Mapping[str, Component] | None = None
    """More metrics by name, of BasicSR's registry."""
    pyiqa: tuple[str, ...] = ()
    """Metrics of the package pyiqa, such as `niqe`, `lpips` and `dists`; without it only `niqe`, BasicSR's."""
    sample_images: int = 3
    """Pictures of LR, output and HR side by side that each validation of a training run leaves."""
    extra: Mapping[str, Any] = _NOTHING
    """Keys that only this type of model knows."""


@dataclass(frozen=True, kw_only=True)
class LoggerOptions:
    """`logger:` what is written how often, in iterations."""

    print_freq: int = 100
    save_checkpoint_freq: int = 5000
    use_tb_logger: bool = False
    wandb: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """A whole options file."""

    name: str
    """Of the run: the folder below `experiments/` or `results/`."""
    model_type: str
    datasets: Mapping[str, DatasetOptions]
    scale: int = 1
    num_gpu: Literal["auto"] | int = "auto"
    """GPUs to use, 0 for the CPU; `auto` takes all there are, or one where there is a single process."""
    manual_seed: int | None = None
    networks: Mapping[str, Component] = field(default=_NOTHING, metadata={"parts": "network_*"})
    path: PathOptions = PathOptions()
    train: TrainOptions | None = None
    val: ValOptions | None = None
    logger: LoggerOptions = LoggerOptions()
    find_unused_parameters: bool = False
    dist_params: Mapping[str, Any] | None = None
    extra: Mapping[str, Any] = _NOTHING
    """Keys that only this type of model knows."""


@dataclass(frozen=True, kw_only=True)
class OptionsFile:
    """The options of a run, and where they come from."""

    file: Path
    task: Task
    run: RunOptions
    values: Mapping[str, Any]
    """The file as it is, read-only: what BasicSR's builders are given."""
    overrides: tuple[str, ...] = ()
    """Entries of `--force_yml`, which `values` already has."""

    def sets(self) -> list[str]:
        """Keys below `datasets:` that the task uses: a test leaves out the training set."""
        return [name for name in self.run.datasets if self.task == "train" or name != "train"]


def read_options(file: Path, task: Task, *, overrides: Iterable[str] = (), debug: bool = False) -> OptionsFile:
    """Read and check an options file for `basicsr train` or `basicsr test`.

    BasicSR and all plugins must be registered before: names in the file are looked up.

    Args:
        file: the options file.
        task: what it is for.
        overrides: entries of `--force_yml`.
        debug: shorten the intervals and mark the run's name, as upstream's `--debug` does.

    Raises:
        UsageError: the file cannot be read, or is no YAML.
        OptionsError: an unknown key, a wrong type or a combination that cannot work; one line each.
    """
    from esrgan.training.options.combinations import check_combinations
    from esrgan.training.options.known_keys import check_components

    overrides = tuple(overrides)
    document = read_document(file, overrides)
    if debug:
        _shorten(document.values)
    problems = Problems(document)
    _expand_user(document.values)
    run = bind(RunOptions, document.values, (), problems)
    problems.raise_if_any()
    assert run is not None
    check_components(run, task, problems)
    check_combinations(run, task, problems)
    problems.raise_if_any()
    return OptionsFile(file=document.file, task=task, run=run, values=freeze(document.values), overrides=overrides)


def _shorten(values: dict[str, Any]) -> None:
    name = values.get("name")
    if isinstance(name, str) and not name.startswith("debug"):
        values["name"] = f"debug_{name}"
    for section, shorter in (("val", {"val_freq": 8}), ("logger", {"print_freq": 1, "save_checkpoint_freq": 8})):
        if isinstance(values.get(section), dict):
            values[section].update(shorter)


def _expand_user(values: dict[str, Any]) -> None:
    """Expand `~/` in paths, as upstream does."""
    sections = [values.get("path"), *_inner(values.get("datasets"))]
    for section in sections:
        if not isinstance(section, dict):
            continue
        for key, value in section.items():
            if isinstance(value, str) and str(key).startswith(("dataroot", "meta_info", "pretrain_network", "resume")):
                section[key] = os.path.expanduser(value)  # noqa: PTH111 - keeps the text as it is written


def _inner(values: Any) -> list[Any]:
    return list(values.values()) if isinstance(values, dict) else []
