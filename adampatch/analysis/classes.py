"""Optimizer classes of a project: hierarchy, family, sites and status."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import gast

from adampatch.analysis import catalog
from adampatch.analysis.completeness import UNSEEN, Findings, unseen
from adampatch.analysis.exports import Exports
from adampatch.analysis.module import Module, canonical, unwrapped
from adampatch.analysis.sites import Site, disagreeing, refused
from adampatch.analysis.unframed import unframed_step
from adampatch.analysis.unreached import calls_kernel
from adampatch.analysis.values import Function

#: how deep a chain of project bases is followed
_MAX_BASES = 16
#: a base by its dotted path or text, and the project's class if it is one
Resolved = tuple[str, "tuple[Module, Any] | None"]


@dataclass(frozen=True)
class ClassReport:
    """One optimizer class. ``bases``: canonical dotted paths; ``wrapped_bases``: the nodes of
    stock bases that do the update for the class; ``status`` as in the contract (patchable,
    inherited, partial, refused, already, not_adam)."""

    module: Module
    name: str
    line: int
    family: str
    bases: tuple[str, ...]
    status: str
    reason: str | None
    sites: tuple[Site, ...]
    node: Any = field(repr=False)
    wrapped_bases: tuple[Any, ...] = ()


class Hierarchy:
    """The classes of all parsed modules, found by file and name or by dotted path. ``disputed``:
    sites, by their nodes, that mean something else to another class; ``exports``: the modules by
    their dotted names."""

    def __init__(
        self, modules: Iterable[Module], disputed: Collection[int] = (), exports: Exports | None = None
    ) -> None:
        self.modules = list(modules)
        self.exports = exports or Exports(self.modules)
        self.disputed = frozenset(disputed)
        #: (class node, adaptive) -> its report, for its subclasses
        self.known: dict[tuple[int, bool], ClassReport | None] = {}
        self._by_path: dict[str, list[Module]] = {}
        for module in self.modules:
            for name in module.outline.classes:
                self._by_path.setdefault(name, []).append(module)

    def resolve(self, module: Module, base: Any, steps: int = _MAX_BASES) -> list[Resolved]:
        """(dotted path or text, the project's class if it is one) of a base expression, for each of
        the ways that are chosen between when the module is imported."""
        base = unwrapped(base)
        name = base.id if isinstance(base, gast.Name) else None
        if name is not None and name in module.outline.classes and name not in module.ambiguous:
            return [(name, (module, module.classes[name]))]
        values = module.values(name) if name is not None else _arms(base)
        if values and steps:
            found = [r for value in values for r in self.resolve(module, value, steps - 1)]
        else:
            found = [r for path in self._paths(module, base) for r in self._at(module, path, steps)]
        if not found or len({path in catalog.STOCK_OPTIMIZERS for path, _ in found}) > 1:
            # not known, or stock or something else, chosen at import time
            return [(module.segment(base) if hasattr(base, "lineno") else "?", None)]
        return list(dict(found).items())

    def _paths(self, module: Module, node: Any) -> tuple[str, ...]:
        """The dotted paths of an expression over imports and over names for modules; empty where one
        of them is not known."""
        if isinstance(node, gast.Attribute):
            return tuple(canonical(f"{path}.{node.attr}") for path in self._paths(module, node.value))
        if isinstance(node, gast.Name) and not module.values(node.id):
            return module.origins(node.id)
        values = module.values(node.id) if isinstance(node, gast.Name) else _arms(node)
        found = [() if value is node else self._paths(module, value) for value in values]
        return tuple(path for paths in found for path in paths) if all(found) else ()

    def _at(self, module: Module, path: str, steps: int) -> list[Resolved]:
        """What a dotted path stands for: a class of the project, or what the project names so."""
        if path in catalog.STOCK_OPTIMIZERS or path.split(".")[0] in catalog.FRAMEWORK_ROOTS:
            return [(path, None)]
        values = self.exports.values(path, module) if steps else []
        if values:
            return [r for value, there in values for r in self.resolve(there, value, steps - 1)]
        name = path.rsplit(".", 1)[-1]
        candidates = self._by_path.get(name, [])
        return [(path, (candidates[0], candidates[0].classes[name]) if len(candidates) == 1 else None)]

    def bases(self, module: Module, node: Any) -> list[tuple[str, tuple[Module, Any] | None, Any]]:
        return [(*found, base) for base in node.bases for found in self.resolve(module, base)]

    def ancestry(self, module: Module, node: Any) -> list[tuple[Module, Any]]:
        """The class and its project bases, nearest first."""
        found: list[tuple[Module, Any]] = []
        todo = [(module, node)]
        while todo and len(found) < _MAX_BASES:
            current = todo.pop(0)
            if any(current[1] is n for _, n in found):
                continue
            found.append(current)
            todo += [project for _, project, _ in self.bases(*current) if project is not None]
        return found

    def outside_bases(self, module: Module, node: Any) -> list[str]:
        """Dotted paths of all bases outside of the project, along the ancestry."""
        return [
            path
            for ancestor in self.ancestry(module, node)
            for path, project, _ in self.bases(*ancestor)
            if project is None
        ]


def _arms(node: Any) -> list[Any]:
    """What a choice is between: ``a if p else b``, ``getattr(a, "name", b)``; else nothing."""
    if isinstance(node, gast.IfExp):
        return [node.body, node.orelse]
    if isinstance(node, gast.Call) and getattr(node.func, "id", None) == "getattr" and not node.keywords:
        where, name, *default = node.args if len(node.args) in (2, 3) else (None, None)
        if isinstance(name, gast.Constant) and isinstance(name.value, str):
            named = gast.Attribute(where, name.value, gast.Load())
            return [gast.copy_location(named, node), *default]
    return []


def reports(module: Module, hierarchy: Hierarchy, *, adaptive: bool = False) -> list[ClassReport]:
    """The optimizer classes of one module, in order. ``adaptive`` takes RMSprop-like updates
    too."""
    found = []
    hierarchy.exports.connect(module)
    for node in all_classes(module):
        report = _report(module.within(node), node, hierarchy, adaptive)
        if report is not None:
            found.append(report)
    return found


def disputed(found: Iterable[ClassReport]) -> frozenset[int]:
    """The sites whose meaning a class and its bases do not agree about. One text cannot be
    patched for one of them: `Hierarchy` has to be told, and the classes looked at again."""
    return frozenset(
        id(site.node) for report in found for site in report.sites if (site.reason or "").startswith("AP216")
    )


def all_classes(module: Module) -> list[Any]:
    """Every class definition, nested ones too, in source order."""
    return sorted(module.syntax.inside(gast.ClassDef), key=lambda n: n.lineno)


def own_methods(node: Any) -> dict[str, Any]:
    """The methods that a class defines; of a property, what reads it."""
    return {n.name: n for n in node.body if isinstance(n, gast.FunctionDef) and not _sets_property(n)}


def _sets_property(function: Any) -> bool:
    marks = function.decorator_list
    return any(isinstance(m, gast.Attribute) and m.attr in ("setter", "deleter") for m in marks)


def _report(module: Module, node: Any, hierarchy: Hierarchy, adaptive: bool) -> ClassReport | None:
    ancestry = hierarchy.ancestry(module, node)
    outside = hierarchy.outside_bases(module, node)
    own = own_methods(node)
    stock = [p for p in outside if p in catalog.STOCK_OPTIMIZERS]
    methods: dict[str, Function] = {}
    for ancestor_module, ancestor in reversed(ancestry):
        inside = module if ancestor is node else ancestor_module.within(ancestor)
        methods.update((name, Function(f, inside)) for name, f in own_methods(ancestor).items())
    if not stock and not set(methods) & set(catalog.UPDATE_METHODS):
        found_alone = _unframed(module, node, hierarchy, methods)
        if found_alone is not None or not calls_kernel(module, node):
            return found_alone
    entries = [*catalog.UPDATE_METHODS, *catalog.inner_methods(methods, stock)]
    updates = [name for name in entries if name in own]
    family = family_of(outside, methods)
    direct = hierarchy.bases(module, node)
    wrapped = tuple({id(base): base for path, _, base in direct if path in catalog.STOCK_OPTIMIZERS}.values())
    known = _base_reports(ancestry[1:], hierarchy, adaptive)
    found = Findings(methods, family)
    for name in entries:
        if name in own or (own and known and name in methods):
            found.add(catalog.UPDATE_METHODS.get(name) or catalog.INNER_METHODS[name])
    for name in catalog.inner_methods(methods, stock, found.delegated):
        if name not in entries and name in own:
            found.add(catalog.INNER_METHODS[name])
    delegates = bool(found.delegated)
    sites = found.sites
    sites = _without_those_of_bases(_merged(sites), module, node, known)
    sites = [
        disagreeing(s) if id(s.node) in hierarchy.disputed and s.status != "already" else s for s in sites
    ]
    if not adaptive:
        sites = _adam_only(sites)
    told = {s.method for s in sites if s.status == "refused"}
    sites += unseen(module, node, own, found, outside, told, adam=bool(sites or stock))
    whole = catalog.COMPLETE.get(family, frozenset())
    inherits = delegates or not updates or not whole <= set(updates)
    inherits = inherits and (bool(stock) or any(base.status in _UPDATING for base in known))
    status, reason = _status(sites, inherits)
    if status == "not_adam" and set(updates) <= {"apply"}:
        return None  # many things have a method of that name
    if not inherits:
        wrapped = ()
    already = wrapped and all(is_wrapped(module, base) for base in wrapped)
    if status == "inherited" and already:
        status = "already"
    bases = tuple(path for path, _, _ in direct)
    return ClassReport(
        module, node.name, node.lineno, family, bases, status, reason, tuple(sites), node, wrapped
    )


def _unframed(
    module: Module, node: Any, hierarchy: Hierarchy, methods: Mapping[str, Function]
) -> ClassReport | None:
    """The report of a class that no framework knows as an optimizer, if it holds Adam's step."""
    site = unframed_step(node, module, methods)
    if site is None:
        return None
    bases = tuple(path for path, _, _ in hierarchy.bases(module, node))
    return ClassReport(module, node.name, node.lineno, "other", bases, "refused", site.reason, (site,), node)


def is_wrapped(module: Module, node: Any, meant: Collection[int] = ()) -> bool:
    """Whether a base is inside our ``patched``, or stands for such classes alone. ``meant``: the
    identities of nodes that are to be wrapped."""
    if unwrapped(node) is not node or id(node) in meant:
        return True
    values = module.values(node.id) if isinstance(node, gast.Name) else _arms(node)
    return bool(values) and all(is_wrapped(module, v, meant) for v in values if v is not node)


#: statuses of classes that hold or inherit an update that is patched
_UPDATING = ("patchable", "partial", "already", "inherited")


def _base_reports(bases: list[tuple[Module, Any]], hierarchy: Hierarchy, adaptive: bool) -> list[ClassReport]:
    """What is known of the project's own bases of a class."""
    for module, node in bases:
        key = (id(node), adaptive)
        if key not in hierarchy.known:
            hierarchy.known[key] = None  # a class among its own bases
            hierarchy.known[key] = _report(module.within(node), node, hierarchy, adaptive)
    found = [hierarchy.known[id(node), adaptive] for _, node in bases]
    return [report for report in found if report is not None]


def _without_those_of_bases(
    sites: list[Site], module: Module, node: Any, bases: list[ClassReport]
) -> list[Site]:
    """The sites that stand in the class itself or in helpers of its file, and those in a base
    that mean something else when the class runs them."""
    of_bases = {id(site.node): site for base in bases for site in base.sites}
    inside = {id(n) for n in gast.walk(node)}
    kept = []
    for site in sites:
        known = of_bases.get(id(site.node))
        if id(site.node) in inside:
            kept.append(site)
        elif known is None:
            here = any(n is site.node for n in gast.walk(module.tree))
            kept.append(site if here else refused(site, "AP224", "the step is written in another file"))
        elif site.status == "refused" and site.method in own_methods(node):
            kept.append(site)  # the class's own update ends there
        elif known.parts != site.parts:
            kept.append(disagreeing(site))
    return kept


def _merged(sites: list[Site]) -> list[Site]:
    """A helper shared by dense and sparse methods is one site."""
    merged: dict[int, Site] = {}
    for site in sites:
        known = merged.get(id(site.node))
        if known is None or (known.status == "patchable" and site.status == "refused"):
            merged[id(site.node)] = site
        elif known.parts != site.parts and known.status == "patchable":
            merged[id(site.node)] = disagreeing(known)
    return sorted(merged.values(), key=lambda s: s.line)


def _adam_only(sites: list[Site]) -> list[Site]:
    """Sites of classes that keep a first and a second moment; an optimizer with an update
    on the bare gradient beside (RMSprop with momentum) is of the adaptive family."""
    if any(s.family_kind == "adaptive" for s in sites) and not any(s.family_kind == "adam" for s in sites):
        return []
    return [s for s in sites if s.family_kind != "adaptive"]


def _status(sites: list[Site], inherits: bool) -> tuple[str, str | None]:
    statuses = {s.status for s in sites}
    reason = next((s.reason for s in sites if s.reason), None)
    if not sites:
        return ("inherited", None) if inherits else ("not_adam", None)
    if statuses == {"already"}:
        return "already", None
    if "refused" in statuses:
        # what was not seen does not stand in the way of what a base does
        seen = [s for s in sites if s.status != "refused" or not str(s.reason).startswith(UNSEEN)]
        whole = statuses == {"refused"} and (bool(seen) or not inherits)
        return ("refused" if whole else "partial"), reason
    return "patchable", None


def family_of(outside: Iterable[str], methods: Mapping[str, Function]) -> str:
    """v1 | v2 | keras2 | keras3 | get_updates | sonnet | other: from known bases, else from names
    and arity."""
    arity = {
        n: len(m.node.args.posonlyargs) + len(m.node.args.args)
        for n, m in methods.items()
        if n in catalog.UPDATE_METHODS and n not in catalog.SHARED_METHODS
    }
    if "update_step" in arity:
        return "keras3" if arity["update_step"] >= 4 else "keras2"
    symbolic = arity.pop("get_updates", None) is not None
    known = [family for family in map(_known_family, outside) if family is not None]
    for family in known:
        if not (arity or symbolic) or family in ("v1", "v2"):
            return family
    if symbolic and not arity:
        return "get_updates"
    if "_apply_dense" in arity or "_apply_sparse" in arity:
        return "v1"
    dense = arity.get("_resource_apply_dense") or arity.get("_resource_apply_sparse", 4) - 1
    if dense >= 4 or any("apply_state" in _parameters(m.node) for m in methods.values()):
        return "v2"
    if not arity and "apply" in methods and "apply_gradients" not in methods:
        return "sonnet"
    if arity and known:
        return "v2"  # `tf.keras.optimizers.Optimizer`, when that was OptimizerV2
    return "v1" if arity else "other"


def _known_family(base: str) -> str | None:
    """The family of a base outside of the project, as its path says today."""
    stock = catalog.STOCK_OPTIMIZERS.get(base)
    if stock is not None:
        return next(family for root, family in catalog.STOCK_FAMILIES if stock.startswith(root))
    return catalog.BASE_FAMILIES.get(base)


def _parameters(function: Any) -> set[str]:
    return {a.id for a in [*function.args.args, *function.args.kwonlyargs]}
