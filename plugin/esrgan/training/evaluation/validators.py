"""Validations of a training run: scores in the log and in TensorBoard, sample pictures, best values."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from esrgan.progress import ProgressMode
from esrgan.training.data.image_files import write_png
from esrgan.training.evaluation.metrics import (
    BestScores,
    Metric,
    Picture,
    configured_metrics,
    pyiqa_metrics,
    standard_metrics,
)
from esrgan.training.evaluation.validation import evaluate, report, side_by_side, takes_single_images
from esrgan.training.folders import RunFolders
from esrgan.training.launch import Launch
from esrgan.training.logs import RecordFile
from esrgan.training.options.run_options import RunOptions

_log = logging.getLogger(__name__)


class Validator:
    """Measures the model of a run on its validation sets.

    Args:
        run: the options.
        launch: this process; only the first one measures.
        folders: where pictures go.
        model: BasicSR's model.
        loaders: one for each validation set.
        scores: where they are written for programs.
        tensorboard: a `SummaryWriter` or `None`.
    """

    def __init__(
        self,
        run: RunOptions,
        launch: Launch,
        folders: RunFolders,
        model: Any,
        loaders: Sequence[Any],
        *,
        scores: RecordFile | None = None,
        tensorboard: Any = None,
    ) -> None:
        self.best = BestScores()
        self._run = run
        self._launch = launch
        self._folders = folders
        self._model = model
        self._loaders = loaders
        self._scores = scores
        self._tensorboard = tensorboard
        self._metrics: list[Metric] = all_metrics(run, model) if launch.is_first and loaders else []

    def validate(self, iteration: int) -> None:
        """Measure all sets and say how it went."""
        for loader in self._loaders:
            if not takes_single_images(self._model):
                assert self._run.val is not None
                self._model.validation(loader, iteration, self._tensorboard, self._run.val.save_img)
            elif self._launch.is_first:
                self._measure(loader, iteration)

    def _measure(self, loader: Any, iteration: int) -> None:
        name = loader.dataset.opt["name"]

        def keep(number: int, picture: Picture) -> None:
            self._keep(number, picture, name, iteration)

        mode: ProgressMode = "bar" if sys.stderr.isatty() else "none"
        scores = evaluate(self._model, loader, self._metrics, each=keep, progress=mode)
        for metric in self._metrics:
            if metric.name in scores:
                self.best.update(name, metric, scores[metric.name], iteration)
        _log.info("%s", report(name, iteration, scores, border=self._run.scale, best=self.best))
        if self._scores is not None:
            self._scores.add(iteration, {"dataset": name, **scores})
        if self._tensorboard is not None:
            for metric_name, value in scores.items():
                self._tensorboard.add_scalar(f"metrics/{name}/{metric_name}", value, iteration)

    def _keep(self, number: int, picture: Picture, dataset: str, iteration: int) -> None:
        val = self._run.val
        assert val is not None
        folder = self._folders.pictures / picture.name
        if val.save_img:
            folder.mkdir(parents=True, exist_ok=True)
            write_png(folder / f"{picture.name}_{iteration}.png", picture.output)
        if number < val.sample_images:
            sample = side_by_side(picture, self._run.scale)
            folder.mkdir(parents=True, exist_ok=True)
            write_png(folder / f"{picture.name}_{iteration}_lr_output_hr.png", sample)
            if self._tensorboard is not None:
                rgb = np.ascontiguousarray(sample[..., ::-1])
                self._tensorboard.add_image(f"{dataset}/{picture.name}", rgb, iteration, dataformats="HWC")


def all_metrics(run: RunOptions, model: Any) -> list[Metric]:
    """The standard metrics, then those of the options; one of the options replaces a standard one of its name."""
    val = run.val
    added = configured_metrics((val.metrics if val else None) or {})
    added += pyiqa_metrics(val.pyiqa if val else (), model.device, border=run.scale)
    names = {metric.name: metric for metric in added}
    standard = [names.pop(metric.name, metric) for metric in standard_metrics(run.scale)]
    return standard + list(names.values())
