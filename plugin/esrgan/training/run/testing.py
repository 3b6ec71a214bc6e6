"""`basicsr test`: a network on one or several sets, its scores and its pictures."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

from esrgan.errors import UsageError
from esrgan.training.check.data import require_usable_data
from esrgan.training.check.weights import require_fitting_weights
from esrgan.training.data.image_files import write_png
from esrgan.training.data.loaders import evaluation_loader
from esrgan.training.evaluation.metrics import Picture
from esrgan.training.evaluation.validation import evaluate, report, takes_single_images
from esrgan.training.evaluation.validators import all_metrics
from esrgan.training.folders import RunFolders, archive
from esrgan.training.launch import Launch, from_first
from esrgan.training.logs import log_file_name, logging_to_file, logging_to_terminal
from esrgan.training.models.building import build_model
from esrgan.training.options.basicsr_options import basicsr_options
from esrgan.training.options.binding import freeze, thaw
from esrgan.training.options.run_options import OptionsFile
from esrgan.training.random_state import seed_all
from esrgan.weights.atomic import written_beside

_log = logging.getLogger(__name__)


def run_test(options: OptionsFile, launch: Launch, *, base: Path | None = None) -> dict[str, dict[str, float]]:
    """Measure a network; writes pictures, a log and `scores.json` to `results/NAME`.

    Args:
        options: checked options.
        launch: this process; the first one measures.
        base: folder that gets `results/`; the current one by default.

    Returns:
        The mean of each metric, by set.

    Raises:
        DataError: images that cannot be used.
        WeightsError: weights of another network.
        UsageError: no weights at all.
    """
    base = Path.cwd() if base is None else base
    with logging_to_terminal(speaks=launch.is_first):
        return _run_test(options, launch, base)


def _run_test(options: OptionsFile, launch: Launch, base: Path) -> dict[str, dict[str, float]]:
    folders = RunFolders.of_test(base, options.run.name)
    options = _with_weights(options, base)
    require_usable_data(options)
    require_fitting_weights(options)
    if launch.is_first:
        archive(folders.root)
        folders.create(training=False)
    from_first(None, launch)  # the folders are there
    file = folders.root / log_file_name("test", options.run.name) if launch.is_first else None
    with logging_to_file(file):
        return _measure_all(options, launch, folders)


def _with_weights(options: OptionsFile, base: Path) -> OptionsFile:
    """The options with the weights to test.

    In a file that trains, `pretrain_network_g` is where training starts: what it made is tested. Other files, and
    `--force_yml`, name the weights to test.
    """
    run = options.run
    given = run.path.pretrained.get("pretrain_network_g")
    if "network_g" not in run.networks or (given and (run.train is None or _is_forced(options))):
        return options
    file = RunFolders.of_training(base, run.name).models / "net_g_latest.pth"
    if not file.is_file():
        if not given:
            raise UsageError(
                f"path:pretrain_network_g is not set, and there is no {file} of a training run of this name"
            )
        _log.warning("there is no %s of a training run of this name: %s is measured, where it starts", file, given)
        return options
    chosen = {"pretrain_network_g": str(file)}
    values = thaw(options.values)
    section = values.get("path", {})
    if given:  # its key is that of the other file
        section = {key: value for key, value in section.items() if key != "param_key_g"}
    values["path"] = {"param_key_g": "params_ema", **section, **chosen}
    path = replace(run.path, pretrained={**run.path.pretrained, **chosen})
    return replace(options, run=replace(run, path=path), values=freeze(values))


def _is_forced(options: OptionsFile) -> bool:
    return any(entry.startswith("path:pretrain_network_g=") for entry in options.overrides)


def _measure_all(options: OptionsFile, launch: Launch, folders: RunFolders) -> dict[str, dict[str, float]]:
    seed = options.run.manual_seed or 0
    seed_all(seed)
    opt = basicsr_options(options, launch, folders, seed=seed)
    model = build_model(opt)
    loaders = [evaluation_loader(opt["datasets"][name], launch, seed) for name in sorted(options.sets())]
    scores: dict[str, dict[str, float]] = {}
    for loader in loaders:
        if not takes_single_images(model):
            model.validation(loader, options.run.name, None, options.run.val is None or options.run.val.save_img)
        elif launch.is_first:
            name = loader.dataset.opt["name"]
            scores[name] = _measure(model, loader, options, folders)
            _log.info("%s", report(name, None, scores[name], border=options.run.scale))
    if launch.is_first:
        with written_beside(folders.root / "scores.json") as temporary:
            temporary.write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")
    return scores


def _measure(model: object, loader: object, options: OptionsFile, folders: RunFolders) -> dict[str, float]:
    run = options.run
    folder = folders.pictures / loader.dataset.opt["name"]  # type: ignore[attr-defined]
    folder.mkdir(parents=True, exist_ok=True)
    suffix = (run.val.suffix if run.val else None) or run.name

    def save(_number: int, picture: Picture) -> None:
        if run.val is None or run.val.save_img or picture.hr is None:
            write_png(folder / f"{picture.name}_{suffix}.png", picture.output)

    return evaluate(model, loader, all_metrics(run, model), each=save)
