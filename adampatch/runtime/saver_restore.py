"""A `tf.compat.v1.train.Saver` that meets a checkpoint written without our variables.

Touches TensorFlow's Saver only, and only once a v1 graph holds a rule with state; what it does for
checkpoints that lack nothing is not changed.
"""

import functools

import numpy as np

from adampatch.runtime.lazy import tf

#: the variables of ours in a v1 graph
COLLECTION = "adampatch/state"
#: attribute of a clock: a weak reference to the optimizer whose updates it counts
CLOCK_OF = "_adampatch_clock_of"
_RESTORE_OPS = ("RestoreV2", "Restore")


def let_savers_restore_without_us():
    """Makes `Saver.restore` give our variables their initial values where a checkpoint has none."""
    saver = tf.compat.v1.train.Saver
    stock = saver.restore
    if getattr(stock, "__adampatch__", False):
        return

    @functools.wraps(stock)
    def restore(self, sess, save_path):
        feed = _missing(self, sess, save_path)
        if not feed:
            return stock(self, sess, save_path)
        sess.run(self.saver_def.restore_op_name, feed)

    restore.__adampatch__ = True
    saver.restore = restore


def _missing(saver, sess, save_path):
    """What to feed for the tensors of a checkpoint, where some of ours are all that it lacks; else None."""
    graph = sess.graph
    ours = {variable.op.name: variable for variable in graph.get_collection(COLLECTION)}
    if not ours or save_path is None or not getattr(saver, "saver_def", None):
        return None
    try:
        reader = tf.compat.v1.train.NewCheckpointReader(str(save_path))
    except (tf.errors.OpError, ValueError):
        return None  # stock says best what is wrong with it
    present = set(reader.get_variable_to_shape_map())
    scope = saver.saver_def.restore_op_name.rpartition("/")[0]
    found = [
        op for op in graph.get_operations() if op.type in _RESTORE_OPS and op.name.startswith(scope + "/")
    ]
    names = {op: _constant(op.inputs[1]) for op in found}
    if any(name is None for name in names.values()):
        return None
    lacking = {name for listed in names.values() for name in listed if name not in present}
    if not lacking or not lacking <= set(ours):
        return None
    feed = {}
    for op, listed in names.items():
        if not lacking & set(listed):
            continue
        slices = _constant(op.inputs[2])
        if slices is None or any(slices):
            return None  # parts of partitioned variables
        for name, tensor in zip(listed, op.outputs):
            feed[tensor] = _initial(name, ours[name], reader) if name in lacking else reader.get_tensor(name)
    return feed


def _constant(tensor):
    if tensor.op.type != "Const":
        return None
    value = tf.make_ndarray(tensor.op.get_attr("value"))
    return [item.decode() if isinstance(item, bytes) else item for item in np.ravel(value).tolist()]


def _initial(name, variable, reader):
    value = variable.initial_value
    value = tf.make_ndarray(value.op.get_attr("value"))
    clock_of = getattr(variable, CLOCK_OF, None)
    if clock_of is None:
        return value
    return value.dtype.type(_updates_by(reader, clock_of()))


def _updates_by(reader, optimizer):
    """How many updates a stock checkpoint has seen.

    Adam keeps beta2^(t+1), whose logarithm says it until it vanishes (t about 87000 for 0.999 in
    float32); from there on, and for what keeps no such power, the global step does, if there is one.
    """
    shapes = reader.get_variable_to_shape_map()
    try:
        power = optimizer._get_beta_accumulators()[1]
        value = float(reader.get_tensor(power.op.name))
        beta = float(np.float32(optimizer._beta2))
    except (AttributeError, TypeError, ValueError, tf.errors.OpError):
        value = beta = 0.0
    if 0 < beta < 1 and np.finfo(np.float32).tiny < value < 1:
        return max(0, int(np.round(np.log(value) / np.log(beta))) - 1)
    steps = [name for name in shapes if name.rpartition("/")[2] == "global_step"]
    return int(reader.get_tensor(steps[0])) if len(steps) == 1 else 0
