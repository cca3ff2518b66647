"""Where a stock optimizer class is named, and what may become of it there: called, handed on,
or only asked about. Decides what is wrapped, once for each way to a call."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import gast

from adampatch.analysis import catalog
from adampatch.analysis.exports import Exports
from adampatch.analysis.module import is_patched
from adampatch.analysis.names import Names, Syntax, last_part, targets

#: (syntax, field) that hands on what stands there, and can do so with a class
_HANDS_ON = {
    **dict.fromkeys(("IfExp.body", "IfExp.orelse", "BoolOp.values"), "arm"),
    **dict.fromkeys(("Tuple.elts", "List.elts", "Set.elts", "Dict.values", "Starred.value"), "container"),
    **dict.fromkeys(("ListComp.elt", "SetComp.elt", "GeneratorExp.elt", "DictComp.value"), "container"),
    **dict.fromkeys(("BinOp.left", "BinOp.right"), "sum"),
    "keyword.value": "argument",
}
#: (syntax, field) that lets a class out of sight: it may be called later
_LETS_OUT = frozenset(
    {
        *("Return.value", "Yield.value", "YieldFrom.value", "Lambda.body", "AugAssign.value"),
        "NamedExpr.value",
        *("arguments.defaults", "arguments.kw_defaults", "For.iter", "AsyncFor.iter", "comprehension.iter"),
    }
)
#: (builtin, how many arguments it is given) -> which of them it keeps
_TAKES: dict[tuple[str | None, int], int] = {("setattr", 3): 2, ("type", 3): 1}
#: what asks about a class by being given it, not by name
_ASKS = frozenset(
    {"Compare.left", "Compare.comparators", "ExceptHandler.type", "MatchClass.cls", "Dict.keys"}
)


@dataclass(frozen=True)
class Place:
    """What becomes of an expression where it stands. ``kind``: called, value (handed on),
    assigned (to plain names or attributes: ``statement``), asked (isinstance, comparisons),
    base, none. ``kept``: the assignment that keeps a container or a choice with it."""

    kind: str
    statement: Any = None
    kept: Any = None


class References(Names):
    """The stock classes that a module names."""

    def __init__(self, syntax: Syntax, exports: Exports) -> None:
        super().__init__(syntax, exports)
        self._escapes: dict[Any, bool] = {}

    # -------------------------------------------------------------------- places

    def place(self, node: Any) -> Place:
        """What becomes of an expression where it stands."""
        child, handed = node, False
        while child in self.syntax.parents:
            parent, field = self.syntax.parents[child]
            where = f"{type(parent).__name__}.{field}"
            if isinstance(parent, gast.Call):
                if is_patched(parent.func):
                    child = parent
                    continue
                return self._called(parent, child, field, handed)
            how = _HANDS_ON.get(where)
            if how == "sum" and not (handed and isinstance(parent.op, (gast.Add, gast.Mult))):
                return Place("none")
            if how is not None:
                handed = handed or how in ("arm", "container")
                child = parent
                continue
            return self._stated(parent, where, handed)
        return Place("none")

    def _called(self, call: Any, child: Any, field: str, handed: bool) -> Place:
        if field == "func":
            return Place("value" if handed else "called")
        callee = last_part(call.func)
        if child in call.args and (callee, len(call.args)) in _TAKES:
            return Place("value" if call.args.index(child) == _TAKES[callee, len(call.args)] else "none")
        if callee in catalog.ASKING_CALLS:
            return Place("asked" if callee in ("isinstance", "issubclass") else "none")
        return Place("none" if self._decorates(call) else "value")

    def _decorates(self, node: Any) -> bool:
        while isinstance(node, (gast.expr, gast.keyword)):
            node, field = self.syntax.parents[node]
            if field == "decorator_list":
                return True
        return False

    def _stated(self, parent: Any, where: str, handed: bool) -> Place:
        if where in _ASKS:
            return Place("asked")
        if where == "ClassDef.bases":
            return Place("base")
        if where in ("Assign.value", "AnnAssign.value"):
            plain = all(isinstance(t, (gast.Name, gast.Attribute)) for t in targets(parent))
            if plain and not handed:
                return Place("assigned", statement=parent)
            return Place("value", kept=parent)
        if where in _LETS_OUT and (handed or not where.endswith(".iter")):
            return Place("value")
        return Place("none")

    # --------------------------------------------------------------- assignments

    def escapes(self, statement: Any) -> bool:
        """Whether the class that is assigned is wrapped there, and not where the names it is
        assigned to are used. Where all uses are in sight they are wrapped: an ``isinstance``
        against the name goes on meaning the stock class."""
        if statement not in self._escapes:
            self._escapes[statement] = False  # while looking: names that go round in circles
            self._escapes[statement] = any(self._lets_out(t) for t in targets(statement))
        return self._escapes[statement]

    def _lets_out(self, target: Any) -> bool:
        scope = self.syntax.scope(target)
        if isinstance(target, gast.Attribute) or isinstance(scope, gast.ClassDef):
            return last_part(target) not in self._asked_attributes
        loads = self.loads_of(target)
        if any(self.place(load).kind == "asked" for load in loads):
            return False
        if isinstance(scope, gast.Module) and (self._exports(target) or not loads):
            return self._lasts(target)
        return target.id in self.syntax.shared or any(
            not self.resolve(load, raw=True).always_stock for load in loads
        )

    def _exports(self, target: Any) -> bool:
        """Whether other modules may get hold of what a name of this one is bound to."""
        return target.id in self._exported or self.exports.imports(self.module)

    def _lasts(self, target: Any) -> bool:
        """Whether what the module's body binds to a name may still be there when others import it."""
        return not any(
            isinstance(statement, gast.Assign)
            and statement.lineno > target.lineno
            and any(getattr(other, "id", None) == target.id for other in statement.targets)
            for statement in self.module.tree.body
        )

    @functools.cached_property
    def _asked_attributes(self) -> frozenset[str]:
        """The names of attributes that some ``isinstance`` or comparison asks about."""
        return frozenset(
            node.attr
            for node in self.syntax.loads
            if isinstance(node, gast.Attribute)
            and node.attr in self.attributes
            and self.place(node).kind == "asked"
        )

    @functools.cached_property
    def _exported(self) -> frozenset[str]:
        """The strings in ``__all__``."""
        return frozenset(
            text.value
            for statement in self.syntax.assignments
            if any(getattr(target, "id", None) == "__all__" for target in targets(statement))
            for text in gast.walk(statement.value)
            if isinstance(text, gast.Constant) and isinstance(text.value, str)
        )

    # ------------------------------------------------------------------- verdicts

    def wrapped(self, node: Any) -> tuple[bool, str | None]:
        """(whether a stock class is to be wrapped where it is named, why that cannot be done)."""
        parent, _ = self.syntax.parents[node]
        if isinstance(parent, gast.Call) and is_patched(parent.func):
            parent, _ = self.syntax.parents[parent]
        if isinstance(parent, gast.Attribute):
            return parent.attr == "from_config", None
        if self.is_getattr(parent) and node in parent.args:
            return False, None  # the whole call is what names the class
        place = self.place(node)
        if place.kind == "called":
            return True, None
        if place.kind == "assigned":
            if not self.escapes(place.statement):
                return False, None
        elif place.kind != "value":
            return False, None
        if place.kept is not None and (kinds := self._kinds_of_use(place.kept)) & {"asked"}:
            if kinds == {"asked"}:
                return False, None
            return False, "what it is kept in is also used to tell classes apart"
        if set(self.resolve(node).stock) & self._compared:
            return False, "the module compares classes by identity with this one"
        return True, None

    def _kinds_of_use(self, statement: Any) -> set[str]:
        """What becomes of a container or a choice that is kept under names."""
        kinds: set[str] = set()
        for target in targets(statement):
            if isinstance(target, gast.Attribute):
                kinds.add("asked" if target.attr in self._asked_attributes else "value")
            elif isinstance(target, gast.Name):
                places = {self.place(load).kind for load in self.loads_of(target)}
                kinds |= places or {"value"}
        return kinds if not _is_mapping(statement.value) else kinds - {"asked"}

    @functools.cached_property
    def _compared(self) -> frozenset[str]:
        """The stock classes that the module compares with ``is`` or ``==``: a patched class in
        the place of a stock one would be another one. ``type(x) is Adam`` asks an instance."""
        found: set[str] = set()
        for node in self.syntax.loads:
            if self.suspect(node) and isinstance(parent := self.syntax.parents[node][0], gast.Compare):
                others = [n for n in (parent.left, *parent.comparators) if n is not node]
                if not any(last_part(getattr(n, "func", n)) in ("type", "__class__") for n in others):
                    found.update(self.resolve(node, raw=True).stock)
        return frozenset(found)


def _is_mapping(value: Any) -> bool:
    return isinstance(value, (gast.Dict, gast.DictComp))
