"""One value, or one table of values, against the schema: types and ranges.
What values must be to each other is in `agreement`."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

from adampatch.ruleset import bounds, moments, schema
from adampatch.ruleset.bounds import GREATEST
from adampatch.ruleset.complaints import Complaints, Path, shown
from adampatch.ruleset.crossings import HORIZON

_SLUG = re.compile(r"[a-z0-9][a-z0-9_-]*")
_NEAR = 0.65  # how alike a name must be to be offered; below it "action" would be "convention"
_INVALID = object()


class Values:
    """Reads values; what is wrong goes to `complaints`.

    steps_per_epoch: updates in an epoch; None where the document has none, 0 where what it says is wrong.
    """

    def __init__(self, complaints: Complaints, steps_per_epoch: int | None = None) -> None:
        self.complaints = complaints
        self.steps_per_epoch = steps_per_epoch
        # kind -> what reads a value of it: (field, label, value, path) -> the value, or _INVALID
        self._readers: dict[str, Callable[[schema.Field, str, Any, Path], object]] = {
            "slug": self._slug,
            "patterns": self._patterns,
            "glob": self._glob,
            "choice": self._choice,
            "bound": self._bound,
            "amount": self._amount,
            "amounts": self._amounts,
            "positive": self._positive,
            "factor": self._factor,
            "boolean": self._boolean,
            "count": self._count,
            "start": self._moment,
            "end": self._moment,
            "ends": self._moments,
            "table": self._table,
        }

    def fields(
        self, table: Mapping[str, Any], fields: Mapping[str, schema.Field], path: Path, inside: str
    ) -> dict[str, Any]:
        """The values of a table that are valid. inside: the table in words."""
        values: dict[str, Any] = {}
        prefix = f"{path[-1]}." if path and path[-1] in ("min", "max") else ""
        for name, value in table.items():
            known = fields.get(name)
            if known is None:
                near = difflib.get_close_matches(str(name), fields, 1, _NEAR)
                fix = f'did you mean "{near[0]}"?' if near else f"known are {', '.join(fields)}"
                self.complaints.add("AP302", (*path, name), f'unknown field "{name}" in {inside}', fix)
            elif value is None and known.kind == "bound":
                continue  # the normal form's way to say "no bound"; TOML has no such value
            else:
                read = self._readers[known.kind](known, prefix + name, value, (*path, name))
                if read is not _INVALID:
                    values[name] = read
        for name, known in fields.items():
            if known.required and name not in table:
                self.complaints.add("AP303", path, f"{prefix}{name} is missing", known.example)
        return values

    def _no(self, code: str, path: Path, what: str, fix: str) -> object:
        self.complaints.add(code, path, what, fix)
        return _INVALID

    def _mistyped(self, field: schema.Field, label: str, value: object, path: Path) -> object:
        fix = f"write {schema.KINDS[field.kind]}"
        if field.kind == "table":
            fix = f"write [{label}] and its settings below it"
        elif field.kind == "patterns" and isinstance(value, str):
            fix = f"write {label} = [{shown(value)}]"
        return self._no("AP304", path, f"{label} is {shown(value)}", fix)

    # ---------------------------------------------------------------- words

    def _slug(self, field: schema.Field, label: str, value: Any, path: Path) -> object:
        if not isinstance(value, str):
            return self._mistyped(field, label, value, path)
        if not _SLUG.fullmatch(value):
            fix = f"write {schema.KINDS['slug']}"
            return self._no("AP305", path, f"{label} {shown(value)} is not a plain name", fix)
        return value

    def _glob(self, field: schema.Field, label: str, value: Any, path: Path) -> object:
        if not isinstance(value, str):
            return self._mistyped(field, label, value, path)
        if not value.strip():
            fix = f"write {schema.KINDS['glob']}"
            return self._no("AP312", path, f"{label} is empty, so it matches nothing", fix)
        return value

    def _choice(self, field: schema.Field, label: str, value: Any, path: Path) -> object:
        if any(type(value) is type(choice) and value == choice for choice in field.choices):
            return value
        near = difflib.get_close_matches(str(value), [c for c in field.choices if isinstance(c, str)], 1)
        fix = f"write one of {', '.join(shown(choice) for choice in field.choices)}"
        if near and isinstance(value, str):
            fix = f'did you mean "{near[0]}"?'
        code = "AP305" if any(type(value) is type(choice) for choice in field.choices) else "AP304"
        return self._no(code, path, f"{label} is {shown(value)}", fix)

    def _boolean(self, field: schema.Field, label: str, value: Any, path: Path) -> object:
        return value if isinstance(value, bool) else self._mistyped(field, label, value, path)

    def _table(self, field: schema.Field, label: str, value: Any, path: Path) -> object:
        return value if isinstance(value, dict) else self._mistyped(field, label, value, path)

    def _patterns(self, field: schema.Field, label: str, value: Any, path: Path) -> object:
        before = len(self.complaints)
        if not isinstance(value, list) or not all(isinstance(pattern, str) for pattern in value):
            return self._mistyped(field, label, value, path)
        if not value and label == "match":
            fix = 'write match = ["**"] for all'
            return self._no("AP312", path, "match is empty, so it matches nothing", fix)
        for pattern in value:
            self._pattern(label, pattern, path)
        return tuple(value) if len(self.complaints) == before else _INVALID

    def _pattern(self, label: str, pattern: str, path: Path) -> None:
        if not pattern.strip() or pattern == "re:":
            fix = 'remove it, or write "**" for all variables'
            self._no("AP312", path, f"{label} holds the empty pattern {shown(pattern)}", fix)
        elif pattern.endswith(":0") and not pattern.startswith("re:"):
            what = f'{label} holds {shown(pattern)}, and paths are names without ":0"'
            self._no("AP312", path, what, f"write {shown(pattern[: -len(':0')])}")
        elif pattern.startswith("re:"):
            try:
                re.compile(pattern[len("re:") :])
            except (re.error, OverflowError, RecursionError) as error:
                what = f"{label} holds {shown(pattern)}, which is no regular expression ({error})"
                self._no("AP312", path, what, "correct it, or drop re: to write a glob")

    # ---------------------------------------------------------------- numbers

    def _count(self, field: schema.Field, label: str, value: Any, path: Path) -> object:
        if type(value) is not int:
            return self._mistyped(field, label, value, path)
        if value < 1:
            return self._no("AP305", path, f"{label} is {value}", f"write {schema.KINDS['count']}")
        return value

    def _number(self, field: schema.Field, label: str, value: Any, path: Path) -> Any:
        """A finite float. Infinity is no bound at all, and nan would be no number to anything."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return self._mistyped(field, label, value, path)
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        bounding = field.kind in ("bound", "amount", "amounts")
        if math.isfinite(number) and bounding and abs(number) > GREATEST:
            what = f"{label} is {number!r}, which a float32 variable cannot hold"
            return self._no("AP307", path, what, f"write a number up to {GREATEST:.2g}")
        if math.isfinite(number):
            return number + 0.0  # -0.0 is 0.0
        fix = f"write {schema.KINDS['amount' if bounding else field.kind]}"
        if field.kind == "bound":
            fix += f", or remove {label} for no bound"
        return self._no("AP307" if bounding else "AP305", path, f"{label} is not finite", fix)

    def _amount(self, field: schema.Field, label: str, value: Any, path: Path) -> Any:
        number = self._number(field, label, value, path)
        if number is not _INVALID and number < 0:
            what = f"{label} is negative ({value!r}), and what it bounds never is"
            return self._no("AP307", path, what, "write 0 or more")
        return number

    def _positive(self, field: schema.Field, label: str, value: Any, path: Path) -> object:
        number = self._number(field, label, value, path)
        if number is not _INVALID and number <= 0:
            return self._no("AP305", path, f"{label} is {value!r}", f"write {schema.KINDS['positive']}")
        return number

    def _factor(self, field: schema.Field, label: str, value: Any, path: Path) -> object:
        number = self._number(field, label, value, path)
        if number is not _INVALID and number <= 1:
            what = f"{label} is {value!r}, so no rate could ever {_CHANGES[label]}"
            return self._no("AP305", path, what, f"write {schema.KINDS['factor']}")
        return number

    def _amounts(self, field: schema.Field, label: str, value: Any, path: Path) -> object:
        return self._each(self._amount, field, label, value, path)

    def _each(self, one: Any, field: schema.Field, label: str, value: Any, path: Path) -> object:
        """A list, each of whose items the method ``one`` reads."""
        if not isinstance(value, list):
            return self._mistyped(field, label, value, path)
        read = [one(field, f"{label}[{i}]", item, path) for i, item in enumerate(value)]
        return _INVALID if _INVALID in read else tuple(read)

    # ---------------------------------------------------------------- moments

    def _moment(self, field: schema.Field, label: str, value: Any, path: Path) -> object:
        """An update's number. "3 epochs" starts at the first update after them, and ends at their last."""
        if isinstance(value, str):
            count = moments.epochs(value)
            if count is None:
                return self._mistyped(field, label, value, path)
            if self.steps_per_epoch is None:
                what = f"{label} is {shown(value)}, and how many updates an epoch has is not known"
                fix = "add steps_per_epoch = 391, or your number of batches, before the first table"
                return self._no("AP313", path, what, fix)
            if self.steps_per_epoch == 0:
                return _INVALID
            number = moments.updates(count, self.steps_per_epoch)
            if number is None:
                below = int(count * self.steps_per_epoch)
                what = f"{label} is {shown(value)}, no whole number of updates at {self.steps_per_epoch} each"
                return self._no("AP313", path, what, f"write {below} or {below + 1}, in updates")
            number += field.kind == "start"
        elif type(value) is not int:
            return self._mistyped(field, label, value, path)
        else:
            number = value
        if number < 1:
            what = f"{label} is {shown(value)}, and updates count from 1"
            return self._no("AP305", path, what, f"write {schema.KINDS[field.kind]}")
        if number > HORIZON:
            what = f"{label} is {shown(value)}, which no training comes to"
            return self._no("AP305", path, what, f"write a number of updates up to {HORIZON}")
        return number

    def _moments(self, field: schema.Field, label: str, value: Any, path: Path) -> object:
        return self._each(self._moment, field, label, value, path)

    # ---------------------------------------------------------------- bounds

    def _bound(self, field: schema.Field, label: str, value: Any, path: Path) -> object:
        if not isinstance(value, dict):
            return self._amount(field, label, value, path)
        kind = value.get("kind")
        if "kind" not in value:
            return self._no("AP303", path, f"{label}.kind is missing", 'add kind = "linear"')
        if not isinstance(kind, str) or kind not in schema.BOUND_TABLES:
            kinds = list(schema.BOUND_TABLES)
            near = difflib.get_close_matches(str(kind), kinds, 1)
            fix = f"write one of {', '.join(shown(other) for other in kinds)}"
            if near and isinstance(kind, str):
                fix = f'did you mean "{near[0]}"?'
            code = "AP305" if isinstance(kind, str) else "AP304"
            return self._no(code, (*path, "kind"), f"{label} has an unknown kind {shown(kind)}", fix)
        before = len(self.complaints)
        table = {name: item for name, item in value.items() if name != "kind"}
        form = {"kind": kind, **_implied(kind, label)}
        form |= self.fields(table, schema.BOUND_TABLES[kind], path, f"{label} of kind {shown(kind)}")
        if len(self.complaints) == before:
            self._shape(form, label, path)
        return bounds.of_normal_form(form) if len(self.complaints) == before else _INVALID

    def _shape(self, form: Mapping[str, Any], label: str, path: Path) -> None:
        """The numbers of a bound table against each other."""
        if "end" in form and form["end"] <= form["start"]:
            what = f"{label} ends at update {form['end']}, and starts at {form['start']}"
            self._no("AP315", path, what, f"write an end after update {form['start']}")
        if form["kind"] != "piecewise":
            return
        limits, values = form["boundaries"], form["values"]
        for before, after in pairwise(limits):
            if after <= before:
                what = f"{label}.boundaries do not rise ({before} is followed by {after})"
                self._no("AP315", (*path, "boundaries"), what, "write them in rising order, each once")
                break
        if len(values) != len(limits) + 1:
            what = (
                f"{label} has {len(values)} values for {len(limits)} boundaries; it takes one value before "
                "each boundary and one after the last"
            )
            self._no("AP315", path, what, f"write {len(limits) + 1} values")


# factor field -> what a rate could not do at a factor of 1
_CHANGES = {"max_increase": "rise", "max_decrease": "fall"}


def _implied(kind: str, label: str) -> dict[str, Any]:
    """What the fields of a bound table say where they are left out."""
    if kind == "adabound":
        return {"side": "lower" if label == "min" else "upper"}
    return {} if kind == "piecewise" else {"start": 1}
