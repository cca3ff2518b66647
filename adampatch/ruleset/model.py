"""A rule and the observation settings, once they are known to be valid.
Plain frozen data: no checks, no files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from adampatch.ruleset import bounds
from adampatch.ruleset.bounds import Bound

# The fields that the normal form leaves out where they say what happens anyway.
_DEFAULTS: dict[str, object] = {
    "relative_to": "absolute",
    "lr0": None,
    "max_increase": None,
    "max_decrease": None,
    "convention": "raw",
    "start": 1,
    "end": None,
    "mode": "enforce",
}


@dataclass(frozen=True)
class Rule:
    """`quantity` of the variables that `match` and not `exclude` name, within [min, max].

    match, exclude: globs on the variable path, or "re:" and a regular expression.
    optimizer: a glob on the class name of the innermost optimizer.
    min, max: finite and not negative at every update of the window; None is no bound.
    relative_to: what multiplies min and max: "absolute", "lr", "lr0", "alpha" or "lr/lr0".
    lr0: the learning rate at the start, where it is not to be taken from the training.
    max_increase, max_decrease: the greatest factor between one update and the next; above 1, or None.
    convention: "raw" bounds what multiplies m, "corrected" what multiplies m/c1.
    start, end: the window, in optimizer updates from 1, both within; end None is for ever.
    mode: "enforce", or "shadow" to count only.
    """

    id: str
    quantity: str
    match: tuple[str, ...] = ("**",)
    exclude: tuple[str, ...] = ()
    optimizer: str = "*"
    min: Bound | None = None
    max: Bound | None = None
    relative_to: str = "absolute"
    lr0: float | None = None
    max_increase: float | None = None
    max_decrease: float | None = None
    convention: str = "raw"
    start: int = 1
    end: int | None = None
    mode: str = "enforce"

    @property
    def stateful(self) -> bool:
        """Whether the run time must remember something from one update to the next."""
        follows = self.relative_to in ("lr0", "lr/lr0") and self.lr0 is None
        return follows or self.max_increase is not None or self.max_decrease is not None

    def normal_form(self) -> dict[str, Any]:
        said = {name: getattr(self, name) for name in _DEFAULTS}
        return {
            "id": self.id,
            "match": list(self.match),
            "exclude": list(self.exclude),
            "optimizer": self.optimizer,
            "quantity": self.quantity,
            "min": bounds.normal_form(self.min),
            "max": bounds.normal_form(self.max),
            **{name: value for name, value in said.items() if value != _DEFAULTS[name]},
        }


@dataclass(frozen=True)
class Observe:
    """What to sample; None where the file says nothing.

    emit: "off", "stats" or "tensor"; every: optimizer updates between samples; per_variable: patterns.
    """

    emit: str | None = None
    every: int | None = None
    per_variable: tuple[str, ...] | None = None

    def normal_form(self) -> dict[str, Any]:
        given: dict[str, Any] = {"emit": self.emit, "every": self.every}
        given["per_variable"] = None if self.per_variable is None else list(self.per_variable)
        return {key: value for key, value in given.items() if value is not None}
