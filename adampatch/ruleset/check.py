"""A parsed document against the language: builds the rules that have no error and collects the rest.
The order of checks only; `values` has those of one value, `agreement` of one rule, `intersection` of two."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

from adampatch.ruleset import schema
from adampatch.ruleset.agreement import check_agreement
from adampatch.ruleset.complaints import Complaints, Path
from adampatch.ruleset.errors import RuleError
from adampatch.ruleset.intersection import check_intersection
from adampatch.ruleset.model import Observe, Rule
from adampatch.ruleset.positions import Positions
from adampatch.ruleset.values import Values

_CONSENTS = ("accept_unbounded_step", "allow_slow_fall")


class Check:
    """One pass over one document.

    rules_key: "rule" in TOML, "rules" in the JSON normal form.
    consented: the document is a normal form, where consent was checked when it was made.
    """

    def __init__(
        self, file: str, positions: Positions, rules_key: str = "rule", consented: bool = False
    ) -> None:
        self.complaints = Complaints(file, positions)
        self.values = Values(self.complaints)
        self.rules_key = rules_key
        self.consented = consented
        self.rules: list[Rule] = []
        self.observe = Observe()
        self.compile: str | bool | None = None

    @property
    def errors(self) -> list[RuleError]:
        return self.complaints.errors

    def run(self, document: object) -> None:
        if not isinstance(document, dict):
            fix = 'write {"version": 1, "rules": []}'
            self.complaints.add("AP304", (), "the rules are not a table", fix)
            return
        for path, line in self.complaints.positions.duplicates:
            self.complaints.add_at(line, "AP302", f'"{path[-1]}" is given twice', "remove one of them")
        rules = document.get(self.rules_key, [])
        rest = {name: value for name, value in document.items() if name != self.rules_key}
        top = self.values.fields(rest, schema.top_fields(self.rules_key), (), "a rules file")
        if "version" in top and top["version"] != schema.VERSION:
            what = f"version {top['version']} of the rules language is not known"
            fix = f"write version = {schema.VERSION}, or upgrade adampatch"
            self.complaints.add("AP305", ("version",), what, fix)
        if "steps_per_epoch" in document:
            self.values.steps_per_epoch = top.get("steps_per_epoch", 0)
        observe = top.get("observe", {})
        self.observe = Observe(
            **self.values.fields(observe, schema.OBSERVE_FIELDS, ("observe",), "[observe]")
        )
        runtime = top.get("runtime", {})
        self.compile = self.values.fields(runtime, schema.RUNTIME_FIELDS, ("runtime",), "[runtime]").get(
            "compile"
        )
        self._check_rules(rules)

    def _check_rules(self, rules: object) -> None:
        if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
            fix = "write each rule under its own [[rule]]"
            if self.rules_key == "rules":
                fix = 'write "rules": [{"id": "ceiling", "quantity": "rate", "max": 1.0}]'
            what = f"{self.rules_key} must be a list of tables"
            self.complaints.add("AP304", (self.rules_key,), what, fix)
            return
        first: dict[str, int] = {}
        for index, given in enumerate(rules):
            name, path = given.get("id"), (self.rules_key, index)
            self.complaints.rule_id = name if _is_readable(name) else f"#{index + 1}"
            rule = self._check_rule(given, path)
            if isinstance(name, str) and name in first:
                line = self.complaints.positions.line(self.rules_key, first[name], "id")
                where = f"rule #{first[name] + 1}" if line is None else f"line {line}"
                what = f"the id is already that of {where}"
                self.complaints.add("AP306", (*path, "id"), what, "give each rule its own id")
            elif isinstance(name, str):
                first[name] = index
            if rule is not None:
                for other in self.rules:
                    check_intersection(other, rule, path, self.complaints)
                self.rules.append(rule)
        self.complaints.rule_id = None

    def _check_rule(self, given: Mapping[str, Any], path: Path) -> Rule | None:
        before = len(self.complaints)
        values = self.values.fields(given, schema.RULE_FIELDS, path, "a rule")
        check_agreement(given, values, path, self.complaints, self.consented)
        if len(self.complaints) > before:
            return None
        return Rule(**{name: value for name, value in values.items() if name not in _CONSENTS})


def _is_readable(name: object) -> TypeGuard[str]:
    return isinstance(name, str) and 0 < len(name) <= 60 and name.isprintable()
