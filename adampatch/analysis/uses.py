"""Uses: places that make a stock optimizer, whatever the import is called.

beniget says which definitions reach a name, so that a local that merely shares a name
with an import is not taken for it.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import beniget
import gast

from adampatch.analysis import catalog
from adampatch.analysis.module import Module, canonical, import_bindings, is_patched, unwrapped
from adampatch.analysis.sites import reason_text

_STOCK_NAMES = frozenset(path.rsplit(".", 1)[-1] for path in catalog.STOCK_OPTIMIZERS)
#: a file without any of these, in any case, makes no stock optimizer
_STOCK_WORDS = re.compile("|".join(sorted(_STOCK_NAMES)), re.IGNORECASE)
_MAX_ALIASES = 4


@dataclass(frozen=True)
class Use:
    """One use. ``node`` is the callee of a constructor call or the string; ``kind`` is
    ``constructor`` or ``string``; ``col`` counts code points from 1."""

    line: int
    col: int
    spelling: str
    resolved: str
    kind: str
    status: str
    reason: str | None
    node: Any
    #: the name of the Keras module to look a string up in; None: the runtime's default
    keras: str | None = None


class _Chains(beniget.DefUseChains):  # type: ignore[misc]
    """beniget without its prints about unbound names."""

    def unbound_identifier(self, name: str, node: Any) -> None:
        pass


def uses(module: Module) -> list[Use]:
    """All uses in a module, in source order."""
    if not _STOCK_WORDS.search(module.text):
        return []
    calls = [n for n in gast.walk(module.tree) if isinstance(n, gast.Call) and not is_patched(n.func)]
    names = _Names(module)
    found: list[Use] = []
    for node in calls:
        callee = unwrapped(node.func)
        if names.may_be_stock(callee):
            paths = names.resolve(callee)
            if paths and all(path in catalog.STOCK_OPTIMIZERS for path in paths):
                resolved = catalog.STOCK_OPTIMIZERS[paths[0]]
                status = "patchable" if callee is node.func else "already"
                spelling = module.normal_text(callee)
                found.append(_use(module, callee, spelling, resolved, "constructor", status))
        if isinstance(node.func, gast.Attribute) and node.func.attr == "compile":
            strings = list(_strings(module, node))
            if strings and not names.resolve(node.func):  # re.compile("adam"): an import binds no model
                found += strings
    return sorted(found, key=lambda u: (u.line, u.col))


def _strings(module: Module, call: Any) -> Iterator[Use]:
    """``compile("adam")`` and ``compile(optimizer="adam")``."""
    values = [k.value for k in call.keywords if k.arg == "optimizer"] or call.args[:1]
    for value in values:
        inner = unwrapped(value)
        status, value = ("patchable" if inner is value else "already"), inner
        if isinstance(value, gast.Constant) and isinstance(value.value, str):
            resolved = catalog.STOCK_STRINGS.get(value.value.lower())
            if resolved is not None:
                yield _string_use(module, value, resolved, status)


def _string_use(module: Module, value: Any, resolved: str, status: str) -> Use:
    """A string means the optimizer of the model's own Keras, which the imports tell."""
    use = _use(module, value, module.segment(value), resolved, "string", status)
    roots = {path.split(".")[0] for paths in module.imports.values() for path in paths}
    if "tf_keras" not in roots:
        return use
    use = replace(use, resolved=f"tf_{resolved}")
    name = next((n for n, paths in module.imports.items() if paths == ("tf_keras",)), None)
    paths = [path for several in module.imports.values() for path in several]
    others = any(path == "keras" or path.startswith(("keras.", "tensorflow.keras")) for path in paths)
    if name is None or others:
        words = "whose Keras the model is of cannot be told; import one Keras, as a module"
        return replace(use, status="refused", reason=reason_text("AP220", words, use.line))
    return replace(use, keras=name)


def _use(module: Module, node: Any, spelling: str, resolved: str, kind: str, status: str) -> Use:
    column = module.column(node.lineno, node.col_offset) + 1
    return Use(node.lineno, column, spelling, resolved, kind, status, None, node)


class _Names:
    """What a name may stand for: the definitions that reach it, followed back to imports."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.imported: dict[Any, list[str]] = {}
        self.assigned: dict[Any, Any] = {}
        self._stock_like = set(_STOCK_NAMES)
        for node in gast.walk(module.tree):
            if isinstance(node, (gast.Import, gast.ImportFrom)):
                aliases = [a for a in node.names if a.name != "*"]
                for alias, (bound, path) in zip(aliases, import_bindings(node, module.package), strict=True):
                    self.imported[alias] = [path]
                    if path.rsplit(".", 1)[-1] in _STOCK_NAMES:
                        self._stock_like.add(bound)
            elif isinstance(node, gast.Assign) and isinstance(node.value, (gast.Name, gast.Attribute)):
                self.assigned.update((target, node.value) for target in node.targets)
                if self.may_be_stock(node.value):
                    self._stock_like.update(t.id for t in node.targets if isinstance(t, gast.Name))
        self._reaching: dict[Any, list[Any]] | None = None

    def may_be_stock(self, node: Any) -> bool:
        """A quick look at the last part of a callee, before definitions are chased."""
        return (
            node.attr if isinstance(node, gast.Attribute) else getattr(node, "id", None)
        ) in self._stock_like

    def resolve(self, node: Any, depth: int = 0) -> list[str]:
        """The dotted paths a callee may stand for; empty unless every definition that reaches
        it comes from an import."""
        parts: list[str] = []
        while isinstance(node, gast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, gast.Name) or depth > _MAX_ALIASES:
            return []
        paths: list[str] = []
        reached = self._definitions().get(node, [])
        for definition in reached:
            behind = self.imported.get(definition, [])
            if definition in self.assigned:  # Adam = tf.keras.optimizers.Adam
                behind = self.resolve(self.assigned[definition], depth + 1)
            if not behind:
                return []
            paths += behind
        if not reached:
            paths += self.module.imports.get(node.id, ())
        return [canonical(".".join([p, *reversed(parts)])) for p in paths]

    def _definitions(self) -> dict[Any, list[Any]]:
        """{Name node: the definitions that reach it}, by beniget."""
        if self._reaching is None:
            chains = _Chains()
            with contextlib.redirect_stdout(io.StringIO()):  # beniget prints warnings
                chains.visit(self.module.tree)
            self._reaching = {}
            for definition in chains.chains.values():
                for user in definition.users():
                    self._reaching.setdefault(user.node, []).append(definition.node)
        return self._reaching
