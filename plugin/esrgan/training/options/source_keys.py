"""Which options a BasicSR class reads, found in its source.

BasicSR's models and datasets take one dictionary and read from it wherever they like, so no
signature says which keys exist. Their source does: `opt["x"]`, `self.opt["train"].get("x")`,
`"x" in opt`, also through a local name (`train_opt = self.opt["train"]`).
"""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from esrgan.training.options.yaml_file import KeyPath

_NOT_READERS = frozenset({"torch", *sys.stdlib_module_names})
_READERS = frozenset({"get", "pop", "setdefault"})


@dataclass(frozen=True)
class KeysRead:
    """Paths below the options dictionary that a class reads."""

    all: frozenset[KeyPath]
    needed: frozenset[KeyPath]
    """Those that its constructor reads in any case, without a default."""

    def below(self, section: KeyPath) -> set[str]:
        """Names of the keys that are read directly below `section`."""
        depth = len(section)
        return {path[depth] for path in self.all if len(path) > depth and path[:depth] == section}


@cache
def keys_read(cls: type) -> KeysRead | None:
    """What `cls` and the BasicSR classes that it is derived from read; `None` where there is no source."""
    found: set[KeyPath] = set()
    needed: set[KeyPath] = set()
    for part in cls.__mro__:
        if part.__module__.partition(".")[0] in _NOT_READERS:
            continue
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(part)))
        except (OSError, TypeError, SyntaxError):
            return None
        for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
            reader = _Reader()
            reader.visit(function)
            found |= reader.found
            # A derived constructor calls its parents', so what those need is needed too.
            if function.name == "__init__":
                needed |= reader.needed
    return KeysRead(all=frozenset(found), needed=frozenset(needed))


class _Reader(ast.NodeVisitor):
    """Collects the reads of one method; `opt`, `self.opt` and names derived from them are followed."""

    def __init__(self) -> None:
        self.found: set[KeyPath] = set()
        self.needed: set[KeyPath] = set()
        self._names: dict[str, KeyPath] = {"opt": ()}
        self._conditions = 0

    def visit_Assign(self, node: ast.Assign) -> None:
        self.generic_visit(node)
        path = self._path(node.value)
        for target in node.targets:
            if isinstance(target, ast.Name):
                self._names.pop(target.id, None)
                if path is not None:
                    self._names[target.id] = path

    def visit_Subscript(self, node: ast.Subscript) -> None:
        self.generic_visit(node)
        path = self._path(node)
        if path and isinstance(node.ctx, ast.Load):
            self.found.add(path)
            if not self._conditions:
                self.needed.add(path)

    def visit_Call(self, node: ast.Call) -> None:
        self.generic_visit(node)
        if path := self._path(node):
            self.found.add(path)

    def visit_Compare(self, node: ast.Compare) -> None:
        self.generic_visit(node)
        for operator, container in zip(node.ops, node.comparators, strict=True):
            base = self._path(container)
            if isinstance(operator, ast.In | ast.NotIn) and base is not None:
                self.found |= {(*base, key) for key in _texts(node.left)}

    def visit_If(self, node: ast.If) -> None:
        self.visit(node.test)
        self._visit_conditional([*node.body, *node.orelse])

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self.visit(node.test)
        self._visit_conditional([node.body, node.orelse])

    def visit_For(self, node: ast.For) -> None:
        self.visit(node.iter)
        self._visit_conditional([*node.body, *node.orelse])

    def visit_Try(self, node: ast.Try) -> None:
        self._visit_conditional([*node.body, *node.handlers, *node.orelse, *node.finalbody])

    def _visit_conditional(self, nodes: list[ast.stmt] | list[ast.expr] | list[ast.AST]) -> None:
        self._conditions += 1
        for node in nodes:
            self.visit(node)
        self._conditions -= 1

    def _path(self, node: ast.expr) -> KeyPath | None:
        """Path of the option that `node` stands for; `()` is the whole dictionary, `None` something else."""
        match node:
            case ast.Name(id=name):
                return self._names.get(name)
            case ast.Attribute(value=ast.Name(id="self"), attr="opt"):
                return ()
            case ast.Subscript(value=base, slice=ast.Constant(value=str(key))):
                return self._below(base, key)
            case ast.Call(func=ast.Attribute(value=base, attr=method), args=[ast.Constant(value=str(key)), *_]):
                return self._below(base, key) if method in _READERS else None
            case _:
                return None

    def _below(self, base: ast.expr, key: str) -> KeyPath | None:
        path = self._path(base)
        return None if path is None else (*path, key)


def _texts(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
