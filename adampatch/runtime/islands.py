"""The compiled island: the bounded update of one variable in one function that XLA compiles.

Touches TensorFlow. Decides which updates are compiled, and calls what `programs` has written down and
`proofs` has found to keep stock's bits.
"""

import logging
import threading
import weakref

import numpy as np

from adampatch.runtime import moments, programs, proofs, records, sampling, worlds
from adampatch.runtime.lazy import tf

_LOG = logging.getLogger("adampatch")
_ISLANDS_LOCK = threading.RLock()
_COMPILED = {}  # key of a program -> the function that does it
_SAID = set()
#: elements of all variables of a shape from which on compiling for it (0.1 s) pays, and the most shapes
_PAYS = 100000
_SHAPES = 16
#: fewest elements of one variable, in functions and, where a call costs more, in eager code
_LEAST, _LEAST_EAGER = 4096, 16384
_DTYPES = ("float32", "float64")


def under_way():
    """The graph of the program that is being taken down here, or None."""
    if tf.executing_eagerly():
        return None
    graph = tf.compat.v1.get_default_graph()
    return graph if hasattr(graph, worlds.OUTSIDE) else None


def unsampled():
    """Whether the program under way, if one is, runs where its update is sampled by other means."""
    graph = under_way()
    return graph is not None and not graph.adampatch_sampled


def must_be_outside(thunk):
    """Raises NoProgram where `thunk` closes over what only the program under way has."""
    graph = under_way()
    todo = [cell.cell_contents for cell in getattr(thunk, "__closure__", None) or ()]
    while todo:
        value = todo.pop()
        if isinstance(value, dict):
            todo += list(value.values())
        elif isinstance(value, (list, tuple)):
            todo += list(value)
        elif type(value).__name__ == "_UnreadVariable" or (
            isinstance(value, tf.Tensor) and getattr(value, "graph", None) is graph
        ):
            raise programs.NoProgram("its rate is not to be told from its variables afterwards")


def sizes(variables):
    """{shape: elements of all variables of that shape}, of those whose shape is known."""
    found = {}
    for variable in variables:
        shape = worlds.shape_of(variable)
        if shape is not None:
            count = int(np.prod(shape, dtype=np.int64))
            found[tuple(shape)] = found.get(tuple(shape), 0) + count
    return found


# -- which updates are compiled ----------------------------------------------------------------


def _pays(record, optimizer, shape, eager):
    if record.settings.compile is True:
        return True
    count = int(np.prod(shape, dtype=np.int64))
    if count < (_LEAST_EAGER if eager else _LEAST):
        return False
    if record.sizes is None:
        record.sizes = sizes(worlds.listed_variables(optimizer))
    together = record.sizes.get(tuple(shape), count)
    larger = sum(1 for other in record.sizes.values() if other > together)
    return together >= _PAYS and larger < _SHAPES


def _obstacle(record, rules, variable, gradient):
    """Words saying why an update cannot be compiled, or None."""
    if _release() < (2, 10):
        return "TensorFlow {} is older than 2.10".format(tf.__version__)
    if worlds.dtype_of(variable).name not in _DTYPES:
        return "{} variables are rounded otherwise there".format(worlds.dtype_of(variable).name)
    if isinstance(gradient, tf.IndexedSlices):
        return "sparse gradients are not compiled"
    whole = [rule for rule in rules if rule.quantity in ("update_rms", "rms_t", "update_to_weight")]
    if whole:
        return 'rule "{}" is of a whole variable, and sums are rounded otherwise there'.format(whole[0].id)
    change = [rule for rule in rules if rule.limits_change]
    if change and not record.silent:
        return 'what rule "{}" did is not seen afterwards, but with emit = "off"'.format(change[0].id)
    if tf.distribute.has_strategy():
        return "a distribution strategy is at work"
    if worlds.current_graph() is not None and worlds.branch_of(worlds.current_graph()) is not None:
        return "the update is in a branch of a v1 graph"
    if tf.config.list_physical_devices("GPU"):
        return "there is a GPU, where XLA need not keep stock's bits"
    return None


def _release():
    return tuple(int(part) for part in tf.__version__.split(".")[:2])


def _may(record, optimizer, variable, gradient, rules, eager):
    """Whether the update of a variable is to be compiled, as far as can be told before it is traced."""
    if not rules or record.settings.compile is False or under_way() is not None:
        return False
    shape = worlds.shape_of(variable)
    if shape is None or int(np.prod(shape, dtype=np.int64)) < 2:
        return False
    if not _pays(record, optimizer, shape, eager) or worlds.in_xla():
        return False
    obstacle = _obstacle(record, rules, variable, gradient)
    if obstacle is not None:
        _say(record, obstacle)
    return obstacle is None


def _say(record, why):
    key = (record.optimizer_name, why)
    with _ISLANDS_LOCK:
        if key in _SAID:
            return
        _SAID.add(key)
    _LOG.warning("adampatch: bounded updates of %s are not compiled: %s", record.optimizer_name, why)


# -- how one is run ----------------------------------------------------------------------------


def _island(program, shape):
    """The function that does `program` for states of `shape`."""
    with _ISLANDS_LOCK:
        found = _COMPILED.get((program.key, tuple(shape)))
        if found is None:

            def adampatch_island(handles, arrays, scalars, zero):
                states = [
                    tf.raw_ops.ReadVariableOp(resource=handle, dtype=dtype)
                    for handle, dtype in zip(handles, program.states)
                ]
                new = program.run(states + list(arrays) + list(scalars), proofs.minus_zeros(zero))
                for (index, _), value in zip(program.writes, new):
                    tf.raw_ops.AssignVariableOp(resource=handles[index], value=value)
                return tf.constant(True)

            specs = [tf.TensorSpec([], tf.resource) for _ in program.states]
            specs = specs, [tf.TensorSpec(shape, dtype) for dtype in program.arrays]
            specs += [tf.TensorSpec([], dtype) for dtype in program.scalars], tf.TensorSpec([], tf.float32)
            found = proofs.compiled(adampatch_island).get_concrete_function(*specs)
            _COMPILED[(program.key, tuple(shape))] = found
        return found


def _minus_zero(moment):
    """-0.0 that no optimizer of graphs can tell from the run time's numbers."""
    if moment.minus_zero is None:
        number = moment.any_number()
        moment.minus_zero = tf.where(tf.math.is_nan(number), tf.constant(1.0), tf.constant(-0.0))
    return moment.minus_zero


def _run(tracing, moment):
    """Calls the island; the tensor that is there once it is done."""
    why = proofs.objection(tracing.program)
    if why:
        raise programs.NoProgram(why)
    given = tracing.handles, tracing.arrays, tracing.scalars, _minus_zero(moment)
    return _island(tracing.program, tracing.shape)(*given)


def kernel(site, moment, body):
    """The bounded update of a fused kernel, `body`, as an island: the operation that is it, None where it
    is not compiled. `moment` has made the scalars that it asks for."""
    record = site.record
    if record.refused.get(site.key):
        return None
    if not _may(record, site.optimizer, site.variable, site.gradient, site.rules, False):
        return None
    try:
        return _run(programs.Tracing(body, worlds.shape_of(site.variable)), moment).op
    except programs.NoProgram as refused:
        record.refused[site.key] = str(refused)
        _say(record, str(refused))
        return None


def updated(binding, optimizer, method, gradient, variable, args, kwargs):
    """One variable's update by `method(optimizer)`, a Keras `update_step`, compiled where that is better."""
    record = records.record_of(optimizer, binding)
    plain = method(optimizer)
    if not record.settings.rules or record.settings.compile is False or under_way() is not None:
        return plain(gradient, variable, *args, **kwargs)
    identity, path = worlds.identify(optimizer, variable)
    rules = record.rules_for(path)
    eager = worlds.world() == worlds.EAGER
    if (
        record.refused.get(identity)
        or kwargs
        or (not eager and worlds.world() != worlds.FUNCTION)
        or not _may(record, optimizer, variable, gradient, rules, eager)
        or (eager and not record.silent and sampling.due(record))
    ):
        return plain(gradient, variable, *args, **kwargs)
    try:
        if not eager:
            return _in_function(record, optimizer, method, identity, path, gradient, variable, args)
        return _in_eager(record, optimizer, method, identity, path, gradient, variable, args)
    except programs.NoProgram as refused:
        record.refused[identity] = str(refused)
        record.moments.clear()
        _say(record, str(refused))
        return plain(gradient, variable, *args, **kwargs)


def _in_function(record, optimizer, method, identity, path, gradient, variable, args, sampled=True):
    key = record.key(identity, path)
    moment = record.moment(record.kept_as(key), lambda alone: moments.Moment(optimizer, record, alone))
    for rule in record.rules_for(path):
        if rule.remembers_start:
            moment.lr0(rule)  # sets a state, which is not for a trace that may come to nothing
    before = _plain_attributes(optimizer)
    shape = worlds.shape_of(variable)
    try:
        tracing = programs.Tracing(lambda: method(optimizer)(gradient, variable, *args), shape, sampled)
        if _plain_attributes(optimizer) != before:
            raise programs.NoProgram("it changes attributes of the optimizer")
        _run(tracing, moment)
    except programs.NoProgram:
        vars(optimizer).update(before)  # the update runs once more, without an island
        raise


def _in_eager(record, optimizer, method, identity, path, gradient, variable, args):
    gradient = tf.convert_to_tensor(gradient)
    # A number is a tensor too: in Keras 3 it is the learning rate, which may be another one next time.
    args = [tf.convert_to_tensor(arg) for arg in args]
    key = (identity, gradient.dtype.name, tuple(sorted(_plain_attributes(optimizer).items())))
    found = record.islands.get(key)
    if found is None:
        own = weakref.ref(optimizer)  # what is kept for an optimizer must not keep it

        def call(gradient, args):
            # what is due is updated without an island
            _in_function(record, own(), method, identity, path, gradient, variable, args, sampled=False)

        found = tf.function(call, autograph=False).get_concrete_function(gradient, args)
        record.islands[key] = found
    found(gradient, args)


def _plain_attributes(optimizer):
    plain = (bool, int, float, str, type(None))
    return {name: value for name, value in vars(optimizer).items() if type(value) in plain}
