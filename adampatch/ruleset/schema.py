"""Every field of the rules language as data, and which of them this version carries out.
A later version that learns a field or a value flips its `supported` here, and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

VERSION = 1


@dataclass(frozen=True)
class Field:
    """kind: what a value must be, a key of KINDS.

    supported: False for a field that is known but not carried out yet; then only `inert`, the value that
        says what happens anyway, is let through.
    choices: value -> supported, for the kind "choice".
    """

    kind: str
    supported: bool = True
    inert: object = None
    required: bool = False
    choices: Mapping[object, bool] = field(default_factory=dict)


# kind -> in words, for messages
KINDS = {
    "slug": 'a name of a-z, 0-9, "-" and "_" in quotes, such as "ceiling"',
    "patterns": 'a list of globs on variable paths, such as ["encoder/**"]',
    "glob": 'a glob in quotes, such as "Adam*"',
    "choice": "one of the values it allows",
    "bound": "a number, such as 1.0",
    "number": "a number, such as 1.0",
    "boolean": "true or false",
    "count": "a whole number of at least 1",
    "moment": 'a number of updates, or "3 epochs"',
    "table": "a table",
}

RULE_FIELDS: dict[str, Field] = {
    "id": Field("slug", required=True),
    "match": Field("patterns"),
    "exclude": Field("patterns"),
    "optimizer": Field("glob"),
    "quantity": Field(
        "choice",
        required=True,
        choices={
            "rate": True,
            "alpha": False,
            "update": False,
            "update_rms": False,
            "rms_t": False,
            "update_to_weight": False,
        },
    ),
    "min": Field("bound"),
    "max": Field("bound"),
    "relative_to": Field(
        "choice", choices={"absolute": True, "lr": False, "lr0": False, "alpha": False, "lr/lr0": False}
    ),
    "max_increase": Field("number", supported=False),
    "max_decrease": Field("number", supported=False),
    "convention": Field("choice", choices={"raw": True, "corrected": False}),
    "start": Field("moment", supported=False, inert=1),
    "end": Field("moment", supported=False),
    "mode": Field("choice", choices={"enforce": True, "shadow": False}),
    "accept_unbounded_step": Field("boolean"),
    "allow_slow_fall": Field("boolean", supported=False, inert=False),
}

# Bounds that change with time: {kind = "linear", ...}.
BOUND_TABLES: dict[str, bool] = {"linear": False, "exp": False, "piecewise": False, "adabound": False}

OBSERVE_FIELDS: dict[str, Field] = {
    "emit": Field("choice", choices={"off": True, "stats": True, "tensor": True}),
    "every": Field("count"),
    "per_variable": Field("patterns"),
}

RUNTIME_FIELDS: dict[str, Field] = {
    "compile": Field("choice", choices={"auto": True, True: True, False: True}),
}

TOP_FIELDS: dict[str, Field] = {
    "version": Field("count", required=True),
    "steps_per_epoch": Field("count", supported=False),
    "observe": Field("table"),
    "runtime": Field("table"),
    # In TOML `[[rule]]`; the JSON normal form says "rules".
    "rule": Field("table"),
}
