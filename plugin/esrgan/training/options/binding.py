"""From the plain values of an options file to frozen dataclasses: types checked, unknown keys refused."""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from esrgan.errors import UsageError
from esrgan.training.options.yaml_file import Document, KeyPath, nearest


class OptionsError(UsageError):
    """Options that cannot be used. The message has one line for each problem."""


class Problems:
    """Collects what is wrong with an options file, so that all of it is said at once."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self.lines: list[str] = []

    def add(self, path: KeyPath, text: str) -> None:
        """Note that the value at `path` is wrong."""
        self.lines.append(f"{self._document.place(path)}: {text}")

    def unknown(self, path: KeyPath, known: list[str]) -> None:
        """Note that the key at `path` is not one of `known`."""
        self.add(path, f"unknown key{nearest(path[-1], known)}")

    def raise_if_any(self) -> None:
        """Raise `OptionsError` when anything was added."""
        if self.lines:
            raise OptionsError("\n".join(self.lines))


@dataclasses.dataclass(frozen=True)
class Component:
    """A part that BasicSR builds by name: a network, a loss, an optimiser, a metric."""

    type: str
    """Name in BasicSR's registry."""
    arguments: Mapping[str, Any]
    """Its other keys: the arguments of its constructor."""


class _Failed:
    """Stands for a value that could not be converted; the problem is already noted."""


_FAILED = _Failed()


def bind[T](cls: type[T], values: Mapping[Any, Any], path: KeyPath, problems: Problems) -> T | None:
    """Make a `cls` (a dataclass) from `values`; `None` when anything in it is wrong, which is then noted.

    A field of `cls` named `extra` takes the keys that are no field; without one they are refused. The
    metadata of a field may hold `parts`, a pattern such as `network_*`: the field is then a mapping of
    all keys that fit.
    """
    hints = get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    plain = {name for name, field in fields.items() if name != "extra" and "parts" not in field.metadata}
    patterns = {field.metadata["parts"]: name for name, field in fields.items() if "parts" in field.metadata}
    found: dict[str, Any] = {name: {} for name in patterns.values()}
    rest: dict[str, Any] = {}
    for key, value in values.items():
        name = str(key)
        if name in plain:
            found[name] = convert(hints[name], value, (*path, name), problems)
        elif collector := _collector(name, patterns):
            item = get_args(hints[collector])[1]
            found[collector][name] = convert(item, value, (*path, name), problems)
        else:
            rest[name] = freeze(value)
    if "extra" in fields:
        found["extra"] = rest
    else:
        for name in rest:
            problems.unknown((*path, name), sorted(plain))
    required = [name for name in plain if _is_required(fields[name]) and name not in found]
    for name in required:
        problems.add(path, f"the key {name!r} is missing")
    if required or any(_has_failed(value) for value in found.values()):
        return None
    return cls(**{name: MappingProxyType(value) if isinstance(value, dict) else value for name, value in found.items()})


def bound[T](cls: type[T], values: Mapping[Any, Any]) -> T:
    """Make a `cls` from values that were checked with the options file, or that come from elsewhere.

    Raises:
        OptionsError: they were not, and are wrong; one line each.
    """
    problems = Problems(Document(file=Path(cls.__name__), values={}, lines={}))
    result = bind(cls, values, (), problems)
    problems.raise_if_any()
    assert result is not None
    return result


def _collector(name: str, patterns: Mapping[str, str]) -> str | None:
    for pattern, field in patterns.items():
        start, _, end = pattern.partition("*")
        if name.startswith(start) and name.endswith(end) and len(name) > len(start) + len(end):
            return field
    return None


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _has_failed(value: Any) -> bool:
    return value is _FAILED or (isinstance(value, dict) and any(inner is _FAILED for inner in value.values()))


def convert(hint: Any, value: Any, path: KeyPath, problems: Problems) -> Any:
    """`value` as the type `hint`; what does not fit is noted, and the result is then of no use."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _convert_union(hint, value, path, problems)
    if origin is Literal:
        if value in get_args(hint):
            return value
        return _fail(path, problems, f"must be one of {_listed(get_args(hint))}, got {value!r}")
    if origin is tuple:
        return _convert_list(get_args(hint)[0], value, path, problems)
    if hint is Component or dataclasses.is_dataclass(hint) or origin is Mapping:
        if not isinstance(value, Mapping):
            return _fail(path, problems, f"must hold keys of its own, got {value!r}")
        if hint is Component:
            return _component(value, path, problems)
        if origin is Mapping:
            return _convert_mapping(get_args(hint)[1], value, path, problems)
        bound = bind(hint, value, path, problems)
        return _FAILED if bound is None else bound
    if hint is Any:
        return freeze(value)
    return _convert_scalar(hint, value, path, problems)


def _convert_union(hint: Any, value: Any, path: KeyPath, problems: Problems) -> Any:
    members = [member for member in get_args(hint) if member is not type(None)]
    if value is None and len(members) < len(get_args(hint)):
        return None
    for member in members[:-1]:  # all but the last are literals, which are quick to try
        if get_origin(member) is Literal and value in get_args(member):
            return value
    return convert(members[-1], value, path, problems)


def _convert_list(item: Any, value: Any, path: KeyPath, problems: Problems) -> Any:
    if not isinstance(value, list | tuple):
        return _fail(path, problems, f"must be a list such as [1, 2], got {value!r}")
    converted = tuple(convert(item, inner, path, problems) for inner in value)
    return _FAILED if any(inner is _FAILED for inner in converted) else converted


def _convert_mapping(item: Any, value: Mapping[Any, Any], path: KeyPath, problems: Problems) -> Any:
    converted = {str(key): convert(item, inner, (*path, str(key)), problems) for key, inner in value.items()}
    return _FAILED if _has_failed(converted) else MappingProxyType(converted)


def _component(value: Mapping[Any, Any], path: KeyPath, problems: Problems) -> Any:
    name = value.get("type")
    if not isinstance(name, str):
        problem = "the key 'type' is missing" if name is None else f"'type' must be a name, got {name!r}"
        return _fail(path, problems, problem)
    arguments = {str(key): freeze(inner) for key, inner in value.items() if key != "type"}
    return Component(type=name, arguments=MappingProxyType(arguments))


def _convert_scalar(hint: Any, value: Any, path: KeyPath, problems: Problems) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if hint is bool and isinstance(value, bool):
        return value
    if hint is str and isinstance(value, str):
        return value
    if hint is int and is_number and math.isfinite(value) and value == int(value):
        return int(value)
    if hint is float and is_number and math.isfinite(value):
        return float(value)
    wanted = {bool: "true or false", str: "text", int: "a whole number", float: "a number"}[hint]
    quoted = " (without quotes)" if isinstance(value, str) and hint is not str else ""
    return _fail(path, problems, f"must be {wanted}{quoted}, got {value!r}")


def _fail(path: KeyPath, problems: Problems, text: str) -> _Failed:
    problems.add(path, text)
    return _FAILED


def _listed(choices: tuple[Any, ...]) -> str:
    return ", ".join(str(choice) for choice in choices)


def freeze(value: Any) -> Any:
    """`value` with its dictionaries read-only and its lists tuples."""
    if isinstance(value, Mapping):
        return MappingProxyType({str(key): freeze(inner) for key, inner in value.items()})
    if isinstance(value, list | tuple):
        return tuple(freeze(inner) for inner in value)
    return value


def thaw(value: Any) -> Any:
    """The inverse of `freeze`: new dictionaries and lists, which a caller may change."""
    if isinstance(value, Mapping):
        return {key: thaw(inner) for key, inner in value.items()}
    if isinstance(value, tuple):
        return [thaw(inner) for inner in value]
    return value
