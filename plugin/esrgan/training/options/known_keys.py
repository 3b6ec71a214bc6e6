"""Keys of the parts that a run names: checked against the constructors and classes that will get them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

from esrgan.errors import UsageError
from esrgan.training.options.binding import Component, Problems, bind, convert
from esrgan.training.options.source_keys import KeysRead, keys_read
from esrgan.training.options.yaml_file import KeyPath, nearest
from esrgan.training.parts import Kind, full_name, registered

if TYPE_CHECKING:
    from esrgan.training.options.run_options import DatasetOptions, RunOptions, Task, TrainOptions

_METRIC_KEYS = ("better",)
"""`better: lower` of a metric is read by whoever keeps the best value, not by the metric."""

_METRIC_INPUTS = ("img", "img2", "kwargs")


def check_components(run: RunOptions, task: Task, problems: Problems) -> None:
    """Note every unknown part, every key that a part does not take, and every value of a wrong type."""
    model = find("model", run.model_type, ("model_type",), problems)
    read = keys_read(model) if model else None
    if model and read:
        _check_model_keys(run, model, read, task, problems)
    for name, component in run.networks.items():
        _check_call(find("arch", component.type, (name,), problems), component, (name,), problems)
    for name, dataset in run.datasets.items():
        _check_dataset(dataset, ("datasets", name), problems)
    if run.train is not None:
        _check_train(run.train, problems)
    for name, metric in ((run.val.metrics if run.val else None) or {}).items():
        _check_metric(metric, ("val", "metrics", name), problems)


def find(kind: Kind, name: str, path: KeyPath, problems: Problems) -> Any:
    """The registered class or function; `None`, with the nearest name noted, where there is none."""
    key = full_name(kind, name)
    parts = registered(kind)
    if key is not None:
        return parts[key]
    where = path if path == ("model_type",) else (*path, "type")
    problems.add(where, f"{name!r} is not a registered {kind}{nearest(name, sorted(parts))}")
    return None


def _check_model_keys(run: RunOptions, model: type, read: KeysRead, task: Task, problems: Problems) -> None:
    from esrgan.training.options.run_options import PathOptions, RunOptions, TrainOptions, ValOptions

    sections: list[tuple[KeyPath, type, Any]] = [((), RunOptions, run), (("path",), PathOptions, run.path)]
    step_keys = _check_step(run, model, problems) if task == "train" else frozenset()
    if run.train is not None and task == "train":
        sections.append((("train",), TrainOptions, run.train))
    if run.val is not None:
        sections.append((("val",), ValOptions, run.val))
    for path, options, section in sections:
        known = read.below(path) | (step_keys if path == ("train",) else set())
        own = {field.name for field in fields(options)} - {"extra"}
        given = [*section.extra, *_collected(section)]
        for name in given:
            if name not in known:
                problems.unknown((*path, name), sorted(known | own - _collectors(options)))
    needed = read.all if task == "train" else read.needed
    for path in sorted(needed):
        if len(path) == 1 and path[0].startswith("network_") and path[0] not in run.networks:
            problems.add((), f"the key {path[0]!r} is missing: {run.model_type} needs it")


def _check_step(run: RunOptions, model: type, problems: Problems) -> frozenset[str]:
    """Check the keys below `train:` that this project's models take beside BasicSR's; returns their names."""
    step: Any = getattr(model, "step_options_type", None)
    if step is None or run.train is None:
        return frozenset()
    names = frozenset(field.name for field in fields(step))
    given = {name: value for name, value in run.train.extra.items() if name in names and value is not None}
    try:
        bind(step, given, ("train",), problems)
    except UsageError as error:
        problems.add((), str(error))
    return names


def _collectors(options: type) -> set[str]:
    return {field.name for field in fields(options) if "parts" in field.metadata}


def _collected(section: Any) -> Iterator[str]:
    """Keys of the file that a pattern such as `network_*` took."""
    for field in fields(section):
        if "parts" in field.metadata:
            yield from getattr(section, field.name)


def _check_dataset(dataset: DatasetOptions, path: KeyPath, problems: Problems) -> None:
    from esrgan.training.options.run_options import DatasetOptions

    cls = find("dataset", dataset.type, path, problems)
    read = keys_read(cls) if cls else None
    if read is None:
        return
    known = read.below(())
    own = {field.name for field in fields(DatasetOptions)} - {"extra"}
    for name in dataset.extra:
        if name not in known:
            problems.unknown((*path, name), sorted(known | own))
    for name, section in getattr(cls, "sections", {}).items():
        if dataset.extra.get(name) is not None:
            _check_section(section, dataset.extra[name], (*path, name), problems)
    defaults = {field.name: field.default for field in fields(DatasetOptions)}
    for name in sorted({needed[0] for needed in read.needed} - {"scale", "phase"}):
        given = getattr(dataset, name) != defaults[name] if name in defaults else name in dataset.extra
        if not given:
            problems.add(path, f"the key {name!r} is missing: {dataset.type} needs it")


def _check_section(section: type, value: Any, path: KeyPath, problems: Problems) -> None:
    """Check keys that a part binds to a dataclass of its own."""
    try:
        convert(section, value, path, problems)
    except UsageError as error:
        problems.add(path, str(error))


def _check_train(train: TrainOptions, problems: Problems) -> None:
    import torch
    from basicsr.models import lr_scheduler

    from esrgan.training.models.muon import Muon

    for name, loss in train.losses.items():
        if loss is not None:
            path = ("train", name)
            _check_call(find("loss", loss.type, path, problems), loss, path, problems)
    optimisers = {**_classes(torch.optim, torch.optim.Optimizer), "Muon": Muon}  # torch's own takes no convolutions
    for name, optimiser in train.optimisers.items():
        _check_named(optimiser, optimisers, ("train", name), problems, given=("params",))
    if train.scheduler is not None:
        schedulers = _classes(lr_scheduler, torch.optim.lr_scheduler.LRScheduler)
        schedulers.pop("_LRScheduler", None)
        schedulers["MultiStepLR"] = schedulers["MultiStepRestartLR"]  # BasicSR takes either name for one class
        _check_named(train.scheduler, schedulers, ("train", "scheduler"), problems, given=("optimizer",))


def _classes(module: Any, parent: type) -> dict[str, Any]:
    parts = vars(module).items()
    return {name: part for name, part in parts if isinstance(part, type) and issubclass(part, parent)}


def _check_named(
    component: Component, parts: Mapping[str, Any], path: KeyPath, problems: Problems, *, given: tuple[str, ...]
) -> None:
    part = parts.get(component.type)
    if part is None:
        near = nearest(component.type, sorted(parts))
        problems.add((*path, "type"), f"{component.type!r} is not known{near}")
    else:
        _check_call(part, component, path, problems, given=given)
    if given == ("params",) and "lr" not in component.arguments:
        problems.add(path, "the key 'lr' is missing: the learning rate")


def _check_metric(metric: Component, path: KeyPath, problems: Problems) -> None:
    function = find("metric", metric.type, path, problems)
    _check_call(function, metric, path, problems, given=_METRIC_INPUTS, also=_METRIC_KEYS)


def _check_call(
    part: Callable[..., Any] | None,
    component: Component,
    path: KeyPath,
    problems: Problems,
    *,
    given: Iterable[str] = (),
    also: Iterable[str] = (),
) -> None:
    """Note the arguments of `component` that `part` does not take, and the ones that it lacks.

    `given` are arguments that do not come from the options; `also` are keys that may be there and are none.
    """
    if part is None:
        return
    signature = inspect.signature(part)
    parameters = {name: p for name, p in signature.parameters.items() if name not in given}
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    hints = _hints(part)
    for name, value in component.arguments.items():
        if name in also:
            continue
        if name not in parameters:
            problems.unknown((*path, name), sorted([*parameters, "type", *also]))
        else:
            _check_type(hints.get(name), parameters[name].default, value, (*path, name), problems)
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in component.arguments:
            problems.add(path, f"the key {name!r} is missing: {component.type} needs it")


def _hints(part: Callable[..., Any]) -> dict[str, Any]:
    target = part.__init__ if isinstance(part, type) else part  # type: ignore[misc]
    try:
        return get_type_hints(target)
    except (NameError, TypeError, AttributeError):  # names that exist for type checkers only
        return {}


def _check_type(hint: Any, default: Any, value: Any, path: KeyPath, problems: Problems) -> None:
    if hint is None:  # BasicSR annotates nothing: its defaults tell
        hint = next((kind for kind in (bool, str) if isinstance(default, kind)), None)
        if hint is None and isinstance(default, int | float):
            hint = float
    scalar = _scalar(hint)
    if scalar is not None and not (value is None and default is None) and not isinstance(value, Mapping | tuple):
        convert(scalar, value, path, problems)


def _scalar(hint: Any) -> Any:
    """The type that an option can have: of `float | Tensor` the number; `None` where there is no single one."""
    if get_origin(hint) is Literal:
        return hint
    members = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    scalars = [member for member in members if member in (int, float, bool, str) or get_origin(member) is Literal]
    return scalars[0] if len(scalars) == 1 else None
