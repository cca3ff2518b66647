"""A clamp judged where it is made: on the rate, direction and decay that a site had, no formula needed.

For classes without a reference of their own: the stock update is ``R D + decay`` up to the order of
operations, what was returned in its place is ``clip(R) D + decay`` where the rate is out of bounds,
and the stock update's bits elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from adampatch.verify.ball import Field
from adampatch.verify.cases import Bounds
from adampatch.verify.formats import Array, Format

#: of both orders together, between the tensors that they share and the update
_OPERATIONS = 32


def limits(form: Format, bounds: Bounds) -> tuple[Array, Array]:
    """Bounds as the format holds them, infinite where there is none."""
    low, high = bounds
    return (
        form.rounded(-np.inf if low is None else low),
        form.rounded(np.inf if high is None else high),
    )


def watched_sites(
    field: Field, arrays: Mapping[str, Array], bounds: Bounds
) -> tuple[int, dict[str, Any] | None, float]:
    """(elements clamped, first divergence, greatest error over bound) of all sites in a record."""
    form = field.format
    low, high = limits(form, bounds)
    hits, error = 0, 0.0
    for k in range(sum(name.startswith("site/") and name.endswith("/rate") for name in arrays)):
        shape = arrays[f"site/{k}/returned"].shape

        def part(name: str, k: int = k, shape: tuple[int, ...] = shape) -> Array:
            return np.broadcast_to(arrays[f"site/{k}/{name}"], shape)

        rate, direction = (form.decode(part(name)) for name in ("rate", "direction"))
        decay = form.decode(part("decay")) if f"site/{k}/decay" in arrays else None
        returned, update = form.decode(part("returned")), form.decode(part("update"))
        clipped = np.clip(rate, low, high)  # not-a-number stays, infinity is bounded
        hit = ~np.isnan(rate) & (clipped != rate)
        hits += int(np.sum(hit))
        step = field.exact(clipped) * field.exact(direction)
        if decay is not None:
            step = step + field.exact(decay)
        off = ~hit & (form.canonical(part("returned")) != form.canonical(part("update")))
        excess = np.where(hit & np.isfinite(step.mid), step.excess(returned), 0.0)
        error = max(error, float(np.max(excess, initial=0.0)))
        apart, whole = _not_separated(form, rate, direction, decay, update)
        for quantity, wrong, wanted, observed in (
            ("separation", apart, whole, update),
            ("update", off | (excess > 1), np.where(hit, step.mid, update), returned),
        ):
            if np.any(wrong):
                at = tuple(int(x) for x in np.argwhere(wrong)[0])
                found = {"run": "bounded", "site": k, "quantity": quantity, "element": list(at)}
                pair = {"expected": float(wanted[at]), "observed": float(observed[at])}
                return hits, found | {"clamped": bool(hit[at])} | pair, error
    return hits, None, error


def _not_separated(
    form: Format, rate: Array, direction: Array, decay: Array | None, update: Array
) -> tuple[Array, Array]:
    """(where the stock update is not the whole of its parts, that whole).

    Both come from the same tensors by a few operations each, in other orders; each of them rounds
    by one unit. That is a generous count: parts that are wrong are off by much more.
    """
    with np.errstate(all="ignore"):
        whole, size = rate * direction, np.abs(rate * direction)
        if decay is not None:
            whole, size = whole + decay, size + np.abs(decay)
        slack = _OPERATIONS * (form.unit * size + form.smallest)
        usual = np.isfinite(whole) & np.isfinite(update) & (size < form.largest)
        return usual & (np.abs(update - whole) > slack), whole
