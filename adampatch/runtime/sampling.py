"""Observation in eager code and functions: samples queued by step, taken by one flush per update.

Touches TensorFlow and only variables of ours; no summary, print or assert (XLA has none).
"""

import types

import numpy as np

from adampatch.runtime import bounding, methods, moments, records, stores, worlds
from adampatch.runtime.lazy import tf


def freeze(thunk, change=lambda value: value):
    """A copy of `thunk` whose closure no longer follows the rebinding of its names.

    Closures bind late, and the flush runs when the loop that made them is done. `change` is
    a function of each value that is closed over.
    """
    if not isinstance(thunk, types.FunctionType) or not thunk.__closure__:
        return thunk
    try:
        cells = tuple(methods.cell(change(cell.cell_contents)) for cell in thunk.__closure__)
    except ValueError:  # an empty cell: nothing to freeze yet
        return thunk
    frozen = types.FunctionType(thunk.__code__, thunk.__globals__, thunk.__name__, thunk.__defaults__, cells)
    frozen.__kwdefaults__ = thunk.__kwdefaults__
    return frozen


def _fenced(thunk, sample):
    """`thunk` over fenced tensors: XLA fuses and rounds what a tensor is made of by who reads it,
    and that must not change when we do."""
    fence = None if sample.rows is not None else worlds.fence()
    if fence is None:
        return thunk

    def change(value):
        if isinstance(value, tf.Tensor):
            # XLA has no wall for a size known only as it runs, as of rows without their doubles.
            whole = value.shape.is_fully_defined() and value.shape.as_list() in ([], sample.shape)
            return fence(value) if whole else value
        if isinstance(value, dict):
            return {key: change(part) for key, part in value.items()}
        if type(value) in (list, tuple):
            return type(value)(change(part) for part in value)
        return value

    return freeze(thunk, change)


class Sample(object):
    """What is needed to sample one variable at the end of the update.

    Attributes:
        rate, direction, alpha: functions of no argument; `rate` gives the raw rate.
        outcome: a function that gives the `bounding.Outcome`, None without a rule; rules: those of its hits.
        shape: static shape of the model variable; dtype: its tf.DType; key: its name.
        rows: int tensor [rows], where rate, direction and outcome are of those rows only.
    """

    __slots__ = ("alpha", "direction", "dtype", "key", "outcome", "rate", "rows", "rules", "shape")

    def __init__(self, rate, direction, alpha, outcome, shape, dtype, key, rules, rows=None):
        self.rules = rules
        self.rate = rate
        self.direction = direction
        self.alpha = alpha
        self.outcome = outcome
        self.shape = shape
        self.dtype = dtype
        self.key = key
        self.rows = rows

    def whole(self, value, filler):
        """`value` spread over the variable's shape, `filler` where nothing was touched."""
        if self.rows is None:
            return spread(value, self.shape)
        return placed(value, self.rows, self.shape, filler)


def due(record):
    """In eager: whether the update now running will be sampled (decided once per update)."""
    if record.due is None:
        every = record.settings.every
        _counter(record)
        record.due = every == 1 or int(record.updates.numpy()) % every == 0
    return record.due


def _counter(record):
    with record.lock:
        if record.updates is None:
            record.updates = worlds.hidden_variable(np.int64(0), tf.int64, "updates")
            record.scalars = (
                worlds.hidden_variable(np.full([2], np.nan, np.float64), tf.float64, "scalars"),
                worlds.hidden_variable(np.int64(0), tf.int64, "step"),
            )
    return record.updates


def _stores(optimizer, record, samples):
    """Makes the Stores of those of `samples` that have none, in one Pack."""
    with record.lock:
        made = {}
        for identity, sample in samples.items():
            if identity not in record.stores:
                full = record.settings.emit == "tensor"
                totals = None
                if any(rule.stateful for rule in sample.rules):
                    totals = stores.totals_of(optimizer, record, sample.key, sample.rules)
                hits = [rule.id for rule in sample.rules]
                made[identity] = stores.Store(sample.shape, sample.dtype, sample.key, full, hits, totals)
        if made:
            stores.Pack(list(made.values()))
            record.stores.update(made)


def spread(value, shape, dtype=None):
    """`value` as a tensor of static `shape`; scalars and broadcastable shapes are spread."""
    value = tf.convert_to_tensor(value)
    if dtype is not None and value.dtype != dtype:
        value = tf.cast(value, dtype)
    if value.shape.is_fully_defined() and value.shape.as_list() == shape:
        return value
    return tf.broadcast_to(value, shape)


def placed(value, rows, shape, filler):
    """Rows of a variable in its static `shape`, `filler` in the other rows; of several entries
    for one row the last is taken."""
    value = tf.convert_to_tensor(value)
    size = tf.concat([tf.shape(rows), tf.constant(shape[1:], tf.int32)], 0)
    base = tf.fill(shape, tf.cast(tf.constant(filler), value.dtype))
    return tf.tensor_scatter_nd_update(base, tf.expand_dims(rows, 1), tf.broadcast_to(value, size))


# -- what is counted of an array, in functions that are traced once for all arrays alike ---------

_TRACED = {}  # (what, shape, dtype, ...) -> function


def _traced(function, stride, *arrays):
    """`function` of an int and tensors, as one operation: tracing it for each variable would cost seconds.

    Arrays of all shapes share one, but in XLA and of no elements, where shapes have to be known.
    """
    known = arrays[0].shape.num_elements() == 0 or worlds.in_xla()
    specs = [tf.TensorSpec(x.shape if known else None, x.dtype) for x in arrays]
    key = (function.__name__, stride if known else None) + tuple(str(spec) for spec in specs)
    found = _TRACED.get(key)
    if found is None:
        first = stride if known else tf.TensorSpec([], tf.int32)
        with tf.init_scope():
            found = tf.function(function, autograph=False).get_concrete_function(first, *specs)
        _TRACED[key] = found
    return found(*arrays) if known else found(tf.constant(stride), *arrays)


def _count(mask):
    return tf.reduce_sum(tf.cast(mask, tf.int64))


def _counted_of_all(stride, raw, effective, direction, clamped, touched):
    """(sample, counts) of the arrays of one variable, of which each `stride`th element is kept."""
    active = tf.not_equal(direction, 0)
    nonfinite = tf.logical_and(tf.logical_not(tf.math.is_finite(raw)), touched)
    masks = clamped, tf.logical_and(clamped, active), active, nonfinite, touched
    counts = [tf.cast(_count(mask), tf.float64) for mask in masks]
    picked = [tf.cast(tf.reshape(part, [-1])[::stride], tf.float32) for part in (effective, active)]
    return tf.stack(picked), tf.stack(counts)


def _counted_of_rule(_, mask, before, after, direction):
    """Elements clamped, clamped and active, clamped with another step, and the relative change."""
    before, after = before * direction, after * direction
    changed = tf.logical_and(mask, tf.not_equal(before, after))
    size = bounding.root_mean_square(_finite(before))
    # 0 where nothing was changed, though nothing was to be changed
    moved = bounding.root_mean_square(_finite(after - before))
    relative = tf.cast(tf.math.divide_no_nan(moved, size), tf.float64)
    masks = mask, tf.logical_and(mask, tf.not_equal(direction, 0)), changed
    return tf.stack([tf.cast(_count(m), tf.float64) for m in masks] + [relative])


def _take(sample, store):
    """The Taken of one sample; elementwise work over the variable, so only on sampled updates."""
    raw = sample.whole(_fenced(sample.rate, sample)(), np.nan)
    direction = sample.whole(_fenced(sample.direction, sample)(), 0)
    touched = tf.fill(sample.shape, True) if sample.rows is None else sample.whole(True, False)
    effective, clamped = raw, tf.fill(sample.shape, False)
    taken = stores.Taken()
    taken.rules = taken.totals = None
    if sample.outcome is not None:
        outcome = sample.outcome()
        effective, clamped = sample.whole(outcome.rate, np.nan), sample.whole(outcome.clamped, False)
        taken.rules, taken.totals = _take_rules(sample, outcome, direction)
    arrays = raw, effective, direction, clamped, touched
    taken.sample, taken.counts = _traced(_counted_of_all, store.stride, *arrays)
    taken.sample = tf.ensure_shape(taken.sample, [2, store.size])
    if store.full is not None:
        store.full.assign(tf.cast(effective, store.full.dtype))
    return taken


def _take_rules(sample, outcome, direction):
    """What each rule did to one variable, and what to add to what it has done so far."""
    rows, counts = [], []
    for hit in outcome.hits:
        arrays = [sample.whole(hit.mask(), False)]
        arrays += [sample.whole(x, np.nan) for x in (hit.before(), hit.alone())]
        found = _traced(_counted_of_rule, 1, *(arrays + [direction]))
        crossed = tf.cast([hit.crossed()], tf.float64)
        none = tf.constant(np.nan, tf.float64)
        bounds = tf.stack([none if hit.low is None else hit.low, none if hit.high is None else hit.high])
        rows += [bounds, found[:3], crossed, found[3:]]
        counts += [tf.ones([1], tf.float64), found[:3], crossed]
    return tf.concat(rows, 0), tf.concat(counts, 0)


def _finite(value):
    return worlds.where(tf.math.is_finite(value), value, tf.zeros_like(value))


def _step_number(optimizer, updates, counted):
    """Number of the update from 1; `counted` where the optimizer has counted it already."""
    iterations = getattr(optimizer, "iterations", None)
    if iterations is None:
        return updates + 1
    return tf.cast(tf.convert_to_tensor(iterations), tf.int64) + (0 if counted else 1)


def _take_all(optimizer, record, samples, updates, counted):
    taken = {}
    for identity, sample in samples.items():
        store = record.stores[identity]
        taken.setdefault(store.pack, {})[store] = _take(sample, store)
    for pack, found in taken.items():
        pack.write(found)
    alpha = tf.constant(np.nan, tf.float64)
    for sample in samples.values():
        if sample.alpha is not None:
            value = tf.convert_to_tensor(_fenced(sample.alpha, sample)())
            if value.shape.num_elements() == 1:
                alpha = moments.as_float64(value)
                break
    lr = moments.learning_rate(optimizer, counted)
    record.scalars[0].assign(tf.stack([tf.constant(np.nan, tf.float64) if lr is None else lr, alpha]))
    record.scalars[1].assign(_step_number(optimizer, updates, counted))


@worlds.do_not_convert
def flush(optimizer, record):
    """Ends one optimizer update: takes the queued samples if this update is due, counts it.

    Adds one `tf.cond` for all variables of the update, none when every == 1, and in eager a
    Python condition. Never raises: a failure to observe warns once.
    """
    if record.silent or worlds.world() == worlds.GRAPH or worlds.replica() != 0:
        return
    graph = worlds.current_graph()
    samples = record.take(graph)
    try:
        if graph is None:
            _flush_eager(optimizer, record, samples)
        elif samples:
            _flush_function(optimizer, record, samples)
    except Exception as error:
        records.warn_once(
            ("flush", record.optimizer_name),
            "the rates of {} could not be sampled ({}: {}); training goes on unobserved. "
            "ADAMPATCH_EMIT=off silences this.".format(record.optimizer_name, type(error).__name__, error),
        )


def _flush_eager(optimizer, record, samples):
    if record.due is None:
        return  # no step ran
    was_due, record.due = record.due, None
    if was_due and samples:
        _stores(optimizer, record, samples)
        _take_all(optimizer, record, samples, record.updates, _counted(optimizer))
    record.updates.assign_add(1)


def _counted(optimizer):
    return getattr(type(optimizer), "__adampatch_counted__", False)


def _flush_function(optimizer, record, samples):
    _counter(record)
    _stores(optimizer, record, samples)
    _take_if_due(optimizer, record, samples, record.updates, _counted(optimizer))


def _take_if_due(optimizer, record, samples, updates, counted):
    """Takes the samples on every `every`th call, counted by the variable `updates`."""
    every = record.settings.every
    if every == 1 and worlds.fence() is None:
        _take_all(optimizer, record, samples, updates, counted)
    else:

        def take():
            _take_all(optimizer, record, samples, updates, counted)
            return tf.constant(True)

        # Always true for every == 1, which XLA does not know: a branch keeps our readers apart.
        due = tf.less_equal(tf.math.floormod(updates.read_value(), max(every, 2)), int(every == 1))
        _keep_apart(tf.cond(due, take, lambda: tf.constant(False)))
    updates.assign_add(1)


def _keep_apart(taken):
    """Leaves a condition one operation, where all is on one device: taken apart, as it is by default, each of
    its hundreds of operations is looked at in every update, due or not."""
    if not isinstance(taken, tf.Tensor) or tf.executing_eagerly():
        return
    devices = getattr(tf.config, "list_logical_devices", None)  # not there before TensorFlow 2
    with tf.init_scope():
        if devices is None or not tf.executing_eagerly() or len(devices()) != 1:
            return
    op = taken.op
    while op.type == "Identity":
        op = op.inputs[0].op
    if op.type in ("If", "StatelessIf"):
        op._set_attr("_lower_using_switch_merge", tf.compat.v1.AttrValue(b=False))


@worlds.do_not_convert
def take_alone(optimizer, record, identity, sample):
    """Takes the sample of one variable where it is made, for updates that no flush ends.

    Each variable then counts its own updates, and has a `tf.cond` of its own.
    """
    _counter(record)
    _stores(optimizer, record, {identity: sample})
    store = record.stores[identity]
    with record.lock:
        if store.alone is None:
            store.alone = worlds.hidden_variable(np.int64(0), tf.int64, "alone")
    _take_if_due(optimizer, record, {identity: sample}, store.alone, False)
