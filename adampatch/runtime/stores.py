"""Where samples are kept: few variables of ours for many of the model's.

Touches TensorFlow, only variables of ours.
"""

import numpy as np

from adampatch.runtime import bounding, worlds
from adampatch.runtime.lazy import tf

SAMPLE = 4096  # elements of a rate kept per variable and sample


class Part(object):
    """A part of a variable of ours that holds what belongs to many: as much of a variable as reading takes.

    Attributes: whole, the variable; place, what of it this is; shape and dtype.
    """

    __slots__ = ("dtype", "place", "shape", "whole")

    def __init__(self, whole, place, shape, dtype):
        self.whole = whole
        self.place = place
        self.shape = shape
        self.dtype = dtype

    def of(self, value):
        """This part of a value of the whole, NumPy array or tensor."""
        return value[self.place]


class Store(object):
    """Where the last sample of one model variable is.

    Attributes:
        sample: float32 [2, k]: effective rates, and 1.0 where the direction was not 0.
        counts: float64 [5]: clamped, clamped and active, active, not finite, touched.
        hits: ids of the rules that hold for the variable, in the order of the rows of
        rules: float64 [n, 7]: lower and upper bound, elements clamped, clamped and active, clamped and
            with another step, whether its bounds crossed, |applied - stock| / |stock|; of the sample; and
        totals: [n, 5]: samples, and the sums over them of columns 2 to 5 of `rules`; a variable where it is
            saved with the state of a rule.
        full: the effective rate, of the variable's shape and dtype; None unless emit="tensor".
        elements: int, elements of the model variable.
        pack: the Pack that holds all this.
        alone: int64 variable, the updates that were not ended by a flush; None before one.
    """

    def __init__(self, shape, dtype, key, full, hits, totals):
        self.key = key
        self.hits = hits
        self.elements = int(np.prod(shape, dtype=np.int64))
        self.stride = max(1, -(-self.elements // SAMPLE))
        self.size = -(-self.elements // self.stride)
        self.sample = self.counts = self.rules = self.pack = self.alone = self.full = None
        self.totals = totals
        if full:
            name = "".join(c if c.isalnum() or c in "_./-" else "_" for c in key)
            filler = np.full(shape, np.nan, np.float32)
            self.full = worlds.hidden_variable(lambda: tf.cast(filler, dtype), dtype, name + "/rate")


class Pack(object):
    """The variables of several Stores, sampled together: an update that is not sampled pays for each variable
    that the condition names, so there are two for all.

    Attributes: stores; samples: float32 [2, sum of k]; numbers: float64, per store its counts, `rules` and
    `totals`, the last only where they are no variable.
    """

    def __init__(self, stores):
        self.stores = stores
        columns = places = 0
        for store in stores:
            store.pack = self
            columns += store.size
            places += 5 + len(store.hits) * (7 if store.totals is not None else 12)
        self.samples = worlds.hidden_variable(np.zeros([2, columns], np.float32), tf.float32, "samples")
        self.numbers = worlds.hidden_variable(np.zeros([places], np.float64), tf.float64, "numbers")
        columns = self._at = 0
        for store in stores:
            place = (slice(None), slice(columns, columns + store.size))
            store.sample = Part(self.samples, place, [2, store.size], np.float32)
            columns += store.size
            store.counts = self._part([5])
            if store.hits:
                store.rules = self._part([len(store.hits), 7])
                if store.totals is None:
                    store.totals = self._part([len(store.hits), 5])

    def _part(self, shape):
        size = int(np.prod(shape))
        self._at += size
        return Part(self.numbers, slice(self._at - size, self._at), shape, np.float64)

    def write(self, taken):
        """Writes {store: Taken}; what was not sampled stays."""
        samples, numbers = [], []
        kept = None
        if len(taken) < len(self.stores) or any(isinstance(s.totals, Part) for s in self.stores):
            kept = self.numbers.read_value()
        whole = self.samples.read_value() if len(taken) < len(self.stores) else None
        for store in self.stores:
            found = taken.get(store)
            samples.append(store.sample.of(whole) if found is None else found.sample)
            parts = [part for part in (store.counts, store.rules, store.totals) if isinstance(part, Part)]
            if found is None:
                numbers += [part.of(kept) for part in parts]
                continue
            numbers.append(found.counts)
            if store.hits:
                numbers.append(found.rules)
                if isinstance(store.totals, Part):
                    numbers.append(store.totals.of(kept) + found.totals)
                else:
                    store.totals.assign_add(tf.cast(tf.reshape(found.totals, [-1, 5]), tf.int64))
        self.samples.assign(tf.concat(samples, 1))
        self.numbers.assign(tf.concat(numbers, 0))


class Taken(object):
    """A sample that was taken of one variable, tensors as the Pack keeps them: `sample` [2, k] and, flat,
    `counts`, `rules` and `totals` (these two None without a rule)."""

    __slots__ = ("counts", "rules", "sample", "totals")


def totals_of(optimizer, record, key, rules):
    """The counters of a variable's rules, in the checkpoint along with the state of a rule."""
    zeros = np.zeros([len(bounding.counted(rules)), 5], np.int64)
    return record.state.variable(optimizer, "counts/" + record.kept_as(key), zeros, replicated=False)
