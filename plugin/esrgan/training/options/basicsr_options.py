"""The dictionary that BasicSR's builders take, made from checked options. A new one for each use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from esrgan.training.folders import RunFolders
from esrgan.training.launch import Launch
from esrgan.training.options.binding import thaw
from esrgan.training.options.run_options import OptionsFile
from esrgan.training.parts import full_name


def basicsr_options(options: OptionsFile, launch: Launch, folders: RunFolders, *, seed: int) -> dict[str, Any]:
    """The options as BasicSR's own `parse_options` would make them.

    Every call returns a new dictionary: BasicSR changes what it is given.
    """
    opt: dict[str, Any] = thaw(options.values)
    opt.update(
        name=options.run.name,
        num_gpu=launch.num_gpu,
        dist=launch.distributed,
        rank=launch.rank,
        world_size=launch.world_size,
        manual_seed=seed,
        auto_resume=False,
        is_train=options.task == "train",
        root_path=str(Path.cwd()),
        model_type=full_name("model", options.run.model_type),
    )
    for name, component in options.run.networks.items():
        opt[name]["type"] = full_name("arch", component.type)
    for name in options.run.datasets:
        opt["datasets"][name] = dataset_options(options, name)
    opt["path"] = {**(opt.get("path") or {}), **folders.for_basicsr()}
    opt.setdefault("val", {"metrics": None, "save_img": False, "suffix": None})
    if opt["val"]:
        opt["val"].setdefault("suffix", None)
    return opt


def dataset_options(options: OptionsFile, name: str) -> dict[str, Any]:
    """The options of one set, with its phase and the scale of the run."""
    values: dict[str, Any] = thaw(options.values["datasets"][name])
    values["phase"] = name.partition("_")[0]
    if "scale" in options.values:
        values["scale"] = options.run.scale
    values["type"] = full_name("dataset", options.run.datasets[name].type)
    if "dataset_enlarge_ratio" in values:
        values["dataset_enlarge_ratio"] = options.run.datasets[name].dataset_enlarge_ratio
    for key in ("gt_size", "batch_size_per_gpu", "num_worker_per_gpu"):
        if values.get(key) is not None:
            values[key] = getattr(options.run.datasets[name], key)
    return values
