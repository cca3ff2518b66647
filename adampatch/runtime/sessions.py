"""v1 graphs: numbers come with what a session runs anyway, where that holds an update of ours.

Touches the graph only to add small statistics of the tensors that updates offer, and what
`BaseSession.run` fetches, both only while somebody wants numbers.
"""

import functools
import math
import weakref

import numpy as np

from adampatch.runtime import graph_tensors, measures, reading, records
from adampatch.runtime.lazy import tf

#: updates at the start of which every one shows its alpha and lr: there alpha moves most
DENSE = 100
_SAMPLED = 4096
_BRANCHES = ("If", "StatelessIf", "Case", "StatelessCase", "While", "StatelessWhile")
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
_SESSIONS = []  # the class whose runs are watched, and {session: {id(record): _Count}}


class _Count(object):
    """Updates of one optimizer in one session: how many ran before the first we saw, and since."""

    def __init__(self, before):
        self.updates = before
        self.first = before + 1


class Extra(object):
    """What to fetch along with one run, and what to make of it.

    Attributes:
        fetches: a structure for `Session.run`, empty where nothing is due.
    """

    def __init__(self, due, fetches):
        self.due = due
        self.fetches = fetches

    def take(self, values, hand_on):
        """Counts the updates that ran, and hands on what was fetched of them: `hand_on(watched,
        snapshot, samples)`."""
        for watched, count, step in self.due:
            count.updates = step
            got = values.get(watched.key)
            if got is not None:
                hand_on(watched, *_snapshot(step, got))


def follow(optimizer, watched):
    """Has sessions of the default graph log the updates that `optimizer` has just built."""
    graph = tf.compat.v1.get_default_graph()
    watched.graph = weakref.ref(graph)
    watched.key = "{}/{}".format(watched.name, id(watched.record))
    known = _of_graph(graph, "_adampatch_watched")
    known[id(watched.record)] = watched
    _of_graph(graph, "_adampatch_shown")[id(watched.record)] = (
        _rate_tensor(optimizer),
        _counter_of(optimizer),
    )


def watch_sessions(is_wanted, hand_on):
    """Has every `Session.run` looked at from now on, while `is_wanted()`; see `Extra.take`."""
    if _SESSIONS:
        return
    from tensorflow.python.client import session

    cls = session.BaseSession
    stock = cls.run

    @functools.wraps(stock)
    def run(self, fetches, feed_dict=None, options=None, run_metadata=None):
        extra = None
        if is_wanted() and hasattr(self.graph, "_adampatch_watched"):
            extra = extra_of(self, fetches, functools.partial(stock, self))
        if extra is None:
            return stock(self, fetches, feed_dict, options, run_metadata)
        if not extra.fetches:
            out = stock(self, fetches, feed_dict, options, run_metadata)
            extra.take({}, hand_on)
            return out
        out, values = stock(self, (fetches, extra.fetches), feed_dict, options, run_metadata)
        extra.take(values, hand_on)
        return out

    cls.run = run
    _SESSIONS.extend([cls, weakref.WeakKeyDictionary()])


def extra_of(session, fetches, run=None, counts=None, every=None):
    """The Extra of one run of `fetches`; None where it updates nothing that is watched.

    `run(tensor)` reads a tensor beforehand; `counts` is where updates are counted, per session
    if None; `every` is that of the optimizer's settings if None.
    """
    try:
        graph = session.graph
        keys = _updated(graph, fetches)
        if not keys:
            return None
        counts = _SESSIONS[1].setdefault(session, {}) if counts is None else counts
        return _extra(graph, keys, counts, run or session.run, every)
    except Exception as error:
        records.warn_once(
            ("session", type(error).__name__),
            "a session goes unlogged ({}: {}); it runs as ever.".format(type(error).__name__, error),
        )
        return None


def _extra(graph, keys, counts, run, given):
    by_record = {}
    for key in keys:
        record = _of_graph(graph, "_adampatch_owners")[key][0]
        by_record.setdefault(id(record), []).append(key)
    due, fetches = [], {}
    for identity, own in by_record.items():
        watched = _of_graph(graph, "_adampatch_watched").get(identity)
        if watched is None:
            continue
        rate, counter = graph._adampatch_shown[identity]
        if identity not in counts:
            counts[identity] = _Count(_before(counter, run))
        count = counts[identity]
        step = count.updates + 1
        due.append((watched, count, step))
        every = given or watched.record.settings.every
        sampled = step == count.first or (step - 1) % every == 0
        if sampled or step <= DENSE or step % every == 0:
            wanted = {"alpha": graph_tensors.tensors(graph)[own[0]]["alpha"]}
            if rate is not None:
                wanted["lr"] = rate
            if sampled:
                wanted["variables"] = {key: _statistics(graph, key) for key in own}
            fetches[watched.key] = wanted
    return Extra(due, fetches)


# -- which updates a run holds ----------------------------------------------------------------


def _of_graph(graph, name):
    if not hasattr(graph, name):
        setattr(graph, name, {})
    return getattr(graph, name)


def _updated(graph, fetches):
    """Keys of the updates, in `graph_tensors.tensors`, that running `fetches` makes."""
    ops = _ops(graph, fetches)
    owners = _of_graph(graph, "_adampatch_owners")
    cache = _of_graph(graph, "_adampatch_closures")
    place = (frozenset(op.name for op in ops), len(owners))
    if place not in cache:
        closure = _closure(ops)
        types = set(op.type for op in closure)
        branches = any(name in types for name in _BRANCHES + _CALLS)
        cache[place] = [
            key
            for key, (_, marks, _) in owners.items()
            if any(mark in closure if mark.graph is graph else branches for mark in marks)
        ]
    return cache[place]


def _ops(graph, fetches):
    if isinstance(fetches, dict):
        return [op for part in fetches.values() for op in _ops(graph, part)]
    if isinstance(fetches, (list, tuple)):
        return [op for part in fetches for op in _ops(graph, part)]
    try:
        element = graph.as_graph_element(fetches)
    except (TypeError, ValueError, KeyError):
        return []  # a sparse tensor and the like, which updates nothing; or the session will say so
    return [getattr(element, "op", element)]


def _closure(ops):
    seen, todo = set(), list(ops)
    while todo:
        op = todo.pop()
        if op not in seen:
            seen.add(op)
            todo += [tensor.op for tensor in op.inputs]
            todo += op.control_inputs
    return seen


# -- what is fetched --------------------------------------------------------------------------


def _rate_tensor(optimizer):
    """The learning rate as the update uses it; None where it can only be read beside the update."""
    for name in ("_lr_t", "_learning_rate_tensor", "learning_rate", "lr"):
        value = getattr(optimizer, name, None)
        if value is not None and not (callable(value) and not isinstance(value, (tf.Tensor, tf.Variable))):
            value = tf.convert_to_tensor(value)
            return value if value.graph is tf.compat.v1.get_default_graph() else None
    return None


def _counter_of(optimizer):
    """(variable, function of its value that gives the updates done) or None."""
    beta_2 = getattr(optimizer, "_beta2", None)
    powers = getattr(optimizer, "_get_beta_accumulators", lambda: None)()
    if powers and powers[-1] is not None and isinstance(beta_2, float) and 0 < beta_2 < 1:
        return powers[-1], functools.partial(_exponent, beta_2)
    iterations = getattr(optimizer, "iterations", None)
    return None if iterations is None else (iterations, int)


def _exponent(beta, power):
    """How often an update has multiplied beta ** 1 by beta."""
    return max(0, round(math.log(power) / math.log(beta)) - 1) if power > 0 else 0


def _before(counter, run):
    if counter is None:
        return 0
    try:
        return counter[1](float(run(counter[0])))
    except Exception:  # not initialised, or not readable here
        return 0


def _statistics(graph, key):
    """Small tensors that say what `reading` says of a variable; made once."""
    known = _of_graph(graph, "_adampatch_statistics")
    if key not in known:
        finalized = graph.finalized
        if finalized:
            graph._unsafe_unfinalize()
        try:
            with graph.as_default(), tf.compat.v1.control_dependencies(None), tf.name_scope("adampatch/log"):
                dominated = _of_graph(graph, "_adampatch_owners")[key][2]
                known[key] = _made(graph_tensors.tensors(graph)[key], dominated)
        finally:
            if finalized:
                graph.finalize()
    return known[key]


def _made(found, dominated):
    rate, update, clamped = found["rate"], found["update"], found["clamped"]
    elements = rate.shape.num_elements()
    stride = max(1, -(-(elements or 1) // _SAMPLED))
    with tf.compat.v1.device(rate.device or None):
        active = tf.not_equal(update, 0)
        # Rows that a lazy update leaves alone have no rate and no update.
        touched = tf.logical_or(active, tf.logical_not(tf.math.is_nan(rate)))
        broken = tf.logical_and(tf.logical_not(tf.math.is_finite(rate)), touched)
        masks = [clamped, tf.logical_and(clamped, active), active, broken, touched]
        if dominated is not None:
            masks += [tf.logical_and(dominated, mask) for mask in (touched, active)]
        picked = [tf.cast(tf.reshape(part, [-1])[::stride], tf.float32) for part in (rate, active)]
        counts = [tf.reduce_sum(tf.cast(mask, tf.int64)) for mask in masks]
        squares = 2.0 * tf.nn.l2_loss(tf.cast(update, tf.float64))
        made = {"sample": tf.stack(picked), "counts": tf.stack(counts), "squares": squares}
        made["elements"] = tf.size(rate, out_type=tf.int64)
        return made


def _snapshot(step, got):
    """(what `snapshot` would return, the samples) of what was fetched with update `step`."""
    found = {"step": step, "lr": _plain_scalar(got.get("lr")), "alpha": _plain_scalar(got["alpha"])}
    found["variables"], samples = {}, {}
    for key, numbers in got.get("variables", {}).items():
        rates, active = numbers["sample"][0], numbers["sample"][1] != 0
        counts = [int(n) for n in numbers["counts"]]
        clamped, clamped_active, active_count, broken, touched = counts[:5]
        out = reading.percentiles(rates, "")
        out.update(reading.percentiles(rates[active], "_active"))
        out["active_frac"] = active_count / float(max(touched, 1))
        out["clamped_frac"] = clamped / float(max(touched, 1))
        out["clamped_frac_active"] = clamped_active / float(max(active_count, 1))
        out["nonfinite"] = broken
        out["elements"] = int(numbers["elements"])
        out.update(measures.dominated_shares(*(counts[5:] or [-1, -1]), touched, active_count))
        # The weights and the gradient are being changed, or gone, where a session could fetch them.
        sums = [numbers["squares"], math.nan, math.nan, math.nan]
        out.update(measures.described(sums, touched, active_count))
        found["variables"][key] = out
        samples[key] = (rates, active)
    return found, samples


def _plain_scalar(value):
    if value is None or np.size(value) != 1 or np.isnan(value).any():
        return None
    return float(np.reshape(value, []))
