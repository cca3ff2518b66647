"""Where a call happens (eager, function, v1 graph) and what a variable is called there.

Touches TensorFlow, once an optimizer steps.
"""

import functools
import inspect

from adampatch.runtime.lazy import Lazy, tf

_func_graph = Lazy("tensorflow.python.framework.func_graph")
_resources = Lazy("tensorflow.python.ops.resource_variable_ops")

EAGER, FUNCTION, GRAPH = "eager", "function", "graph"
#: of a graph that a program is taken down in: the graph that the update really is in
OUTSIDE = "_adampatch_outside"


def unconverted(function):
    """Marks `function` for AutoGraph as it marks what it made itself: not to be converted."""
    function.autograph_info__ = {}
    return function


def stands_in_for(stock):
    """Decorates what takes the place of the method `stock`: its name, documentation and signature.

    OptimizerV2 asks `getfullargspec` whether an update method takes `apply_state`, and that follows no
    wrapper: without a signature of its own the stand-in would be called without it.
    """

    def decorated(function):
        function = functools.wraps(stock)(function)
        function.__signature__ = inspect.signature(stock)
        return function

    return decorated


def do_not_convert(function):
    """`tf.autograph.experimental.do_not_convert`, which also holds for what `function` calls."""
    made = []

    @functools.wraps(function)
    def call(*args, **kwargs):
        if not made:
            made.append(tf.autograph.experimental.do_not_convert(function))
        return made[0](*args, **kwargs)

    return unconverted(call)


def as_called(function):
    """`function`, converted by AutoGraph exactly if the caller's code is being converted."""
    if tf.executing_eagerly():
        return function
    try:
        from tensorflow.python.autograph.core import ag_ctx
        from tensorflow.python.autograph.impl import api

        return api.tf_convert(function, ag_ctx.control_status_ctx(), convert_by_default=False)
    except (ImportError, AttributeError, TypeError):
        return function


def where(condition, x, y):
    """`tf.where` of TensorFlow 2, where the three arguments broadcast, in every TensorFlow."""
    return (getattr(tf.compat.v1, "where_v2", None) or tf.where)(condition, x, y)


def world():
    """EAGER; FUNCTION for a graph that eager code will call; GRAPH for one a Session runs."""
    if tf.executing_eagerly():
        return EAGER
    with tf.init_scope():
        lifted = tf.executing_eagerly()
    # A FuncGraph inside a plain graph (cond_v2, a tf.function called there) is that graph's.
    return FUNCTION if lifted else GRAPH


def current_graph():
    """The graph that ops are being added to, None when executing eagerly."""
    if tf.executing_eagerly():
        return None
    graph = tf.compat.v1.get_default_graph()
    return getattr(graph, OUTSIDE, graph)


def branch_of(graph):
    """The control flow context that a v1 graph is building now, else None."""
    get = getattr(graph, "_get_control_flow_context", None)
    return get() if get is not None and world() == GRAPH else None


def in_branch():
    """Whether tensors made here cannot be fetched: in a v1 control flow context or a FuncGraph."""
    graph = tf.compat.v1.get_default_graph()
    return isinstance(graph, _func_graph.FuncGraph) or graph._get_control_flow_context() is not None


def fence():
    """A function that hands a tensor on through a wall that XLA moves no operation across; None
    outside of a function with `jit_compile=True`, and where TensorFlow has no such wall."""
    try:
        from tensorflow.compiler.tf2xla.python import xla

        barrier = xla.optimization_barrier
    except (ImportError, AttributeError):
        return None
    return (lambda tensor: barrier(tensor)[0]) if in_xla() else None


def kept_whole(chosen):
    """Has the `tf.cond` in a function that gives `chosen` run as one operation, not as one for each tensor
    that its branches take, which costs several times as much on every update.

    Only where there is one device: what runs as one operation runs on one.
    """
    if tf.executing_eagerly() or not hasattr(tf.config, "list_logical_devices"):
        return
    devices = [device for device in tf.config.list_logical_devices() if "XLA" not in device.device_type]
    op = chosen.op
    while op.type == "Identity":
        op = op.inputs[0].op
    if len(devices) == 1 and op.type in ("If", "StatelessIf"):
        from tensorflow.core.framework import attr_value_pb2

        op._set_attr("_lower_using_switch_merge", attr_value_pb2.AttrValue(b=False))


def in_xla():
    """Whether what is traced here is compiled by XLA with the function around it."""
    if tf.executing_eagerly():
        return False
    try:
        from tensorflow.python.ops import control_flow_util

        return control_flow_util.GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph())
    except (ImportError, AttributeError):
        return True


def in_compiled_branch():
    """Whether this is traced inside a cond branch of a function with `jit_compile=True`."""
    try:
        from tensorflow.python.ops import control_flow_util
        from tensorflow.python.ops.control_flow_v2_func_graphs import CondBranchFuncGraph
    except ImportError:
        return False
    graph = tf.compat.v1.get_default_graph()
    if not control_flow_util.GraphOrParentsInXlaContext(graph):
        return False
    # The context is on the graph that calls the compiled function: a branch there and above
    # (Keras's steps_per_execution has one) is not compiled with it.
    while isinstance(graph, _func_graph.FuncGraph) and not control_flow_util.InXlaContext(graph):
        if isinstance(graph, CondBranchFuncGraph):
            return True
        graph = graph.outer_graph
    return False


def replica():
    """Index of the replica an update or a flush is for; 0 outside tf.distribute."""
    try:
        from tensorflow.python.distribute import distribute_lib

        index = distribute_lib.get_update_replica_id()
    except (ImportError, AttributeError):
        index = None
    if index is None:
        context = tf.distribute.get_replica_context()
        index = context.replica_id_in_sync_group if context is not None else 0
    if hasattr(index, "dtype"):
        index = tf.get_static_value(index)
    return index if isinstance(index, int) else 0


def hidden_variable(initial_value, dtype, name):
    """A variable of ours, on nobody's list.

    Built directly and not through tf.Variable: no creator scope sees it, so tf.function does
    not count it, a distribution strategy does not mirror it, and no collection holds it.
    """
    with tf.init_scope():
        return _resources.ResourceVariable(
            initial_value=initial_value,
            trainable=False,
            collections=[],
            dtype=dtype,
            name="adampatch/" + name,
            aggregation=tf.compat.v1.VariableAggregation.ONLY_FIRST_REPLICA,
        )


def put(variable, value):
    """Assigns a hidden variable; by the operation itself, as no method of variables is to see ours."""
    tf.raw_ops.AssignVariableOp(resource=variable.handle, value=value)


def add(variable, value):
    """Adds to a hidden variable, see `put`."""
    tf.raw_ops.AssignAddVariableOp(resource=variable.handle, value=tf.cast(value, variable.dtype))


def dtype_of(value):
    """tf.DType, never a reference type, of a tensor, a tf.Variable or a Keras variable."""
    return tf.as_dtype(value.dtype).base_dtype


def listed_variables(optimizer):
    """All variables an optimizer was built with, where the family keeps such a list, or []."""
    return list(getattr(optimizer, "_trainable_variables", None) or [])


def _of_keras(optimizer, variable):
    """(index, Keras variable) in a Keras 3 optimizer's list, or None.

    Keras 3 hands `update_step` the bare tf.Variable, whose name lacks the layer's path.
    """
    listed = listed_variables(optimizer)
    if not listed or not hasattr(optimizer, "_get_variable_index"):
        return None
    try:
        index = optimizer._get_variable_index(variable)
        return index, listed[index]
    except (KeyError, AttributeError, TypeError, IndexError):
        return None


def path_of(variable):
    """`variable.path` in Keras 3, else its name without ":0"."""
    path = getattr(variable, "path", None)
    if isinstance(path, str):
        return path
    name = getattr(variable, "name", None) or "variable"
    head, _, tail = name.rpartition(":")
    return head if head and tail.isdigit() else name


def replicated(variable):
    """The variable of which `variable` is one replica; itself where it is none."""
    if getattr(variable, "_primary", None) is not None:
        return variable  # its handle is to be had where a replica is only
    container = getattr(variable, "_distributed_container", None)
    if container is None:  # newer TensorFlows keep it on the handle
        container = getattr(getattr(variable, "handle", None), "_distributed_container", None)
    found = container() if callable(container) else None
    return variable if found is None else found


def identify(optimizer, variable):
    """(identity, path) of the model variable that an update is for.

    The identity is hashable and the same for every replica and every trace.
    """
    found = _of_keras(optimizer, variable)
    if found is not None:
        return ("index", found[0]), path_of(found[1])
    variable = replicated(variable)
    # A replicated variable answers for whichever replica it is asked in.
    primary = getattr(variable, "_primary", None)
    variable = variable if primary is None else primary
    unique = getattr(variable, "_unique_id", None)
    path = path_of(variable)
    if unique is None:  # a reference variable: its name is unique in its graph
        return ("name", path), path
    return ("unique", unique), path


def shape_of(variable):
    """Static shape as a list of ints, None when any part of it is unknown."""
    shape = tf.TensorShape(variable.shape)
    return shape.as_list() if shape.is_fully_defined() else None
