"""What other projects' tests would say of the same runs: fixed tolerances and the rule of two.

Each judges the variables after every step, which is what these test suites compare; where a number
is not finite in stock they say nothing, since their tests have none. Nor have they gradients of
1e15 or 1e-8, on which a fixed tolerance fails code that is right: they get the ordinary elements.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from trials import Outcome

from adampatch.verify import judge as judging
from adampatch.verify.cases import Case
from adampatch.verify.dimensions import LAYOUTS, REGIMES
from adampatch.verify.formats import Array
from adampatch.verify.sites import limits

_ORDINARY = ("normal", "cancelling", "zero", "constant")


@dataclass(frozen=True)
class Compared:
    """A variable after one step: of the patch, of stock (of the reference, where a rule clamps),
    and the reference in a wider format."""

    dtype: str
    ours: Array
    wanted: Array
    stock: Array
    reference: Array


def compared(outcome: Outcome) -> Iterator[Compared]:
    """Every variable after every step of a case, where there is anything to compare."""
    case = outcome.case
    if outcome.arrays is None or outcome.told is None:
        return
    record = judging.Record(case, outcome.arrays, outcome.told, judging.EXACT)
    formula = judging._reference_for(case)
    assert formula is not None
    run = "free" if case.bounds is None else "bounded"
    for t, i in record.steps():
        usual = _ordinary(case, i)
        before = record.state(t - 1, "stock", i)
        wanted = formula(before, record.gradient(t, i), record.hyper(t, "stock"))
        stock, ours = record.values(t, "stock", f"w/{i}"), record.values(t, run, f"w/{i}")
        assert stock is not None and ours is not None
        free = np.broadcast_to(wanted["w"].mid, stock.shape)
        bounds = case.bounds_of(i)
        if bounds is None:
            yield Compared(case.dtype, ours[usual], stock[usual], stock[usual], free[usual])
            continue
        low, high = limits(record.form, bounds)
        rate = np.broadcast_to(wanted["rate"].mid, stock.shape)
        clipped = np.clip(rate, low, high)
        base = wanted.get("base", before["w"]).mid
        with np.errstate(all="ignore"):
            clamped = np.where(clipped != rate, base - clipped * wanted["direction"].mid, free)
            # the plain form of the 2x rule: each operation rounded, moments as stock has them
            m = record.values(t, "stock", f"m/{i}")
            step = record.form.rounded(np.clip(record.form.rounded(rate), low, high) * m)
            simple = record.form.rounded(record.form.rounded(base) - step)
            plain = np.where(clipped != rate, simple, stock)[usual]
        yield Compared(case.dtype, ours[usual], clamped[usual], plain, clamped[usual])


def _ordinary(case: Case, i: int) -> Array:
    """A mask of the elements of a variable whose gradients are such as the peers' tests have."""
    shape = case.shapes[i]
    if case.layout == "dense":
        return _usual(shape)
    found = np.ones(shape, np.bool_)
    for rows in LAYOUTS[case.layout][i]:
        for row, usual in zip(rows, _usual((len(rows), *shape[1:])), strict=True):
            found[row] &= usual
    return found


def _usual(shape: tuple[int, ...]) -> Array:
    names = np.asarray([regime in _ORDINARY for regime in REGIMES])
    return names[np.arange(int(np.prod(shape))) % len(REGIMES)].reshape(shape)


Peer = Callable[[Compared], bool]


def _within(tolerances: dict[str, tuple[float, float]]) -> Peer:
    """|ours - wanted| <= atol + rtol |wanted|, (rtol, atol) by format."""

    def accepts(x: Compared) -> bool:
        rtol, atol = tolerances[x.dtype]
        usual = np.isfinite(x.wanted)
        with np.errstate(all="ignore"):
            close = np.abs(x.ours - x.wanted) <= atol + rtol * np.abs(x.wanted)
        return bool(np.all(close[usual]))

    return accepts


def _apex(x: Compared) -> bool:
    """The greatest difference at most 1e-3, the greatest relative one at most 1."""
    usual = np.isfinite(x.wanted)
    with np.errstate(all="ignore"):
        off = np.abs(x.ours - x.wanted)[usual]
        relative = off / np.abs(x.wanted[usual])
    if not off.size:
        return True
    # 0/0 is no difference to their maximum
    return bool(np.max(off) <= 1e-3 and not np.any(relative > 1))


def _twice(x: Compared) -> bool:
    """The greatest error against the wide reference at most twice stock's."""
    usual = np.isfinite(x.stock) & np.isfinite(x.reference)
    if not np.any(usual):
        return True
    with np.errstate(all="ignore"):
        ours, theirs = (np.max(np.abs(y - x.reference)[usual]) for y in (x.ours, x.stock))
    return bool(ours <= 2 * theirs)


#: name -> what accepts; where the numbers stand is said in SOURCES
PEERS: dict[str, Peer] = {
    "TensorFlow 1e-6": _within({"float32": (1e-6, 1e-6), "float64": (1e-6, 1e-6)}),
    "torch defaults": _within({"float32": (1.3e-6, 1e-5), "float64": (1e-7, 1e-7)}),
    "apex": _apex,
    "2x rule": _twice,
}
SOURCES = {
    "TensorFlow 1e-6": "tf.test.TestCase.assertAllCloseAccordingToType, the defaults that adam_test.py has",
    "torch defaults": "torch.testing.assert_close, the table of defaults in its documentation",
    "apex": "tests/L0/run_optimizers/test_fused_optimizer.py, max_abs_diff=1e-3 and max_rel_diff=1",
    "2x rule": "FlashAttention, tests/test_flash_attn.py: at most twice the error of the plain form",
}


def accepted(outcome: Outcome) -> dict[str, bool]:
    """{peer: whether its test would pass}; an error that the case ended in fails them all."""
    if outcome.arrays is None:
        return dict.fromkeys(PEERS, False)
    pairs = list(compared(outcome))
    return {name: all(accepts(pair) for pair in pairs) for name, accepts in PEERS.items()}
