"""Observation in v1 graphs: tensors a Session can fetch, registered per graph.

Touches TensorFlow and only the graph it is called in; nothing here runs unless it is fetched,
except inside a branch, where a fetch cannot reach.
"""

import numpy as np

from adampatch.runtime import worlds
from adampatch.runtime.lazy import tf

QUANTITIES = ("rate", "alpha", "update", "clamped")
_REGISTRY = "_adampatch_tensors"
_OWNERS = "_adampatch_owners"  # {key: (record, the operations of alpha and update, dominated)}


def tensors(graph=None):
    """What the patched updates of a v1 graph offer to fetch.

    Returns {variable op name: {"rate", "alpha", "update", "clamped"}} of tensors of `graph`
    (the default graph if None): the effective rate, the bias-corrected scalar, what is
    subtracted from the variable, and a bool mask of the elements a rule bounded. They are of the update
    that runs in the same `sess.run`; for an update inside `tf.cond` they are of the last one
    that ran, and NaN before the first. Fetching them without the train op can run a part of the
    update or all of it, so fetch both, and where a graph has several train ops, only those of
    the variables that the fetched one updates. A second update of one variable in a graph
    (another train op, another branch) is keyed "name#2", in the order in which they were built.
    """
    graph = tf.compat.v1.get_default_graph() if graph is None else graph
    return {name: dict(found) for name, found in getattr(graph, _REGISTRY, {}).items()}


def _register(name, found, record=None, marks=(), dominated=None):
    with tf.init_scope():
        graph = tf.compat.v1.get_default_graph()
    registry = getattr(graph, _REGISTRY, None)
    if registry is None:
        # On the graph, not in a weak table: tensors hold their graph and would keep it alive.
        registry = {}
        setattr(graph, _REGISTRY, registry)
        setattr(graph, _OWNERS, {})
    for quantity in QUANTITIES:
        graph.add_to_collection("adampatch/" + quantity, found[quantity])
    key, n = name, 1
    while key in registry:
        n += 1
        key = "{}#{}".format(name, n)
    registry[key] = found
    if record is not None:
        getattr(graph, _OWNERS)[key] = (record, marks, dominated)


def _filler(shape, dtype):
    if dtype == tf.bool:
        return np.zeros(shape, np.bool_)
    return np.full(shape, np.nan, dtype.as_numpy_dtype)


def _carrier(tensor, name, quantity):
    """A variable that carries a tensor out of a branch."""
    filler = _filler(tensor.shape.as_list(), tensor.dtype)
    return worlds.hidden_variable(filler, tensor.dtype, name + "/" + quantity)


def _read_outside(carrier):
    # Writing initialises it, so a Session that ran only the user's own init op works.
    shape = carrier.shape.as_list()
    outside = tf.compat.v1.cond(
        tf.raw_ops.VarIsInitializedOp(resource=carrier.handle),
        lambda: tf.raw_ops.ReadVariableOp(resource=carrier.handle, dtype=carrier.dtype),
        lambda: tf.constant(_filler(shape, carrier.dtype), carrier.dtype),
    )
    outside.set_shape(shape)
    return outside


def order_after(carried, done):
    """Ties what an update carried out of branches (see `publish`) to its end: `done`, ops or tensors.

    Else a fetch in the same `sess.run` would race with the update for the value. An update that
    is in a branch itself has no end outside that could be named.
    """
    graph = tf.compat.v1.get_default_graph()
    done = [x for x in done if isinstance(x, (tf.Operation, tf.Tensor)) and x.graph is graph]
    if not carried or not done or worlds.in_branch():
        return
    for found, carriers in carried:
        for quantity in sorted(carriers):
            with tf.control_dependencies(done), tf.name_scope("adampatch"):
                read = _read_outside(carriers[quantity])
            collection = graph.get_collection_ref("adampatch/" + quantity)
            collection[:] = [read if x is found[quantity] else x for x in collection]
            found[quantity] = read


def publish(record, name, rate, alpha, update, clamped, dominated=None):
    """Registers the tensors of one update of the variable `name` by the optimizer of `record`.

    `clamped` may be None (no rule) and `alpha` None (not known); `dominated` is a mask of the elements
    that epsilon decides, for the log alone, or None. Returns ops that the write
    of the variable has to depend on: the writes that carry the values out of a branch.
    """
    rate, update = tf.convert_to_tensor(rate), tf.convert_to_tensor(update)
    alpha = tf.constant(np.nan, rate.dtype) if alpha is None else tf.convert_to_tensor(alpha)
    found = {"rate": rate, "alpha": alpha, "update": update}
    marks = [alpha.op, update.op]
    if clamped is not None:
        found["clamped"] = clamped
    hang, carriers = [], {}
    if worlds.in_branch():
        for quantity in sorted(found):
            carrier = carriers[quantity] = _carrier(found[quantity], name, quantity)
            hang.append(tf.raw_ops.AssignVariableOp(resource=carrier.handle, value=found[quantity]))
            with tf.init_scope():
                found[quantity] = _read_outside(carrier)
    if clamped is None:
        with tf.init_scope():
            found["clamped"] = tf.zeros(found["rate"].shape, tf.bool)
    _register(name, found, record, marks, None if carriers else dominated)
    if carriers:
        record.carry(found, carriers)
    return hang
