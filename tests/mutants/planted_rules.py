"""Patches with one thing wrong in what rules of docs/rules.md make of an update, as data.

Judged by cases under the rules of tests/fixtures/rules/every-kind.toml, whose names end their ids.
"""

from __future__ import annotations

import dataclasses

from mutant import Mutant


def _rule(
    name: str, where: str, rules: tuple[str, ...], *pairs: tuple[str, str], blamed: str = "rate"
) -> Mutant:
    """A mutant of the run time under some rules, on float32 in eager code; "function:" before the name
    of a rule: in a function, whose optimizer is restored after three steps."""
    cases = (rule.rpartition(":") for rule in rules)
    return Mutant(
        f"rule: {name}",
        blamed,
        pairs,
        where,
        rules=tuple(f"float32/{mode or 'eager'}/clamped:{rule}" for mode, _, rule in cases),
        rule=True,
        listed=False,
    )


_T = "self._t = tf.cast(count, tf.float64) + 1.0"
_POWER = "tf.pow(as_float64(beta), self.t)"
_LAST = "self.t <= float(rule.end)"
_FIRST = "self.t >= float(rule.start)"
_REMEMBER = "out.writes += remember(stages.bound_change(previous))"

MUTANTS: tuple[Mutant, ...] = (
    _rule(
        "a moving bound one update ahead", "moments", ("linear", "adabound"), (_T, _T.replace("1.0", "2.0"))
    ),
    _rule(
        "the correction's t off by one",
        "moments",
        ("corrected",),
        (_POWER, _POWER.replace("self.t", "self.t + 1")),
    ),
    _rule(
        "the window ends before its last update", "moments", ("window",), (_LAST, _LAST.replace("<=", "<"))
    ),
    _rule(
        "the window starts after its first update",
        "moments",
        ("window",),
        (_FIRST, _FIRST.replace(">=", ">")),
    ),
    _rule(
        "relative_to ignored", "moments", ("lr",), ('rule.relative_to == "lr":', 'rule.relative_to == "":')
    ),
    _rule(
        "lr0 is the learning rate of the update",
        "moments",
        ("lr0",),
        ("self._lr0 = self._start(rule)", "self._lr0 = self.lr(rule)"),
    ),
    _rule(
        "alpha's bound, and not the rates with it",
        "bounding",
        ("alphas",),
        ("self.rate, mask, bounded = scaled(low, high)", "_, mask, bounded = scaled(low, high)"),
    ),
    _rule(
        "the rates of the update before are not kept",
        "bounding",
        ("slew", "fall"),
        (_REMEMBER, "stages.bound_change(previous)"),
    ),
    _rule(
        "the stock rates are kept, not the applied ones",
        "bounding",
        ("fall",),
        (
            _REMEMBER,
            "stages.bound_change(previous)\n        out.writes += remember(tf.cast(rate, previous.dtype))",
        ),
    ),
    _rule(
        "what is remembered is in no checkpoint",
        "rule_state",
        ("function:fall", "function:lr0"),
        ("setattr(self.holder, name, found)", "pass"),
    ),
    _rule(
        "a step bounded before its rate",
        "bounding",
        ("together",),
        (
            "before, step = self.rate, self.rate * self.direction",
            "before, step = self.site.stock_rate, self.site.stock_rate * self.direction",
        ),
    ),
    _rule(
        "the looser of two bounds",
        "bounding",
        ("together",),
        (
            "high = own_high if high is None else tf.minimum",
            "high = own_high if high is None else tf.maximum",
        ),
    ),
    _rule(
        "a step that loses its sign",
        "bounding",
        ("update",),
        ("self._with_decay(tf.sign(step) * out)", "self._with_decay(out)"),
        blamed="w",
    ),
    _rule(
        "the sum in place of the mean",
        "bounding",
        ("rms",),
        ("tf.reduce_mean(tf.square(x / scale))", "tf.reduce_sum(tf.square(x / scale))"),
    ),
    _rule("a shadow that acts", "bounding", ("shadow",), ("if rule.shadow:", "if False:")),
    _rule(
        "a counter that counts twice",
        "sampling",
        ("window", "alphas"),
        ("+ counts + [of", "+ [2 * counts[0]] + counts[1:] + [of"),
        blamed="snapshot clamped_frac",
    ),
    dataclasses.replace(
        _rule(
            "the last limit of a change is the only one",
            "bounding",
            ("together",),
            ("lower, upper = _tightest(limits)", "lower, upper = _tightest(limits[-1:])"),
            blamed="snapshot clamped_frac",
        ),
        optimizer="v2-nadam",  # whose rates rise under these rules, and then fall
    ),
)
