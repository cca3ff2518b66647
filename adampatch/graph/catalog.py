"""What TensorFlow's operations mean to the algebra. Data.

To teach the reader an operation, add a row to OPERATIONS (or to one of the smaller tables).
"""

from __future__ import annotations

from typing import Dict, NamedTuple, Tuple


class Operation(NamedTuple):
    """``name``: of the algebra's operation; ``operands``: which inputs are its operands; ``label``: of a
    comparison."""

    name: str
    operands: Tuple[int, ...]
    label: str = ""


_FIRST, _BOTH, _THREE = (0,), (0, 1), (0, 1, 2)
OPERATIONS: Dict[str, Operation] = {
    **dict.fromkeys(("Add", "AddV2"), Operation("add", _BOTH)),
    "Sub": Operation("sub", _BOTH),
    **dict.fromkeys(("Mul", "MulNoNan"), Operation("mul", _BOTH)),
    **dict.fromkeys(("Div", "RealDiv", "DivNoNan"), Operation("div", _BOTH)),
    "Neg": Operation("neg", _FIRST),
    "Pow": Operation("pow", _BOTH),
    "Square": Operation("square", _FIRST),
    "Abs": Operation("abs", _FIRST),
    "Sqrt": Operation("sqrt", _FIRST),
    "Rsqrt": Operation("rsqrt", _FIRST),
    **dict.fromkeys(("Reciprocal", "Inv"), Operation("reciprocal", _FIRST)),
    "Exp": Operation("exp", _FIRST),
    "Log": Operation("log", _FIRST),
    "Maximum": Operation("max", _BOTH),
    "Minimum": Operation("min", _BOTH),
    "Floor": Operation("floor", _FIRST),
    "Sign": Operation("sign", _FIRST),
    "Tanh": Operation("tanh", _FIRST),
    "ClipByValue": Operation("clip", _THREE),
    **dict.fromkeys(("Select", "SelectV2"), Operation("select", _THREE)),
    "Greater": Operation("compare", _BOTH, ">"),
    "GreaterEqual": Operation("compare", _BOTH, ">="),
    "Less": Operation("compare", _BOTH, "<"),
    "LessEqual": Operation("compare", _BOTH, "<="),
    "Equal": Operation("compare", _BOTH, "=="),
    "NotEqual": Operation("compare", _BOTH, "!="),
    "Cast": Operation("cast", _FIRST),
    **dict.fromkeys(
        ("Identity", "StopGradient", "PreventGradient", "CheckNumerics", "Snapshot", "Enter", "EnsureShape"),
        Operation("identity", _FIRST),
    ),
    **dict.fromkeys(("Reshape", "ExpandDims", "Squeeze", "BroadcastTo"), Operation("reshape", _FIRST)),
    **dict.fromkeys(("Gather", "GatherV2"), Operation("gather", _BOTH)),
    **dict.fromkeys(("Sum", "Mean"), Operation("reduce", _FIRST)),
    **dict.fromkeys(("L2Loss", "EuclideanNorm"), Operation("norm", _FIRST)),
    "UnsortedSegmentSum": Operation("spread", _FIRST),
    "ScatterNd": Operation("spread", (1,)),
    **dict.fromkeys(
        ("TensorScatterAdd", "TensorScatterUpdate", "TensorScatterSub"), Operation("scatter", (0, 2))
    ),
    "OnesLike": Operation("ones_like", _FIRST),
    "ZerosLike": Operation("zeros_like", _FIRST),
}
#: operations of two operands applied to many
FOLDED = {"AddN": "add", "AccumulateNV2": "add"}
#: what back ends write for an operation of the algebra (`select`, `compare` and `cast` beside these)
WRITTEN: Dict[str, str] = {
    "add": "AddV2",
    "sub": "Sub",
    "mul": "Mul",
    "div": "RealDiv",
    "neg": "Neg",
    "pow": "Pow",
    "square": "Square",
    "abs": "Abs",
    "sqrt": "Sqrt",
    "rsqrt": "Rsqrt",
    "reciprocal": "Reciprocal",
    "exp": "Exp",
    "log": "Log",
    "max": "Maximum",
    "min": "Minimum",
    "floor": "Floor",
    "sign": "Sign",
    "tanh": "Tanh",
    "clip": "ClipByValue",
    "select": "SelectV2",
    "branch": "SelectV2",
    "identity": "Identity",
}
COMPARED = {row.label: op for op, row in OPERATIONS.items() if row.label}

#: the name of an operation's only output, as inputs inside of a function spell it
_OUTPUTS: Dict[str, str] = {
    **dict.fromkeys(
        ("Add", "AddV2", "Sub", "Mul", "MulNoNan", "RealDiv", "Div", "DivNoNan", "Pow", "Maximum", "Minimum"),
        "z",
    ),
    **dict.fromkeys(tuple(COMPARED.values()), "z"),
    **dict.fromkeys(
        (
            "Neg",
            "Square",
            "Abs",
            "Sqrt",
            "Rsqrt",
            "Reciprocal",
            "Exp",
            "Log",
            "Floor",
            "Sign",
            "Tanh",
            "Cast",
            "OnesLike",
            "Rint",
            "IsFinite",
        ),
        "y",
    ),
    **dict.fromkeys(("LogicalOr", "LogicalAnd"), "z"),
    "ReadVariableOp": "value",
}
CALL_OUTPUT = "output"


def out_argument(op: str) -> str:
    """The name of the output of an operation that back ends write."""
    return _OUTPUTS.get(op, "output")


class Fused(NamedTuple):
    """A fused kernel: its name in the algebra, and its inputs in order."""

    kernel: str
    inputs: Tuple[str, ...]
    resource: bool


_ADAM = ("beta1_power", "beta2_power", "lr", "beta1", "beta2", "epsilon", "grad")
_ADA_MAX = ("beta1_power", "lr", "beta1", "beta2", "epsilon", "grad")
FUSED: Dict[str, Fused] = {
    "ApplyAdam": Fused("apply_adam", ("var", "m", "v", *_ADAM), False),
    "ResourceApplyAdam": Fused("resource_apply_adam", ("var", "m", "v", *_ADAM), True),
    "ResourceApplyAdamWithAmsgrad": Fused(
        "resource_apply_adam_with_amsgrad", ("var", "m", "v", "vhat", *_ADAM), True
    ),
    "ApplyAdaMax": Fused("apply_ada_max", ("var", "m", "v", *_ADA_MAX), False),
    "ResourceApplyAdaMax": Fused("resource_apply_ada_max", ("var", "m", "v", *_ADA_MAX), True),
}


class Write(NamedTuple):
    """A write that an open-coded update may end with. ``how``: set, add, sub; ``value``: which input;
    ``rows``: whether it is for some rows only; ``resource``: whether by a handle."""

    how: str
    value: int
    rows: bool
    resource: bool


WRITES: Dict[str, Write] = {
    "AssignVariableOp": Write("set", 1, False, True),
    "AssignAddVariableOp": Write("add", 1, False, True),
    "AssignSubVariableOp": Write("sub", 1, False, True),
    "ResourceScatterAdd": Write("add", 2, True, True),
    "ResourceScatterSub": Write("sub", 2, True, True),
    "ResourceScatterUpdate": Write("set", 2, True, True),
    "Assign": Write("set", 1, False, False),
    "AssignAdd": Write("add", 1, False, False),
    "AssignSub": Write("sub", 1, False, False),
    "ScatterAdd": Write("add", 2, True, False),
    "ScatterSub": Write("sub", 2, True, False),
    "ScatterUpdate": Write("set", 2, True, False),
}
#: what gives the value of a variable; the first input is its handle or reference
READS = ("ReadVariableOp", "ResourceGather", "ResourceGatherNd")
VARIABLES = ("VarHandleOp", "VariableV2", "Variable", "AutoReloadVariable")
#: what hands a handle or a reference on
HANDED_ON = (
    *("Identity", "IdentityN", "Enter", "Switch", "RefIdentity", "RefEnter", "RefSwitch"),
    *(op for op, write in WRITES.items() if not write.resource),
    *(op for op, fused in FUSED.items() if not fused.resource),
)
#: references to variables come out of these
REFERENCES = ("VariableV2", "Variable", "AutoReloadVariable", "RefIdentity", "RefEnter", "RefSwitch")
#: {operation: which input is the first argument of the function(s) that it calls}
CALLS: Dict[str, int] = {
    "PartitionedCall": 0,
    "StatefulPartitionedCall": 0,
    "RemoteCall": 1,
    "If": 1,
    "StatelessIf": 1,
    "Case": 1,
    "StatelessCase": 1,
    "While": 0,
    "StatelessWhile": 0,
    "SymbolicGradient": 0,
}
