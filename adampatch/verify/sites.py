"""A clamp judged where it is made: on the rate, direction and decay that a site had, no formula needed.

For classes without a reference of their own: what was returned in place of the stock update is
``clip(R) D + decay`` where the rate is out of bounds, and the stock update's bits elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from adampatch.verify.ball import Field
from adampatch.verify.cases import Bounds
from adampatch.verify.formats import Array, Format


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

        rate = form.decode(part("rate"))
        clipped = np.where(np.isfinite(rate), np.clip(rate, low, high), rate)
        hit = np.isfinite(rate) & (clipped != rate)
        hits += int(np.sum(hit))
        step = field.exact(clipped) * field.exact(form.decode(part("direction")))
        if f"site/{k}/decay" in arrays:
            step = step + field.exact(form.decode(part("decay")))
        returned = form.decode(part("returned"))
        off = ~hit & (form.canonical(part("returned")) != form.canonical(part("update")))
        excess = np.where(hit & np.isfinite(step.mid), step.excess(returned), 0.0)
        error = max(error, float(np.max(excess, initial=0.0)))
        wrong = off | (excess > 1)
        if np.any(wrong):
            at = tuple(int(x) for x in np.argwhere(wrong)[0])
            wanted = step.mid if hit[at] else form.decode(part("update"))
            return (
                hits,
                {
                    "run": "bounded",
                    "site": k,
                    "quantity": "update",
                    "element": list(at),
                    "clamped": bool(hit[at]),
                    "expected": float(wanted[at]),
                    "observed": float(returned[at]),
                },
                error,
            )
    return hits, None, error
