"""Observation in eager code and functions: samples queued by step, taken by one flush per update.

Touches TensorFlow and only variables of ours; no summary, print or assert (XLA has none).
"""

import types

import numpy as np

from adampatch.runtime import methods, records, worlds
from adampatch.runtime.lazy import tf

SAMPLE = 4096  # elements of a rate kept per variable and sample


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
        bounded: (effective rate, clamped mask), tensors, or None without a rule.
        shape: static shape of the model variable; dtype: its tf.DType; key: its name.
        rows: int tensor [rows], where rate, direction and bounds are of those rows only.
    """

    __slots__ = ("alpha", "bounded", "direction", "dtype", "key", "rate", "rows", "shape")

    def __init__(self, rate, direction, alpha, bounded, shape, dtype, key, rows=None):
        self.rate = rate
        self.direction = direction
        self.alpha = alpha
        self.bounded = bounded
        self.shape = shape
        self.dtype = dtype
        self.key = key
        self.rows = rows

    def whole(self, value, filler):
        """`value` spread over the variable's shape, `filler` where nothing was touched."""
        if self.rows is None:
            return spread(value, self.shape)
        return placed(value, self.rows, self.shape, filler)


class Store(object):
    """Variables that hold the last sample of one model variable.

    Attributes:
        sample: float32 [2, k]: effective rates, and 1.0 where the direction was not 0.
        counts: int64 [5]: clamped, clamped and active, active, not finite, touched.
        full: the effective rate, of the variable's shape and dtype; None unless emit="tensor".
        elements: int, elements of the model variable.
        alone: int64 variable, the updates that were not ended by a flush; None before one.
    """

    def __init__(self, shape, dtype, key, full):
        self.key = key
        self.elements = int(np.prod(shape, dtype=np.int64))
        self.stride = max(1, -(-self.elements // SAMPLE))
        size = -(-self.elements // self.stride)
        name = "".join(c if c.isalnum() or c in "_./-" else "_" for c in key)
        self.sample = worlds.hidden_variable(np.zeros([2, size], np.float32), tf.float32, name + "/sample")
        self.counts = worlds.hidden_variable(np.zeros([5], np.int64), tf.int64, name + "/counts")
        self.alone = None
        self.full = None
        if full:
            filler = np.full(shape, np.nan, np.float32)
            self.full = worlds.hidden_variable(lambda: tf.cast(filler, dtype), dtype, name + "/rate")


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


def _store(record, identity, sample):
    with record.lock:
        store = record.stores.get(identity)
        if store is None:
            store = Store(sample.shape, sample.dtype, sample.key, record.settings.emit == "tensor")
            record.stores[identity] = store
        return store


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


def _count(mask):
    return tf.reduce_sum(tf.cast(mask, tf.int64))


def _take(sample, store):
    """Writes one sample; elementwise work over the variable, so only on sampled updates."""
    raw = sample.whole(_fenced(sample.rate, sample)(), np.nan)
    active = tf.not_equal(sample.whole(_fenced(sample.direction, sample)(), 0), 0)
    touched = tf.fill(sample.shape, True) if sample.rows is None else sample.whole(True, False)
    if sample.bounded is None:
        effective = raw
        clamped = clamped_active = tf.zeros([], tf.int64)
    else:
        effective, mask = sample.bounded
        effective, mask = sample.whole(effective, np.nan), sample.whole(mask, False)
        clamped, clamped_active = _count(mask), _count(tf.logical_and(mask, active))
    nonfinite = tf.logical_and(tf.logical_not(tf.math.is_finite(raw)), touched)
    counts = [clamped, clamped_active, _count(active), _count(nonfinite), _count(touched)]
    store.counts.assign(tf.stack(counts))
    picked = [tf.cast(tf.reshape(part, [-1])[:: store.stride], tf.float32) for part in (effective, active)]
    store.sample.assign(tf.stack(picked))
    if store.full is not None:
        store.full.assign(tf.cast(effective, store.full.dtype))


def _float64(value):
    return tf.reshape(tf.cast(tf.convert_to_tensor(value), tf.float64), [])


def _learning_rate(optimizer, counted):
    """The scheduled learning rate of the update now ending; NaN where the code does not show it."""
    for name in ("learning_rate", "_lr_t", "_learning_rate_tensor", "_lr", "lr"):
        value = getattr(optimizer, name, None)
        if value is None:
            continue
        if hasattr(optimizer, "_hyper"):
            return _learning_rate_v2(optimizer, value, counted)
        if not callable(value):
            return _float64(value)
    return tf.constant(np.nan, tf.float64)


def _learning_rate_v2(optimizer, value, counted):
    """OptimizerV2 keeps a schedule, and `decay=`, apart and applies them inside of the update;
    the properties of the other families have done so already."""
    before = tf.cast(optimizer.iterations, tf.float32) - (1 if counted else 0)
    rate = _float64(value(before) if callable(value) else value)
    decay = getattr(optimizer, "_initial_decay", 0)
    if not decay or hasattr(optimizer, "_m_cache"):  # Nadam's is of the momentum
        return rate
    return rate / (1.0 + _float64(decay) * _float64(before))


def _step_number(optimizer, updates, counted):
    """Number of the update from 1; `counted` where the optimizer has counted it already."""
    iterations = getattr(optimizer, "iterations", None)
    if iterations is None:
        return updates + 1
    return tf.cast(tf.convert_to_tensor(iterations), tf.int64) + (0 if counted else 1)


def _take_all(optimizer, record, samples, updates, counted):
    for identity, sample in samples.items():
        _take(sample, record.stores[identity])
    alpha = tf.constant(np.nan, tf.float64)
    for sample in samples.values():
        if sample.alpha is not None:
            value = tf.convert_to_tensor(_fenced(sample.alpha, sample)())
            if value.shape.num_elements() == 1:
                alpha = _float64(value)
                break
    record.scalars[0].assign(tf.stack([_learning_rate(optimizer, counted), alpha]))
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
        for identity, sample in samples.items():
            _store(record, identity, sample)
        _take_all(optimizer, record, samples, record.updates, _counted(optimizer))
    record.updates.assign_add(1)


def _counted(optimizer):
    return getattr(type(optimizer), "__adampatch_counted__", False)


def _flush_function(optimizer, record, samples):
    _counter(record)
    for identity, sample in samples.items():
        _store(record, identity, sample)
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
        tf.cond(due, take, lambda: tf.constant(False))
    updates.assign_add(1)


@worlds.do_not_convert
def take_alone(optimizer, record, identity, sample):
    """Takes the sample of one variable where it is made, for updates that no flush ends.

    Each variable then counts its own updates, and has a `tf.cond` of its own.
    """
    _counter(record)
    store = _store(record, identity, sample)
    with record.lock:
        if store.alone is None:
            store.alone = worlds.hidden_variable(np.int64(0), tf.int64, "alone")
    _take_if_due(optimizer, record, {identity: sample}, store.alone, False)
