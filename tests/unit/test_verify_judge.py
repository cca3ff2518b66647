"""The judge, on records that NumPy makes: Adam in float32, and Adam with one thing wrong.

No TensorFlow: the implementation below has the operations of Keras 3's Adam in their order, so
that each way of being wrong is known, and so is what the judge has to call it.
"""

import copy
import dataclasses
import functools

import numpy as np
import pytest

from adampatch.verify.cases import Case, Optimizer, gradients, initial
from adampatch.verify.formats import FORMATS
from adampatch.verify.judge import judge
from adampatch.verify.plan import planned

KERAS3 = Optimizer("keras.optimizers.Adam", "keras3", "Adam")
F = np.float32


def case_named(end, optimizer=KERAS3):
    return next(c for c in planned([optimizer]) if c.id.endswith(end))


PLAIN, CLAMPED = case_named("Adam/float32/eager"), case_named("Adam/float32/eager/clamped")


class Adam:
    """One step of Adam in float32. A subclass gets one thing wrong."""

    beta_1, beta_2, epsilon = F(0.9), F(0.999), F(1e-7)
    one_minus_1, one_minus_2 = F(1 - 0.9), F(1 - 0.999)

    def alpha(self, lr, t):
        p1, p2 = self.beta_1 ** F(t), self.beta_2 ** F(t)
        return F(F(lr * np.sqrt(F(1) - p2)) / F(F(1) - p1))

    def first(self, m, g):
        return m + (g - m) * self.one_minus_1

    def second(self, v, g):
        return v + (g * g - v) * self.one_minus_2

    def root(self, v):
        return np.sqrt(v) + self.epsilon

    def bounded(self, rate, low, high):
        return np.where(np.isfinite(rate), np.clip(rate, low, high), rate)

    def update(self, m, alpha, root):
        return (m * alpha) / root

    def step(self, w, m, v, g, lr, t, bounds=None):
        """(w, m, v, rate as it was used, alpha)."""
        alpha = self.alpha(F(lr), t)
        m, v = self.first(m, g), self.second(v, g)
        root = self.root(v)
        rate, update = alpha / root, self.update(m, alpha, root)
        if bounds is not None:
            clipped = self.bounded(rate, *map(F, bounds))
            hit = (clipped != rate) & ~np.isnan(rate)
            rate, update = clipped, np.where(hit, clipped * m, update)
        return w - update, m, v, rate, alpha


def recorded(case, stock, ours):
    """(arrays, told) as the worker writes them."""
    arrays, told = {}, {"rates": {}, "said": {"cross": {}}, "refused": "ValueError"}
    starts = [w.astype(F) for w in initial(case)]
    states = {"stock": [(w, 0 * w, 0 * w) for w in starts]}
    states["free"] = states["stock"]

    def note(t, run, values):
        for i, state in enumerate(values):
            for name, array in zip(("w", "m", "v", "rate"), state, strict=False):
                arrays[f"{t}/{run}/{name}/{i}"] = np.asarray(array, F).view(np.uint32)

    note(0, "stock", states["stock"])
    with np.errstate(all="ignore"):
        for t, grads in enumerate(gradients(case), start=1):
            grads = [g.astype(F) for g in grads]
            for i, g in enumerate(grads):
                arrays[f"{t}/g/{i}"] = g.view(np.uint32)
            lr = case.rates[t - 1]
            told["rates"][str(t)] = lr
            before = states["stock"]

            def all_of(who, states, bounds=None, grads=grads, lr=lr, t=t):
                return [who.step(*state, g, lr, t, bounds) for state, g in zip(states, grads, strict=True)]

            cross = all_of(ours, before)
            note(t, "cross", cross)
            for run, who in (("stock", stock), ("free", ours)):
                done = all_of(who, states[run])
                states[run] = [state[:3] for state in done]
                note(t, run, states[run])
            if case.bounds is not None:
                bounded = [
                    ours.step(*state, g, lr, t, case.bounds_of(i))
                    for i, (state, g) in enumerate(zip(before, grads, strict=True))
                ]
                note(t, "bounded", bounded)
    for run in ("cross", "bounded") if case.bounds is not None else ("cross",):
        told["said"][run] = {t: counted(case, arrays, told, ours, run, t) for t in told["rates"]}
    if case.emit != "tensor":
        loud = "bounded" if case.bounds is not None else "cross"
        for key in [key for key in arrays if f"/{loud}/" in key and "/rate/" not in key]:
            arrays[key.replace(f"/{loud}/", "/quiet/")] = arrays[key].copy()
        sampled = {t: str(int(t) - (int(t) - 1) % case.every) for t in told["rates"]}
        quiet = {t: copy.deepcopy(told["said"][loud][sampled[t]]) for t in sampled}
        told["said"]["quiet"] = quiet if case.emit == "stats" else {t: {"ran": int(t)} for t in quiet}
    return arrays, told


def counted(case, arrays, told, who, run, t):
    """What `snapshot` would say of a step, counted element by element."""
    variables = {}
    for i, shape in enumerate(case.shapes):
        raw, rate, m = (
            arrays[f"{t}/{of}/{name}/{i}"].view(F).reshape(-1)
            for of, name in (("cross", "rate"), (run, "rate"), (run, "m"))
        )
        size, active = int(np.prod(shape)), np.abs(m) >= np.finfo(F).tiny
        active |= np.isnan(m)
        hit = [bool(a != b) and bool(np.isfinite(a)) for a, b in zip(raw, rate, strict=True)]
        if case.mode == "xla" and run == "bounded":
            hit = [float(x) in map(float, map(F, case.bounds)) for x in rate]
        said_of = {"clamped_frac": sum(hit) / max(size, 1), "elements": size}
        said_of["nonfinite"] = sum(not np.isfinite(x) for x in raw)
        said_of["active_frac"] = sum(active) / max(size, 1)
        both = sum(h and a for h, a in zip(hit, active, strict=True))
        said_of["clamped_frac_active"] = both / max(sum(active), 1)
        for suffix, part in (("", rate), ("_active", rate[active])):
            finite = sorted(float(x) for x in part if np.isfinite(x))
            for name, share in {
                "min": 0,
                "p05": 5,
                "p25": 25,
                "p50": 50,
                "p75": 75,
                "p95": 95,
                "max": 100,
            }.items():
                said_of[f"rate_{name}{suffix}"] = np.percentile(finite, share) if finite else np.nan
        variables[str(i)] = said_of
    lr = told["rates"][t]
    alpha = float(who.alpha(F(lr), int(t)))
    return {"step": int(t), "ran": int(t), "lr": lr, "alpha": alpha, "variables": variables}


def verdict_of(case, ours, stock=None):
    return judge(case, *recorded(case, stock or Adam(), ours))


@pytest.mark.parametrize("seed", range(5))
def test_correct_code_is_green(seed):
    plain = verdict_of(dataclasses.replace(PLAIN, seed=seed), Adam())
    assert plain.verdict == "PASS_BITWISE" and plain.divergence is None
    assert 0.5 < plain.error <= 1
    assert plain.vacuous < 0.2
    clamped = verdict_of(dataclasses.replace(CLAMPED, seed=seed), Adam())
    assert clamped.verdict == "PASS_BOUND" and clamped.divergence is None


def wrong(**methods):
    return type("Wrong", (Adam,), methods)()


class Stale(Adam):
    """Steps with the second moment of the step before."""

    def step(self, w, m, v, g, lr, t, bounds=None):
        new = super().step(w, m, v, g, lr, t, bounds)
        alpha = self.alpha(F(lr), t)
        root = self.root(v)
        return (w - self.update(new[1], alpha, root), new[1], new[2], alpha / root, alpha)


def off_by(relative):
    return wrong(alpha=lambda self, lr, t: F(Adam.alpha(self, lr, t) * F(1 + relative)))


MUTANTS = {
    "the learning rate off by 1e-3": (off_by(1e-3), "alpha"),
    "the learning rate off by 1e-4": (off_by(1e-4), "alpha"),
    "the learning rate off by 1e-5": (off_by(1e-5), "alpha"),
    "the learning rate off by 1e-6": (off_by(1e-6), "alpha"),
    "no bias correction": (wrong(alpha=lambda self, lr, t: lr), "alpha"),
    "the step count off by one": (wrong(alpha=lambda self, lr, t: Adam.alpha(self, lr, t + 1)), "alpha"),
    "the first moment without 1 - beta": (wrong(first=lambda self, m, g: m * self.beta_1 + g), "m"),
    "betas exchanged": (
        wrong(one_minus_1=Adam.one_minus_2, one_minus_2=Adam.one_minus_1),
        "m",
    ),
    "1 - beta from the rounded beta": (wrong(one_minus_1=F(1) - F(0.9)), "m"),
    "the gradient through float16": (
        wrong(first=lambda self, m, g: Adam.first(self, m, g.astype(np.float16).astype(F))),
        "m",
    ),
    "epsilon inside the root": (wrong(root=lambda self, v: np.sqrt(v + self.epsilon)), "rate"),
    "epsilon squared": (wrong(root=lambda self, v: np.sqrt(v) + self.epsilon**2), "rate"),
    "epsilon dropped": (wrong(root=lambda self, v: np.sqrt(v)), "rate"),
    "epsilon 1e-8": (wrong(epsilon=F(1e-8)), "rate"),
    "the sign": (wrong(update=lambda self, m, alpha, root: -Adam.update(self, m, alpha, root)), "w"),
    "a moment taken twice": (
        wrong(update=lambda self, m, alpha, root: Adam.update(self, m * m, alpha, root)),
        "w",
    ),
    "a stale second moment": (Stale(), "rate"),
}


@pytest.mark.parametrize("what", MUTANTS)
def test_patched_code_with_one_thing_wrong_fails(what):
    mutant, quantity = MUTANTS[what]
    # to the bit ...
    found = verdict_of(PLAIN, mutant)
    assert found.verdict == "FAIL"
    # ... and by the bound alone, where the bits may differ
    found = verdict_of(dataclasses.replace(PLAIN, bitwise=False), mutant)
    assert found.verdict == "FAIL"
    assert found.divergence["quantity"] == quantity
    assert found.divergence["step"] == 1 or what == "a moment taken twice"
    assert found.divergence["error_over_bound"] > 1


CLAMPS = {
    "low only": wrong(bounded=lambda self, rate, low, high: np.maximum(rate, low)),
    "high only": wrong(bounded=lambda self, rate, low, high: np.minimum(rate, high)),
    "off by 1e-6": wrong(
        bounded=lambda self, rate, low, high: Adam.bounded(self, rate, low, high * F(1 + 1e-6))
    ),
    "NaN made finite": wrong(bounded=lambda self, rate, low, high: np.clip(np.nan_to_num(rate), low, high)),
}


@pytest.mark.parametrize("what", CLAMPS)
def test_a_rule_not_obeyed_fails(what):
    found = verdict_of(CLAMPED, CLAMPS[what])
    assert found.verdict == "FAIL"
    assert found.divergence["run"] == "bounded" and found.divergence["quantity"] == "rate"


def test_a_clamp_applied_everywhere_fails():
    class Everywhere(Adam):
        def step(self, w, m, v, g, lr, t, bounds=None):
            w2, m, v, rate, alpha = super().step(w, m, v, g, lr, t, bounds)
            return (w2 if bounds is None else w - rate * m), m, v, rate, alpha

    found = verdict_of(CLAMPED, Everywhere())
    assert found.verdict == "FAIL"
    assert found.divergence == found.divergence | {"quantity": "w", "clamped": False}


def test_a_clamp_on_the_update_and_not_the_rate_fails():
    class OnTheUpdate(Adam):
        def step(self, w, m, v, g, lr, t, bounds=None):
            w2, m, v, rate, alpha = super().step(w, m, v, g, lr, t, bounds)
            return (w2 if bounds is None else w - np.clip(w - w2, *map(F, bounds))), m, v, rate, alpha

    assert verdict_of(CLAMPED, OnTheUpdate()).verdict == "FAIL"


def test_a_slot_moved_by_a_rule_fails():
    class Moves(Adam):
        def step(self, w, m, v, g, lr, t, bounds=None):
            w, m, v, rate, alpha = super().step(w, m, v, g, lr, t, bounds)
            return w, m, (v if bounds is None else np.nextafter(v, F(1))), rate, alpha

    found = verdict_of(CLAMPED, Moves())
    assert found.verdict == "FAIL" and found.divergence["quantity"] == "v"


def test_a_rule_that_never_binds_shows_nothing():
    found = verdict_of(dataclasses.replace(CLAMPED, bounds=(0.0, 1e30)), Adam())
    assert found.verdict == "INCONCLUSIVE" and "out of bounds" in found.reason


def test_one_ulp_is_a_difference():
    class Ulp(Adam):
        def step(self, w, m, v, g, lr, t, bounds=None):
            w, *rest = super().step(w, m, v, g, lr, t, bounds)
            return (np.nextafter(w, F(np.inf)) if w.shape == (7,) and t == 2 else w), *rest

    found = verdict_of(PLAIN, Ulp())
    assert found.verdict == "FAIL" and found.ulps >= 1
    assert found.divergence["step"] == 2 and found.divergence["variable"] == PLAIN.shapes.index((7,))
    # one more rounding than the formula has: even that is outside of the bound
    assert verdict_of(dataclasses.replace(PLAIN, bitwise=False), Ulp()).verdict == "FAIL"


def test_another_order_of_operations_is_within_the_bound():
    rate_first = wrong(update=lambda self, m, alpha, root: m * (alpha / root))
    found = verdict_of(PLAIN, rate_first)
    assert found.verdict == "FAIL" and found.divergence["quantity"] == "w"
    found = verdict_of(dataclasses.replace(PLAIN, bitwise=False), rate_first)
    assert found.verdict == "PASS_BOUND" and found.error <= 1


def test_a_state_that_is_not_kept_is_found_by_the_free_run():
    arrays, told = recorded(PLAIN, Adam(), Adam())
    arrays["3/free/m/0"] = arrays["2/free/m/0"]
    found = judge(PLAIN, arrays, told)
    assert found.verdict == "FAIL"
    assert found.divergence["run"] == "free" and found.divergence["quantity"] == "m"


@pytest.mark.parametrize("what", ["epsilon inside the root", "a moment taken twice", "betas exchanged"])
def test_stock_outside_of_its_bound_invalidates_the_model(what):
    mutant, _ = MUTANTS[what]
    assert verdict_of(PLAIN, mutant, stock=mutant).verdict == "MODEL_INVALID"


def test_an_optimizer_that_stands_still_shows_nothing():
    still = wrong(alpha=lambda self, lr, t: F(0))
    found = verdict_of(dataclasses.replace(PLAIN, rates=(0.0,) * PLAIN.steps), still, stock=still)
    assert found.verdict == "INCONCLUSIVE" and "does not move" in found.reason


def test_without_a_reference_only_bits_are_compared():
    unknown = dataclasses.replace(PLAIN, optimizer=Optimizer("x.Unknown", "keras3", "Unknown"), bitwise=False)
    assert verdict_of(unknown, Adam()).verdict == "PASS_BITWISE"
    assert verdict_of(unknown, off_by(1e-6)).verdict == "FAIL"


def test_the_plan_is_deterministic_and_its_ids_unique():
    optimizers = [
        Optimizer(f"{family}.{name}", family, name)
        for family in ("keras3", "keras2", "v2")
        for name in ("Adam", "AdamW", "Nadam", "Adamax", "Lamb")
    ]
    cases = planned(optimizers, devices=("CPU:0", "GPU:0"), seed=3)
    assert cases == planned(optimizers, devices=("CPU:0", "GPU:0"), seed=3)
    assert len({case.id for case in cases}) == len(cases)
    case = next(c for c in cases if c.layout == "dense")
    for left, right in zip(gradients(case), gradients(case), strict=True):
        for a, b in zip(left, right, strict=True):
            np.testing.assert_array_equal(a, b)
    assert len(planned(optimizers, quick=True)) < len(cases) / 4


@pytest.mark.parametrize("dtype", sorted(FORMATS))
def test_every_regime_is_in_the_gradients(dtype):
    case = Case("x", KERAS3, {}, dtype, "eager")
    first = gradients(case)[0][0]
    tiny, normal = np.median(np.abs(first[1::8])), np.median(np.abs(first[0::8]))
    assert tiny < normal / 100
    assert np.all(first[4::8] == 0)
    assert np.ptp(np.log10(np.abs(first[2::8]))) > 2
    assert 0 < np.max(np.abs(first[7::8])) < 2 * FORMATS[dtype].smallest
    fourth = gradients(case)[3][0]
    assert np.isnan(fourth).any() and np.isinf(fourth).any()


def without_rates(case, run):
    arrays, told = recorded(case, Adam(), Adam())
    return {key: bits for key, bits in arrays.items() if f"/{run}/rate" not in key}, told


@pytest.mark.parametrize("run", ["cross", "bounded"])
def test_a_rate_that_is_not_emitted_fails(run):
    found = judge(CLAMPED, *without_rates(CLAMPED, run))
    assert found.verdict == "FAIL"
    assert found.divergence["quantity"] == "rate" and found.divergence["observed"] == "not emitted"


def test_without_a_reference_a_case_that_emits_nothing_shows_nothing():
    unknown = dataclasses.replace(PLAIN, optimizer=Optimizer("x.Unknown", "keras3", "Unknown"))
    found = judge(unknown, *without_rates(unknown, "cross"))
    assert found.verdict == "INCONCLUSIVE" and found.reason == "no rate was emitted"


def test_under_xla_a_rule_is_judged_by_bounds_and_balls():
    """There the raw rate of a step may be rounded otherwise with a rule than without."""
    xla = dataclasses.replace(CLAMPED, mode="xla", emit="tensor", outside=())

    class Contracted(Adam):
        """Under a rule the second moment is rounded once, as fused multiply-adds do."""

        def step(self, w, m, v, g, lr, t, bounds=None):
            wide = functools.partial(np.asarray, dtype=np.float64)
            fused = wrong(
                second=lambda self, v, g: (v + (wide(g) * g - v) * wide(self.one_minus_2)).astype(F)
            )
            return (Adam() if bounds is None else fused).step(w, m, v, g, lr, t, bounds)

    assert verdict_of(CLAMPED, Contracted()).verdict == "FAIL"
    assert verdict_of(xla, Contracted()).verdict == "PASS_BOUND"
    assert verdict_of(xla, CLAMPS["low only"]).verdict == "FAIL"
    off = wrong(bounded=lambda self, rate, low, high: Adam.bounded(self, rate * F(1 + 1e-5), low, high))
    found = verdict_of(xla, off)
    assert found.verdict == "FAIL" and found.divergence["quantity"] == "rate"


@pytest.mark.parametrize("run", ["cross", "bounded"])
def test_a_race_fails_however_the_bits_came_out(run):
    arrays, told = recorded(CLAMPED, Adam(), Adam())
    told["races"] = {"cross": [], "bounded": [], run: [("v/2", "read", "write")]}
    found = judge(CLAMPED, arrays, told)
    assert found.verdict == "FAIL"
    assert found.divergence["quantity"] == "v" and found.divergence["variable"] == 2
    assert "read may come before or after write" in found.divergence["observed"]


@pytest.mark.parametrize("what", MUTANTS)
def test_bits_that_differ_are_blamed_on_the_first_quantity_in_dataflow_order(what):
    mutant, quantity = MUTANTS[what]
    assert verdict_of(PLAIN, mutant).divergence["quantity"] == quantity


def test_a_slot_is_blamed_before_the_rate_that_comes_of_it():
    class Moves(Adam):
        def second(self, v, g):
            return super().second(v, g) + np.spacing(v) * (np.abs(v) > 0)

    class Bounded(Adam):
        def step(self, w, m, v, g, lr, t, bounds=None):
            return (Adam() if bounds is None else Moves()).step(w, m, v, g, lr, t, bounds)

    assert verdict_of(CLAMPED, Bounded()).divergence["quantity"] == "v"


@pytest.mark.parametrize("run", ["cross", "bounded", "quiet"])
@pytest.mark.parametrize(
    "name",
    ["clamped_frac", "clamped_frac_active", "active_frac", "nonfinite", "elements", "rate_min", "rate_p50",
     "rate_p25_active", "rate_max_active"],
)  # fmt: skip
def test_a_statistic_that_is_off_by_one_element_fails(name, run):
    arrays, told = recorded(CLAMPED, Adam(), Adam())
    assert judge(CLAMPED, arrays, told).verdict == "PASS_BOUND"
    told["said"][run]["3"]["variables"]["0"][name] += 1 / 1023
    found = judge(CLAMPED, arrays, told)
    assert found.verdict == "FAIL"
    wanted = {"run": run, "quantity": f"snapshot {name}", "step": 3, "variable": 0}
    assert found.divergence == found.divergence | wanted


@pytest.mark.parametrize("run", ["cross", "bounded", "quiet"])
@pytest.mark.parametrize("name", ["step", "lr", "alpha"])
def test_a_step_that_is_told_of_another_fails(name, run):
    arrays, told = recorded(CLAMPED, Adam(), Adam())
    told["said"][run]["4"][name] = told["said"][run]["3"][name]
    found = judge(CLAMPED, arrays, told)
    assert found.verdict == "FAIL" and found.divergence["run"] == run
    assert found.divergence["quantity"] in (name, f"snapshot {name}")


def test_a_statistic_of_elements_that_may_be_flushed_is_either():
    """A subnormal moment is no 0, and an operation that flushes it takes it for one."""
    arrays, told = recorded(PLAIN, Adam(), Adam())
    m = arrays["1/cross/m/0"].view(F)
    assert np.sum((m != 0) & (np.abs(m) < np.finfo(F).tiny)) > 100
    told["said"]["cross"]["1"]["variables"]["0"]["active_frac"] = float(np.sum(m != 0)) / 1023
    assert judge(PLAIN, arrays, told).verdict == "PASS_BITWISE"
    told["said"]["cross"]["1"]["variables"]["0"]["active_frac"] += 1 / 1023
    assert judge(PLAIN, arrays, told).divergence["quantity"] == "snapshot active_frac"


@pytest.mark.parametrize("case", [PLAIN, CLAMPED], ids=["plain", "clamped"])
@pytest.mark.parametrize("emit", ["stats", "off"])
def test_where_less_is_emitted_the_bits_are_the_same(case, emit):
    case = dataclasses.replace(case, emit=emit)
    arrays, told = recorded(case, Adam(), Adam())
    assert judge(case, arrays, told).verdict in ("PASS_BITWISE", "PASS_BOUND")
    arrays["3/quiet/v/0"].reshape(-1)[5] ^= 1
    found = judge(case, arrays, told)
    assert found.verdict == "FAIL"
    assert (found.divergence["run"], found.divergence["quantity"]) == ("quiet", "v")


def test_one_update_in_three_is_sampled_from_the_first_on():
    arrays, told = recorded(CLAMPED, Adam(), Adam())
    assert CLAMPED.every == 3
    for t in ("2", "3", "5"):  # as if these had been
        one = copy.deepcopy(told)
        one["said"]["quiet"][t] = one["said"]["bounded"][t]
        found = judge(CLAMPED, arrays, one)
        assert found.verdict == "FAIL" and found.divergence["step"] == int(t)
        assert found.divergence["quantity"] == "snapshot step"


@pytest.mark.parametrize("emit", ["stats", "off"])
def test_what_is_off_says_nothing(emit):
    case = dataclasses.replace(CLAMPED, emit=emit)
    arrays, told = recorded(case, Adam(), Adam())
    arrays["2/quiet/rate/0"] = arrays["2/bounded/rate/0"]
    found = judge(case, arrays, told)
    assert found.verdict == "FAIL" and found.divergence["quantity"] == "rate"
    del arrays["2/quiet/rate/0"]
    told["said"]["quiet"]["2"] = {"ran": 2} if emit == "stats" else told["said"]["bounded"]["1"]
    found = judge(case, arrays, told)
    assert found.verdict == "FAIL" and found.divergence["quantity"] == "snapshot"


def test_a_variable_that_a_rule_does_not_match_is_stocks():
    assert CLAMPED.outside

    class Everywhere(Adam):
        """Takes the rule for every variable's."""

        def step(self, w, m, v, g, lr, t, bounds=None):
            bounds = CLAMPED.bounds if self.ruled else None
            return super().step(w, m, v, g, lr, t, bounds)

    arrays, told = recorded(CLAMPED, Adam(), Adam())
    Everywhere.ruled = True
    inside = dataclasses.replace(CLAMPED, outside=())
    other, _ = recorded(inside, Adam(), Adam())
    name = f"1/bounded/rate/{CLAMPED.outside[-1]}"
    assert np.any(arrays[name] != other[name])
    arrays[name] = other[name]
    found = judge(CLAMPED, arrays, told)
    assert found.verdict == "FAIL"
    assert found.divergence == found.divergence | {"quantity": "rate", "variable": CLAMPED.outside[-1]}


def test_rules_that_match_nothing_have_to_be_refused():
    arrays, told = recorded(CLAMPED, Adam(), Adam())
    found = judge(CLAMPED, arrays, dict(told, refused=None))
    assert found.verdict == "FAIL" and found.divergence["quantity"] == "rules"


@pytest.mark.parametrize("what", ["warned", "untracked"])
def test_a_correct_patch_warns_of_nothing_and_adds_no_variable(what):
    arrays, told = recorded(PLAIN, Adam(), Adam())
    found = judge(PLAIN, arrays, dict(told, **{what: ["words"]}))
    assert found.verdict == "FAIL" and found.divergence["observed"] == "words"


GRAPH = dataclasses.replace(CLAMPED, mode="graph")


def graphed():
    """The record of a v1 graph, with the tensors that are fetched there."""
    arrays, told = recorded(GRAPH, Adam(), Adam())
    for t in range(1, GRAPH.steps + 1):
        for i in range(len(GRAPH.shapes)):
            raw = arrays[f"{t}/cross/rate/{i}"].view(F)
            before = arrays[f"{t - 1}/stock/w/{i}"].view(F)
            for run in ("cross", "bounded"):
                used, after = (arrays[f"{t}/{run}/{name}/{i}"].view(F) for name in ("rate", "w"))
                arrays[f"{t}/{run}/clamped/{i}"] = (raw != used) & np.isfinite(raw)
                with np.errstate(all="ignore"):
                    arrays[f"{t}/{run}/update/{i}"] = np.asarray(before - after, F).view(np.uint32)
            for name in ("rate", "clamped", "update"):
                arrays[f"{t}/quiet/{name}/{i}"] = arrays[f"{t}/bounded/{name}/{i}"].copy()
    for steps in told["said"].values():
        for t in steps:
            steps[t] = {"alpha": float(Adam().alpha(F(told["rates"][t]), int(t))), "ran": int(t)}
    return arrays, told


@pytest.mark.parametrize("run", ["cross", "bounded", "quiet"])
def test_a_mask_of_a_graph_that_misses_an_element_fails(run):
    arrays, told = graphed()
    assert judge(GRAPH, arrays, told).verdict == "PASS_BOUND"
    arrays[f"2/{run}/clamped/0"][0] ^= True
    found = judge(GRAPH, arrays, told)
    assert found.verdict == "FAIL" and found.divergence["quantity"] == "clamped"


@pytest.mark.parametrize("run", ["cross", "bounded", "quiet"])
def test_an_update_of_a_graph_that_is_not_what_was_subtracted_fails(run):
    arrays, told = graphed()
    arrays[f"2/{run}/update/0"] = arrays[f"1/{run}/update/0"]
    found = judge(GRAPH, arrays, told)
    assert found.verdict == "FAIL" and found.divergence["quantity"] == "update"


def test_a_rate_that_is_the_bound_itself_may_be_free_or_bounded_where_roundings_differ():
    """In few bits a rate may be the bound by itself; under XLA nothing tells whether it was clamped."""
    xla = dataclasses.replace(CLAMPED, mode="xla", emit="tensor", outside=())
    arrays, told = recorded(xla, Adam(), Adam())
    at = 0
    rate = float(arrays["1/cross/rate/0"].view(F)[at])
    xla = dataclasses.replace(xla, bounds=(rate, 1e30))
    arrays, told = recorded(xla, Adam(), Adam())
    assert judge(xla, arrays, told).verdict == "PASS_BOUND"
    m = arrays["1/bounded/m/0"].view(F)[at]
    w = arrays["0/stock/w/0"].view(F)[at]
    arrays["1/bounded/w/0"].view(F)[at] = w - F(rate) * m  # as a clamp would have it
    assert judge(xla, arrays, told).verdict == "PASS_BOUND"
    arrays["1/bounded/w/0"].view(F)[at] = w - F(rate) * m * F(1 + 1e-4)
    assert judge(xla, arrays, told).verdict == "FAIL"
