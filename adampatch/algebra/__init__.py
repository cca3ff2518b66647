"""The algebra of update steps: expressions, parity, separation, kernels. Pure Python.

Nothing here knows of source code, TensorFlow or files; front ends build expressions,
back ends draw rate, direction, decay and alpha from a separation.
"""

from adampatch.algebra.expression import Const, Expr, Leaf, Op, Role
from adampatch.algebra.parity import Facts, Parity, StateWrite
from adampatch.algebra.separation import NotSeparable, Separation, separate

__all__ = [
    "Const",
    "Expr",
    "Facts",
    "Leaf",
    "NotSeparable",
    "Op",
    "Parity",
    "Role",
    "Separation",
    "StateWrite",
    "separate",
]
