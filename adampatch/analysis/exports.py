"""What the modules of a project give each other: stock classes under the names they import them by,
and the names of optimizers as strings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import PurePosixPath
from typing import Any

import gast

from adampatch.analysis import catalog
from adampatch.analysis.module import Module, canonical, imported_paths

_STRINGS = re.compile(r"""["']({})["']""".format("|".join(catalog.STOCK_STRINGS)), re.IGNORECASE)
#: how many modules a name is followed through
_MAX_STEPS = 8


class Exports:
    """The modules of a project, found by dotted name. Without modules it knows of nothing."""

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        self._modules: dict[str, list[Module]] = {}
        #: dotted paths that some import statement says
        self._imported: set[str] = set()
        self._said: dict[str, tuple[str, ...]] = {}
        for module in modules:
            self.connect(module)
            self._said[module.path] = _said(module)
            for name in dotted_names(module.path, module.package):
                self._modules.setdefault(name, []).append(module)
            for path in modules_imported(module):
                self._imported.update(_prefixes(path))

    def connect(self, module: Module) -> None:
        """Lets a module find what it imports from the others."""
        module.elsewhere = partial(self.definition, asking=module)

    def said_outside(self, module: Module) -> tuple[str, ...]:
        """The stock classes that strings of other modules name."""
        others = (paths for path, paths in self._said.items() if path != module.path)
        return tuple(dict.fromkeys(path for paths in others for path in paths))

    def knows(self, path: str) -> bool:
        """Whether a dotted path begins with a module of the project."""
        return any(prefix in self._modules for prefix in _prefixes(path))

    def imports(self, module: Module) -> bool:
        """Whether a module of the project is imported by another one."""
        names = dotted_names(module.path, module.package)
        return any(name in self._imported and self._module(name, module) is module for name in names)

    def resolve(self, path: str, asking: Module, steps: int = _MAX_STEPS) -> tuple[str, ...]:
        """The paths that a dotted path stands for, through what the project's modules import."""
        for head in sorted(_prefixes(path)[:-1], key=len, reverse=True):
            module = self._module(head, asking)
            if module is None or module is asking:
                continue
            name, _, rest = path[len(head) + 1 :].partition(".")
            found = module.imports.get(name)
            if not found or not steps:
                return (path,)
            behind = [canonical(f"{known}.{rest}" if rest else known) for known in found]
            return tuple(p for known in behind for p in self.resolve(known, module, steps - 1))
        return (path,)

    def definition(self, path: str, asking: Module) -> tuple[Any, Module] | None:
        """The function or class that a dotted path stands for and its module, if it is the project's."""
        for known in self.resolve(path, asking):
            head, _, name = known.rpartition(".")
            module = self._module(head, asking)
            node = module and (module.functions.get(name) or module.classes.get(name))
            if module is not None and node is not None and name not in module.ambiguous:
                return node, module
        return None

    def _module(self, name: str, asking: Module) -> Module | None:
        """The module of a dotted name; of several the one in the folder of who asks."""
        found = self._modules.get(name, [])
        if len(found) > 1:
            folder = PurePosixPath(asking.path).parent
            found = [module for module in found if PurePosixPath(module.path).parent == folder]
        return found[0] if len(found) == 1 else None


def dotted_names(file: str, within: str) -> set[str]:
    """The names that a file may be imported by: in its package, and from the root."""
    path = PurePosixPath(file).with_suffix("")
    inner = [] if path.name == "__init__" else [path.name]
    package = within.split(".") if within else []
    folders = [*path.parent.parts, *inner]
    return {".".join(parts) for parts in ([*package, *inner], folders) if parts}


def modules_imported(module: Module) -> set[str]:
    """The dotted paths that a module's import statements say, of modules and of what is in them."""
    return {path for node in _imports(module.tree) for path in imported_paths(node, module.package)}


def _imports(node: Any) -> Iterator[Any]:
    """The import statements of a module, those in functions too; expressions are not looked into."""
    for field in ("body", "orelse", "finalbody", "handlers", "cases"):
        for inner in getattr(node, field, None) or ():
            if isinstance(inner, (gast.Import, gast.ImportFrom)):
                yield inner
            else:
                yield from _imports(inner)


def _said(module: Module) -> tuple[str, ...]:
    found = {text.lower() for text in _STRINGS.findall(module.text)}
    return tuple(path for text, path in catalog.STOCK_STRINGS.items() if text in found)


def _prefixes(path: str) -> list[str]:
    parts = path.split(".")
    return [".".join(parts[: i + 1]) for i in range(len(parts))]
