"""Every field of the rules language as data: what a table may hold, and what each value must be.
What a field, a quantity or a kind of bound is gets decided here, and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

VERSION = 1


@dataclass(frozen=True)
class Field:
    """kind: what a value must be, a key of KINDS.

    example: for a required field, what to add where it is missing.
    choices: the values of the kind "choice".
    """

    kind: str
    example: str = ""
    choices: tuple[object, ...] = ()

    @property
    def required(self) -> bool:
        return bool(self.example)


# kind -> in words, for messages
KINDS = {
    "slug": 'a name of a-z, 0-9, "-" and "_" in quotes, such as "ceiling"',
    "patterns": 'a list of globs on variable paths, such as ["encoder/**"]',
    "glob": 'a glob in quotes, such as "Adam*"',
    "choice": "one of the values it allows",
    "bound": "a number, such as 1.0, or a bound table",
    "amount": "a number, such as 1.0",
    "amounts": "a list of numbers, such as [1.0, 0.1]",
    "positive": "a number above 0, such as 0.001",
    "factor": "a number above 1, such as 1.01",
    "boolean": "true or false",
    "count": "a whole number of at least 1",
    "start": 'a number of updates from 1, or "3 epochs"',
    "end": 'a number of updates from 1, or "3 epochs"',
    "ends": 'a list of numbers of updates that rise, such as [1000, 5000], or of "3 epochs"',
    "table": "a table",
}


@dataclass(frozen=True)
class Quantity:
    """What a rule can bound.

    words: for reports; per: "element", "optimizer" (a scalar) or "variable"; the others say which fields
    make sense with it.
    """

    words: str
    per: str
    min: bool = True
    changes: bool = False
    convention: bool = False


QUANTITIES = {
    "rate": Quantity("the rate of each element", "element", changes=True, convention=True),
    "alpha": Quantity("alpha", "optimizer"),
    "update": Quantity("the size of each element's update", "element"),
    "update_rms": Quantity("the root mean square of each variable's update", "variable"),
    "rms_t": Quantity("RMS_t of each variable", "variable", min=False),
    "update_to_weight": Quantity("the norm of each variable's update over its own", "variable"),
}

# relative_to -> in words, what multiplies the bounds
FACTORS = {
    "absolute": "",
    "lr": "the learning rate",
    "lr0": "the learning rate at the start",
    "alpha": "alpha",
    "lr/lr0": "the learning rate over that at the start",
}

RULE_FIELDS: dict[str, Field] = {
    "id": Field("slug", 'add id = "ceiling", or another name of your own'),
    "match": Field("patterns"),
    "exclude": Field("patterns"),
    "optimizer": Field("glob"),
    "quantity": Field("choice", 'add quantity = "rate"', tuple(QUANTITIES)),
    "min": Field("bound"),
    "max": Field("bound"),
    "relative_to": Field("choice", choices=tuple(FACTORS)),
    "lr0": Field("positive"),
    "max_increase": Field("factor"),
    "max_decrease": Field("factor"),
    "convention": Field("choice", choices=("raw", "corrected")),
    "start": Field("start"),
    "end": Field("end"),
    "mode": Field("choice", choices=("enforce", "shadow")),
    "accept_unbounded_step": Field("boolean"),
    "allow_slow_fall": Field("boolean"),
}

# Bounds that change with time, {kind = "linear", ...}: kind -> its fields beside `kind`.
BOUND_TABLES: dict[str, dict[str, Field]] = {
    "linear": {
        "from": Field("amount", "add from = 1.0"),
        "to": Field("amount", "add to = 0.1"),
        "start": Field("start"),
        "end": Field("end", "add end = 1000"),
    },
    "exp": {
        "from": Field("positive", "add from = 1.0"),
        "to": Field("positive", "add to = 0.1"),
        "start": Field("start"),
        "end": Field("end", "add end = 1000"),
    },
    "piecewise": {
        "boundaries": Field("ends", "add boundaries = [1000]"),
        "values": Field("amounts", "add values = [1.0, 0.1]"),
    },
    "adabound": {
        "final": Field("amount", "add final = 0.1"),
        "gamma": Field("positive", "add gamma = 0.001"),
        "side": Field("choice", choices=("lower", "upper")),
    },
}

OBSERVE_FIELDS: dict[str, Field] = {
    "emit": Field("choice", choices=("off", "stats", "tensor")),
    "every": Field("count"),
    "per_variable": Field("patterns"),
}

RUNTIME_FIELDS: dict[str, Field] = {"compile": Field("choice", choices=("auto", True, False))}

TOP_FIELDS: dict[str, Field] = {
    "version": Field("count", f"add version = {VERSION}, before the first table"),
    "steps_per_epoch": Field("count"),
    "observe": Field("table"),
    "runtime": Field("table"),
    # In TOML `[[rule]]`; the JSON normal form says "rules".
    "rule": Field("table"),
}


def top_fields(rules_key: str) -> Mapping[str, Field]:
    """TOP_FIELDS of a document that keeps its rules under `rules_key`."""
    return {rules_key if name == "rule" else name: field for name, field in TOP_FIELDS.items()}
