"""Observation in v1 graphs: tensors a Session can fetch, registered per graph.

Touches TensorFlow and only the graph it is called in; nothing here runs unless it is fetched,
except inside a branch, where a fetch cannot reach.
"""

import numpy as np

from adampatch.runtime import worlds
from adampatch.runtime.lazy import tf

QUANTITIES = ("rate", "alpha", "update", "clamped")
_REGISTRY = "_adampatch_tensors"


def tensors(graph=None):
    """What the patched updates of a v1 graph offer to fetch.

    Returns {variable op name: {"rate", "alpha", "update", "clamped"}} of tensors of `graph`
    (the default graph if None): the effective rate, the bias-corrected scalar, what is
    subtracted from the variable, and a bool mask of the elements a rule bounded. They are of the update
    that runs in the same `sess.run`; for an update inside `tf.cond` they are of the last one
    that ran, and NaN before the first. Fetching them without the train op can run a part of
    the update, so fetch both, and where a graph has several train ops, only those of the
    variables that the fetched one updates. A second update of one variable in a graph (another
    train op, another branch) is keyed "name#2", in the order in which they were built.
    """
    graph = tf.compat.v1.get_default_graph() if graph is None else graph
    return {name: dict(found) for name, found in getattr(graph, _REGISTRY, {}).items()}


def _register(name, found):
    with tf.init_scope():
        graph = tf.compat.v1.get_default_graph()
    registry = getattr(graph, _REGISTRY, None)
    if registry is None:
        # On the graph, not in a weak table: tensors hold their graph and would keep it alive.
        registry = {}
        setattr(graph, _REGISTRY, registry)
    for quantity in QUANTITIES:
        graph.add_to_collection("adampatch/" + quantity, found[quantity])
    key, n = name, 1
    while key in registry:
        n += 1
        key = "{}#{}".format(name, n)
    registry[key] = found


def _filler(shape, dtype):
    if dtype == tf.bool:
        return np.zeros(shape, np.bool_)
    return np.full(shape, np.nan, dtype.as_numpy_dtype)


def _carry_out(tensor, name, quantity):
    """(assign op to hang on the update, tensor outside of the branch) for a tensor in a branch."""
    shape = tensor.shape.as_list()
    filler = _filler(shape, tensor.dtype)
    with tf.init_scope():
        carrier = worlds.hidden_variable(filler, tensor.dtype, name + "/" + quantity)
        outside = tf.compat.v1.cond(
            tf.raw_ops.VarIsInitializedOp(resource=carrier.handle),
            lambda: tf.raw_ops.ReadVariableOp(resource=carrier.handle, dtype=tensor.dtype),
            lambda: tf.constant(filler, tensor.dtype),
        )
        outside.set_shape(shape)
    # Writing initialises it, so a Session that ran only the user's own init op works.
    return tf.raw_ops.AssignVariableOp(resource=carrier.handle, value=tensor), outside


def publish(name, rate, alpha, update, clamped):
    """Registers the tensors of one update of the variable `name`.

    `clamped` may be None (no rule) and `alpha` None (not known). Returns ops that the write
    of the variable has to depend on: the writes that carry the values out of a branch.
    """
    rate, update = tf.convert_to_tensor(rate), tf.convert_to_tensor(update)
    alpha = tf.constant(np.nan, rate.dtype) if alpha is None else tf.convert_to_tensor(alpha)
    found = {"rate": rate, "alpha": alpha, "update": update}
    hang = []
    if worlds.in_branch():
        for quantity in sorted(found):
            write, found[quantity] = _carry_out(found[quantity], name, quantity)
            hang.append(write)
        if clamped is not None:
            write, found["clamped"] = _carry_out(clamped, name, "clamped")
            hang.append(write)
    elif clamped is not None:
        found["clamped"] = clamped
    if clamped is None:
        with tf.init_scope():
            found["clamped"] = tf.zeros(found["rate"].shape, tf.bool)
    _register(name, found)
    return hang
