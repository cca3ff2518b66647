"""Which rules bound which variable: globs on variable paths, intersection of fixed bounds.

Pure: names in, numbers out; touches neither TensorFlow nor files.
"""

import difflib
import re

_CACHE = {}


def translate(glob):
    """Regular expression text of a glob on a `/`-separated path.

    `*` stays inside one path part, `**/` is zero or more parts, any other `**` is everything;
    every other character is itself.
    """
    text, i = [], 0
    while i < len(glob):
        if glob.startswith("**/", i) and (i == 0 or glob[i - 1] == "/"):
            text.append("(?:[^/]+/)*")
            i += 3
        elif glob.startswith("**", i):
            text.append(".*")
            i += 2
        elif glob[i] == "*":
            text.append("[^/]*")
            i += 1
        else:
            text.append(re.escape(glob[i]))
            i += 1
    return "".join(text)


def matches(pattern, path):
    """Whether `pattern` (a glob, or "re:" and a regular expression) matches the whole path.

    A "re:" pattern is searched for, so it anchors itself where it wants to.
    """
    compiled = _CACHE.get(pattern)
    if compiled is None:
        if pattern.startswith("re:"):
            compiled = re.compile(pattern[3:])
        else:
            compiled = re.compile("(?:" + translate(pattern) + r")\Z")
        _CACHE[pattern] = compiled
    if pattern.startswith("re:"):
        return compiled.search(path) is not None
    return compiled.match(path) is not None


def applies(rule, path, optimizer_name):
    """Whether `rule` bounds the variable `path` of an optimizer of that class name."""
    return (
        matches(rule.optimizer, optimizer_name)
        and any(matches(p, path) for p in rule.match)
        and not any(matches(p, path) for p in rule.exclude)
    )


def rules_of(rules, path, optimizer_name, source="rules"):
    """The rules that hold for one variable, in their order.

    Raises ValueError where numbers that never change leave nothing of a quantity; of bounds that move
    the upper one wins where they cross.
    """
    found = [rule for rule in rules if applies(rule, path, optimizer_name)]
    groups = {}
    for rule in found:
        if not rule.shadow and not rule.windowed:
            groups.setdefault((rule.quantity, rule.relative_to, rule.convention), []).append(rule)
    for (quantity, _, _), group in groups.items():
        low = max([r.low.number for r in group if r.low is not None and r.low.number is not None] or [0.0])
        highs = [r.high.number for r in group if r.high is not None and r.high.number is not None]
        if highs and low > min(highs):
            raise ValueError(
                "adampatch: {}: the rules {} leave no {} for {!r}: min {!r} is above max {!r}; "
                "widen one, or exclude the variable from one".format(
                    source, ", ".join(r.id for r in group), quantity, path, low, min(highs)
                )
            )
    return found


def check_patterns(rules, paths, optimizer_name, source="rules"):
    """Raises ValueError if a pattern of a rule matches none of the optimizer's variables.

    The message names the rule, the pattern and the five nearest paths.
    """
    paths = list(paths)
    for rule in rules:
        if not matches(rule.optimizer, optimizer_name):
            continue
        for pattern in rule.match:
            if any(matches(pattern, path) for path in paths):
                continue
            raise ValueError(
                'adampatch: {}: rule "{}": pattern {!r} matches no variable of {}; the nearest are {}. '
                "If it is meant for another optimizer, give this one rules of its own: "
                "patched(optimizer, rules=...)".format(
                    source,
                    rule.id,
                    pattern,
                    optimizer_name,
                    ", ".join(_nearest(pattern, paths)) or "(none)",
                )
            )


def _nearest(pattern, paths):
    plain = pattern.replace("*", "").strip("/")
    return sorted(paths, key=lambda path: (-difflib.SequenceMatcher(None, plain, path).ratio(), path))[:5]
