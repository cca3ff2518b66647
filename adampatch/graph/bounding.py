"""Rules on graphs: which bound a variable, and the nodes that a bound is. `bounded` is the one place
where a rule becomes nodes."""

from __future__ import annotations

import difflib
from typing import Any, Iterable, List, Mapping, Optional, Tuple

from adampatch.errors import AdampatchError
from adampatch.graph import attributes
from adampatch.graph.emission import Emitter
from adampatch.runtime import matching

#: (lowest, highest) rate, either may be None
Limits = Tuple[Optional[float], Optional[float]]
#: fields of a rule's normal form that say what this module does
_KNOWN = ("id", "match", "exclude", "optimizer", "quantity", "min", "max")


class Rules:
    """The rules of a graph; ``form``: their normal form, ``source``: where they are from, for errors.

    Raises AdampatchError for what graphs cannot hold yet.
    """

    def __init__(self, form: Mapping[str, Any], source: str) -> None:
        self.source = source
        self.rules: List[Mapping[str, Any]] = list(form.get("rules") or [])
        for rule in self.rules:
            self._check(rule)

    def _check(self, rule: Mapping[str, Any]) -> None:
        def refuse(what: str) -> None:
            raise AdampatchError(
                self.source,
                'rule "{}": {} cannot be put into a graph; patch the source instead, or use a rule on the '
                "rate with plain numbers".format(rule.get("id"), what),
            )

        for key, value in rule.items():
            if key not in _KNOWN and value is not None:
                refuse(f"{key} = {value!r}")
        if rule.get("quantity") != "rate":
            refuse("quantity {!r}".format(rule.get("quantity")))
        for key in ("min", "max"):
            value = rule.get(key)
            if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
                refuse(f"{key} that moves in time")

    def limits(self, path: str, node: str) -> Optional[Limits]:
        """The bounds on one variable's rate; None where no rule applies. ``node``: the name of the update's
        node; the optimizer of a rule is looked for among its parts. Raises AdampatchError."""
        low: Optional[float] = None
        high: Optional[float] = None
        names = []
        for rule in self.rules:
            if not any(_applies(rule, path, part) for part in [*node.split("/"), ""]):
                continue
            names.append(str(rule["id"]))
            if rule.get("min") is not None:
                low = rule["min"] if low is None else max(low, rule["min"])
            if rule.get("max") is not None:
                high = rule["max"] if high is None else min(high, rule["max"])
        if low is not None and high is not None and low > high:
            raise AdampatchError(
                self.source,
                "the rules {} leave no rate for {!r}: min {!r} is above max {!r}; widen one, or exclude the "
                "variable from one".format(", ".join(names), path, low, high),
            )
        return None if low is None and high is None else (low, high)

    def check_patterns(self, paths: Iterable[str]) -> None:
        """Raises AdampatchError where a pattern matches no variable that is patched."""
        paths = sorted(set(paths))
        for rule in self.rules:
            for pattern in rule.get("match", ["**"]):
                if paths and not any(matching.matches(pattern, path) for path in paths):
                    near = difflib.get_close_matches(pattern.replace("*", ""), paths, 5, 0.0)
                    raise AdampatchError(
                        self.source,
                        'rule "{}": pattern {!r} matches no variable of the graph; the nearest are {}'.format(
                            rule.get("id"), pattern, ", ".join(near)
                        ),
                    )


def _applies(rule: Mapping[str, Any], path: str, optimizer: str) -> bool:
    whole = {"match": ["**"], "exclude": [], "optimizer": "*", **rule}
    return bool(matching.applies(whole, path, optimizer))


def bounded(emitter: Emitter, rate: str, limits: Limits, dtype: int) -> Tuple[str, str]:
    """(effective rate, mask of the elements that were bounded).

    Comparisons with NaN are false, so NaN stays NaN; minimum and maximum would not say so.
    """
    masks: List[str] = []
    effective = rate
    for limit, comparison, hint in ((limits[0], "Less", "below"), (limits[1], "Greater", "above")):
        if limit is None:
            continue
        constant = emitter.constant(limit, dtype)
        masks.append(emitter.typed(comparison, hint, [rate, constant], dtype))
        effective = emitter.typed("SelectV2", "bounded", [masks[-1], constant, effective], dtype)
    mask = masks[0] if len(masks) == 1 else emitter.add("LogicalOr", "outside", masks, {})
    return effective, mask


def unbounded(emitter: Emitter, rate: str, dtype: int) -> str:
    """The mask where no rule applies: False in the shape of the rate."""
    return emitter.typed("Less", "within", [rate, rate], dtype)


def is_floating(dtype: int) -> bool:
    return dtype in attributes.FLOATING
