"""The fused training kernels as expressions: what each computes, as data.

The orders of operations are those of TensorFlow's CPU kernels; a kernel's row gives its
parameters in order and the writes it makes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adampatch.algebra.expression import Const, Expr, Op

if TYPE_CHECKING:  # Python 3.7 cannot subscript it
    Args = Mapping[str, Expr]


@dataclass(frozen=True)
class Kernel:
    """``parameters``: names in positional order, states first. ``states``: those written
    besides ``var``. ``expand``: arguments to ({state: new value}, the U of ``w <- w - U``).
    ``adaptive``: whether the kernel keeps a second moment: of the others nothing can be seen or
    bounded, but what they are given may be a step of the Adam family."""

    name: str
    parameters: tuple[str, ...]
    states: tuple[str, ...]
    expand: Callable[[Args], tuple[dict[str, Expr], Expr]]
    adaptive: bool = True


def _op(name: str, *args: Expr) -> Expr:
    return Op(name, args)


def _one_minus(x: Expr) -> Expr:
    return _op("sub", Const(1), x)


def _moments(a: Args) -> tuple[Expr, Expr]:
    g = a["grad"]
    m = _op("add", a["m"], _op("mul", _op("sub", g, a["m"]), _one_minus(a["beta1"])))
    v = _op("add", a["v"], _op("mul", _op("sub", _op("mul", g, g), a["v"]), _one_minus(a["beta2"])))
    return m, v


def _alpha(a: Args) -> Expr:
    root = _op("sqrt", _one_minus(a["beta2_power"]))
    return _op("div", _op("mul", a["lr"], root), _one_minus(a["beta1_power"]))


def _adam(a: Args) -> tuple[dict[str, Expr], Expr]:
    m, v = _moments(a)
    denominator = _op("add", _op("sqrt", v), a["epsilon"])
    numerator = m
    if _is_on(a.get("use_nesterov")):
        g = a["grad"]
        numerator = _op("add", _op("mul", g, _one_minus(a["beta1"])), _op("mul", a["beta1"], m))
    return {"m": m, "v": v}, _op("div", _op("mul", numerator, _alpha(a)), denominator)


def _amsgrad(a: Args) -> tuple[dict[str, Expr], Expr]:
    m, v = _moments(a)
    vhat = _op("max", a["vhat"], v)
    update = _op("div", _op("mul", m, _alpha(a)), _op("add", _op("sqrt", vhat), a["epsilon"]))
    return {"m": m, "v": v, "vhat": vhat}, update


def _ada_max(a: Args) -> tuple[dict[str, Expr], Expr]:
    g = a["grad"]
    m = _op("add", a["m"], _op("mul", _op("sub", g, a["m"]), _one_minus(a["beta1"])))
    v = _op("max", _op("mul", a["beta2"], a["v"]), _op("abs", g))
    scale = _op("div", a["lr"], _one_minus(a["beta1_power"]))
    return {"m": m, "v": v}, _op("mul", scale, _op("div", m, _op("add", v, a["epsilon"])))


def _is_on(flag: Expr | None) -> bool:
    return isinstance(flag, Const) and bool(flag.value)


def _momentum(a: Args) -> tuple[dict[str, Expr], Expr]:
    accum = _op("add", _op("mul", a["accum"], a["momentum"]), a["grad"])
    if _is_on(a.get("use_nesterov")):
        ahead = _op("add", a["grad"], _op("mul", accum, a["momentum"]))
        return {"accum": accum}, _op("mul", ahead, a["lr"])
    return {"accum": accum}, _op("mul", accum, a["lr"])


def _keras_momentum(a: Args) -> tuple[dict[str, Expr], Expr]:
    step = _op("mul", a["lr"], a["grad"])
    accum = _op("sub", _op("mul", a["accum"], a["momentum"]), step)
    if _is_on(a.get("use_nesterov")):
        return {"accum": accum}, _op("neg", _op("sub", _op("mul", accum, a["momentum"]), step))
    return {"accum": accum}, _op("neg", accum)


def _descent(a: Args) -> tuple[dict[str, Expr], Expr]:
    return {}, _op("mul", a["alpha"], a["delta"])


_SCALARS = ("lr", "beta1", "beta2", "epsilon", "grad", "use_locking")
_ADAM = ("var", "m", "v", "beta1_power", "beta2_power", *_SCALARS, "use_nesterov", "name")
_AMSGRAD = ("var", "m", "v", "vhat", "beta1_power", "beta2_power", *_SCALARS, "name")
_ADA_MAX = ("var", "m", "v", "beta1_power", *_SCALARS, "name")

_MOMENTUM = ("var", "accum", "lr", "grad", "momentum", "use_locking", "use_nesterov", "name")
_SPARSE_MOMENTUM = (
    *("var", "accum", "lr", "grad", "indices", "momentum"),
    *("use_locking", "use_nesterov", "name"),
)
_DESCENT = ("var", "alpha", "delta", "use_locking", "name")

#: parameters that a call need not give
OPTIONAL = frozenset({"use_locking", "use_nesterov", "name"})

KERNELS: dict[str, Kernel] = {
    kernel.name: kernel
    for kernel in (
        Kernel("apply_adam", _ADAM, ("m", "v"), _adam),
        Kernel("resource_apply_adam", _ADAM, ("m", "v"), _adam),
        Kernel("resource_apply_adam_with_amsgrad", _AMSGRAD, ("m", "v", "vhat"), _amsgrad),
        Kernel("apply_ada_max", _ADA_MAX, ("m", "v"), _ada_max),
        Kernel("resource_apply_ada_max", _ADA_MAX, ("m", "v"), _ada_max),
        *(
            Kernel(f"{resource}{sparse}apply{keras}_momentum", parameters, ("accum",), expand, False)
            for resource in ("", "resource_")
            for sparse, parameters in (("", _MOMENTUM), ("sparse_", _SPARSE_MOMENTUM))
            for keras, expand in (("", _momentum), ("_keras", _keras_momentum))
        ),
        Kernel("apply_gradient_descent", _DESCENT, (), _descent, False),
        Kernel("resource_apply_gradient_descent", _DESCENT, (), _descent, False),
    )
}


def kernel_named(name: str) -> Kernel | None:
    """The kernel behind a wrapper's name: ``apply_adam``, ``ResourceApplyAdam``, ..."""
    if name in KERNELS:
        return KERNELS[name]
    flat = name.replace("_", "").lower()
    for known, kernel in KERNELS.items():
        if known.replace("_", "") == flat:
            return kernel
    return None
