"""Options files: YAML to plain values, with the line of every key, and values from the command line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import yaml

from esrgan.errors import UsageError

KeyPath = tuple[str, ...]
"""Where a key is: `("datasets", "train", "gt_size")`, shown as `datasets:train:gt_size`."""


def shown(path: KeyPath) -> str:
    """`path` as messages and `--force_yml` write it."""
    return ":".join(path)


@dataclass(frozen=True)
class Document:
    """An options file that was read, not yet checked."""

    file: Path
    values: dict[str, Any]
    """Plain dictionaries, lists, strings, numbers, booleans and `None`."""
    lines: Mapping[KeyPath, int]
    """Line of each key in the file, from 1; keys from the command line have none."""

    def place(self, path: KeyPath) -> str:
        """`file:line: a:b:c`, with the line of the nearest key around `path` that stands in the file."""
        near = next((self.lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self.lines), None)
        where = f"{self.file}:{near}" if near else str(self.file)
        return f"{where}: {shown(path)}" if path else where


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader (YAML 1.1), except that `1e-4` is a number, as YAML 1.2 has it."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def read_document(file: Path, overrides: Iterable[str] = ()) -> Document:
    """Read an options file and apply `--force_yml` entries (`train:ema_decay=0.999`) to it.

    Nothing in the file or on the command line is run.

    Raises:
        UsageError: no such file, not YAML, or an entry that cannot be applied; one line with the line number.
    """
    text = _read_text(file)
    try:
        loader = _Loader(text)
        try:
            root = loader.get_single_node()
            lines = dict(_key_lines(root, (), file, seen=frozenset()))
            values = None if root is None else loader.construct_document(root)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        _raise_one_line(error, file)
    except ValueError as error:  # `!!float abc`
        raise UsageError(f"{file}: {error}") from error
    except RecursionError as error:
        raise UsageError(f"{file}: its values are nested too deeply") from error
    if not isinstance(values, dict):
        kind = "is empty" if values is None else f"holds a {type(values).__name__}"
        raise UsageError(f"{file}: {kind}; an options file is a list of `key: value` lines")
    document = Document(file=file, values=values, lines=lines)
    for entry in overrides:
        _override(document.values, entry)
    return document


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UsageError(f"options file not found: {file}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{file}: is not a text file in UTF-8") from error
    except (OSError, ValueError) as error:  # a folder, no permission, a null byte in the name
        raise UsageError(f"{file}: cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _key_lines(
    node: yaml.Node | None, path: KeyPath, file: Path, *, seen: frozenset[int]
) -> Iterable[tuple[KeyPath, int]]:
    """The line of every key below `node`; refuses keys that are given twice, and values that hold themselves."""
    if not isinstance(node, yaml.MappingNode):
        return
    if id(node) in seen:
        raise UsageError(f"{file}:{node.start_mark.line + 1}: {shown(path)} holds itself")
    found: dict[str, int] = {}
    for key_node, value_node in node.value:
        key, line = str(key_node.value), key_node.start_mark.line + 1
        if key in found:
            first = found[key]
            raise UsageError(f"{file}:{line}: {shown((*path, key))} is given twice; it is already on line {first}")
        found[key] = line
        yield (*path, key), line
        yield from _key_lines(value_node, (*path, key), file, seen=seen | {id(node)})


def _raise_one_line(error: yaml.YAMLError, file: Path) -> NoReturn:
    if not isinstance(error, yaml.MarkedYAMLError):
        raise UsageError(f"{file}: is not YAML: {str(error).splitlines()[0]}") from error
    mark = error.problem_mark or error.context_mark
    place = f"{file}:{mark.line + 1}" if mark else str(file)
    problem = error.problem or error.context or "is not YAML"
    if "'\\t'" in problem:
        problem = "a tab; YAML is indented with spaces only"
    raise UsageError(f"{place}: {problem}") from error


def _override(values: dict[str, Any], entry: str) -> None:
    """Set one `a:b=value` in `values`; a key that is not there is added, and checked with the others."""
    keys, equals, text = entry.partition("=")
    path = [key.strip() for key in keys.split(":")]
    if not equals or not all(path):
        raise UsageError(f"--force_yml {entry!r}: expected key:key=value, such as train:ema_decay=0.999")
    section = values
    for depth, key in enumerate(path[:-1], start=1):
        inner = section.get(key)
        if inner is None:
            inner = section[key] = {}
        if not isinstance(inner, dict):
            raise UsageError(f"--force_yml {entry!r}: {shown(tuple(path[:depth]))} is {inner!r}, it holds no keys")
        section = inner
    section[path[-1]] = _value(text.strip(), entry)


def _value(text: str, entry: str) -> Any:
    if text.lower() == "none":  # as upstream
        return None
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a subclass of the safe loader
    except yaml.YAMLError as error:
        raise UsageError(f"--force_yml {entry!r}: {text!r} is not a YAML value") from error


def nearest(name: str, known: Sequence[str]) -> str:
    """`; did you mean 'gt_size'?` for the nearest known name, or the known names when none is near."""
    import difflib

    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; known: {', '.join(sorted(known))}" if 0 < len(known) <= 12 else ""
