"""What TensorFlow's operations mean to the algebra. Data.

To teach the reader an operation, add a row to OPERATIONS (or to one of the smaller tables).
"""

from __future__ import annotations

from typing import Dict, NamedTuple, Tuple


class Operation(NamedTuple):
    """``name``: of the algebra's operation; ``operands``: how many inputs are its operands;
    ``label``: of a comparison."""

    name: str
    operands: int
    label: str = ""


OPERATIONS: Dict[str, Operation] = {
    **dict.fromkeys(("Add", "AddV2"), Operation("add", 2)),
    "Sub": Operation("sub", 2),
    **dict.fromkeys(("Mul", "MulNoNan"), Operation("mul", 2)),
    **dict.fromkeys(("Div", "RealDiv", "DivNoNan"), Operation("div", 2)),
    "Neg": Operation("neg", 1),
    "Pow": Operation("pow", 2),
    "Square": Operation("square", 1),
    "Abs": Operation("abs", 1),
    "Sqrt": Operation("sqrt", 1),
    "Rsqrt": Operation("rsqrt", 1),
    **dict.fromkeys(("Reciprocal", "Inv"), Operation("reciprocal", 1)),
    "Exp": Operation("exp", 1),
    "Log": Operation("log", 1),
    "Maximum": Operation("max", 2),
    "Minimum": Operation("min", 2),
    "Floor": Operation("floor", 1),
    "Sign": Operation("sign", 1),
    "Tanh": Operation("tanh", 1),
    "ClipByValue": Operation("clip", 3),
    **dict.fromkeys(("Select", "SelectV2"), Operation("select", 3)),
    "Greater": Operation("compare", 2, ">"),
    "GreaterEqual": Operation("compare", 2, ">="),
    "Less": Operation("compare", 2, "<"),
    "LessEqual": Operation("compare", 2, "<="),
    "Equal": Operation("compare", 2, "=="),
    "NotEqual": Operation("compare", 2, "!="),
    "Cast": Operation("cast", 1),
    **dict.fromkeys(
        ("Identity", "StopGradient", "PreventGradient", "CheckNumerics", "Snapshot", "Enter", "EnsureShape"),
        Operation("identity", 1),
    ),
    **dict.fromkeys(("Reshape", "ExpandDims", "Squeeze", "BroadcastTo"), Operation("reshape", 1)),
    **dict.fromkeys(("Gather", "GatherV2"), Operation("gather", 2)),
    **dict.fromkeys(("Sum", "Mean"), Operation("reduce", 1)),
    **dict.fromkeys(("L2Loss", "EuclideanNorm"), Operation("norm", 1)),
    "OnesLike": Operation("ones_like", 1),
    "ZerosLike": Operation("zeros_like", 1),
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
        ("Neg", "Square", "Abs", "Sqrt", "Rsqrt", "Reciprocal", "Exp", "Log", "Floor", "Sign", "Tanh", "Cast"),
        "y",
    ),
    "LogicalOr": "z",
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
