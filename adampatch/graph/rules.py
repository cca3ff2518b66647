"""The rules of a graph: read from their normal form, and which of them hold for which variable."""

from __future__ import annotations

import difflib
from typing import Any, Dict, Iterable, List, Mapping, Tuple

from adampatch.errors import AdampatchError
from adampatch.runtime import matching, normal_form

#: rules that hold for one variable, in their order
Held = Tuple[Any, ...]


class Rules:
    """The rules of a graph; ``form``: their normal form, ``source``: where they are from, for errors.

    Raises AdampatchError for rules that nobody knows and for what no graph can hold.
    """

    def __init__(self, form: Mapping[str, Any], source: str) -> None:
        self.source = source
        try:
            _, rules = normal_form.check_normal_form(dict(form), source)
        except ValueError as error:
            raise AdampatchError(None, _without_name(error)) from error
        self.rules: List[Any] = rules
        for rule in rules:
            if rule.limits_change:
                raise AdampatchError(
                    source,
                    f'rule "{rule.id}": AP243: a limit on changes remembers the rates before, and the '
                    "checkpoints of a graph that is there have no room for them: after each restart it would "
                    "let one update through; patch the source instead, or bound the rate itself",
                )
        self._known: Dict[Tuple[str, str], Held] = {}

    def of(self, path: str, node: str) -> Held:
        """The rules that hold for the variable ``path``. ``node``: the name of the update's node; the
        optimizer of a rule is looked for among its parts. Raises AdampatchError where fixed bounds leave
        nothing."""
        parts = (*node.split("/"), "")
        found = self._known.get((path, node))
        if found is None:
            held = [rule for part in parts for rule in self._of_part(path, part)]
            found = tuple(rule for rule in self.rules if any(rule is other for other in held))
            self._known[path, node] = found
        return found

    def _of_part(self, path: str, part: str) -> List[Any]:
        try:
            return list(matching.rules_of(self.rules, path, part, self.source))
        except ValueError as error:
            raise AdampatchError(None, _without_name(error)) from error

    def check_patterns(self, paths: Iterable[str]) -> None:
        """Raises AdampatchError where a pattern matches no variable that is patched."""
        paths = sorted(set(paths))
        for rule in self.rules:
            for pattern in rule.match:
                if paths and not any(matching.matches(pattern, path) for path in paths):
                    near = difflib.get_close_matches(pattern.replace("*", ""), paths, 5, 0.0)
                    raise AdampatchError(
                        self.source,
                        'rule "{}": pattern {!r} matches no variable of the graph; the nearest are {}'.format(
                            rule.id, pattern, ", ".join(near)
                        ),
                    )


def _without_name(error: ValueError) -> str:
    """The words of an error of the run time, which says first whose it is."""
    words = str(error)
    return words[len("adampatch: ") :] if words.startswith("adampatch: ") else words
