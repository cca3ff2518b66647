"""The normal form of rules, read and checked: plain data in, `Rule` objects out.

Pure: numbers, names and errors; touches neither TensorFlow nor files.
"""

import math
import re

BOUNDED = ("rate", "alpha", "update", "update_rms", "rms_t", "update_to_weight")
RELATIVE = ("absolute", "lr", "lr0", "alpha", "lr/lr0")
_TOP = ("version", "observe", "runtime", "rules")
_OBSERVE = ("emit", "every", "per_variable")
# Consent was asked for when the normal form was made; some older forms still say it.
_SETTLED = ("accept_unbounded_step", "allow_slow_fall")
# kind of a bound -> the names of its numbers, in the order in which `Bound.numbers` has them
_KINDS = {
    "linear": ("from", "to", "start", "end"),
    "exp": ("from", "to", "start", "end"),
    "adabound": ("final", "gamma"),
}


class Bound(object):
    """A bound as it changes with the number `t` of the update, from 1.

    Attributes:
        kind: "number", "linear", "exp", "piecewise", "lower" or "upper" (those of AdaBound).
        numbers: its floats: [value], [from, to, start, end], [final, gamma], or boundaries and values.
        steps: how many boundaries a "piecewise" one has.
    """

    __slots__ = ("kind", "numbers", "steps")

    def __init__(self, kind, numbers, steps=0):
        self.kind = kind
        self.numbers = numbers
        self.steps = steps

    @property
    def number(self):
        """Its value where it never changes, else None."""
        return self.numbers[0] if self.kind == "number" else None


class Rule(object):
    """One rule, every field filled in; see docs/rules.md for what they mean.

    Attributes:
        id, quantity, relative_to, convention, optimizer: strings; match, exclude: lists of patterns.
        low, high: Bound or None; max_increase, max_decrease: factors above 1 or None.
        start: first update, end: last update or None; shadow: bool; lr0: float or None.
    """

    __slots__ = (
        "convention", "end", "exclude", "high", "id", "low", "lr0", "match", "max_decrease", "max_increase",
        "optimizer", "quantity", "relative_to", "shadow", "start",
    )  # fmt: skip

    @property
    def limits_change(self):
        return self.max_increase is not None or self.max_decrease is not None

    @property
    def remembers_start(self):
        """Whether it needs the learning rate at the start, which no later update shows."""
        return self.lr0 is None and self.relative_to in ("lr0", "lr/lr0")

    @property
    def stateful(self):
        """Whether something has to be in the checkpoint for it."""
        return self.limits_change or self.remembers_start

    @property
    def windowed(self):
        return self.start > 1 or self.end is not None

    @property
    def timed(self):
        """Whether it asks for the number of the update."""
        moving = any(b is not None and b.number is None for b in (self.low, self.high))
        return moving or self.windowed or self.convention == "corrected" or self.remembers_start

    @property
    def numbers(self):
        """All its floats, in a fixed order: those of `low`, of `high`, the two factors, and lr0."""
        out = []
        for bound in (self.low, self.high):
            out += [] if bound is None else bound.numbers
        return out + [x for x in (self.max_increase, self.max_decrease, self.lr0) if x is not None]

    @property
    def shape(self):
        """What must be the same for two rules to differ in `numbers` alone."""
        return (
            self.id, self.quantity, self.relative_to, self.convention, self.optimizer, tuple(self.match),
            tuple(self.exclude), self.start, self.end, self.shadow, self.max_increase is None,
            self.max_decrease is None, self.lr0 is None,
        ) + tuple((b.kind, b.steps) if b is not None else None for b in (self.low, self.high))  # fmt: skip


def fail(where, what, fix):
    """Raises the ValueError of settings or rules that cannot be obeyed."""
    raise ValueError("adampatch: {}: {}; {}".format(where, what, fix))


def check_top(form, source):
    """Raises ValueError for a normal form with a version or a table that this runtime does not know."""
    if not isinstance(form, dict):
        fail(source, "the rules are {!r}".format(type(form).__name__), "use the normal form of a rules file")
    if form.get("version", 1) != 1:
        fail(
            source,
            "version {!r} of the rules".format(form.get("version")),
            "this runtime reads version 1; use a newer adampatch in this environment",
        )
    for key in form:
        if key not in _TOP:
            _unknown(source, repr(key))
    for key in form.get("observe") or {}:
        if key not in _OBSERVE:
            fail(source, "observe.{} is not known to this runtime".format(key), "remove it")


def _unknown(where, what):
    fail(
        where,
        "{} is not known to this runtime".format(what),
        "remove it, or use a newer adampatch in this environment",
    )


def _float(value, where, field, least=0.0):
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        fail(
            where,
            "{} is {!r}, which is no number or bound that this runtime knows".format(field, value),
            "use a number, or a newer adampatch in this environment",
        )
    try:
        value = float(value)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value) or value < least:
        fail(where, "{} is {!r}".format(field, value), "use a finite number, {:g} or more".format(least))
    return value


def _factor(value, where, field):
    if value is None:
        return None
    value = _float(value, where, field)
    if value <= 1:
        fail(where, "{} is {!r}".format(field, value), "use a factor above 1")
    return value


def _update(value, where, field):
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        fail(where, "{} is {!r}".format(field, value), "use the number of an update, 1 or more")
    return value


def _choice(value, allowed, where, field):
    if value not in allowed:
        _unknown(where, "{} {!r}".format(field, value))
    return value


def patterns(value, where, field):
    """`value` as a list of globs and "re:" expressions; raises ValueError for anything else."""
    if isinstance(value, str) or not all(isinstance(p, str) for p in value):
        fail(where, "{} is {!r}".format(field, value), "use a list of globs")
    for pattern in value:
        if pattern.startswith("re:"):
            try:
                re.compile(pattern[3:])
            except re.error as error:
                fail(where, "{} {!r}: {}".format(field, pattern, error), "correct the regular expression")
    return list(value)


def _checked_bound(value, where, field):
    if value is None:
        return None
    if not isinstance(value, dict):
        return Bound("number", [_float(value, where, field)])
    kind = value.get("kind")
    if kind == "piecewise":
        return _piecewise(value, where, field)
    if not isinstance(kind, str) or kind not in _KINDS:
        _unknown(where, "{} of kind {!r}".format(field, kind))
    names = _KINDS[kind]
    _check_keys(value, ("kind",) + names + (("side",) if kind == "adabound" else ()), where, field)
    numbers = [_float(value[name], where, field + "." + name) for name in names]
    if kind == "adabound":
        if numbers[1] <= 0:
            fail(where, "{}.gamma is {!r}".format(field, numbers[1]), "use a number above 0")
        return Bound(_choice(value["side"], ("lower", "upper"), where, field + ".side"), numbers)
    if numbers[3] <= numbers[2]:
        fail(
            where, "{} ends at {:g} and starts at {:g}".format(field, numbers[3], numbers[2]), "end it later"
        )
    if kind == "exp" and min(numbers[:2]) <= 0:
        fail(where, "{} of kind exp is {!r}".format(field, numbers[:2]), "use numbers above 0")
    return Bound(kind, numbers)


def _piecewise(value, where, field):
    _check_keys(value, ("kind", "boundaries", "values"), where, field)
    boundaries = [_update(x, where, field + ".boundaries") for x in value["boundaries"]]
    values = [_float(x, where, field + ".values") for x in value["values"]]
    if len(values) != len(boundaries) + 1 or boundaries != sorted(set(boundaries)):
        fail(
            where,
            "{} has {} boundaries and {} values".format(field, len(boundaries), len(values)),
            "use rising boundaries and one value more than there are boundaries",
        )
    return Bound("piecewise", [float(x) for x in boundaries] + values, len(boundaries))


def _check_keys(value, names, where, field):
    for key in value:
        if key not in names:
            _unknown(where, "{}.{}".format(field, key))
    for name in names:
        if name not in value:
            fail(where, "{}.{} is missing".format(field, name), "use the normal form of a rules file")


def _check_rule(given, index, source):
    if not isinstance(given, dict):
        fail(source, "rule {} is {!r}".format(index + 1, given), "use the normal form of a rules file")
    where = '{}: rule "{}"'.format(source, given.get("id", index + 1))

    def field(name, default=None):
        value = given.get(name)
        return default if value is None else value

    for name in given:
        if name not in _FIELDS and name not in _SETTLED:
            _unknown(where, "{} = {!r}".format(name, given[name]))
    rule = Rule()
    rule.id = str(field("id", index + 1))
    rule.quantity = _choice(given.get("quantity"), BOUNDED, where, "quantity")
    rule.match = patterns(field("match", ["**"]), where, "match")
    rule.exclude = patterns(field("exclude", []), where, "exclude")
    rule.optimizer = field("optimizer", "*")
    rule.low, rule.high = (_checked_bound(given.get(name), where, name) for name in ("min", "max"))
    rule.relative_to = _choice(field("relative_to", "absolute"), RELATIVE, where, "relative_to")
    rule.max_increase = _factor(given.get("max_increase"), where, "max_increase")
    rule.max_decrease = _factor(given.get("max_decrease"), where, "max_decrease")
    rule.convention = _choice(field("convention", "raw"), ("raw", "corrected"), where, "convention")
    rule.start = _update(field("start", 1), where, "start")
    rule.end = None if given.get("end") is None else _update(given["end"], where, "end")
    rule.shadow = _choice(field("mode", "enforce"), ("enforce", "shadow"), where, "mode") == "shadow"
    rule.lr0 = None if given.get("lr0") is None else _float(given["lr0"], where, "lr0")
    _check_together(rule, where)
    return rule


_FIELDS = (
    "id", "match", "exclude", "optimizer", "quantity", "min", "max", "relative_to", "max_increase",
    "max_decrease", "convention", "start", "end", "mode", "lr0",
)  # fmt: skip


def _check_together(rule, where):
    low, high = rule.low, rule.high
    if low is None and high is None and not rule.limits_change:
        fail(where, "there is neither min nor max", "give at least one")
    fixed = [bound.number for bound in (low, high) if bound is not None and bound.number is not None]
    if len(fixed) == 2 and fixed[0] > fixed[1]:
        fail(where, "min {!r} is above max {!r}".format(*fixed), "exchange or correct them")
    if rule.quantity != "rate" and (rule.limits_change or rule.convention != "raw"):
        fail(where, "change limits and conventions are of rates", 'use quantity = "rate"')
    if rule.quantity == "rms_t" and low is not None:
        fail(where, "rms_t has no min", "use max")
    if rule.lr0 == 0:
        fail(where, "lr0 is 0", "use the learning rate that bounds are relative to")
    if rule.end is not None and rule.end < rule.start:
        fail(where, "it ends at {} and starts at {}".format(rule.end, rule.start), "end it later")


def check_normal_form(form, source):
    """(observe table, list of Rules) of the normal form of a rules file.

    Raises ValueError for a version or a feature that this runtime does not know, and for
    bounds no training could obey.
    """
    check_top(form, source)
    return (
        dict(form.get("observe") or {}),
        [_check_rule(rule, i, source) for i, rule in enumerate(form.get("rules") or [])],
    )
