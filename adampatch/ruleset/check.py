"""A parsed document against the schema: collects every error and builds the rules that have none.
Fields and values are data in `schema`; a check here is for what a table cannot say."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from adampatch.ruleset import schema
from adampatch.ruleset.errors import RuleError
from adampatch.ruleset.model import Observe, Rule
from adampatch.ruleset.positions import Positions

_SLUG = re.compile(r"[a-z0-9][a-z0-9_-]*")
_NEAR = 0.65  # how alike a name must be to be offered; below it "action" would be "convention"
_LATER = "not supported yet by this version of adampatch"


class Check:
    """One pass over one document.

    rules_key: "rule" in TOML, "rules" in the JSON normal form.
    consented: the document is a normal form, where consent was checked when it was made.
    """

    def __init__(
        self, file: str, positions: Positions, rules_key: str = "rule", consented: bool = False
    ) -> None:
        self.file = file
        self.positions = positions
        self.rules_key = rules_key
        self.consented = consented
        self.errors: list[RuleError] = []
        self.rules: list[Rule] = []
        self.observe = Observe()
        self.compile: str | bool | None = None
        self._rule_id: str | None = None

    def run(self, document: object) -> None:
        if not isinstance(document, dict):
            self._error("AP304", (), "the rules are not a table", 'write {"version": 1, "rules": []}')
            return
        fields = {self.rules_key if name == "rule" else name: f for name, f in schema.TOP_FIELDS.items()}
        for path, line in self.positions.duplicates:
            self.errors.append(
                RuleError(
                    "AP302", self.file, line, None, f'"{path[-1]}" is given twice', "remove one of them"
                )
            )
        top = self._fields(document, fields, (), "a rules file")
        if type(top.get("version")) is int and top["version"] != schema.VERSION:
            self._error(
                "AP305",
                ("version",),
                f"version {top['version']} of the rules language is not known",
                f"write version = {schema.VERSION}, or upgrade adampatch",
            )
        observe = self._fields(top.get("observe", {}), schema.OBSERVE_FIELDS, ("observe",), "[observe]")
        if not self.errors:
            self.observe = Observe(
                observe.get("emit"),
                observe.get("every"),
                tuple(observe["per_variable"]) if "per_variable" in observe else None,
            )
        runtime = self._fields(top.get("runtime", {}), schema.RUNTIME_FIELDS, ("runtime",), "[runtime]")
        self.compile = runtime.get("compile")
        self._check_rules(document.get(self.rules_key, []))

    def _check_rules(self, rules: object) -> None:
        if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
            fix = "write each rule under its own [[rule]]"
            if self.rules_key == "rules":
                fix = 'write "rules": [{"id": "ceiling", "quantity": "rate", "max": 1.0}]'
            self._error("AP304", (self.rules_key,), f"{self.rules_key} must be a list of tables", fix)
            return
        first: dict[str, int] = {}
        for index, given in enumerate(rules):
            name = given.get("id")
            self._rule_id = name if _is_readable(name) else f"#{index + 1}"
            rule = self._check_rule(given, (self.rules_key, index))
            if isinstance(name, str) and name in first:
                line = self.positions.line(self.rules_key, first[name], "id")
                where = f"rule #{first[name] + 1}" if line is None else f"line {line}"
                path = (self.rules_key, index, "id")
                self._error("AP306", path, f"the id is already that of {where}", "give each rule its own id")
            elif isinstance(name, str):
                first[name] = index
            if rule is not None:
                for other in self.rules:
                    self._check_intersection(other, rule, index)
                self.rules.append(rule)
        self._rule_id = None

    def _check_rule(self, given: Mapping[str, Any], path: tuple[str | int, ...]) -> Rule | None:
        before = len(self.errors)
        values = self._fields(given, schema.RULE_FIELDS, path, "a rule")
        low, high = values.get("min"), values.get("max")
        # A bound that is misspelled or not carried out yet is one error, not two.
        unread = any(error.code in ("AP302", "AP390") for error in self.errors[before:])
        if given.get("min") is None and given.get("max") is None and not unread:
            self._error("AP310", path, "it has neither min nor max, so it does nothing", "add max = 1.0")
        if low is not None and high is not None and low > high:
            self._error(
                "AP308",
                (*path, "min"),
                f"min {low!r} is greater than max {high!r}",
                "no value satisfies both: lower min or raise max",
            )
        if low and not self.consented and given.get("accept_unbounded_step", False) is False:
            self._error(
                "AP311",
                (*path, "min"),
                "a lower bound on the rate removes Adam's own step limit: its step stays near the learning "
                "rate only because the rate falls as gradients grow, and with min it grows with the gradient",
                "add accept_unbounded_step = true if that is what you want",
            )
        match, exclude = values.get("match", ["**"]), values.get("exclude", [])
        if "**" in exclude or (match and set(match) <= set(exclude)):
            what = "exclude leaves out all that match names, so it applies to no variable"
            self._error("AP312", (*path, "exclude"), what, "exclude less, or remove the rule")
        if len(self.errors) > before:
            return None
        return Rule(
            values["id"],
            values["quantity"],
            tuple(match),
            tuple(exclude),
            values.get("optimizer", "*"),
            low,
            high,
        )

    def _check_intersection(self, one: Rule, other: Rule, index: int) -> None:
        if one.quantity != other.quantity or not _surely_overlap(one, other):
            return
        for low, high in ((one, other), (other, one)):
            if low.min is not None and high.max is not None and low.min > high.max:
                self._error(
                    "AP309",
                    (self.rules_key, index, "min" if low is other else "max"),
                    f'together with rule "{one.id}" it leaves no {one.quantity} for the same variables '
                    f'(min {low.min!r} of "{low.id}" is greater than max {high.max!r} of "{high.id}")',
                    "change one of the bounds, or keep the variables apart with match and exclude",
                )

    def _fields(
        self, table: object, fields: Mapping[str, schema.Field], path: tuple[str | int, ...], inside: str
    ) -> dict[str, Any]:
        """The values of a table that are valid and carried out."""
        values: dict[str, Any] = {}
        if not isinstance(table, dict):
            # Said already by the kind "table" of the field that holds it.
            return values
        for name, value in table.items():
            known = fields.get(name)
            if known is None:
                near = difflib.get_close_matches(str(name), fields, 1, _NEAR)
                fix = f'did you mean "{near[0]}"?' if near else f"known are {', '.join(fields)}"
                self._error("AP302", (*path, name), f'unknown field "{name}" in {inside}', fix)
            elif value is None and name in ("min", "max"):
                continue  # the normal form's way to say "no bound"; TOML has no such value
            elif not known.supported:
                if type(value) is not type(known.inert) or value != known.inert:
                    self._error("AP390", (*path, name), f"{name} is {_LATER}", f"remove {name}")
            elif name == self.rules_key and not path:
                continue
            elif self._value(known, name, value, (*path, name)):
                values[name] = float(value) + 0.0 if known.kind == "bound" else value
        for name, known in fields.items():
            if known.required and name not in table:
                self._error("AP303", path, f"{name} is missing", _EXAMPLES[name])
        return values

    def _value(self, known: schema.Field, name: str, value: object, path: tuple[str | int, ...]) -> bool:
        kind = known.kind
        if kind == "bound":
            return self._bound(name, value, path)
        if kind == "choice":
            return self._choice(known, name, value, path)
        if kind == "patterns":
            return self._patterns(name, value, path)
        fix = (
            f"write [{name}] and its settings below it" if kind == "table" else f"write {schema.KINDS[kind]}"
        )
        wanted: type = {"boolean": bool, "table": dict, "count": int}.get(kind, str)
        if type(value) is not wanted:
            self._error("AP304", path, f"{name} is {_show(value)}", fix)
        elif kind == "count" and isinstance(value, int) and value < 1:
            self._error("AP305", path, f"{name} is {value}", fix)
        elif kind == "slug" and not _SLUG.fullmatch(str(value)):
            self._error("AP305", path, f"{name} {_show(value)} is not a plain name", fix)
        elif kind == "glob" and not str(value).strip():
            self._error("AP312", path, f"{name} is empty, so it matches nothing", fix)
        else:
            return True
        return False

    def _bound(self, name: str, value: object, path: tuple[str | int, ...]) -> bool:
        if isinstance(value, dict):
            kind = value.get("kind")
            if isinstance(kind, str) and kind in schema.BOUND_TABLES:
                self._error(
                    "AP390", path, f'{name} of kind "{kind}" is {_LATER}', f"write {schema.KINDS['bound']}"
                )
            else:
                near = difflib.get_close_matches(str(kind), schema.BOUND_TABLES, 1)
                fix = f'did you mean "{near[0]}"?' if near else f"write {schema.KINDS['bound']}"
                self._error("AP305", path, f"{name} has an unknown kind {_show(kind)}", fix)
            return False
        if isinstance(value, bool) or not isinstance(value, int | float):
            self._error("AP304", path, f"{name} is {_show(value)}", f"write {schema.KINDS['bound']}")
            return False
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            what, fix = (
                f"{name} is not finite",
                f"write {schema.KINDS['bound']}, or remove {name} for no bound",
            )
        elif number < 0:
            what, fix = f"{name} is negative ({value!r}), and a rate never is", "write 0 or more"
        else:
            return True
        self._error("AP307", path, what, fix)
        return False

    def _choice(self, known: schema.Field, name: str, value: object, path: tuple[str | int, ...]) -> bool:
        for choice, supported in known.choices.items():
            if type(value) is type(choice) and value == choice:
                if not supported:
                    usable = [_show(other) for other, works in known.choices.items() if works]
                    fix = f"write {' or '.join(usable)}"
                    self._error("AP390", path, f"{name} = {_show(value)} is {_LATER}", fix)
                return supported
        near = difflib.get_close_matches(str(value), [c for c in known.choices if isinstance(c, str)], 1)
        listed = ", ".join(_show(choice) for choice in known.choices)
        fix = f'did you mean "{near[0]}"?' if near and isinstance(value, str) else f"write one of {listed}"
        code = "AP305" if any(type(value) is type(choice) for choice in known.choices) else "AP304"
        self._error(code, path, f"{name} is {_show(value)}", fix)
        return False

    def _patterns(self, name: str, value: object, path: tuple[str | int, ...]) -> bool:
        before = len(self.errors)
        if not isinstance(value, list) or not all(isinstance(pattern, str) for pattern in value):
            fix = f"write {schema.KINDS['patterns']}"
            if isinstance(value, str):
                fix = f"write {name} = [{_show(value)}]"
            self._error("AP304", path, f"{name} is {_show(value)}", fix)
        elif not value and name == "match":
            self._error(
                "AP312", path, "match is empty, so it matches nothing", 'write match = ["**"] for all'
            )
        else:
            for pattern in value:
                self._pattern(name, pattern, path)
        return len(self.errors) == before

    def _pattern(self, name: str, pattern: str, path: tuple[str | int, ...]) -> None:
        if not pattern.strip() or pattern == "re:":
            fix = 'remove it, or write "**" for all variables'
            self._error("AP312", path, f"{name} holds the empty pattern {_show(pattern)}", fix)
        elif pattern.startswith("re:"):
            try:
                re.compile(pattern[len("re:") :])
            except (re.error, OverflowError, RecursionError) as error:
                what = f"{name} holds {_show(pattern)}, which is no regular expression ({error})"
                self._error("AP312", path, what, "correct it, or drop re: to write a glob")

    def _error(self, code: str, path: Sequence[str | int], what: str, fix: str) -> None:
        line = self.positions.line(*path)
        self.errors.append(RuleError(code, self.file, line, self._rule_id, what, fix))


_EXAMPLES = {
    "version": f"add version = {schema.VERSION}, before the first table",
    "id": 'add id = "ceiling", or another name of your own',
    "quantity": 'add quantity = "rate"',
}


def _surely_overlap(one: Rule, other: Rule) -> bool:
    """True where some variable must be under both rules, as far as equal patterns and "**" tell."""
    if one.optimizer != other.optimizer and "*" not in (one.optimizer, other.optimizer):
        return False
    for wide, narrow in ((one, other), (other, one)):
        covers = "**" in wide.match or not set(wide.match).isdisjoint(narrow.match)
        # What the narrow rule takes must not be what the wide one leaves out.
        if covers and set(wide.exclude) <= set(narrow.exclude):
            return True
    return False


def _is_readable(name: object) -> TypeGuard[str]:
    return isinstance(name, str) and 0 < len(name) <= 60 and name.isprintable()


def _show(value: object) -> str:
    """A value as TOML would write it, cut where it is long."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    if isinstance(value, str):
        return json.dumps(value if len(value) <= 60 else value[:57] + "...", ensure_ascii=False)
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        text = "[" + ", ".join(_show(item) for item in value[:4]) + (", ...]" if len(value) > 4 else "]")
        return text
    return repr(value) if not isinstance(value, int) or abs(value) < 10**20 else "a very large number"
