"""A rule and the observation settings, once they are known to be valid.
Plain frozen data: no checks, no files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Rule:
    """One bound: `quantity` of the variables that `match` and not `exclude` name, within [min, max].

    match, exclude: globs on the variable path, or "re:" and a regular expression.
    optimizer: a glob on the class name of the innermost optimizer.
    min, max: finite, not negative; None is no bound.
    """

    id: str
    quantity: str
    match: tuple[str, ...] = ("**",)
    exclude: tuple[str, ...] = ()
    optimizer: str = "*"
    min: float | None = None
    max: float | None = None

    def normal_form(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "match": list(self.match),
            "exclude": list(self.exclude),
            "optimizer": self.optimizer,
            "quantity": self.quantity,
            "min": self.min,
            "max": self.max,
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
