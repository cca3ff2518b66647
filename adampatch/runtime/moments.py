"""The scalars of one update that bounds are made of: its number, learning rates, the rules' numbers.

Touches TensorFlow. All are float64 tensors, made once per update and graph.
"""

import numpy as np

from adampatch.runtime import normal_form, rule_state, worlds
from adampatch.runtime.lazy import tf

_NUMBERS = "_adampatch_numbers"
#: where an optimizer keeps beta_1
_BETAS = ("beta_1", "_beta1", "beta1", "_beta_1")


class Moment(object):
    """What the sites of one update in one graph share.

    Attributes:
        alone: None, or the key of the variable that counts its own updates, because no end of an
            update is seen that would count them for all.
        writes: ops that a site in a v1 graph has to depend on.
    """

    def __init__(self, optimizer, record, alone):
        self.optimizer = optimizer
        self.record = record
        self.alone = alone
        self.writes = []
        # Ours would else be asked for by id alone, which another graph may get once this one is gone.
        self.graph = worlds.current_graph()
        self.minus_zero = None  # see `islands`
        self._t = self._lr = self._lr0 = self._numbers = self._shown = None
        self._limits = {}
        self._formats = {}

    @property
    def t(self):
        """Number of the update from 1."""
        if self._t is None:
            if _counts(self.optimizer):
                count = tf.convert_to_tensor(self.optimizer.iterations)
            else:
                clock = _clock(self.record, self.optimizer, self.alone)
                count = rule_state.read(clock)
                self.writes += rule_state.write(clock, count + 1)
            self._t = tf.cast(count, tf.float64) + 1.0
        return self._t

    def lr(self, rule):
        """The scheduled learning rate of the update."""
        if self._lr is None:
            self._lr = learning_rate(self.optimizer, counted=False)
            if self._lr is None and self._shown is not None:
                self._lr = as_float64(self._shown)
            if self._lr is None:
                self.missing(rule, "the learning rate is asked for, and the code does not show it")
        return self._lr

    def show_lr(self, value):
        """Says the learning rate of a site, for an optimizer that does not show its own."""
        self._shown = value

    def lr0(self, rule):
        """The learning rate at the start, see docs/rules.md."""
        if rule.lr0 is not None:
            return self.number(rule, "lr0")
        if self._lr0 is None:
            self._lr0 = self._start(rule)
        return self._lr0

    def _start(self, rule):
        """The learning rate at the top of the rise that training began with; advances its state.

        State: the learning rate, whether it has stopped to rise, the update that was seen last. A
        second time within one update it changes nothing.
        """
        kept = start_of(self.record, self.optimizer)
        lr0, stopped, seen = tf.unstack(rule_state.read(kept))
        lr, t = self.lr(rule), self.t
        fresh = t > seen
        rises = tf.logical_and(tf.logical_and(fresh, stopped < 0.5), lr > lr0)
        ends = tf.logical_and(tf.logical_and(fresh, tf.logical_not(rises)), lr0 > 0)
        lr0 = worlds.where(rises, lr, lr0)
        stopped = worlds.where(ends, tf.ones_like(stopped), stopped)
        self.writes += rule_state.write(kept, tf.stack([lr0, stopped, tf.maximum(seen, t)]))
        return lr0

    def any_number(self):
        """One of the rules' numbers, which are finite and not known before run time."""
        return tf.cast(self._of(self.record.settings.rules[0])[0], tf.float32)

    def number(self, rule, name):
        """One of a rule's single numbers: "max_increase", "max_decrease" or "lr0"."""
        at = len(rule.low.numbers if rule.low is not None else ())
        at += len(rule.high.numbers if rule.high is not None else ())
        for other in ("max_increase", "max_decrease", "lr0"):
            if other == name:
                break
            at += getattr(rule, other) is not None
        return self._of(rule)[at]

    def _of(self, rule):
        if self._numbers is None:
            values = tf.unstack(_kept_numbers(self.record))
            self._numbers, at = {}, 0
            for other in self.record.settings.rules:
                self._numbers[id(other)] = values[at : at + len(other.numbers)]
                at += len(other.numbers)
        return self._numbers[id(rule)]

    def limits(self, rule, site):
        """(low, high) of a rule's quantity, float64 scalars, None where the rule gives none; infinite
        outside of its window."""
        found = self._limits.get(id(rule))
        if found is not None:
            return found
        numbers = self._of(rule)
        low = high = None
        if rule.low is not None:
            low = _value(rule.low, numbers[: len(rule.low.numbers)], self)
            numbers = numbers[len(rule.low.numbers) :]
        if rule.high is not None:
            high = _value(rule.high, numbers[: len(rule.high.numbers)], self)
        factor = self._factor(rule, site)
        low, high = (bound if bound is None or factor is None else bound * factor for bound in (low, high))
        if rule.windowed:
            low = None if low is None else self.while_open(rule, low, -np.inf)
            high = None if high is None else self.while_open(rule, high, np.inf)
        if rule.relative_to != "alpha" and rule.convention == "raw":
            self._limits[id(rule)] = (low, high)  # the same for all variables
        return low, high

    def as_format(self, bound, dtype):
        """A scalar in the format of a variable."""
        found = self._formats.get((id(bound), dtype))
        if found is None:
            found = bound, tf.cast(bound, dtype)
            if tf.executing_eagerly() or found[1].graph is bound.graph:  # a branch keeps what it makes
                self._formats[(id(bound), dtype)] = found
        return found[1]

    def while_open(self, rule, value, otherwise):
        """`value` within the window of the rule, the number `otherwise` outside."""
        if not rule.windowed:
            return value
        inside = self.t >= float(rule.start)
        if rule.end is not None:
            inside = tf.logical_and(inside, self.t <= float(rule.end))
        return worlds.where(inside, value, tf.constant(otherwise, value.dtype))

    def _factor(self, rule, site):
        factor = None
        if rule.relative_to == "lr":
            factor = self.lr(rule)
        elif rule.relative_to == "lr0":
            factor = self.lr0(rule)
        elif rule.relative_to == "lr/lr0":
            lr0 = self.lr0(rule)
            factor = worlds.where(
                lr0 > 0, self.lr(rule) / worlds.where(lr0 > 0, lr0, tf.ones_like(lr0)), 0.0 * lr0
            )
        elif rule.relative_to == "alpha":
            factor = as_float64(site.alpha_for(rule))
        if rule.convention == "corrected":
            correction = site.first_correction(self, rule)
            factor = 1.0 / correction if factor is None else factor / correction
        return factor

    def first_correction(self, rule):
        """1 - beta_1^t."""
        try:
            return 1.0 - as_float64(self.optimizer._get_beta_accumulators()[0])
        except (AttributeError, TypeError):
            pass  # only `tf.train` optimizers keep the power
        beta = first_beta(self.optimizer)
        if beta is not None:
            return 1.0 - tf.pow(as_float64(beta), self.t)
        self.missing(rule, "1 - beta_1^t is asked for, and the code does not show beta_1")

    def missing(self, rule, what):
        """Raises the ValueError of a rule that this optimizer cannot obey."""
        normal_form.fail(
            '{}: rule "{}"'.format(self.record.settings.source, rule.id),
            "{} ({})".format(what, self.record.optimizer_name),
            "keep the rule from this optimizer with `optimizer`, or write it with another quantity",
        )


def first_beta(optimizer):
    """beta_1 as `optimizer` keeps it, or None."""
    for name in _BETAS:
        beta = getattr(optimizer, name, None)
        if beta is not None and not callable(beta):
            return beta
    return None


def as_float64(value):
    """A number, or a tensor with one element, as a scalar tensor of float64."""
    return tf.reshape(tf.cast(tf.convert_to_tensor(value), tf.float64), [])


def _clock(record, optimizer, alone):
    name = rule_state.CLOCK + ("" if alone is None else "/" + alone)
    return record.state.variable(optimizer, name, np.zeros([], np.int64))


def start_of(record, optimizer):
    """The state of `Moment.lr0`, and the clock that it asks for."""
    if not _counts(optimizer):
        _clock(record, optimizer, None)
    return record.state.variable(optimizer, "lr0", np.zeros([3], np.float64))


def _counts(optimizer):
    """Whether `optimizer.iterations` is the number of updates before the one under way.

    `get_updates` advances it somewhere in the same graph, without an order.
    """
    if getattr(optimizer, "iterations", None) is None:
        return False
    return any(hasattr(type(optimizer), name) for name in ("update_step", "_resource_apply_dense"))


def _value(bound, numbers, moment):
    """A Bound's value, from tensors of its numbers. Sources of the formulas: docs/rules.md."""
    if bound.kind == "number":
        return numbers[0]
    t = moment.t
    if bound.kind == "lower":
        return numbers[0] * (1.0 - 1.0 / (numbers[1] * t + 1.0))
    if bound.kind == "upper":
        return numbers[0] * (1.0 + 1.0 / (numbers[1] * t))
    if bound.kind == "piecewise":
        boundaries, values = tf.stack(numbers[: bound.steps]), tf.stack(numbers[bound.steps :])
        return tf.gather(values, tf.reduce_sum(tf.cast(t > boundaries, tf.int32)))
    first, last, start, end = numbers
    share = tf.clip_by_value((t - start) / (end - start), 0.0, 1.0)
    if bound.kind == "exp":
        between = first * tf.pow(last / first, share)
    else:
        between = first + (last - first) * share
    return worlds.where(share >= 1.0, last, between)


def _kept_numbers(record):
    """The float64 vector of the rules' numbers: a variable of ours, or in a v1 graph a tensor that
    can be fed, so that numbers can change without a new trace."""
    given = np.array([x for rule in record.settings.rules for x in rule.numbers], np.float64)
    if worlds.world() != worlds.GRAPH:
        return record.numbers_here(given).read_value()
    with tf.init_scope():
        graph = tf.compat.v1.get_default_graph()
        registry = getattr(graph, _NUMBERS, None)
        if registry is None:
            registry = {}
            setattr(graph, _NUMBERS, registry)
        found = registry.get(record)
        if found is None:
            found = registry[record] = tf.compat.v1.placeholder_with_default(
                tf.constant(given), given.shape, name="adampatch/numbers"
            )
            graph.add_to_collection("adampatch/numbers", found)
        return found


def learning_rate(optimizer, counted):
    """The scheduled learning rate of the update under way, float64; None where the code does not show it.

    `counted`: the optimizer has counted the update already.
    """
    for name in ("learning_rate", "_lr_t", "_learning_rate_tensor", "_lr", "lr"):
        value = getattr(optimizer, name, None)
        if value is None:
            continue
        if hasattr(optimizer, "_hyper"):
            return _learning_rate_v2(optimizer, value, counted)
        if not callable(value):
            return as_float64(value)
    return None


def _learning_rate_v2(optimizer, value, counted):
    """OptimizerV2 keeps a schedule, and `decay=`, apart and applies them inside of the update;
    the properties of the other families have done so already."""
    before = tf.cast(optimizer.iterations, tf.float32) - (1 if counted else 0)
    rate = as_float64(value(before) if callable(value) else value)
    decay = getattr(optimizer, "_initial_decay", 0)
    if not decay or hasattr(optimizer, "_m_cache"):  # Nadam's is of the momentum
        return rate
    return rate / (1.0 + as_float64(decay) * as_float64(before))
