"""`basicsr train`: everything from checked options to the last checkpoint."""

from __future__ import annotations

import logging
import random
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from esrgan.errors import EsrganError, UsageError
from esrgan.training.check.data import require_usable_data
from esrgan.training.check.weights import require_fitting_weights
from esrgan.training.data.loaders import Position, TrainingData, evaluation_loader
from esrgan.training.evaluation.validators import Validator
from esrgan.training.folders import RunFolders, archive
from esrgan.training.launch import Launch, from_first
from esrgan.training.logs import RecordFile, log_file_name, logging_to_file, logging_to_terminal
from esrgan.training.models.building import build_model
from esrgan.training.options.basicsr_options import basicsr_options
from esrgan.training.options.run_options import OptionsFile, RunOptions
from esrgan.training.random_state import MAX_SEED, seed_all
from esrgan.training.run.checkpoints import Checkpoint
from esrgan.training.run.loop import Loop, Parts
from esrgan.training.run.resuming import Start, find_start, prepare_options, restore, set_aside_newer
from esrgan.weights.atomic import written_beside

_log = logging.getLogger(__name__)


def train(options: OptionsFile, launch: Launch, *, auto_resume: bool = False, base: Path | None = None) -> bool:
    """Train a network as the options say; returns whether the run is complete, or was asked to stop.

    Args:
        options: checked options.
        launch: this process.
        auto_resume: continue from the newest checkpoint of the run, if there is one.
        base: folder that gets `experiments/` and `tb_logger/`; the current one by default.

    Raises:
        DataError: images that cannot be used.
        WeightsError: weights of another network.
        UsageError: weights in the folder that the run would rename, or a model that needs CUDA where there is none.
        FailedError: the model cannot be built, a checkpoint cannot be written, or training diverged.
    """
    base = Path.cwd() if base is None else base
    run = options.run
    folders = RunFolders.of_training(base, run.name)
    with ExitStack() as stack:
        stack.enter_context(logging_to_terminal(speaks=launch.is_first))
        _as_the_first_does(lambda: require_usable_data(options), launch)
        start = find_start(run, folders, auto_resume=auto_resume)
        if start is None:
            _as_the_first_does(lambda: require_fitting_weights(options), launch)
            _require_other_folder(run, folders)
        seed = _seed(run, start, launch)
        _prepare_folders(options, folders, base, start, launch)
        file = folders.root / log_file_name("train", run.name) if launch.is_first else None
        stack.enter_context(logging_to_file(file))
        if launch.is_first and start is not None:
            set_aside_newer(folders.states, start)
        loop = _build(options, launch, folders, base, start, seed, stack)
        complete = loop.run()
        if not complete:
            _log.warning("stopped and saved; `--auto_resume` continues")
    return complete


def _as_the_first_does(check: Callable[[], None], launch: Launch) -> None:
    """Let the first process check; what it raises is raised in all."""
    problem: EsrganError | None = None
    if launch.is_first:
        try:
            check()
        except EsrganError as error:
            problem = error
    problem = from_first(problem, launch)
    if problem is not None:
        raise problem


def _require_other_folder(run: RunOptions, folders: RunFolders) -> None:
    """Refuse weights inside the folder that a new run renames."""
    for key, file in run.path.pretrained.items():
        if file is not None and Path(file).resolve().is_relative_to(folders.root.resolve()):
            raise UsageError(
                f"path:{key}: {file} lies in {folders.root}, which a new run of this name renames: "
                "choose another name, or continue with --auto_resume"
            )


def _seed(run: RunOptions, start: Start | None, launch: Launch) -> int:
    """The seed of the run: a continued one keeps its own."""
    if start is not None and isinstance(start.state, Checkpoint):
        return start.state.seed
    chosen = random.SystemRandom().randrange(MAX_SEED) if run.manual_seed is None else run.manual_seed
    return from_first(chosen, launch)


def _prepare_folders(
    options: OptionsFile, folders: RunFolders, base: Path, start: Start | None, launch: Launch
) -> None:
    from_first(None, launch)  # all have looked for checkpoints
    if launch.is_first:
        if start is None:
            archive(folders.root)
            archive(folders.tensorboard(base))
        folders.create(training=True)
        _copy_options(options.file, folders.root)
    from_first(None, launch)  # the folders are there


def _copy_options(file: Path, folder: Path) -> None:
    """Leave a copy of the options file beside the results, with the command that was given."""
    command = " ".join(sys.argv)
    header = f"# Started: {time.asctime()}\n# Command: {command}\n\n"
    with written_beside(folder / file.name) as temporary:
        temporary.write_text(header + file.read_text(encoding="utf-8"), encoding="utf-8")


def _build(
    options: OptionsFile,
    launch: Launch,
    folders: RunFolders,
    base: Path,
    start: Start | None,
    seed: int,
    stack: ExitStack,
) -> Loop:
    """Everything that the loop works with; what must be closed at the end goes on `stack`."""
    run = options.run
    torch.backends.cudnn.benchmark = True
    seed_all(seed + launch.rank)
    opt = basicsr_options(options, launch, folders, seed=seed)
    if start is not None:
        prepare_options(opt, run, start)
    iteration = 0 if start is None else start.iteration
    data = TrainingData(opt["datasets"]["train"], launch, seed)
    model = build_model(opt)
    tensorboard = _tensorboard(run, folders.tensorboard(base), iteration, launch, opt)
    loaders = [evaluation_loader(opt["datasets"][name], launch, seed) for name in run.datasets if name != "train"]
    losses, scores = (
        RecordFile(file, iteration) if launch.is_first else None for file in (folders.losses, folders.scores)
    )
    parts = Parts(
        run=run,
        launch=launch,
        folders=folders,
        model=model,
        data=data,
        validator=Validator(run, launch, folders, model, loaders, scores=scores, tensorboard=tensorboard),
        losses=losses,
        tensorboard=tensorboard,
        seed=seed,
    )
    for closable in (tensorboard, losses, scores):
        if closable is not None:
            stack.callback(closable.close)
    _say_what_begins(options, parts)
    position = Position()
    if start is not None:  # last, since building draws random numbers
        position = restore(start, parts)
    return Loop(parts, iteration=iteration, position=position)


def _say_what_begins(options: OptionsFile, parts: Parts) -> None:
    run, data = parts.run, parts.data
    assert run.train is not None
    _log.info("%s: torch %s, %s, seed %d", options.file, torch.__version__, _device_name(parts.launch), parts.seed)
    an_epoch, in_all = f"{data.batches_per_epoch:,}", f"{run.train.total_iter:,}"
    _log.info("%s images, %s iterations an epoch, %s in all", f"{data.images:,}", an_epoch, in_all)


def _device_name(launch: Launch) -> str:
    if not launch.num_gpu:
        return f"CPU, {torch.get_num_threads()} threads"
    return f"{launch.num_gpu} x {torch.cuda.get_device_name()}"


def _start_wandb(opt: dict[str, Any]) -> None:
    """Let Weights & Biases copy what TensorBoard gets, where it is installed."""
    from basicsr.utils import init_wandb_logger

    try:
        init_wandb_logger(opt)
    except ImportError:
        _log.warning("logger:wandb: names a project, but wandb is not installed: `pip install wandb`")


def _tensorboard(run: RunOptions, folder: Path, iteration: int, launch: Launch, opt: dict[str, Any]) -> Any:
    """A writer for TensorBoard if the options ask for it and it is installed."""
    if not launch.is_first or not run.logger.use_tb_logger:
        return None
    if run.logger.wandb and run.logger.wandb.get("project"):
        _start_wandb(opt)
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        _log.warning("logger:use_tb_logger is true, but TensorBoard is not installed: `pip install tensorboard`")
        return None
    # Without the steps of a killed run that are made again.
    return SummaryWriter(str(folder), purge_step=iteration + 1 if iteration else None)
