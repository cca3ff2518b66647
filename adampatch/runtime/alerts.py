"""What the numbers of a sampled update give reason to say, once each.

Pure: a snapshot in, alerts out; reads attributes of the optimizer and touches no TensorFlow.
"""

import collections
import math

from adampatch.runtime import matching, records

#: updates for which a rule must have bound nothing, or everything, to be named
PATIENCE = 1000
_EPS_DOMINATED = ("eps_dominated_frac_active", "eps_dominated_frac")

Alert = collections.namedtuple("Alert", "kind variable rule words")


class State(object):
    """What was said of one optimizer, and since when its rules bind nothing or everything.

    Attributes:
        raised: {(kind, variable, rule)}; since: {(rule, "never" or "always"): step}.
    """

    def __init__(self):
        self.raised = set()
        self.since = {}


def check(state, record, optimizer, name, found):
    """New alerts of one optimizer, [Alert]; each is also a warning.

    `found` is what `snapshot` returns; `optimizer` may be gone (None).
    """
    new = []
    for alert in _all_of(state, record, optimizer, found):
        key = (alert.kind, alert.variable, alert.rule)
        if key not in state.raised:
            state.raised.add(key)
            new.append(alert)
    for kind in sorted(set(alert.kind for alert in new)):
        of_kind = [alert for alert in new if alert.kind == kind]
        more = "" if len(of_kind) == 1 else " (and {} more like it)".format(len(of_kind) - 1)
        records.warn_once(
            ("alert", name, kind, of_kind[0].variable, of_kind[0].rule),
            "{}, update {}: {}{}".format(name, found["step"], of_kind[0].words, more),
        )
    return new


def _all_of(state, record, optimizer, found):
    out = _of_alpha(found) + _of_clocks(optimizer)
    for variable, numbers in found["variables"].items():
        out += _of_variable(variable, numbers)
    return out + _of_rules(state, record, found)


def _of_alpha(found):
    alpha = found.get("alpha")
    if alpha is None:
        return []
    if not math.isfinite(alpha):
        return [Alert("alpha_not_finite", None, None, "alpha is {}: no update moves anything".format(alpha))]
    if alpha == 0 and found.get("lr") != 0:
        words = (
            "alpha is 0: no update moves anything. In a 16-bit format beta_2 may round to 1; use a smaller "
            "beta_2, or float32 variables"
        )
        return [Alert("alpha_zero", None, None, words)]
    return []


def _of_clocks(optimizer):
    steps = getattr(optimizer, "gradient_accumulation_steps", None)
    if not steps or not callable(getattr(optimizer, "_learning_rate", None)):
        return []
    words = (
        "the learning rate schedule counts batches and the bias correction updates, which are {} batches "
        "each: give the schedule {} times the steps".format(steps, steps)
    )
    return [Alert("clocks", None, None, words)]


def _of_variable(variable, numbers):
    out = []
    if numbers.get("nonfinite"):
        words = "{} elements of the rate of {} are not finite".format(int(numbers["nonfinite"]), variable)
        out.append(Alert("rate_not_finite", variable, None, words))
    share = next((numbers[key] for key in _EPS_DOMINATED if numbers.get(key) is not None), None)
    if share is not None and share > 0.5 and numbers.get("active_frac", 0) > 0:
        words = (
            "epsilon and not the gradients decides the rate of {:.0%} of {}: its gradients are small "
            "against epsilon".format(share, variable)
        )
        out.append(Alert("eps_dominated", variable, None, words))
    return out


def _of_rules(state, record, found):
    out = []
    by_id = {rule.id: rule for rule in record.settings.rules}
    for name, hits in sorted(_hits(record, found).items()):
        rule = by_id.get(name)
        if rule is not None and not rule.start <= found["step"] <= (rule.end or found["step"]):
            continue  # outside of its window it is not meant to bind
        for kind, holds in (
            ("never", all(share == 0 for share, _ in hits)),
            ("always", all(active >= 1 for _, active in hits)),
        ):
            if not holds:
                state.since.pop((name, kind), None)
                continue
            since = state.since.setdefault((name, kind), found["step"])
            if found["step"] - since >= PATIENCE:
                what = "no element" if kind == "never" else "every active element"
                words = 'the rule "{}" has bound {} in the samples of the last {} updates'.format(
                    name, what, found["step"] - since
                )
                out.append(Alert("rule_" + kind, None, name, words))
    return out


def _hits(record, found):
    """{rule id: [(share of elements bound, of active elements), ...]} over the variables it is for."""
    out = {}
    rules = record.settings.rules
    for variable, numbers in found["variables"].items():
        of_rules = numbers.get("rules")
        if of_rules is None:  # a session, which knows what a lone rule did
            alone = len(rules) == 1 and matching.applies(rules[0], variable, record.optimizer_name)
            of_rules = {rules[0].id: numbers} if alone and not rules[0].shadow else {}
        for rule, inner in of_rules.items():
            shares = inner.get("clamped_frac"), inner.get("clamped_frac_active")
            if None not in shares and numbers.get("active_frac", 1) > 0:
                out.setdefault(rule, []).append(shares)
    return out
