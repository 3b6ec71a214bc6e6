"""Options that are right one by one and cannot work together."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from esrgan.archs.rrdbnet import usual_unshuffle
from esrgan.training.options.binding import Component, Problems
from esrgan.training.options.source_keys import keys_read
from esrgan.training.options.yaml_file import KeyPath
from esrgan.training.parts import Kind, full_name, registered
from esrgan.training.random_state import MAX_SEED

if TYPE_CHECKING:
    from esrgan.training.options.run_options import DatasetOptions, RunOptions, Task, TrainOptions


_UNET_SIDES = 8
"""What divides the sides of a patch that a U-Net discriminator halves three times."""


def check_combinations(run: RunOptions, task: Task, problems: Problems) -> None:
    """Note every combination of options that would fail later, or quietly do something else."""
    _check_name(run.name, problems)
    if run.scale < 1:
        problems.add(("scale",), f"must be at least 1, got {run.scale}")
    if run.num_gpu != "auto" and run.num_gpu < 0:
        problems.add(("num_gpu",), f"must be auto or at least 0, got {run.num_gpu}")
    if run.manual_seed is not None and not 0 <= run.manual_seed < MAX_SEED:
        problems.add(("manual_seed",), f"must be at least 0 and under {MAX_SEED}, got {run.manual_seed}")
    for name in run.networks:
        _check_scale(name, run, problems)
    for name, dataset in run.datasets.items():
        _check_dataset(dataset, ("datasets", name), problems)
    if run.val is not None:
        _at_least_one(("val", "val_freq"), run.val.val_freq, problems)
    _at_least_one(("logger", "print_freq"), run.logger.print_freq, problems)
    _at_least_one(("logger", "save_checkpoint_freq"), run.logger.save_checkpoint_freq, problems)
    if run.logger.wandb and run.logger.wandb.get("project") and not run.logger.use_tb_logger:
        problems.add(("logger", "wandb"), "gets what TensorBoard gets: it needs `use_tb_logger: true`")
    if task == "train":
        _check_training(run, problems)
    elif not run.datasets.keys() - {"train"}:
        problems.add(("datasets",), "holds no set to test on")


def _check_name(name: str, problems: Problems) -> None:
    if not name or name in (".", "..") or any(mark in name for mark in "/\\\0"):
        problems.add(("name",), f"must be usable as the name of a folder, got {name!r}")


def _at_least_one(path: KeyPath, value: float, problems: Problems) -> None:
    if value < 1:
        problems.add(path, f"must be at least 1, got {value:g}")


def _check_scale(name: str, run: RunOptions, problems: Problems) -> None:
    """A generator's own scale is that of the data."""
    if not name.startswith("network_g"):
        return
    for key in ("scale", "upscale"):
        made = _argument(run.networks[name], "arch", key)
        if isinstance(made, int | float) and made != run.scale:
            hint = "" if key in run.networks[name].arguments else f" (its default; add `{key}: {run.scale}`)"
            problems.add((name, key), f"is {made:g}{hint}, but the data's scale is {run.scale}")


def _argument(component: Component, kind: Kind, name: str) -> Any:
    """The value that an argument of a part will have, or `None` where the part has no such argument."""
    part = registered(kind).get(full_name(kind, component.type) or "")
    parameters: Mapping[str, inspect.Parameter] = {} if part is None else inspect.signature(part).parameters
    if name not in parameters:
        return None
    default = parameters[name].default
    return component.arguments.get(name, None if default is inspect.Parameter.empty else default)


def _check_dataset(dataset: DatasetOptions, path: KeyPath, problems: Problems) -> None:
    lmdb = dataset.io_backend is not None and dataset.io_backend.type == "lmdb"
    for key in ("dataroot_gt", "dataroot_lq"):
        root = getattr(dataset, key)
        if root is not None and lmdb != root.endswith(".lmdb"):
            wanted = "a folder named *.lmdb" if lmdb else "an .lmdb folder needs `io_backend: {type: lmdb}`"
            problems.add((*path, key), f"{root}: {wanted}")
    if dataset.filename_tmpl.count("{}") != 1:
        problems.add((*path, "filename_tmpl"), f"must hold {{}} once, got {dataset.filename_tmpl!r}")


def _check_training(run: RunOptions, problems: Problems) -> None:
    if run.train is None:
        problems.add((), "the section 'train' is missing")
        return
    if "train" not in run.datasets:
        problems.add(("datasets",), "the set 'train' is missing")
    for name, dataset in run.datasets.items():
        if name == "train":
            _check_train_set(dataset, run, problems)
        elif name.partition("_")[0] != "val":
            problems.add(("datasets", name), "must be named train, val or val_*")
    _check_train_numbers(run.train, problems)
    _check_scheduler(run.train, problems)
    _check_discriminator(run, run.train, problems)


def _check_train_set(dataset: DatasetOptions, run: RunOptions, problems: Problems) -> None:
    path = ("datasets", "train")
    for key in ("batch_size_per_gpu", "num_worker_per_gpu"):
        value, least = getattr(dataset, key), int(key == "batch_size_per_gpu")
        if value is None:
            problems.add(path, f"the key {key!r} is missing")
        elif value < least:
            problems.add((*path, key), f"must be at least {least}, got {value}")
    cls = registered("dataset").get(full_name("dataset", dataset.type) or "")
    read = keys_read(cls) if cls is not None else None
    for key in ("gt_size", "use_hflip", "use_rot"):
        if read is not None and (key,) in read.all and getattr(dataset, key) is None:
            problems.add(path, f"the key {key!r} is missing: {dataset.type} needs it for training")
    if dataset.gt_size is not None and (dataset.gt_size < run.scale or dataset.gt_size % max(run.scale, 1)):
        problems.add((*path, "gt_size"), f"is {dataset.gt_size}, which is no multiple of the scale {run.scale}")
    elif dataset.gt_size is not None and (dataset.gt_size // run.scale) % (multiple := _lr_multiple(run)):
        wanted = f"must be a multiple of {run.scale * multiple}: the network unshuffles the LR patch by {multiple}"
        problems.add((*path, "gt_size"), f"is {dataset.gt_size}, but {wanted}")
    if not dataset.dataset_enlarge_ratio > 0:
        problems.add((*path, "dataset_enlarge_ratio"), f"must be over 0, got {dataset.dataset_enlarge_ratio:g}")
    if getattr(cls, "gives_bytes", False) and not hasattr(registered("model").get(run.model_type), "step_options_type"):
        problems.add(
            (*path, "type"), f"{dataset.type} gives 8-bit numbers, which {run.model_type} does not divide by 255"
        )
    _check_loader(dataset, path, problems)
    accumulate = run.train.extra.get("accumulate") if run.train else None
    if isinstance(accumulate, int) and accumulate > 0 and (dataset.batch_size_per_gpu or 0) % accumulate:
        wanted = f"must divide batch_size_per_gpu ({dataset.batch_size_per_gpu})"
        problems.add(("train", "accumulate"), f"{wanted}, got {accumulate}")


def _lr_multiple(run: RunOptions) -> int:
    """What divides the sides of LR patches that the generator takes."""
    network = run.networks.get("network_g")
    if network is None or "RRDBNet" not in network.type:
        return 1
    given = _argument(network, "arch", "unshuffle")
    return given if isinstance(given, int) and given > 0 else usual_unshuffle(run.scale)


def _check_loader(dataset: DatasetOptions, path: KeyPath, problems: Problems) -> None:
    if not dataset.num_worker_per_gpu:
        if dataset.persistent_workers:
            problems.add((*path, "persistent_workers"), "needs num_worker_per_gpu of at least 1")
        if dataset.prefetch_mode == "cpu":
            problems.add((*path, "prefetch_mode"), "cpu needs num_worker_per_gpu of at least 1")
    if dataset.prefetch_mode == "cuda" and not dataset.pin_memory:
        problems.add((*path, "prefetch_mode"), "cuda needs `pin_memory: true`")
    if dataset.num_prefetch_queue < 1:
        problems.add((*path, "num_prefetch_queue"), f"must be at least 1, got {dataset.num_prefetch_queue}")


def _check_train_numbers(train: TrainOptions, problems: Problems) -> None:
    _at_least_one(("train", "total_iter"), train.total_iter, problems)
    if not 0 <= train.ema_decay < 1:
        problems.add(("train", "ema_decay"), f"must be at least 0 and under 1, got {train.ema_decay:g}")


def _check_scheduler(train: TrainOptions, problems: Problems) -> None:
    if train.scheduler is None:
        return
    arguments, path = train.scheduler.arguments, ("train", "scheduler")
    pair = ("periods" if "periods" in arguments else "restarts", "restart_weights")
    given = [arguments[key] for key in pair if isinstance(arguments.get(key), tuple)]
    if len(given) == 2 and len(given[0]) != len(given[1]):
        problems.add((*path, "restart_weights"), f"has {len(given[1])} values, but {pair[0]} has {len(given[0])}")
    periods = arguments.get("periods")
    if isinstance(periods, tuple) and all(isinstance(period, int | float) for period in periods):
        total = sum(periods)
        if total < train.total_iter:
            problems.add((*path, "periods"), f"add up to {total:g}, but total_iter is {train.total_iter}")


def _check_discriminator(run: RunOptions, train: TrainOptions, problems: Problems) -> None:
    network = run.networks.get("network_d")
    if "gan_opt" in train.losses and train.losses["gan_opt"] is not None and network is None:
        problems.add(("train", "gan_opt"), "needs a discriminator: the key 'network_d' is missing")
    for name in run.networks:
        optimiser = f"optim_{name.removeprefix('network_')}"
        if name in ("network_g", "network_d") and optimiser not in train.optimisers:
            problems.add(("train",), f"the key {optimiser!r} is missing")
    patch = run.datasets["train"].gt_size if "train" in run.datasets else None
    if network is not None and patch is not None:
        _check_discriminator_sides(network, patch, train, problems)


def _check_discriminator_sides(network: Component, patch: int, train: TrainOptions, problems: Problems) -> None:
    """The discriminator sees what `loss_shift` leaves of a patch."""
    shift = train.extra.get("loss_shift") or 0
    if not isinstance(shift, int | float):
        return  # noted as what it is
    seen, said = patch - int(shift), f"gt_size is {patch}" + (f" and loss_shift {shift:g}" if shift else "")
    size = _argument(network, "arch", "input_size")
    if isinstance(size, int) and size != seen:
        hint = f"add `input_size: {seen}`" if "input_size" not in network.arguments else f"it must be {seen}"
        problems.add(("network_d", "input_size"), f"is {size}, but {said}: {hint}")
    if full_name("arch", network.type) == full_name("arch", "UNetDiscriminatorSN_esrgan") and seen % _UNET_SIDES:
        problems.add(("datasets", "train", "gt_size"), f"{said}: {network.type} needs sides that {_UNET_SIDES} divides")
