"""Adam under rules in float64, from the normal form of rules, written apart from the run time.

One step at a time from given states: m, v and the variable before, the gradient, alpha, learning rates.
"""

import numpy as np

U = 2.0**-24  # unit round-off of float32


def bound(given, t):
    """A bound of the normal form at update `t`."""
    if not isinstance(given, dict):
        return float(given)
    kind = given["kind"]
    if kind == "adabound":
        final, gamma = given["final"], given["gamma"]
        if given["side"] == "lower":
            return final * (1 - 1 / (gamma * t + 1))
        return final * (1 + 1 / (gamma * t))
    if kind == "piecewise":
        for boundary, value in zip(given["boundaries"], given["values"], strict=False):
            if t <= boundary:
                return value
        return given["values"][-1]
    share = min(max((t - given["start"]) / (given["end"] - given["start"]), 0.0), 1.0)
    if kind == "linear":
        return given["from"] * (1 - share) + given["to"] * share
    return given["from"] ** (1 - share) * given["to"] ** share


class Start:
    """The learning rate at the start: that of the first update, or the top of the rise from there."""

    def __init__(self):
        self.value, self.over = 0.0, False

    def see(self, lr):
        if not self.over and lr > self.value:
            self.value = lr
        elif self.value > 0:
            self.over = True
        return self.value


def rms(x):
    return float(np.sqrt(np.mean(np.square(x))))


class Oracle:
    """Rules (normal form dicts) on one variable.

    step(): (new variable, rate that was applied, greatest allowed error of the variable).
    """

    def __init__(self, rules, beta_1=0.9, beta_2=0.999, epsilon=1e-7):
        self.rules, self.b1, self.b2, self.epsilon = rules, beta_1, beta_2, epsilon
        self.previous = None
        self.bound_rises = 0

    def limits(self, rule, t, lr, lr0, alpha):
        if not rule.get("start", 1) <= t <= rule.get("end", np.inf):
            return 0.0, np.inf
        low, high = (rule.get(side) for side in ("min", "max"))
        relative = rule.get("relative_to", "absolute")
        lr0 = rule.get("lr0", lr0)
        factor = {"absolute": 1.0, "lr": lr, "lr0": lr0, "alpha": alpha}.get(relative)
        if factor is None:
            factor = lr / lr0 if lr0 else 0.0
        if rule.get("convention") == "corrected":
            factor /= 1 - self.b1**t
        return (
            0.0 if low is None else bound(low, t) * factor,
            np.inf if high is None else bound(high, t) * factor,
        )

    def within(self, quantity, t, lr, lr0, alpha):
        """(greatest min, least max) of the enforced rules on a quantity, None where there is no rule."""
        found = [r for r in self.rules if r["quantity"] == quantity and r.get("mode") != "shadow"]
        pairs = [self.limits(rule, t, lr, lr0, alpha) for rule in found if "min" in rule or "max" in rule]
        if not pairs:
            return None
        high = min(high for _, high in pairs)
        return min(max(low for low, _ in pairs), high), high

    def step(self, w, m, v, gradient, t, lr, lr0, alpha, squares=None):
        w, m, v, gradient = (np.asarray(x, np.float64) for x in (w, m, v, gradient))
        at = (t, lr, lr0, alpha)
        m = m + (gradient - m) * (1 - self.b1)
        squares = gradient * gradient if squares is None else np.asarray(squares, np.float64)
        v = v + (squares - v) * (1 - self.b2)
        self.moments, self.noise = (m, v), 4 * U * np.abs(gradient) + 1e-37  # m may all but cancel
        stock = rate = alpha / (np.sqrt(v) + self.epsilon)
        limits = self.within("alpha", *at)
        if limits is not None and alpha:
            rate = rate * (np.clip(alpha, *limits) / alpha)
        limits = self.within("rate", *at)
        if limits is not None:
            rate = np.clip(rate, *limits)
        for rule in self.rules:
            if self.previous is None or not rule.get("start", 1) <= t <= rule.get("end", np.inf):
                continue
            known = self.previous > 0
            if rule.get("max_increase"):
                most = np.where(known, self.previous * rule["max_increase"], np.inf)
                self.bound_rises += int(np.sum(rate > most))
                rate = np.minimum(rate, most)
            if rule.get("max_decrease"):
                rate = np.maximum(rate, np.where(known, self.previous / rule["max_decrease"], 0))
        self.previous = rate
        step = rate * m
        limits = self.within("update", *at)
        if limits is not None:
            step = np.sign(step) * np.clip(np.abs(step), *limits)
        for quantity in ("update_rms", "rms_t", "update_to_weight"):
            limits = self.within(quantity, *at)
            if limits is None:
                continue
            size = {
                "update_rms": lambda step=step: rms(step),
                "rms_t": lambda: rms(gradient * stock * (1 - self.b1**t) / lr),
                "update_to_weight": lambda step=step: rms(step) / rms(w) if rms(w) else 0.0,
            }[quantity]()
            if size > 0:
                step = step * (np.clip(size, *limits) / size)
        self.direction = m
        applied = np.divide(step, m, out=np.array(rate * np.ones_like(m)), where=m != 0)
        error = (
            U * np.abs(w - step) + 14 * U * np.abs(step) + 2 * U * np.abs(applied * (gradient - m)) + 1e-37
        )
        return w - step, applied, error
