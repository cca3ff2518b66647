"""Uses: places that make a stock optimizer, whatever the import is called.

beniget says which definitions reach a name, so that a local that merely shares a name
with an import is not taken for it.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import beniget
import gast

from adampatch.analysis import catalog
from adampatch.analysis.module import Module, canonical, import_bindings


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


class _Chains(beniget.DefUseChains):  # type: ignore[misc]
    """beniget without its prints about unbound names."""

    def unbound_identifier(self, name: str, node: Any) -> None:
        pass


def uses(module: Module) -> list[Use]:
    """All uses in a module, in source order."""
    found: list[Use] = []
    candidates = [n for n in gast.walk(module.tree) if isinstance(n, gast.Call) and _candidate(n)]
    if not candidates:
        return []
    definitions = _definitions(module)
    for node in candidates:
        if _ours(node.func):
            continue
        wrapped = isinstance(node.func, gast.Call) and _ours(node.func.func)
        callee = node.func.args[0] if wrapped and node.func.args else node.func
        for path in _resolve(callee, definitions, module):
            if path in catalog.STOCK_OPTIMIZERS:
                resolved = catalog.STOCK_OPTIMIZERS[path]
                status = "already" if wrapped else "patchable"
                found.append(
                    _use(module, callee, module.normal_text(callee), resolved, "constructor", status)
                )
                break
        if isinstance(node.func, gast.Attribute) and node.func.attr == "compile":
            found += _strings(module, node)
    return sorted(found, key=lambda u: (u.line, u.col))


def _candidate(call: Any) -> bool:
    """Whether the callee's last part can be a stock name (or something renamed: any name
    that an import binds is looked at by its definitions)."""
    callee = call.func
    if isinstance(callee, gast.Call):
        return _ours(callee.func)
    return isinstance(callee, (gast.Name, gast.Attribute))


def _ours(callee: Any) -> bool:
    return (
        isinstance(callee, gast.Attribute)
        and callee.attr == "patched"
        and isinstance(callee.value, gast.Name)
        and callee.value.id in ("_adampatch", "adampatch")
    )


def _strings(module: Module, call: Any) -> Iterator[Use]:
    """``compile("adam")`` and ``compile(optimizer="adam")``."""
    values = [k.value for k in call.keywords if k.arg == "optimizer"] or call.args[:1]
    for value in values:
        status = "patchable"
        if isinstance(value, gast.Call) and _ours(value.func) and value.args:
            value, status = value.args[0], "already"
        if isinstance(value, gast.Constant) and isinstance(value.value, str):
            resolved = catalog.STOCK_STRINGS.get(value.value.lower())
            if resolved is not None:
                yield _use(module, value, module.segment(value), resolved, "string", status)


def _use(module: Module, node: Any, spelling: str, resolved: str, kind: str, status: str) -> Use:
    column = module.column(node.lineno, node.col_offset) + 1
    return Use(node.lineno, column, spelling, resolved, kind, status, None, node)


def _definitions(module: Module) -> dict[Any, list[Any]]:
    """{Name node: the definitions that reach it}."""
    chains = _Chains()
    with contextlib.redirect_stdout(io.StringIO()):  # beniget prints warnings
        chains.visit(module.tree)
    reaching: dict[Any, list[Any]] = {}
    for definition in chains.chains.values():
        for user in definition.users():
            reaching.setdefault(user.node, []).append(definition.node)
    return reaching


def _resolve(node: Any, definitions: dict[Any, list[Any]], module: Module, depth: int = 0) -> list[str]:
    """The dotted paths a callee may stand for; empty unless every definition agrees that it
    comes from an import."""
    parts: list[str] = []
    while isinstance(node, gast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, gast.Name) or depth > 4:
        return []
    paths: list[str] = []
    reached = definitions.get(node, [])
    for definition in reached:
        paths += _imported(definition, node.id, definitions, module, depth)
        if not paths:
            return []
    if not reached and node.id in module.imports:
        paths += module.imports[node.id]
    return [canonical(".".join([p, *reversed(parts)])) for p in paths]


def _imported(
    definition: Any, name: str, definitions: dict[Any, list[Any]], module: Module, depth: int
) -> list[str]:
    if isinstance(definition, gast.alias):
        for node in gast.walk(module.tree):
            if isinstance(node, (gast.Import, gast.ImportFrom)) and definition in node.names:
                return [path for bound, path in import_bindings(node, module.package) if bound == name]
    if isinstance(definition, gast.Name):  # Adam = tf.keras.optimizers.Adam
        for node in gast.walk(module.tree):
            if (
                isinstance(node, gast.Assign)
                and definition in node.targets
                and isinstance(node.value, (gast.Name, gast.Attribute))
            ):
                return _resolve(node.value, definitions, module, depth + 1)
    return []
