"""Alpha and rates from saved moments, by Adam's own formula, and what rules would bound."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from adampatch.checkpoint import clamping
from adampatch.checkpoint.slots import Slots
from adampatch.errors import AdampatchError
from adampatch.ruleset.model import Rule

# As TensorFlow's and Keras' Adam have them.
DEFAULTS = {
    "v1": {"learning_rate": 1e-3, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8},
    "keras": {"learning_rate": 1e-3, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7},
}
# What has the formula of Adam; a checkpoint of TensorFlow does not say its class.
_ADAM = (None, "Adam", "AdamW")
_PERCENTILES = {"p05": 5, "p50": 50, "p95": 95}


def inspected(path: str, slots: Slots, given: Mapping[str, float], rules: Sequence[Rule]) -> dict[str, Any]:
    """What `inspect` reports, schema adampatch/inspect/1. Raises AdampatchError where no update was made."""
    values, assumed = {}, []
    for name, default in DEFAULTS[slots.family].items():
        values[name] = given.get(name, slots.known.get(name, default))
        if name not in given and name not in slots.known:
            assumed.append(name)
    step = _step(slots, values["beta_2"])
    if step is None:
        assumed.append("step")
    elif step == 0:
        raise AdampatchError(path, "was saved before the first update, so there is no rate yet; train first")
    if slots.optimizer not in _ADAM:
        assumed.append(f"the formula of Adam for {slots.optimizer}")
    update = _update(values, step)
    alpha = update.alpha
    variables = {
        name: _variable(name, own, update, values["epsilon"], rules, slots.optimizer or "Adam")
        for name, own in sorted(slots.moments.items())
    }
    return {
        "schema": "adampatch/inspect/1",
        "path": path,
        "optimizer": slots.optimizer,
        "step": step,
        "alpha": alpha,
        "hyperparameters": values,
        "assumed": assumed,
        "rules_not_judged": [rule.id for rule in rules if clamping.limits(rule, update) is None],
        "variables": variables,
    }


def _step(slots: Slots, beta_2: float) -> int | None:
    power = slots.powers.get("beta2_power", 0.0)
    if 0 < power < 1 and 0 < beta_2 < 1:  # what is saved is for the update after
        return max(round(math.log(power) / math.log(beta_2)) - 1, 0)
    return slots.updates


def _update(values: Mapping[str, float], step: int | None) -> clamping.Update:
    rate = values["learning_rate"]
    if step is None:
        return clamping.Update(None, rate, rate, 1.0)
    correction = 1 - values["beta_1"] ** step
    return clamping.Update(
        step, rate, rate * math.sqrt(1 - values["beta_2"] ** step) / correction, correction
    )


def _variable(
    name: str,
    own: Mapping[str, Any],
    update: clamping.Update,
    epsilon: float,
    rules: Sequence[Rule],
    optimizer: str,
) -> dict[str, Any]:
    first, second = (np.asarray(own[slot], np.float64) for slot in ("m", "v"))
    if "vhat" in own:
        second = np.asarray(own["vhat"], np.float64)
    root = np.sqrt(second)
    rate = update.alpha / (root + epsilon)
    active = (first != 0) | (second != 0)
    out: dict[str, Any] = {"shape": list(first.shape), "active_frac": clamping.mean(active)}
    for suffix, values in (("", rate[np.isfinite(rate)]), ("_active", rate[active & np.isfinite(rate)])):
        for part, share in _PERCENTILES.items():
            out[f"rate_{part}{suffix}"] = float(np.percentile(values, share)) if values.size else None
    out["nonfinite"] = int((~np.isfinite(rate)).sum())
    out["eps_dominated_frac_active"] = clamping.mean(root[active] < epsilon)
    out["rules"] = clamping.clamped(rules, update, name, optimizer, rate, first, active)
    return out
