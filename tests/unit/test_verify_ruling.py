"""The judge under any rules, on records that NumPy makes: rules obeyed, and with one thing wrong.

No TensorFlow: Adam of `test_verify_judge`, its rates bounded here in float32 as docs/rules.md has it.
"""

import copy
import dataclasses

import numpy as np
import pytest
from test_verify_judge import PLAIN, Adam, F, recorded

from adampatch.verify.cases import Rule
from adampatch.verify.judge import judge

WINDOW = {"id": "window", "quantity": "rate", "max": 0.02, "start": 2, "end": 4}
SLEW = {"id": "slew", "quantity": "rate", "max_increase": 1.5, "max_decrease": 1.05}
STEP = {"id": "step", "quantity": "update", "max": 2e-3}
START = {"id": "start", "quantity": "rate", "max": 1.5, "relative_to": "lr0"}
SHAPE = (1023,)


def of(*forms):
    rules = tuple(Rule.of(form).forms[0] for form in forms)
    return dataclasses.replace(PLAIN, shapes=(SHAPE,), forms=rules, rule="ours")


class Obeyed:
    """Rules on one variable; a subclass gets one thing wrong."""

    def __init__(self, case):
        self.case, self.previous, self.lr0 = case, None, 0.0

    def inside(self, rule, t):
        return rule.get("start", 1) <= t <= rule.get("end", t)

    def limits(self, rule, t, lr):
        factor = self.lr0 if rule.get("relative_to") == "lr0" else 1.0
        return rule["max"] * factor if self.inside(rule, t) else np.inf

    def remember(self, rate):
        self.previous = rate

    def rate(self, rate, m, lr, t):
        """(the rates, what each rule did: [(rule, bound or None, before, after)])."""
        self.lr0 = self.lr0 or lr  # the case's falls before it rises
        did, raw = [], rate
        for rule in self.case.forms:
            before = rate
            if rule["quantity"] == "update":
                size = np.abs(rate * m)
                rate = np.where(size > F(rule["max"]), rate * (F(rule["max"]) / size), rate)
            elif "max" in rule:
                alone = np.where(raw > F(self.limits(rule, t, lr)), F(self.limits(rule, t, lr)), raw)
                rate = np.where(alone < rate, alone, rate)
                did.append((rule, self.limits(rule, t, lr), raw, alone))
                continue
            else:
                if self.previous is not None:
                    known = (self.previous > 0) & np.isfinite(self.previous)
                    low = np.where(known, self.previous / F(rule["max_decrease"]), F(-np.inf))
                    high = np.where(known, self.previous * F(rule["max_increase"]), F(np.inf))
                    rate = np.where(rate < low, low, rate)
                    rate = np.where(rate > high, high, rate)
                self.remember(rate)
            did.append((rule, rule.get("max"), before, rate))
        return rate, did


def ruled(case, kind=Obeyed):
    """(arrays, told) of the case, its run under the rules done by ``kind``."""
    arrays, told = recorded(dataclasses.replace(case, forms=()), Adam(), Adam())
    rules, totals, told["said"]["bounded"] = kind(case), {}, {}
    with np.errstate(all="ignore"):
        for t in range(1, case.steps + 1):
            read = lambda name, at=t, run="cross": arrays[f"{at}/{run}/{name}/0"].view(F)  # noqa: E731
            raw, m, free, before = read("rate"), read("m"), read("w"), read("w", t - 1, "stock")
            rate, did = rules.rate(raw, m, case.rates[t - 1], t)
            hit = np.any([after != before for _, _, before, after in did], axis=0) & ~np.isnan(raw)
            w = np.where(hit, before - rate * m, free)
            for name, value in (("w", w), ("m", m), ("v", read("v")), ("rate", rate)):
                arrays[f"{t}/bounded/{name}/0"] = np.asarray(value, F).view(np.uint32)
            told["said"]["bounded"][str(t)] = said(told, t, rate, hit, m, did, totals)
    return arrays, told


def norm(x):
    return float(np.sqrt(np.sum(np.square(x.astype(np.float64)))))


def said(told, t, rate, hit, m, did, totals):
    """What `snapshot` says of such a step."""
    found = copy.deepcopy(told["said"]["cross"][str(t)])
    size = rate.size
    active = (np.abs(m) >= np.finfo(F).tiny) | np.isnan(m)
    variable = found["variables"]["0"]
    variable["clamped_frac"] = hit.sum() / size
    variable["clamped_frac_active"] = (hit & active).sum() / active.sum()
    for suffix, part in (("", rate), ("_active", rate[active])):
        finite = part[np.isfinite(part)].astype(np.float64)
        for name, share in {
            "min": 0,
            "p05": 5,
            "p25": 25,
            "p50": 50,
            "p75": 75,
            "p95": 95,
            "max": 100,
        }.items():
            variable[f"rate_{name}{suffix}"] = float(np.percentile(finite, share))
    variable["rules"] = {}
    for rule, bound, before, after in did:
        mask = (after != before) & ~np.isnan(before)
        steps = before * m, after * m
        changed = mask & (steps[0] != steps[1])
        sums = totals.setdefault(rule["id"], [0, 0, 0, 0])
        sums[:] = [
            a + b for a, b in zip(sums, (1, mask.sum(), (mask & active).sum(), changed.sum()), strict=True)
        ]
        both = np.isfinite(steps[0]) & np.isfinite(steps[1])
        variable["rules"][rule["id"]] = {
            "min": None, "max": bound, "crossed": False, "samples": sums[0],
            "clamped_frac": mask.sum() / size,
            "clamped_frac_active": (mask & active).sum() / active.sum(), "changed_frac": changed.sum() / size,
            "clamp_rel_change": norm((steps[1] - steps[0])[both]) / norm(steps[0][both]), "crossed_total": 0,
            "clamped_total": sums[1], "clamped_active_total": sums[2], "changed_total": sums[3],
        }  # fmt: skip
    return found


RULES = {
    "a window": (WINDOW,), "limits of change": (SLEW,), "a bound of steps": (STEP,), "lr0": (START,),
    "two of one quantity": (WINDOW, START), "all together": (WINDOW, START, SLEW, STEP),
}  # fmt: skip


@pytest.mark.parametrize("which", RULES)
def test_rules_that_are_obeyed_are_green(which):
    case = of(*RULES[which])
    found = judge(case, *ruled(case))
    assert (found.verdict, found.divergence, found.reason) == ("PASS_BOUND", None, None)
    assert 0.5 < found.error <= 1


def wrong(**methods):
    return type("Wrong", (Obeyed,), methods)


def _last_excluded(self, rule, t):
    return rule.get("start", 1) <= t < rule.get("end", t + 1)


def _ulp(self, rate, m, lr, t):
    rate, did = Obeyed.rate(self, rate, m, lr, t)
    out = rate.copy()
    out[8] = np.nextafter(out[8], F(1))
    return out, did


WRONG = {
    "a window that ends too soon": ((WINDOW,), wrong(inside=_last_excluded), 4),
    "one unit in the last place where no rule binds": ((WINDOW,), wrong(rate=_ulp), 1),
    "rates that are not remembered": ((SLEW,), wrong(remember=lambda self, rate: None), 2),
    "lr0 that follows the learning rate": (
        (START,), wrong(limits=lambda self, rule, t, lr: rule["max"] * lr), 4,
    ),
    "one of two bounds ignored": (
        (WINDOW, START),
        wrong(inside=lambda self, rule, t: rule["id"] != "start" and Obeyed.inside(self, rule, t)), 1,
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_a_rule_obeyed_wrongly_fails(what):
    forms, kind, step = WRONG[what]
    case = of(*forms)
    found = judge(case, *ruled(case, kind))
    assert found.verdict == "FAIL"
    assert found.divergence["run"] == "bounded" and found.divergence["step"] == step
    assert found.divergence["quantity"] == "rate"


@pytest.mark.parametrize("name", [
    "max", "clamped_frac", "clamped_frac_active", "changed_frac", "clamp_rel_change", "crossed", "samples",
    "clamped_total", "clamped_active_total", "changed_total", "crossed_total",
])  # fmt: skip
def test_what_is_said_of_a_rule_is_judged(name):
    case = of(WINDOW, START)
    arrays, told = ruled(case)
    rule = told["said"]["bounded"]["3"]["variables"]["0"]["rules"]["window"]
    rule[name] = rule[name] + {"max": 1e-6, "clamp_rel_change": 1e-3}.get(
        name, 1 if name[-1] in "dls" else 2e-2
    )
    found = judge(case, arrays, told)
    assert found.verdict == "FAIL"
    assert found.divergence["step"] == 3 and found.divergence["quantity"].startswith("snapshot ")
    if not name.endswith("frac") and name != "clamped_frac_active":  # sums are of these
        assert found.divergence["quantity"] == f"snapshot {name}"


def test_a_rule_of_which_nothing_is_said_fails():
    case = of(WINDOW)
    arrays, told = ruled(case)
    del told["said"]["bounded"]["2"]["variables"]["0"]["rules"]["window"]
    assert judge(case, arrays, told).divergence["quantity"] == "snapshot rules window"


def test_counters_begin_anew_only_where_nothing_is_in_the_checkpoint():
    def restored(*forms):
        case = dataclasses.replace(of(*forms), restore=3)
        arrays, told = ruled(case)
        at = {t: told["said"]["bounded"][t]["variables"]["0"]["rules"] for t in ("3", "4", "5", "6")}
        for t in ("4", "5", "6"):
            for name, counters in at[t].items():
                for key in ("samples", "clamped_total", "clamped_active_total", "changed_total"):
                    counters[key] -= at["3"][name][key]
        return judge(case, arrays, told)

    assert restored(WINDOW).verdict == "PASS_BOUND"
    found = restored(SLEW)
    assert found.verdict == "FAIL" and found.divergence["quantity"] == "snapshot samples"


def test_a_shadow_is_stock_and_counts():
    case = of({**WINDOW, "mode": "shadow"})
    arrays, told = ruled(of(WINDOW))
    for key in [key for key in arrays if "/bounded/" in key]:
        arrays[key] = arrays[key.replace("/bounded/", "/cross/")].copy()
    for t, words in told["said"]["bounded"].items():
        rules = words["variables"]["0"]["rules"]
        words["variables"]["0"] = {**told["said"]["cross"][t]["variables"]["0"], "rules": rules}
    found = judge(case, arrays, told)
    assert (found.verdict, found.divergence, found.reason) == ("PASS_BOUND", None, None)
    assert judge(case, *ruled(of(WINDOW))).divergence["quantity"] == "rate"


def test_several_rules_are_judged_alone_and_together():
    found = Rule.all_of([{**WINDOW, "min": None}, STEP])
    assert [(rule.id, len(rule.forms)) for rule in found] == [("window", 1), ("step", 1), ("together", 2)]
    assert [rule.id for rule in Rule.all_of([STEP])] == ["step"]
