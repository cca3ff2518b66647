"""Observation in eager code and functions: samples queued by step, taken by one flush per update.

Touches TensorFlow and only variables of ours; no summary, print or assert (XLA has none).
"""

import types

import numpy as np

from adampatch.runtime import bounding, measures, methods, moments, records, summing, worlds
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
        outcome: a function that gives the `bounding.Outcome`, None without a rule; rules: those of its hits.
        shape: static shape of the model variable; dtype: its tf.DType; key: its name.
        shown: `measures.Shown`; rows: int tensor [rows], where rate, direction, outcome and what is shown
            are of those rows only.
    """

    __slots__ = ("alpha", "direction", "dtype", "key", "outcome", "rate", "rows", "rules", "shape", "shown")

    def __init__(self, rate, direction, alpha, outcome, shape, dtype, key, shown, rules, rows=None):
        self.rules = rules
        self.rate = rate
        self.direction = direction
        self.alpha = alpha
        self.outcome = outcome
        self.shape = shape
        self.dtype = dtype
        self.key = key
        self.shown = shown
        self.rows = rows

    def whole(self, value, filler):
        """`value` spread over the variable's shape, `filler` where nothing was touched."""
        if self.rows is None:
            return spread(value, self.shape)
        return placed(value, self.rows, self.shape, filler)


class Sheet(object):
    """Variables that hold the last samples of the model variables that were first updated together.

    One set for all of them: a condition costs, on every update, by what it may have to write.

    Attributes:
        samples: float32 [2, k], effective rates and 1.0 where the direction was not 0, of one after the
            other; numbers: float64 [n, 11], a row each: clamped, clamped and active, active, not finite,
            touched, decided by epsilon, the same and active (these two -1 where the code does not show
            them), and the four of `measures.SUMS`.
        stores: the Stores, in the order of the rows.
    """

    COUNTS = 7

    def __init__(self, stores, name):
        self.stores = stores
        total = 0
        for row, store in enumerate(stores):
            store.sheet, store.row = self, row
            store.span = (total, total + -(-store.elements // store.stride))
            total = store.span[1]
        self.samples = worlds.hidden_variable(np.zeros([2, total], np.float32), tf.float32, name + "/samples")
        empty = np.full([len(stores), self.COUNTS + len(measures.SUMS)], np.nan)
        self.numbers = worlds.hidden_variable(empty, tf.float64, name + "/numbers")

    def write(self, taken):
        """Writes {Store: (its numbers, its sample)}; of the others the last ones stay."""
        if len(taken) < len(self.stores):
            numbers, samples = self.numbers.read_value(), self.samples.read_value()
            taken = {
                store: taken.get(store) or (numbers[store.row], samples[:, store.span[0] : store.span[1]])
                for store in self.stores
            }
        worlds.put(self.numbers, tf.stack([taken[store][0] for store in self.stores]))
        worlds.put(self.samples, tf.concat([taken[store][1] for store in self.stores], 1))


class Store(object):
    """Where the last sample of one model variable is held.

    Attributes:
        sheet, row, span: the Sheet, its row there, first and last column of its sample.
        hits: ids of the rules that hold for the variable, in the order of the rows of
        rules: float64 [n, 7]: lower and upper bound, elements clamped, clamped and active, clamped and
            with another step, whether its bounds crossed, |applied - stock| / |stock|; of the sample; and
        totals: int64 [n, 5]: samples, and the sums over them of columns 2 to 5 of `rules`.
        full: the effective rate, of the variable's shape and dtype; None unless emit="tensor".
        elements: int, elements of the model variable.
        alone: int64 variable, the updates that were not ended by a flush; None before one.
    """

    def __init__(self, shape, dtype, key, full, hits, totals):
        self.key = key
        self.hits = hits
        self.elements = int(np.prod(shape, dtype=np.int64))
        self.stride = max(1, -(-self.elements // SAMPLE))
        self.sheet = self.row = self.span = None
        name = "".join(c if c.isalnum() or c in "_./-" else "_" for c in key)
        self.rules = self.totals = None
        if hits:
            self.rules = worlds.hidden_variable(np.full([len(hits), 7], np.nan), tf.float64, name + "/rules")
            self.totals = totals
        self.alone = None
        self.full = None
        if full:
            filler = np.full(shape, np.nan, np.float32)
            self.full = worlds.hidden_variable(lambda: tf.cast(filler, dtype), dtype, name + "/rate")

    def variables(self):
        """All of them; those of the sheet are shared."""
        own = (self.sheet.samples, self.sheet.numbers, self.rules, self.totals, self.full, self.alone)
        return [variable for variable in own if variable is not None]


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


def _make_stores(optimizer, record, samples):
    """Makes the stores of those of {identity: Sample} that have none, with one sheet for all of them."""
    with record.lock:
        made = {}
        for identity, sample in samples.items():
            if identity not in record.stores:
                full = record.settings.emit == "tensor"
                rules = sample.rules
                totals = totals_of(optimizer, record, sample.key, rules) if rules else None
                hits = [rule.id for rule in rules]
                made[identity] = Store(sample.shape, sample.dtype, sample.key, full, hits, totals)
        if made:
            Sheet(list(made.values()), "sheet")
            record.stores.update(made)


def totals_of(optimizer, record, key, rules):
    """The counters of a variable's rules: in the checkpoint along with the state of a rule that has one."""
    zeros = np.zeros([len(bounding.counted(rules)), 5], np.int64)
    if any(rule.stateful for rule in rules):
        return record.state.variable(optimizer, "counts/" + record.kept_as(key), zeros, replicated=False)
    return worlds.hidden_variable(zeros, tf.int64, "totals")


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


def _take(sample, store, debias):
    """(numbers, sample) for the sheet; elementwise work over the variable, so only on sampled updates.
    `debias`: see `measures.debiasing`."""
    raw = sample.whole(_fenced(sample.rate, sample)(), np.nan)
    direction = sample.whole(_fenced(sample.direction, sample)(), 0)
    arrays, scalars = measures.parts_of(sample.shown, sample, raw.dtype, debias)
    arrays.update(raw=raw, direction=direction)
    if sample.rows is not None:
        arrays["touched"] = sample.whole(True, False)
    effective = raw
    if sample.outcome is not None:
        outcome = sample.outcome()
        effective = arrays["effective"] = sample.whole(outcome.rate, np.nan)
        arrays["clamped"] = sample.whole(outcome.clamped, False)
        _take_rules(sample, outcome, store, direction)
    numbers = summing.over_elements(measures.numbers, arrays, scalars)
    rates, directions = (tf.reshape(part, [-1])[:: store.stride] for part in (effective, direction))
    picked = [tf.cast(part, tf.float32) for part in (rates, tf.not_equal(directions, 0))]
    if store.full is not None:
        worlds.put(store.full, tf.cast(effective, store.full.dtype))
    return numbers, tf.stack(picked)


def _take_rules(sample, outcome, store, direction):
    """Writes what each rule did to one variable, and adds it to what it has done so far."""
    rows, counts = [], []
    none = tf.constant(np.nan, tf.float64)
    for hit in outcome.hits:
        arrays = {
            "direction": direction,
            "mask": sample.whole(hit.mask(), False),
            "before": sample.whole(hit.before(), np.nan),
            "after": sample.whole(hit.alone(), np.nan),
        }
        done, relative = summing.over_elements(_done, arrays, {"crossed": tf.cast(hit.crossed(), tf.int64)})
        counts.append(done)
        bounds = tf.stack([none if hit.low is None else hit.low, none if hit.high is None else hit.high])
        rows.append(tf.concat([bounds, tf.cast(done[1:], tf.float64), [relative]], 0))
    worlds.put(store.rules, tf.stack(rows))
    worlds.add(store.totals, tf.stack(counts))


def _done(of):
    """(int64 [5], float64): one update, elements clamped, those that are active, those whose step is
    another one, and `crossed`; and the change of the update relative to its size, of root mean squares.

    Args:
        of: {name: flat tensor} of mask, direction and the rates before and after, the scalar crossed.
    """
    before, after = of["before"] * of["direction"], of["after"] * of["direction"]
    changed = tf.logical_and(of["mask"], tf.not_equal(before, after))
    active = tf.logical_and(of["mask"], tf.not_equal(of["direction"], 0))
    size = bounding.root_mean_square(_finite(before))
    # 0 where nothing was changed, though nothing was to be changed
    moved = bounding.root_mean_square(_finite(after - before))
    counts = [tf.reduce_sum(tf.cast(mask, tf.int64)) for mask in (of["mask"], active, changed)]
    relative = tf.math.divide_no_nan(moved, size)
    return tf.stack([tf.ones([], tf.int64)] + counts + [of["crossed"]]), tf.cast(relative, tf.float64)


def _finite(value):
    return worlds.where(tf.math.is_finite(value), value, tf.zeros_like(value))


def _step_number(optimizer, updates, counted):
    """Number of the update from 1; `counted` where the optimizer has counted it already."""
    iterations = getattr(optimizer, "iterations", None)
    if iterations is None:
        return updates + 1
    return tf.cast(tf.convert_to_tensor(iterations), tf.int64) + (0 if counted else 1)


def _take_all(optimizer, record, samples, updates, counted, lr):
    step = _step_number(optimizer, updates, counted)
    debias = measures.debiasing(optimizer, lr, step)
    taken = {}
    for identity, sample in samples.items():
        store = record.stores[identity]
        taken.setdefault(store.sheet, {})[store] = _take(sample, store, debias)
    for sheet, of_sheet in taken.items():
        sheet.write(of_sheet)
    alpha = tf.constant(np.nan, tf.float64)
    for sample in samples.values():
        if sample.alpha is not None:
            value = tf.convert_to_tensor(_fenced(sample.alpha, sample)())
            if value.shape.num_elements() == 1:
                alpha = moments.as_float64(value)
                break
    worlds.put(record.scalars[0], tf.stack([tf.constant(np.nan, tf.float64) if lr is None else lr, alpha]))
    worlds.put(record.scalars[1], step)


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
        _make_stores(optimizer, record, samples)
        lr = moments.learning_rate(optimizer, _counted(optimizer))
        _take_all(optimizer, record, samples, record.updates, _counted(optimizer), lr)
    worlds.add(record.updates, 1)


def _counted(optimizer):
    return getattr(type(optimizer), "__adampatch_counted__", False)


def _flush_function(optimizer, record, samples):
    _counter(record)
    _make_stores(optimizer, record, samples)
    _take_if_due(optimizer, record, samples, record.updates, _counted(optimizer))


def _take_if_due(optimizer, record, samples, updates, counted):
    """Takes the samples on every `every`th call, counted by the variable `updates`."""
    every = record.settings.every
    # Beside stock's own, of which it has the bits: a branch is optimized by itself, and rounds otherwise.
    fenced = worlds.fence() is not None
    outside = None if fenced else moments.learning_rate(optimizer, counted)
    if every == 1 and not fenced:
        _take_all(optimizer, record, samples, updates, counted, outside)
    else:

        def take():
            lr = moments.learning_rate(optimizer, counted) if fenced else outside
            _take_all(optimizer, record, samples, updates, counted, lr)
            return tf.constant(True)

        # Always true for every == 1, which XLA does not know: a branch keeps our readers apart.
        due = tf.less_equal(tf.math.floormod(updates.read_value(), max(every, 2)), int(every == 1))
        worlds.kept_whole(tf.cond(due, take, lambda: tf.constant(False)))
    worlds.add(updates, 1)


@worlds.do_not_convert
def take_alone(optimizer, record, identity, sample):
    """Takes the sample of one variable where it is made, for updates that no flush ends.

    Each variable then counts its own updates, and has a `tf.cond` of its own.
    """
    _counter(record)
    _make_stores(optimizer, record, {identity: sample})
    store = record.stores[identity]
    with record.lock:
        if store.alone is None:
            store.alone = worlds.hidden_variable(np.int64(0), tf.int64, "alone")
    _take_if_due(optimizer, record, {identity: sample}, store.alone, False)
