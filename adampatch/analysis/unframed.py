"""Adam-like steps outside of the update methods that frameworks call: functions that return new weights, and
methods with a protocol of their own. They are found to be refused by name, not to be passed over.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import gast

from adampatch.algebra import Expr, Facts, Leaf, NotSeparable, Parity, Role, StateWrite, separate
from adampatch.algebra.adaptive import looks_adaptive
from adampatch.algebra.newvalue import steps_of_new_value
from adampatch.analysis.interpreter import Interpreter
from adampatch.analysis.module import Module
from adampatch.analysis.outline import MAX_PARAMETERS, gives_several, may_write_to
from adampatch.analysis.run import Place, Run
from adampatch.analysis.sites import Site, refused
from adampatch.analysis.values import Arguments, Either, Function, Items, Ref


def unframed_step(node: Any, module: Module, methods: Mapping[str, Function]) -> Site | None:
    """The refused site of a class without update methods that holds an Adam-like step all the same."""
    for method in node.body:
        if not isinstance(method, gast.FunctionDef):
            continue
        try:
            found = _own_protocol(method, module, methods) or _functional(method, module, methods)
        except RecursionError:
            continue
        if found is not None:
            return found
    return None


# ----------------------------------------------------------------- returned weights


def _functional(method: Any, module: Module, methods: Mapping[str, Function]) -> Site | None:
    """``def update(w, m, v, g): ...; return w - step, m, v``, inside of a method."""
    for function in gast.walk(method):
        if function is method or not isinstance(function, gast.FunctionDef) or not _returns_several(function):
            continue
        names = _parameters(function)
        for variable, gradient in itertools.permutations(names, 2):
            roles = {variable: Role.VARIABLE, gradient: Role.GRADIENT}
            given = {name: Leaf(name, roles.get(name, Role.READ), f"<{name}>") for name in names}
            arguments = Arguments(tuple(given.values()))
            value = Interpreter(methods).inlining.enter(Function(function, module), arguments, function)
            if any(_returns_step(items, given, variable) for items in _arms(value)):
                site = Site(method.name, function.lineno, "open", function, Place(), family_kind="adam")
                return refused(site, "AP227", "new weights are returned, and no variable is written")
    return None


def _returns_several(function: Any) -> bool:
    return any(isinstance(n, gast.Return) and gives_several(n) for n in gast.walk(function))


def _parameters(function: Any) -> list[str]:
    names = [a.id for a in [*function.args.posonlyargs, *function.args.args] if a.id != "self"]
    return names if 2 <= len(names) <= MAX_PARAMETERS else []


def _arms(value: Any) -> Iterator[Items]:
    if isinstance(value, Either):
        yield from _arms(value.first)
        yield from _arms(value.second)
    elif isinstance(value, Items):
        yield value


def _returns_step(items: Items, given: Mapping[str, Leaf], variable: str) -> bool:
    """Whether one of the values is the variable, stepped, the others being what becomes of states."""
    values = [v for v in items.items if isinstance(v, Expr)]
    if len(values) != len(items.items):
        return False
    new = [v for v in values if given[variable].key in {n.key for n in v.walk()}]
    writes = []
    for value in values:
        read = [n for n in value.walk() if isinstance(n, Leaf) and n.role is Role.READ]
        own = {n.slot for n in read if n.slot in {leaf.slot for leaf in given.values()}}
        if not any(value is n for n in new) and len(own) == 1:
            writes.append(StateWrite(own.pop(), value))
    return len(new) == 1 and len(writes) > 1 and _is_adam(new[0], Facts(writes))


# ------------------------------------------------------------- a protocol of its own


def _own_protocol(method: Any, module: Module, methods: Mapping[str, Function]) -> Site | None:
    """``def update_variable(self, var, grad)``, that some caller of the project's own calls."""
    names = _parameters(method)
    if method.decorator_list or not names or method.args.args[0].id != "self":
        return None
    calls = (n for n in gast.walk(method) if isinstance(n, gast.Call))
    targets = {target for call in calls for target in may_write_to(call) if target in names}
    for variable, gradient in itertools.product(sorted(targets), names):
        run = Run()
        for _ in range(2 if variable != gradient else 0):
            interpreter = Interpreter(methods, run.written)
            roles = {variable: interpreter.variable, gradient: Leaf(gradient, Role.GRADIENT, "<gradient>")}
            given = [roles.get(n, Ref(n, n, None, None)) for n in names]
            run = interpreter.run(Function(method, module), given)
        facts = Facts(run.state_writes)
        moments = any(
            facts.content(w.value).gradient and facts.parity(w.value) is Parity.ODD for w in run.state_writes
        )
        for write in run.variable_writes if moments else ():
            if _is_adam(write.new_value, facts) or looks_adaptive(write.new_value, facts):
                site = Site(method.name, write.node.lineno, "open", write.node, Place(), family_kind="adam")
                words = "the step is in a method that no framework calls: where an update ends is not known"
                return refused(site, "AP228", words)
    return None


def _is_adam(new_value: Expr, facts: Facts) -> bool:
    try:
        ladders = steps_of_new_value(new_value, facts)
        return any(separate(ladder.steps[0].update, facts).kind == "adam" for ladder in ladders)
    except NotSeparable:
        return False
