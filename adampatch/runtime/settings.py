"""What one optimizer is told to do: the rules' normal form and the observation settings.

Pure: numbers, names and errors; touches no TensorFlow, and files only to read ADAMPATCH_RULES or rules=.
"""

import json
import os

from adampatch.runtime import normal_form

EMIT = ("off", "stats", "tensor")
COMPILE = ("auto", True, False)
DEFAULT_EVERY = 100


class NotYetAvailable(RuntimeError):
    """What was asked for has not been measured; the message names the setting to change."""


class Settings(object):
    """Immutable settings of one optimizer.

    Attributes:
        emit: "off", "stats" or "tensor".
        every: optimizer updates between two samples, at least 1.
        rules: list of `normal_form.Rule`.
        source: words naming where the rules come from, for errors.
        compile: "auto", True or False: whether bounded updates are compiled.
    """

    __slots__ = ("compile", "emit", "every", "rules", "source")

    def __init__(self, emit, every, rules, source, compile="auto"):
        self.compile = compile
        self.emit = emit
        self.every = every
        self.rules = rules
        self.source = source


def check_emit(value, where):
    """Returns `value` if it is one of `EMIT`; raises ValueError naming `where`."""
    if value not in EMIT:
        normal_form.fail(where, "emit is {!r}".format(value), "use one of off, stats, tensor")
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
        normal_form.fail(where, "every is {!r}".format(value), "use a whole number of updates, 1 or more")
    return number


def check_compile(value, where):
    """Returns `value` as one of `COMPILE`, which in the environment are words; raises ValueError."""
    value = {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value
    if not any(value is known or (value == known and isinstance(value, str)) for known in COMPILE):
        normal_form.fail(where, "compile is {!r}".format(value), "use one of auto, true, false")
    return value


def check_form(form, source):
    """(observe table, list of Rules) of a normal form; raises ValueError for what cannot be obeyed."""
    observe, rules = normal_form.check_normal_form(form, source)
    where = source + ": [observe]"
    if observe.get("emit") is not None:
        check_emit(observe["emit"], where)
    if observe.get("every") is not None:
        check_every(observe["every"], where)
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
        normal_form.fail("rules", "cannot read {!r}".format(rules), "pass a file name or the normal form")
    if path.endswith(".json"):
        try:
            with open(path, encoding="utf-8") as stream:
                return json.load(stream), path
        except (OSError, ValueError) as error:
            normal_form.fail(
                path, str(error), "write it with `adampatch rules check FILE.toml --json FILE.json`"
            )
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
    observe, rules = check_form(form, source)

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
    compiled = (form.get("runtime") or {}).get("compile")
    compiled = "auto" if compiled is None else check_compile(compiled, source + ": [runtime]")
    if environ.get("ADAMPATCH_COMPILE"):
        compiled = check_compile(environ["ADAMPATCH_COMPILE"], "ADAMPATCH_COMPILE")
    return Settings(emit, check_every(every, source), rules, source, compiled)
