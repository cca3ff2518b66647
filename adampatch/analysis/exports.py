"""What the modules of a project give each other: stock classes under the names they import them by,
and the names of optimizers as strings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
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
            self._said[module.path] = _said(module)
            for name in _dotted(module):
                self._modules.setdefault(name, []).append(module)
            for node in _imports(module.tree):
                for path in imported_paths(node, module.package):
                    self._imported.update(_prefixes(path))

    def said_outside(self, module: Module) -> tuple[str, ...]:
        """The stock classes that strings of other modules name."""
        others = (paths for path, paths in self._said.items() if path != module.path)
        return tuple(dict.fromkeys(path for paths in others for path in paths))

    def knows(self, path: str) -> bool:
        """Whether a dotted path begins with a module of the project."""
        return any(prefix in self._modules for prefix in _prefixes(path))

    def imports(self, module: Module) -> bool:
        """Whether a module of the project is imported by another one."""
        return any(
            name in self._imported and self._module(name, module) is module for name in _dotted(module)
        )

    def settle(self, module: Module) -> None:
        """Tells a module which of its imports from the project come from a framework in the end."""
        for name, paths in module.imports.items():
            found = [p for path in paths for p in self.resolve(path, module, assigned=True)]
            known = all(p.split(".")[0] in catalog.FRAMEWORK_ROOTS for p in found)
            if known and tuple(found) != paths:
                module.behind[name] = tuple(dict.fromkeys(found))

    def resolve(
        self, path: str, asking: Module, steps: int = _MAX_STEPS, *, assigned: bool = False
    ) -> tuple[str, ...]:
        """The paths that a dotted path stands for, through what the project's modules import.
        ``assigned``: also through what they name anew, but for stock classes: such a name is a use."""
        for head in sorted(_prefixes(path)[:-1], key=len, reverse=True):
            module = self._module(head, asking)
            if module is None or module is asking:
                continue
            name, _, rest = path[len(head) + 1 :].partition(".")
            found = module.imports.get(name)
            if not found and assigned and name in module.assigned:
                found = module.dotted(module.assigned[name])
                found = () if any(p in catalog.STOCK_OPTIMIZERS for p in found) else found
            if not found or not steps:
                return (path,)
            behind = [canonical(f"{known}.{rest}" if rest else known) for known in found]
            onward = (self.resolve(known, module, steps - 1, assigned=assigned) for known in behind)
            return tuple(p for paths in onward for p in paths)
        return (path,)

    def _module(self, name: str, asking: Module) -> Module | None:
        """The module of a dotted name; of several the one in the folder of who asks."""
        found = self._modules.get(name, [])
        if len(found) > 1:
            folder = PurePosixPath(asking.path).parent
            found = [module for module in found if PurePosixPath(module.path).parent == folder]
        return found[0] if len(found) == 1 else None


def _dotted(module: Module) -> set[str]:
    """The names that a module may be imported by: in its package, and from the root."""
    path = PurePosixPath(module.path).with_suffix("")
    inner = [] if path.name == "__init__" else [path.name]
    package = module.package.split(".") if module.package else []
    folders = [*path.parent.parts, *inner]
    return {".".join(parts) for parts in ([*package, *inner], folders) if parts}


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
