"""What one optimizer is told to do: the rules' normal form and the observation settings.

Pure: numbers, names and errors; touches no TensorFlow, and files only to read ADAMPATCH_RULES or rules=.
"""

import json
import math
import os
import re

EMIT = ("off", "stats", "tensor")
DEFAULT_EVERY = 100

_TOP = ("version", "observe", "runtime", "rules")
_OBSERVE = ("emit", "every", "per_variable")
# What a field may say without asking for more than this runtime does.
_NEUTRAL = {
    "relative_to": ("absolute", None),
    "convention": ("raw", None),
    "mode": ("enforce", None),
    "start": (1, None),
    "end": (None,),
    "max_increase": (None,),
    "max_decrease": (None,),
    "accept_unbounded_step": (True, False, None),
    "allow_slow_fall": (True, False, None),
}
_RULE = ("id", "match", "exclude", "optimizer", "quantity", "min", "max")


class NotYetAvailable(RuntimeError):
    """What was asked for has not been measured; the message names the setting to change."""


class Settings(object):
    """Immutable settings of one optimizer.

    Attributes:
        emit: "off", "stats" or "tensor".
        every: optimizer updates between two samples, at least 1.
        rules: list of normalised rule dicts (`id`, `match`, `exclude`, `optimizer`,
            `min`, `max`); `min` and `max` are floats or None.
        source: words naming where the rules come from, for errors.
    """

    __slots__ = ("emit", "every", "rules", "source")

    def __init__(self, emit, every, rules, source):
        self.emit = emit
        self.every = every
        self.rules = rules
        self.source = source


def _fail(where, what, fix):
    raise ValueError("adampatch: {}: {}; {}".format(where, what, fix))


def check_emit(value, where):
    """Returns `value` if it is one of `EMIT`; raises ValueError naming `where`."""
    if value not in EMIT:
        _fail(where, "emit is {!r}".format(value), "use one of off, stats, tensor")
    return value


def check_every(value, where):
    """Returns `value` as an int of at least 1 (updates); raises ValueError naming `where`."""
    number = value
    if isinstance(number, str):
        try:
            number = int(number)
        except ValueError:
            number = None
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        _fail(where, "every is {!r}".format(value), "use a whole number of updates, 1 or more")
    return number


def _number(value, where, field):
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        _fail(
            where,
            "{} is {!r}, and this runtime knows only plain numbers".format(field, value),
            "use a number, or a newer adampatch in this environment",
        )
    value = float(value)
    if not math.isfinite(value) or value < 0:
        _fail(where, "{} is {!r}".format(field, value), "use a finite number, 0 or more")
    return value


def _patterns(value, where, field):
    if isinstance(value, str) or not all(isinstance(p, str) for p in value):
        _fail(where, "{} is {!r}".format(field, value), "use a list of globs")
    for pattern in value:
        if pattern.startswith("re:"):
            try:
                re.compile(pattern[3:])
            except re.error as error:
                _fail(where, "{} {!r}: {}".format(field, pattern, error), "correct the regular expression")
    return list(value)


def _check_rule(rule, index, source):
    if not isinstance(rule, dict):
        _fail(source, "rule {} is {!r}".format(index + 1, rule), "use the normal form of a rules file")
    where = '{}: rule "{}"'.format(source, rule.get("id", index + 1))
    for field, value in rule.items():
        if field in _RULE:
            continue
        if field in _NEUTRAL and any(value is ok or value == ok for ok in _NEUTRAL[field]):
            continue
        _fail(
            where,
            "{} = {!r} is not known to this runtime".format(field, value),
            "remove it, or use a newer adampatch in this environment",
        )
    if rule.get("quantity") != "rate":
        _fail(
            where,
            "quantity {!r} is not known to this runtime".format(rule.get("quantity")),
            'use quantity = "rate", or a newer adampatch in this environment',
        )
    low = _number(rule.get("min"), where, "min")
    high = _number(rule.get("max"), where, "max")
    if low is None and high is None:
        _fail(where, "there is neither min nor max", "give at least one")
    if low is not None and high is not None and low > high:
        _fail(where, "min {!r} is above max {!r}".format(low, high), "exchange or correct them")
    return {
        "id": str(rule.get("id", index + 1)),
        "match": _patterns(rule.get("match", ["**"]), where, "match"),
        "exclude": _patterns(rule.get("exclude", []), where, "exclude"),
        "optimizer": rule.get("optimizer", "*"),
        "min": low,
        "max": high,
    }


def check_normal_form(form, source):
    """Validates the normal form of a rules file.

    Returns (observe table, list of normalised rules). Raises ValueError for a version or a
    feature that this runtime does not know, and for bounds no training could obey.
    """
    if not isinstance(form, dict):
        _fail(source, "the rules are {!r}".format(type(form).__name__), "use the normal form of a rules file")
    if form.get("version", 1) != 1:
        _fail(
            source,
            "version {!r} of the rules".format(form.get("version")),
            "this runtime reads version 1; use a newer adampatch in this environment",
        )
    for key in form:
        if key not in _TOP:
            _fail(
                source,
                "{!r} is not known to this runtime".format(key),
                "use a newer adampatch in this environment",
            )
    observe = form.get("observe") or {}
    for key in observe:
        if key not in _OBSERVE:
            _fail(source, "observe.{} is not known to this runtime".format(key), "remove it")
    where = source + ": [observe]"
    if observe.get("emit") is not None:
        check_emit(observe["emit"], where)
    if observe.get("every") is not None:
        check_every(observe["every"], where)
    rules = [_check_rule(rule, i, source) for i, rule in enumerate(form.get("rules") or [])]
    return observe, rules


def load_rules(rules):
    """Returns (normal form, source) of what a user passed as `rules`.

    `rules` is a normal form dict, an object of the tool side with `normal_form()`, a path
    ending in .json (read here) or anything else the tool side can load (a .toml file, a
    preset). Raises ValueError when it cannot be read, RuntimeError without the tool side.
    """
    if rules is None:
        return {}, "no rules"
    if isinstance(rules, dict):
        return rules, "rules"
    if hasattr(rules, "normal_form"):
        return rules.normal_form(), str(getattr(rules, "source", None) or "rules")
    path = os.fspath(rules) if hasattr(rules, "__fspath__") else rules
    if not isinstance(path, str):
        _fail("rules", "cannot read {!r}".format(rules), "pass a file name or the normal form")
    if path.endswith(".json"):
        try:
            with open(path, encoding="utf-8") as stream:
                return json.load(stream), path
        except (OSError, ValueError) as error:
            _fail(path, str(error), "write it with `adampatch rules check FILE.toml --json FILE.json`")
    try:
        from adampatch.ruleset import Rules
    except ImportError:
        raise RuntimeError(
            "adampatch: {}: only .json rules can be read here; `pip install adampatch` (Python >= 3.11) "
            "reads .toml, or convert it with `adampatch rules check {} --json rules.json`".format(path, path)
        )
    try:
        loaded = Rules.load(path)
    except Exception as error:
        raise ValueError("adampatch: rules {}: {}".format(path, error))
    return load_rules(loaded)[0], path


def resolve(embedded, given, environ=None):
    """Settings of one optimizer.

    Args:
        embedded: the binding's normal form (or None).
        given: dict with any of `rules`, `emit`, `every` as given to `patched()`; None values
            count as not given.
        environ: mapping read for ADAMPATCH_EMIT, ADAMPATCH_EVERY, ADAMPATCH_RULES; the
            process environment by default. It wins over `given`, which wins over [observe].
    """
    environ = os.environ if environ is None else environ
    form, source = (embedded or {}), "the rules in this project's _adampatch.py"
    if given.get("rules") is not None:
        form, source = load_rules(given["rules"])
    if environ.get("ADAMPATCH_RULES"):
        try:
            form, source = load_rules(environ["ADAMPATCH_RULES"])
        except ValueError as error:
            raise ValueError("{} (named by ADAMPATCH_RULES)".format(error))
        source = "ADAMPATCH_RULES " + source
    observe, rules = check_normal_form(form, source)

    emit, every = observe.get("emit"), observe.get("every")
    if given.get("emit") is not None:
        emit = check_emit(given["emit"], "patched(emit=)")
    if given.get("every") is not None:
        every = check_every(given["every"], "patched(every=)")
    if environ.get("ADAMPATCH_EMIT"):
        emit = check_emit(environ["ADAMPATCH_EMIT"], "ADAMPATCH_EMIT")
    if environ.get("ADAMPATCH_EVERY"):
        every = check_every(environ["ADAMPATCH_EVERY"], "ADAMPATCH_EVERY")
    emit = emit or "stats"
    if every is None:
        every = 1 if emit == "tensor" else DEFAULT_EVERY
    return Settings(emit, check_every(every, source), rules, source)
