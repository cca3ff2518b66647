"""What to change in one file, as data: which expression becomes which call of ours."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from adampatch.analysis.classes import ClassReport, is_wrapped
from adampatch.analysis.module import Module
from adampatch.analysis.sites import Site
from adampatch.analysis.uses import Use

#: the name that patched code calls; also the name of the module beside it
RUNTIME_NAME = "_adampatch"


@dataclass(frozen=True)
class Edit:
    """``kind``: step (wrap an expression), callee (wrap what is called), patched (wrap a
    class, a name or what makes an optimizer), observed (decorate a class). ``start``/``end`` are
    (line, column) with 1-based lines and 0-based columns in code points, of the syntax node
    without the parentheses around it."""

    kind: str
    start: tuple[int, int]
    end: tuple[int, int]
    self_name: str = ""
    variable: str = ""
    parts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Plan:
    """The edits of one file and the line that imports the runtime ('' for none)."""

    module: Module = field(repr=False)
    edits: tuple[Edit, ...]
    import_line: str


def plan(module: Module, reports: Iterable[ClassReport], uses: Iterable[Use], import_line: str) -> Plan:
    """All edits that the facts ask for; refused and already patched places have none."""
    found: dict[tuple[Any, ...], Edit] = {}

    def add(edit: Edit) -> None:
        found[edit.kind, edit.start, edit.end] = edit

    uses = list(uses)
    wrapped = {id(use.node) for use in uses if use.status == "patchable"}
    for report in reports:
        patchable = [s for s in report.sites if s.status == "patchable"]
        for site in patchable:
            add(_site_edit(module, site))
        if patchable and not _is_observed(report.node):
            start, _ = _position(module, report.node)
            add(Edit("observed", start, start))
        if report.status in ("inherited", "patchable", "partial", "already"):
            for base in report.wrapped_bases:
                if not is_wrapped(module, base, wrapped):
                    add(Edit("patched", *_position(module, base)))
    for use in uses:
        if use.status == "patchable":
            parts = [("keras", use.keras)] if use.keras is not None else []
            parts += [] if use.certain else [("strict", "False")]
            add(Edit("patched", *_position(module, use.node), parts=tuple(parts)))
    edits = tuple(sorted(found.values(), key=lambda e: (e.start, e.kind)))
    return Plan(module, edits, import_line if edits else "")


def _site_edit(module: Module, site: Site) -> Edit:
    if site.kind == "fused":
        return Edit("callee", *_position(module, site.node.func), site.self_name, site.variable)
    order = ("rate", "direction", "decay", "alpha", "indices")
    parts = tuple((name, text) for name in order if (text := site.parts.get(name)) is not None)
    if "rate" not in dict(parts):
        raise AssertionError("a patchable site has a rate")
    return Edit("step", *_position(module, site.node), site.self_name, site.variable, parts)


def _is_observed(node: Any) -> bool:
    return any(getattr(d, "attr", None) == "observed" for d in node.decorator_list)


def _position(module: Module, node: Any) -> tuple[tuple[int, int], tuple[int, int]]:
    start = (node.lineno, module.column(node.lineno, node.col_offset))
    end = (node.end_lineno, module.column(node.end_lineno, node.end_col_offset))
    return start, end
