"""The updates of Keras' first optimizers, those that have `get_updates`, by hand, on balls.

Their betas are variables, so every constant is made in the variables' format, and the moments are
written as two products and a sum.
"""

from __future__ import annotations

from adampatch.verify.ball import Ball
from adampatch.verify.references import Gradient, Hyper, Values


def _mean(kept: Ball, beta: Ball, fresh: Ball, h: Hyper) -> Ball:
    return beta * kept + (h.one - beta) * fresh


def adam(before: Values, g: Gradient, h: Hyper) -> dict[str, Ball]:
    """Adam with epsilon hat (Kingma and Ba, 2015, end of section 2) and AMSGrad (Reddi et al., 2018)."""
    b1, b2 = h.beta("beta_1"), h.beta("beta_2")
    computed = h.lr * ((h.one - b2.power(h.t)).sqrt() / (h.one - b1.power(h.t)))
    alpha = h.told(computed)
    m, v = _mean(before["m"], b1, g.total, h), _mean(before["v"], b2, g.square, h)
    out = {"alpha": computed, "m": m, "v": v}
    if "vhat" in before:
        v = out["vhat"] = before["vhat"].maximum(v)
    root = v.sqrt() + h.epsilon
    return out | {"rate": alpha / root, "direction": m, "w": before["w"] - alpha * m / root}


def adamax(before: Values, g: Gradient, h: Hyper) -> dict[str, Ball]:
    """Adam with the infinity norm (Kingma and Ba, 2015, algorithm 2)."""
    b1 = h.beta("beta_1")
    computed = h.lr / (h.one - b1.power(h.t))
    alpha = h.told(computed)
    m, u = _mean(before["m"], b1, g.total, h), (h.beta("beta_2") * before["u"]).maximum(g.size)
    norm = u + h.epsilon
    out = {"alpha": computed, "m": m, "u": u, "rate": alpha / norm, "direction": m}
    return out | {"w": before["w"] - alpha * m / norm}
