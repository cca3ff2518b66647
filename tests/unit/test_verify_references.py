"""References of TensorFlow Addons' optimizers, and of Keras' first ones (`get_updates`), against the
papers' formulas in plain float64, and float32 trainings of the same formulas within the balls."""

import numpy as np
import pytest

from adampatch.verify.ball import Field
from adampatch.verify.catalogue import VARIANTS, reference_of
from adampatch.verify.formats import FORMATS
from adampatch.verify.references import Gradient, Hyper

BASE = {"beta_1": 0.9, "beta_2": 0.99, "epsilon": 1e-7}
WARM_UP = {"total_steps": 6, "warmup_proportion": 0.5, "min_lr": 1e-3}


class Formula:
    """The update of the papers, all in the number type ``F``; state and step are kept."""

    def __init__(self, F, options, w):
        self.F, self.o = F, {**BASE, **options}
        self.t, self.w = 0, w.astype(F)
        self.m, self.v, self.vhat = (np.zeros_like(self.w) for _ in range(3))

    def number(self, name, default=0.0):
        # hyper-parameters reach the format through float32
        return self.F(np.float32(self.o.get(name, default)))

    def moments(self, g):
        F, b1, b2 = self.F, self.number("beta_1"), self.number("beta_2")
        self.t += 1
        self.m = b1 * self.m + (F(1) - b1) * g
        self.v = b2 * self.v + (F(1) - b2) * self.second(g)
        self.c1, self.c2 = F(1) - b1 ** F(self.t), F(1) - b2 ** F(self.t)

    def second(self, g):
        return g * g

    def adaptive(self):
        v = self.v
        if self.o.get("amsgrad"):
            v = self.vhat = np.maximum(self.vhat, v)
        return np.sqrt(v / self.c2) + self.F(np.float32(self.o["epsilon"]))

    def pull(self):
        return self.number("weight_decay") * self.w


class RectifiedAdam(Formula):
    def rectification(self):
        F, b2, t = self.F, self.number("beta_2"), self.F(self.t)
        end = F(2) / (F(1) - b2) - F(1)
        length = end - F(2) * t * b2**t / self.c2
        if length < 5:
            return None
        return np.sqrt((length - F(4)) / (end - F(4)) * (length - F(2)) / (end - F(2)) * end / length)

    def rate(self, lr):
        F, total = self.F, self.number("total_steps")
        if not total:
            return lr
        warm, t = total * self.number("warmup_proportion"), F(self.t)
        if t <= warm:
            return lr * (t / warm)
        left = max(total - warm, F(1))
        return lr + (self.number("min_lr") - lr) / left * min(t - warm, left)

    def step(self, g, lr):
        self.moments(g)
        factor = self.rectification() if self.o.get("rectify", True) else self.F(1)
        ahead = self.m / self.c1
        ahead = ahead if factor is None else factor * ahead / self.adaptive()
        if factor is None and self.o.get("amsgrad"):
            self.adaptive()
        self.w = self.w - self.rate(lr) * (ahead + self.pull())


class AdaBelief(RectifiedAdam):
    def moments(self, g):
        before = self.v
        super().moments(g)
        F, b2 = self.F, self.number("beta_2")
        self.v = b2 * before + (F(1) - b2) * (g - self.m) ** 2 + F(np.float32(self.o["epsilon"]))


class LAMB(Formula):
    def step(self, g, lr):
        self.moments(g)
        ahead = self.m / self.c1 / self.adaptive() + self.pull()
        norms = (np.sqrt(np.sum(x * x)) for x in (self.w, ahead))
        weights, norm = norms
        ratio = weights / norm if weights > 0 and norm > 0 else self.F(1)
        self.w = self.w - ratio * lr * ahead


class AdamW(Formula):
    def step(self, g, lr):
        self.moments(g)
        alpha = lr * np.sqrt(self.c2) / self.c1
        root = np.sqrt(self.v) + self.F(np.float32(self.o["epsilon"]))
        self.w = (self.w - self.pull()) - alpha * self.m / root


class Adam(Formula):
    def step(self, g, lr):
        self.moments(g)
        v = self.v
        if self.o.get("amsgrad"):
            v = self.vhat = np.maximum(self.vhat, v)
        root = np.sqrt(v) + self.F(np.float32(self.o["epsilon"]))
        self.w = self.w - lr * (np.sqrt(self.c2) / self.c1) * self.m / root


class Adamax(Formula):
    def step(self, g, lr):
        self.moments(g)
        self.u = np.maximum(self.number("beta_2") * getattr(self, "u", 0 * g), np.abs(g))
        self.w = self.w - lr / self.c1 * self.m / (self.u + self.F(np.float32(self.o["epsilon"])))


FORMULAS = {("v2", cls.__name__): cls for cls in (RectifiedAdam, AdaBelief, LAMB, AdamW)}
FORMULAS |= {("get_updates", cls.__name__): cls for cls in (Adam, Adamax)}
CASES = [(key, variant) for key in FORMULAS for variant in VARIANTS[key[1]]]
IDS = [f"{family}-{name}-{variant}" for (family, name), variant in CASES]


def trained(key, variant, dtype, steps=9):
    """(the balls, the formula in the format) after each step, each step from the formula's state."""
    family, name = key
    options = {**BASE, **VARIANTS[name][variant]}
    rng = np.random.default_rng(3)
    start = rng.standard_normal(31)
    field, F = Field(FORMATS[dtype]), np.dtype(dtype).type
    formula = FORMULAS[key](F, options, start)
    reference = reference_of(family, name)
    for t in range(1, steps + 1):
        g = rng.standard_normal(31).astype(F)
        states = {"w": formula.w, "m": formula.m, "v": formula.v}
        if options.get("amsgrad"):
            states["vhat"] = formula.vhat
        if name == "Adamax":
            states["u"] = getattr(formula, "u", 0 * formula.w)
        before = {key: field.exact(value) for key, value in states.items()}
        exact = field.exact(g)
        gradient = Gradient(exact, exact * exact, exact.abs())
        wanted = reference(before, gradient, Hyper(field, family, t, np.float32(0.01), options))
        formula.step(g, F(np.float32(0.01)))
        yield wanted, formula


@pytest.mark.parametrize(("key", "variant"), CASES, ids=IDS)
def test_the_midpoint_is_the_papers_formula(key, variant):
    for wanted, formula in trained(key, variant, "float64"):
        for quantity in {"m", "v", "u", "w"} & set(wanted):
            np.testing.assert_allclose(
                wanted[quantity].mid.astype(float), getattr(formula, quantity), rtol=1e-11, atol=1e-13
            )


@pytest.mark.parametrize(("key", "variant"), CASES, ids=IDS)
def test_float32_lies_in_the_balls_and_they_are_no_wider_than_they_must_be(key, variant):
    shares, told = [], 0
    for wanted, formula in trained(key, variant, "float32"):
        excess = wanted["w"].excess(formula.w.astype(np.float64))
        shares.append(float(np.max(excess)))
        told += bool(np.all(np.isfinite(wanted["w"].rad)))
    assert max(shares) <= 1
    assert max(shares) > 0.2
    assert told >= 8, "no more than one step may leave open whether it is rectified"


@pytest.mark.parametrize(("key", "variant"), CASES, ids=IDS)
def test_the_separated_form_is_the_update(key, variant):
    """``w - (rate * direction + decay)`` from the parts is the new variable."""
    w = np.random.default_rng(3).standard_normal(31)
    for wanted, formula in trained(key, variant, "float64"):
        base = wanted["base"].mid if "base" in wanted else w
        decay = wanted["decay"].mid if "decay" in wanted else 0
        stepped = base - (wanted["rate"].mid * wanted["direction"].mid + decay)
        np.testing.assert_allclose(
            stepped.astype(float), wanted["w"].mid.astype(float), rtol=1e-10, atol=1e-12
        )
        w = formula.w
