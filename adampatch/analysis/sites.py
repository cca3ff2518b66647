"""Update sites of one class: interpretation, separation, and what to write at each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import gast

from adampatch.algebra import Expr, Facts, NotSeparable, Op, Role, Separation, separate
from adampatch.algebra.adaptive import looks_adaptive
from adampatch.algebra.descent import descending
from adampatch.algebra.expression import Leaf, negated
from adampatch.algebra.mathtext import math_text
from adampatch.algebra.newvalue import Ladder, Step, steps_of_new_value
from adampatch.algebra.parity import Parity
from adampatch.analysis.catalog import INNER_METHODS, UPDATE_METHODS, UpdateMethod
from adampatch.analysis.emission import Emitter, Unnameable
from adampatch.analysis.interpreter import Interpreter
from adampatch.analysis.run import Handed, KernelCall, Place, Run, VariableWrite
from adampatch.analysis.symbolic import CONSTRAINTS
from adampatch.analysis.unreached import Coverage
from adampatch.analysis.values import Context, Each, Function, Items, Origin, Ref, Slices, VariableRef, Writer


@dataclass(frozen=True)
class Site:
    """One place that changes the variable by an update of the Adam family.

    ``node`` is the expression to wrap (kind ``fused``: the call whose callee is wrapped);
    ``parts`` are the functions of rate, direction, decay and alpha, as text (None: absent).
    ``rate``, ``direction``, ``decay`` are readable math. ``status``: patchable, refused,
    already.
    """

    method: str
    line: int
    kind: str
    node: Any
    place: Place
    rate: str = "?"
    direction: str = "?"
    decay: str | None = None
    status: str = "refused"
    reason: str | None = None
    #: adam, adaptive, or '' where the step was not separated
    family_kind: str = ""
    parts: Mapping[str, str | None] = field(default_factory=dict)
    self_name: str = ""
    variable: str = ""


@dataclass(frozen=True)
class MethodFindings:
    """What one update method holds: sites, and the update methods of bases that it calls."""

    sites: tuple[Site, ...]
    delegated: frozenset[str] = frozenset()
    covered: Coverage = field(default_factory=Coverage)
    handed: tuple[Handed, ...] = ()


class Refusal(Exception):
    """A site that must be left alone; ``code`` AP2xx, ``line`` 1-based."""

    def __init__(self, code: str, words: str, line: int) -> None:
        super().__init__(words)
        self.code, self.words, self.line = code, words, line

    @property
    def reason(self) -> str:
        return reason_text(self.code, self.words, self.line)


def reason_text(code: str, words: str, line: int) -> str:
    """A refusal as reports give it."""
    return f"{code}: {words} (line {line})"


def refused(site: Site, code: str, words: str) -> Site:
    """The site, left alone for a reason."""
    return replace(site, status="refused", reason=reason_text(code, words, site.line))


def sites_of_method(
    described: UpdateMethod, function: Function, methods: Mapping[str, Function], family: str
) -> MethodFindings:
    """Interprets one update method (twice: the first time tells what is storage) and
    separates each write of the variable. ``methods``: all methods of the class in the project."""
    name = described.name
    try:
        return _sites_of_method(described, function, methods, family)
    except RecursionError:
        method = Site(name, function.node.lineno, "open", function.node, Place())
        return MethodFindings((refused(method, "AP218", "the method's values are nested too deeply"),))


def _sites_of_method(
    described: UpdateMethod, function: Function, methods: Mapping[str, Function], family: str
) -> MethodFindings:
    name = described.name
    written: frozenset[str] = frozenset()
    numbers: frozenset[str] = frozenset()
    run = Run()
    for _ in range(2):
        interpreter = Interpreter(methods, written, numbers)
        run = interpreter.run(function, _arguments(described, function.node, interpreter))
        written, feeds = run.written, Facts(run.state_writes).feeds
        numbers = frozenset(slot for slot in written if not feeds(slot))
    facts = Facts(run.state_writes)
    run.numbers = frozenset(slot for slot in run.written if not facts.feeds(slot))
    found: list[Site] = []
    already = _patched_writes(run)
    beside: str | None = None
    for write in run.variable_writes:
        if not facts.content(write.new_value).gradient:
            beside = beside or _decay_of_write(write, facts)  # not the step, but part of the update
            continue
        found += _site_of_write(name, described, write, run, facts, family, methods, already)
    for call in run.kernel_calls:
        found.append(_site_of_kernel(name, call, facts, already))
    found = [replace(s, decay=beside) if s.decay is None and beside is not None else s for s in found]
    if run.unfollowed is not None:
        line, what = run.unfollowed
        reason = reason_text("AP218", f"the method has a statement that is not followed: {what}", line)
        found = [replace(s, status="refused", reason=reason) if s.status == "patchable" else s for s in found]
    delegated = frozenset(method for _, method in run.delegations)
    return MethodFindings(
        _without_conflicts(found),
        delegated & {*UPDATE_METHODS, *INNER_METHODS},
        run.covered,
        tuple(run.handed),
    )


def _arguments(described: UpdateMethod, function: Any, interpreter: Interpreter) -> list[Any]:
    parameters = [*function.args.posonlyargs, *function.args.args][1:]
    if function.args.vararg is not None:  # what it collects is known by its role alone
        collected = described.roles[len(parameters) :].rstrip(".")
        parameters += [gast.Name(f"argument{i}", gast.Param(), None, None) for i, _ in enumerate(collected)]
    roles = described.roles.ljust(len(parameters), ".")
    named = dict(described.named)
    arguments: list[Any] = []
    for parameter, placed in zip(parameters, roles, strict=False):
        role = named.get(parameter.id, placed)
        if role == "i":
            arguments.append(Ref(parameter.id, parameter.id, parameter, None, present=True))
        elif role == "g":
            gradient: Any = Leaf(parameter.id, Role.GRADIENT, "<gradient>")
            arguments.append(gradient)
        elif role == "w":
            arguments.append(interpreter.variable)
        elif role == "+":
            arguments.append(Writer("scatter_add"))
        elif role == "G":
            gradient = Leaf("grad", Role.GRADIENT, "<gradient>")
            arguments.append(Each(Items((gradient, interpreter.variable))))
        elif role == "U":
            arguments.append(Each(Leaf("grad", Role.GRADIENT, "<gradient>")))
        elif role == "W":
            arguments.append(Each(interpreter.variable))
        elif role == "c":
            arguments.append(Ref(CONSTRAINTS, parameter.id, parameter, None))
        else:
            interpreter.display[parameter.id] = parameter.id
            arguments.append(Ref(parameter.id, parameter.id, parameter, None))
    return arguments


def _patched_writes(run: Run) -> set[int]:
    """Ids of our own calls and of all nodes inside of them."""
    inside: set[int] = set()
    for call in run.patched:
        inside |= {id(n) for n in gast.walk(call)}
    return inside


def _site_of_write(
    method: str,
    described: UpdateMethod,
    write: VariableWrite,
    run: Run,
    facts: Facts,
    family: str,
    methods: Mapping[str, Function],
    already: set[int],
) -> list[Site]:
    kind = (
        "slices" if write.how.startswith("scatter") else "sparse" if described.layout == "sparse" else "open"
    )
    blank = Site(method, write.node.lineno, kind, write.node, write.place)
    sites: list[Site] = []
    try:
        for ladder in steps_of_new_value(write.new_value, facts, write.rows):
            place = replace(write.place, path=(*write.place.path, *ladder.arms))
            sites += _site_of_ladder(
                replace(blank, place=place), ladder, write, run, facts, family, methods, already
            )
    except NotSeparable as error:
        if error.code != "AP204" and not looks_adaptive(write.new_value, facts):
            return []
        term = f": {math_text(error.term)[:120]}" if error.term is not None else ""
        return [refused(blank, error.code, error.words + term)]
    return sites


def _site_of_ladder(
    blank: Site,
    ladder: Ladder,
    write: VariableWrite,
    run: Run,
    facts: Facts,
    family: str,
    methods: Mapping[str, Function],
    already: set[int],
) -> list[Site]:
    """The site at the smallest expression that holds the step and can be patched; none when it
    is no Adam-like step. Raises NotSeparable."""
    refusals: list[Site] = []
    for step in ladder.steps:
        try:
            found = _site_of_step(blank, step, write, run, facts, family, methods, already)
        except NotSeparable:
            if refusals:
                break
            raise
        if found is None or found.status != "refused":
            return [found] if found is not None else []
        refusals.append(found)
    # a reason that speaks of the parts says more than one that speaks of the place
    return [next((r for r in refusals if not str(r.reason).startswith("AP210")), refusals[0])]


def _site_of_step(
    blank: Site,
    step: Step,
    write: VariableWrite,
    run: Run,
    facts: Facts,
    family: str,
    methods: Mapping[str, Function],
    already: set[int],
) -> Site | None:
    """The site at one expression that holds the step; None when it is no Adam-like step.
    Raises NotSeparable."""
    separation = separate(step.update, facts)
    if separation.kind == "plain":
        return None
    turned = descending(separation, step.sign, facts)
    if turned is None:
        return refused(
            blank, "AP219", "the step is added and no minus is to be seen: the rate may be negative"
        )
    separation = turned
    origin: Origin | None = step.parent.origin if step.parent is not None else None
    local = _names_beside_moments(origin.context, facts) if origin is not None else {}
    shown = _shown(separation, step.sign, step.decay, local=local)
    blank = replace(blank, family_kind=separation.kind, **shown)
    node = origin.operands[step.index] if origin is not None and origin.operands else None
    if origin is None or node is None or not hasattr(node, "lineno"):
        return refused(blank, "AP210", "the step has no expression of its own")
    first: str | None = None
    context: Context = origin.context
    rows = (write.indices, write.context) if write.indices is not None else None
    while True:
        site = replace(blank, node=node, line=node.lineno)
        if id(node) in already:
            return replace(site, status="already")
        try:
            return _emitted(site, run, write, context, separation, family, methods, rows)
        except Refusal as refusal:
            first = first or refusal.reason
        # handed to a helper as an argument: the step may be nameable where it was written
        if isinstance(node, gast.Name) and node.id in context.arguments:
            node, context = context.arguments[node.id]
        elif id(node) in run.slices and rows is None:
            node, indices = run.slices[id(node)]
            rows = (indices, context)
        else:
            return replace(site, reason=first)


def _decay_of_write(write: VariableWrite, facts: Facts) -> str | None:
    """The math of a decay that is written on its own: ``w <- w - wd*w``; None for anything
    else that the gradient has no part in (a projection, a copy)."""
    new = write.new_value
    if isinstance(new, Op) and new.name == "sub" and facts.parity(new.args[1]) is Parity.ODD:
        return math_text(new.args[1])
    return None


def _names_beside_moments(context: Context, facts: Facts) -> dict[str, str]:
    """{expression: the code's name for it} of numbers and gradients: all but what has an element of a
    moment for each of its own."""
    held = {name: value for name, value in context.names.items() if isinstance(value, Op)}
    return {
        value.key: name
        for name, value in held.items()
        if not facts.elementwise(value) or not any(_is_moment(node, facts) for node in value.walk())
    }


def _is_moment(node: Expr, facts: Facts) -> bool:
    return isinstance(node, Leaf) and facts.is_state(node) and facts.content(node).gradient


def _shown(
    separation: Separation,
    sign: int,
    beside: Expr | None,
    names: Mapping[str, str] | None = None,
    local: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Rate, direction and decay as math, in the convention ``w <- w - (R*D + decay)``.
    ``beside``: the decay that is not in the step."""
    direction = negated(separation.direction) if sign > 0 else separation.direction
    decay = separation.decay
    if decay is not None and sign > 0:
        decay = negated(decay)
    if beside is not None:
        decay = beside if decay is None else Op("add", (decay, beside))
    return {
        "rate": math_text(separation.rate, names, local),
        "direction": math_text(direction, names, local),
        "decay": math_text(decay, names, local) if decay is not None else None,
    }


def _emitted(
    site: Site,
    run: Run,
    write: VariableWrite,
    context: Context,
    separation: Separation,
    family: str,
    methods: Mapping[str, Function],
    rows: tuple[Any, Context] | None,
) -> Site:
    """The site with its parts. ``rows``: the node of the row indices that are written, if only some are,
    and where it stands."""
    line = site.line
    if context.self_name is None:
        raise Refusal("AP211", "the step is in a function that does not know the optimizer", line)
    variable = next((n for n, v in context.names.items() if isinstance(v, VariableRef)), None)
    if variable is None:
        raise Refusal("AP212", "the variable has no name where the step is", line)
    emitter = Emitter(
        run.with_shared_reads() if family == "get_updates" else run,
        write,
        context,
        reread=family in ("keras2", "keras3", "v2", "sonnet"),
        counted=family in ("keras2", "v2"),
        broadcasts=family in ("keras2", "keras3"),
    )
    parts: dict[str, str | None] = {}
    wanted: dict[str, tuple[Expr | None, bool]] = {
        "rate": (separation.rate, False),
        "direction": (separation.direction, False),
        "decay": (separation.decay, True),
        "alpha": (separation.alpha, False),
    }
    for part, (expression, reads_variable) in wanted.items():
        if expression is None:
            parts[part] = None
            continue
        try:
            text = emitter.text(expression, variable=reads_variable)
            parts[part] = emitter.thunk(expression, variable=reads_variable)
            same = emitter.same_when_interpreted(text, expression, methods)
        except Unnameable as error:
            if part == "alpha":  # nothing but reports needs it
                parts[part] = None
                continue
            culprit = math_text(error.node)[:80]
            raise Refusal(
                "AP213", f"the {part} cannot be written at the site: {error.why}: {culprit}", line
            ) from error
        if not same:
            raise Refusal("AP214", f"the {part}, written out, is not what was separated: {text[:80]}", line)
    if rows is not None:
        indices = _handed_over(*rows, context)
        if indices is None:
            raise Refusal("AP213", "the rows that are written have no name where the step is", line)
        parts["indices"] = "lambda: " + context.module.normal_text(indices)
    parts = {part: text and context.module.in_its_quotes(text) for part, text in parts.items()}
    return replace(site, status="patchable", parts=parts, self_name=context.self_name, variable=variable)


def _handed_over(node: Any, there: Context, here: Context) -> Any:
    """What ``here``, a caller, has in the place of ``node``, which stands in a function that it calls:
    the argument that was handed over. None when the function made it itself."""
    while there.function is not here.function:
        if not isinstance(node, gast.Name) or node.id not in there.arguments:
            return None
        node, there = there.arguments[node.id]
    return node


def _site_of_kernel(method: str, call: KernelCall, facts: Facts, already: set[int]) -> Site:
    site = Site(method, call.node.lineno, "fused", call.node, call.place)
    if call.new_value is None or not isinstance(call.new_value, Op):
        return refused(site, "AP215", f"the arguments of {call.kernel.name} are not all visible")
    try:
        separation = separate(call.new_value.args[1], facts)
    except NotSeparable as error:
        return refused(site, error.code, error.words)
    states = call.kernel.expand(call.values)[0]
    site = replace(site, **_shown(separation, -1, None, {value.key: name for name, value in states.items()}))
    gradient, variable = call.args["grad"], call.args["var"]
    if not isinstance(variable, VariableRef) or not isinstance(gradient, (Expr, Slices, Items)):
        return refused(site, "AP215", f"{call.kernel.name} is not given the method's own variable")
    names = call.context.names
    name = next((n for n, v in names.items() if isinstance(v, VariableRef)), None)
    if call.context.self_name is None or name is None:
        return refused(site, "AP211", "the kernel is called where the optimizer is not known")
    if id(call.node.func) in already or isinstance(call.node.func, gast.Call):
        return replace(site, status="already")
    return replace(site, status="patchable", self_name=call.context.self_name, variable=name)


def _without_conflicts(sites: list[Site]) -> tuple[Site, ...]:
    """One site per node (a helper reached twice must say the same each time), and never two
    steps on one path."""
    by_node: dict[int, Site] = {}
    for site in sites:
        known = by_node.get(id(site.node))
        if known is None:
            by_node[id(site.node)] = site
        elif "patchable" in (known.status, site.status) and not site.place.excludes(known.place):
            words = "the variable is stepped twice on one path, by a helper that is called twice"
            by_node[id(site.node)] = refused(known, "AP209", words)
        elif known.status == "patchable" and (site.status != "patchable" or site.parts != known.parts):
            other = disagreeing(known)
            by_node[id(site.node)] = replace(other, reason=site.reason or other.reason)
    merged = list(by_node.values())
    merged = [_refused_in_loop(site) for site in merged]
    for index, site in enumerate(merged):
        for other in merged[:index]:
            if not site.place.excludes(other.place) and "already" not in (site.status, other.status):
                words = f"the variable is stepped twice on one path, in lines {other.line} and {site.line}"
                merged = [refused(s, "AP209", words) if s in (site, other) else s for s in merged]
    return tuple(merged)


def _refused_in_loop(site: Site) -> Site:
    """Several steps per call add up to a rate that no bound on each of them holds."""
    if not site.place.in_loop or site.status != "patchable":
        return site
    return refused(site, "AP209", "the variable is stepped in a loop")


def disagreeing(site: Site) -> Site:
    """A step that several methods reach and that does not mean the same to all of them."""
    return refused(site, "AP216", "callers of the step disagree about its parts")
