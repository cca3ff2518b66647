"""The elementwise part of one update as a program: traced once, written down, run again anywhere.

Touches TensorFlow. A program reads states, computes elementwise and writes states; whatever they do not go
into (learning rates, powers, bounds) is computed outside of it, by the very operations that stock has.
"""

import hashlib

from adampatch.runtime import worlds
from adampatch.runtime.lazy import Lazy, tf

_graphs = Lazy("tensorflow.python.framework.func_graph")

#: rounded alike by TensorFlow's own kernels and by XLA on a CPU, which a proof asks again
_ELEMENTWISE = frozenset([
    "Abs", "Add", "AddV2", "Cast", "Div", "Equal", "Greater", "GreaterEqual", "Identity", "IsFinite", "IsInf",
    "IsNan", "Less", "LessEqual", "LogicalAnd", "LogicalNot", "LogicalOr", "Maximum", "Minimum", "Mul", "Neg",
    "NotEqual", "OnesLike", "RealDiv", "Select", "SelectV2", "Sign", "Sqrt", "Square", "StopGradient", "Sub",
    "ZerosLike",
])  # fmt: skip
#: {what gives a value another shape: the place of that value}; a program has elements alone
_SPREADING = {"BroadcastTo": 0, "Fill": 1, "Reshape": 0}
#: products, which XLA would contract with the sum that they feed
_PRODUCTS = frozenset(["Mul", "Square"])
#: what Grappler takes for one sum, or for one product
_REORDERED = ({"Add", "AddV2", "Sub"}, {"Mul", "Div", "RealDiv"})
_ASSIGN = {
    "AssignVariableOp": None,
    "AssignAddVariableOp": lambda state, value: tf.add(state, value),
    "AssignSubVariableOp": lambda state, value: tf.subtract(state, value),
}


class NoProgram(Exception):
    """An update that cannot be written as a program; the text says why."""


class Program(object):
    """Elementwise operations over states, arrays and scalars.

    Attributes:
        steps: [(operation, attributes, the same as bytes, places of its operands)]; places count the inputs
            first, then steps.
        states, arrays, scalars: the dtypes of the inputs, in this order.
        writes: [(index of the state, place of its new value)].
        key: equal for programs that do the same.
    """

    def __init__(self, steps, states, arrays, scalars, writes):
        self.steps = steps
        self.states = states
        self.arrays = arrays
        self.scalars = scalars
        self.writes = writes
        text = repr(
            ([(op, names, places) for op, _, names, places in steps], states, arrays, scalars, writes)
        )
        self.key = hashlib.sha256(text.encode()).hexdigest()

    def run(self, inputs, minus_zero=None):
        """The new value of each state that is written, of `inputs`: states, arrays, scalars.

        `minus_zero`, a scalar of each floating dtype that only run time knows, is added to each product:
        it changes no bit and forbids XLA to contract the product with a sum.
        """
        graph = tf.compat.v1.get_default_graph()
        values = list(inputs)
        for op, attributes, _, places in self.steps:
            made = graph.create_op(op, [values[p] for p in places], attrs=attributes).outputs[0]
            if minus_zero is not None and op in _PRODUCTS and made.dtype in minus_zero:
                made = tf.add(made, minus_zero[made.dtype])
            values.append(made)
        return [values[place] for _, place in self.writes]


class Tracing(object):
    """One run of a function that updates a variable of `shape`, taken down.

    While it runs, variables of that shape are neither read nor written: their values are followed. What
    none of them goes into is made in the graph outside, by the operations that are asked for.

    Attributes: program; handles, arrays, scalars: the inputs of the program, tensors of the graph outside.
    `sampled`: whether what the function shows of itself is to be sampled.
    """

    def __init__(self, body, shape, sampled=True):
        self.shape = list(shape)
        self.outside = tf.compat.v1.get_default_graph()
        self.graph = _graphs.FuncGraph("adampatch_island")
        setattr(self.graph, worlds.OUTSIDE, self.outside)
        self.graph.adampatch_sampled = sampled
        self._make = self.graph._create_op_internal
        self.graph._create_op_internal = self._create
        self._states = []  # [handle, value read, value now]
        with self.graph.as_default():
            body()
        del self.graph._create_op_internal
        self._write_down()

    # -- while the function runs --------------------------------------------------------------

    def _create(self, op, inputs, dtypes=None, input_types=None, name=None, attrs=None, op_def=None, **more):
        """Stands for the graph's own method that makes operations."""
        given = dict(more, dtypes=dtypes, input_types=input_types, attrs=attrs, op_def=op_def)
        inputs = [self._uncaptured(x) for x in inputs]
        if op in ("NoOp", "Placeholder"):  # a placeholder stands for what is captured
            return self._make(op, inputs, name=name, **given)
        if op == "ReadVariableOp":
            return self._read(inputs, given)
        if op in _ASSIGN:
            return self._assign(inputs[0], _ASSIGN[op], inputs[1])
        if _does_more(attrs, op_def):
            raise NoProgram("{} does more than to compute".format(op))
        if op in _SPREADING and not self._is_outside(inputs[_SPREADING[op]]):
            return inputs[_SPREADING[op]].op
        if all(self._is_outside(x) for x in inputs) and not (op in _ELEMENTWISE and self._has_whole(inputs)):
            return self._create_outside(op, inputs, given)
        if op not in _ELEMENTWISE:
            raise NoProgram("{} is not elementwise".format(op))
        return self._make(op, inputs, name=name, **given)

    def _create_outside(self, op, inputs, given):
        with self.outside.as_default():
            made = self.outside._create_op_internal(op, inputs, **given)
            if not self._has_whole(made.outputs):
                return made
            # One number everywhere: operations spread it again.
            if op in _SPREADING and inputs[_SPREADING[op]].shape.num_elements() == 1:
                return tf.reshape(inputs[_SPREADING[op]], []).op
            number = tf.get_static_value(made.outputs[0])
            if number is None or number.size == 0 or not (number == number.flat[0]).all():
                raise NoProgram("{} makes an array of nothing".format(op))
            return tf.constant(number.flat[0], made.outputs[0].dtype).op

    def _read(self, inputs, given):
        state = self._state_of(inputs[0])
        if state is not None:
            return tf.identity(state[2]).op
        made = self._make("ReadVariableOp", inputs, **given)
        if not made.outputs[0].shape.is_fully_defined():
            raise NoProgram("the shape of a variable is not known")
        if not self._has_whole(made.outputs):
            with self.outside.as_default():
                return self.outside._create_op_internal("ReadVariableOp", inputs, **given)
        self._states.append([inputs[0], made.outputs[0], made.outputs[0]])
        return made

    def _state_of(self, handle):
        return next((state for state in self._states if state[0] is handle), None)

    def _assign(self, handle, change, value):
        if self._state_of(handle) is None:
            tf.raw_ops.ReadVariableOp(resource=handle, dtype=value.dtype)
        state = self._state_of(handle)
        if state is None:  # outside it would be done once more, where this comes to nothing
            raise NoProgram("it sets a variable of another shape")
        if change is not None:
            value = change(state[2], value)
        if self._is_outside(value) or value.shape.as_list() != self.shape:
            raise NoProgram("it sets a variable to what has another shape")
        state[2] = value
        return tf.no_op()

    def _uncaptured(self, tensor):
        """What `tensor` stands for, where it is a placeholder of what was captured."""
        if self._is_outside(tensor) or tensor.op.type != "Placeholder":
            return tensor
        return next((outer for outer, inner in self.graph.captures if inner is tensor), tensor)

    def _is_outside(self, tensor):
        return callable(getattr(tensor, "numpy", None)) or tensor.graph is not self.graph

    def _has_whole(self, tensors):
        """Whether one of the tensors may have the shape of the variable."""
        resource, known = tf.resource, self.shape
        return any(x.dtype != resource and x.shape.is_compatible_with(known) for x in tensors)

    # -- afterwards ---------------------------------------------------------------------------

    def _write_down(self):
        changed = [state for state in self._states if state[2] is not state[1]]
        if not changed:
            raise NoProgram("it sets no variable")
        states = {value.op.name: (handle, value) for handle, value, _ in self._states}
        captured = {inner.op.name: outer for outer, inner in self.graph.captures}
        order = _ordered([now.op for _, _, now in changed], states)
        used = [op for op in order if op.name in states]
        used += [value.op for _, value, _ in changed if value.op not in used]
        inputs = [op for op in order if op.name in captured and op.name not in states]
        arrays = [op for op in inputs if self._has_whole([captured[op.name]])]
        scalars = [op for op in inputs if op not in arrays]
        if any(op.outputs[0].shape.rank != 0 for op in scalars):
            raise NoProgram("it spreads an array of another shape")
        self.handles = [states[op.name][0] for op in used]
        self.arrays, self.scalars = ([captured[op.name] for op in part] for part in (arrays, scalars))
        compute = [op for op in order if op.name not in states and op.name not in captured]
        for op in compute:
            if self._may_be_reordered(op, scalars, captured):
                raise NoProgram("TensorFlow itself chooses the order of its products or sums")
        places = {op.name: i for i, op in enumerate(used + arrays + scalars + compute)}
        steps = []
        for op in compute:
            attributes = {k: v for k, v in op.node_def.attr.items() if not k.startswith("_")}
            names = sorted((k, v.SerializeToString()) for k, v in attributes.items())
            steps.append((op.type, attributes, names, [places[x.op.name] for x in op.inputs]))
        writes = [(places[value.op.name], places[now.op.name]) for _, value, now in changed]
        dtypes = [[op.outputs[0].dtype.name for op in part] for part in (used, arrays, scalars)]
        self.program = Program(steps, *dtypes, writes=writes)

    def _may_be_reordered(self, op, scalars, captured):
        """Whether Grappler may join two scalars, one of them constant, that an array meets one after the
        other: it does so with stock's update, and not in here."""
        for group in _REORDERED:
            if op.type not in group:
                continue
            own = [x.op for x in op.inputs if x.op in scalars]
            for before in (x.op for x in op.inputs if x.op.type in group):
                both = own + [x.op for x in before.inputs if x.op in scalars]
                known = [tf.get_static_value(captured[scalar.name]) is not None for scalar in both]
                if own and len(both) > 1 and any(known):
                    return True
        return False


def _ordered(roots, leaves):
    """The operations that `roots` are made of, each after its operands; `leaves` are not looked into."""
    order, seen = [], set()
    todo = [(op, False) for op in reversed(roots)]
    while todo:
        op, ready = todo.pop()
        if ready:
            order.append(op)
        elif op.name not in seen:
            seen.add(op.name)
            todo.append((op, True))
            if op.name not in leaves:
                todo += [(x.op, False) for x in reversed(list(op.inputs))]
    return order


def _does_more(attrs, op_def):
    """Whether an operation has effects, or calls a function."""
    if op_def is not None and op_def.is_stateful:
        return True
    return any(value.HasField("func") or len(value.list.func) for value in (attrs or {}).values())
