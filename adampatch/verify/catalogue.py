"""Which reference stands for which stock class, and which of its options are run. Data, no formulas."""

from __future__ import annotations

from typing import Any

from adampatch.verify import references as keras
from adampatch.verify import references_addons as addons
from adampatch.verify import references_updates as updates
from adampatch.verify.references import Reference

_KERAS = ("keras2", "keras3")
#: name -> the reference, and the families whose class of this name has the formula
_REFERENCES: dict[str, tuple[Reference, tuple[str, ...]]] = {
    "Adam": (keras.adam, (*_KERAS, "v2")),
    "AdamOptimizer": (keras.adam, ("v1",)),
    "AdamW": (keras.adam, _KERAS),
    "Nadam": (keras.nadam, (*_KERAS, "v2")),
    "Adamax": (keras.adamax, (*_KERAS, "v2")),
    "Lamb": (keras.lamb, ("keras3",)),
    "AdamWOptimizer": (addons.decoupled, ("v1",)),
    "AdamGSOptimizer": (keras.adam, ("v1",)),
    "LazyAdamOptimizer": (addons.lazy_adam, ("v1",)),
    "LazyAdamGSOptimizer": (addons.lazy_adam, ("v1",)),
    "NadamOptimizer": (addons.nesterov, ("v1",)),
    "LAMB": (addons.lamb, ("v2",)),
    "LazyAdam": (addons.lazy_adam, ("v2",)),
    "RectifiedAdam": (addons.rectified, ("v2",)),
    "AdaBelief": (addons.adabelief, ("v2",)),
}
#: the same name for another formula, or for another order of its operations
_OTHERWISE: dict[tuple[str, str], Reference] = {
    ("v2", "AdamW"): addons.decoupled,
    ("get_updates", "Adam"): updates.adam,
    ("get_updates", "Adamax"): updates.adamax,
}

#: name -> the options of each variant; the first is the class as it comes
_WARM_UP = {"total_steps": 6, "warmup_proportion": 0.5, "min_lr": 1e-3}
VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "Adam": {"": {}, "amsgrad": {"amsgrad": True}},
    "AdamOptimizer": {"": {}},
    "AdamW": {"": {"weight_decay": 0.04}},
    "Nadam": {"": {}},
    "Adamax": {"": {}},
    "Lamb": {"": {}},
    "AdamWOptimizer": {"": {"weight_decay": 0.04}},
    "AdamGSOptimizer": {"": {}},
    "LazyAdamOptimizer": {"": {}},
    "LazyAdamGSOptimizer": {"": {}},
    "NadamOptimizer": {"": {}},
    "LAMB": {"": {}, "decay": {"weight_decay": 0.04}},
    "LazyAdam": {"": {}},
    "RectifiedAdam": {
        "": {},
        "amsgrad": {"amsgrad": True},
        "warm-up": _WARM_UP,
        "decay": {"weight_decay": 0.04},
    },
    "AdaBelief": {
        "": {},
        "amsgrad": {"amsgrad": True},
        "plain": {"rectify": False},
        "decay": {"weight_decay": 0.04, **_WARM_UP},
    },
}
#: what each variant of a name starts from, where its constructor's defaults are not to be had
DEFAULTS: dict[str, dict[str, Any]] = {
    # at 0.999 rounding leaves open in which step rectification begins
    name: {"beta_2": 0.99}
    for name in ("RectifiedAdam", "AdaBelief")
}
#: optimizers whose update mixes the elements of a variable, by a norm
MIXING = {"Lamb", "LAMB"}
#: more updates than others need: rectified from the sixth on. In 8 or 11 bits rounding leaves
#: open whether they are
LONG = {"RectifiedAdam": 9, "AdaBelief": 9}
#: classes that count their updates once for each variable when traced: one variable then
ONE_VARIABLE = {("keras2", "Nadam")}
#: what a class of an older family does not have under XLA: the fused kernel has no XLA form
NO_XLA = {("v2", "Adam", "amsgrad")}
#: classes that take no schedule
NO_SCHEDULE = {("v2", "Nadam")}
#: classes that are Adam for scalars and vectors alone: a matrix has no rate -> why
VECTORS_ONLY = {("keras3", "Muon"): "it orthogonalises a matrix's step, which has no rate of an element"}
#: classes of which two runs of stock differ -> why
UNORDERED = {
    ("get_updates", "Nadam"): "stock reads its momentum schedule a second time beside the operation "
    "that writes it, so two runs of it differ and there is nothing to compare with"
}
#: what has no kernel of this format
NO_BFLOAT16 = {("v2", "Adamax")}
#: sparse updates that are for the touched rows only, in part or in whole
ROWS_ONLY = {
    ("v2", "Nadam"), ("v2", "Adamax"), ("v2", "LazyAdam"), ("v2", "AdamW"), ("v2", "AdaBelief"),
    ("v2", "RectifiedAdam"),
    ("v1", "LazyAdamOptimizer"), ("v1", "LazyAdamGSOptimizer"), ("v1", "AdamWOptimizer"),
    ("v1", "NadamOptimizer"),
}  # fmt: skip


def reference_of(family: str, name: str) -> Reference | None:
    """The reference for a class, None where none is written for it."""
    if (family, name) in _OTHERWISE:
        return _OTHERWISE[family, name]
    reference, families = _REFERENCES.get(name, (None, ()))
    return reference if family in families else None
