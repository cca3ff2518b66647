"""step: what stands in the patched update, and decides once per trace what to add.

Touches TensorFlow; adds ops only where a rule applies or something is observed.
"""

import numpy as np

from adampatch.runtime import (
    bounding,
    gradients,
    graph_reads,
    graph_tensors,
    islands,
    measures,
    moments,
    programs,
    records,
    sampling,
    worlds,
)
from adampatch.runtime.lazy import tf


class Site(object):
    """One update of one variable: whose it is, what bounds it, where it happens.

    Attributes:
        rules: the Rules that hold for the variable; key: the name it is reported under.
        stock_rate, alpha, lr, gradient, first_power, epsilon: what the code at the site shows, set by it;
            the last four None where only the optimizer can tell.
    """

    def __init__(self, binding, optimizer, variable):
        self.record = records.record_of(optimizer, binding)
        self.record.reached = True
        self.optimizer = optimizer
        self.identity, self.path = worlds.identify(optimizer, variable)
        if not self.record.checked:
            listed = worlds.listed_variables(optimizer)
            if listed:
                self.record.check([worlds.path_of(v) for v in listed])
        self.variable = variable
        self.rules = self.record.rules_for(self.path)
        self.idle = not self.rules and self.record.silent
        self.key = None if self.idle else self.record.key(self.identity, self.path)
        self.moment = None
        self.stock_rate = self.alpha = self.lr = self.gradient = self.first_power = None
        self.rows = self.epsilon = None

    # -- what rules ask for --------------------------------------------------------------------

    def bounded(self, rate, direction, decay, update, alpha):
        """The Outcome of the update under the rules of the variable."""
        self.stock_rate, self.alpha = rate, alpha
        return bounding.bounded_update(self, self.begin(), rate, direction, decay, update, alpha)

    def begin(self):
        """The Moment of the update, which stays the same for this site."""
        if self.moment is None:
            self.moment = self.record.moment(self.record.kept_as(self.key), self._moment)
            if self.lr is not None:
                self.moment.show_lr(self.lr)
        return self.moment

    def _moment(self, alone):
        return moments.Moment(self.optimizer, self.record, alone)

    def alpha_for(self, rule):
        """Stock's alpha of this update, a scalar; raises ValueError where the code does not show it."""
        alpha = None if self.alpha is None else tf.convert_to_tensor(self.alpha)
        if alpha is None or alpha.shape.num_elements() not in (1, None):
            self._moment(None).missing(rule, "alpha is asked for, and the code does not show it")
        return tf.reshape(alpha, [])

    def first_correction(self, moment, rule):
        """1 - beta_1^t, float64."""
        if self.first_power is not None:
            return 1.0 - moments.as_float64(self.first_power)
        return moment.first_correction(rule)

    def gradient_for(self, moment, rule):
        """The gradient that reached the optimizer, in the shape of the update."""
        if self.gradient is None:
            self.gradient = gradients.gradient_of(self.record, self.variable)
        if self.gradient is None:
            moment.missing(rule, "rms_t asks for the gradient, and the code does not show it")
        if not isinstance(self.gradient, tf.IndexedSlices):
            return tf.convert_to_tensor(self.gradient)
        values, rows = self.gradient.values, self.gradient.indices
        whole = tf.zeros(tf.shape(self.variable), values.dtype)
        whole = tf.tensor_scatter_nd_add(whole, tf.expand_dims(rows, 1), values)
        return whole if self.rows is None else tf.gather(whole, self.rows)

    def weights(self):
        """The variable before the update, those rows of it that the update is for."""
        whole = tf.convert_to_tensor(self.variable)
        return whole if self.rows is None else tf.gather(whole, self.rows)

    def previous(self):
        """See `bounding.remembered`."""
        shape = worlds.shape_of(self.variable)
        if shape is None:
            raise ValueError(
                "adampatch: {}: the shape of {} is not known, and a limit of change keeps a rate for each of "
                "its elements; give it a shape, or exclude it".format(self.record.settings.source, self.path)
            )
        return bounding.remembered(
            self.record,
            self.optimizer,
            self.key,
            self.variable,
            shape,
            worlds.dtype_of(self.variable),
            self.rows,
        )

    def wanted(self):
        """Whether a sample is to be queued here and now (eager code and functions)."""
        if self.record.silent or not getattr(type(self.optimizer), "__adampatch_observed__", False):
            return False  # without a flush samples would pile up
        if islands.unsampled():
            return False
        if worlds.replica() != 0:
            return False  # rates are equal on all replicas
        graph = worlds.current_graph()
        if graph is None and self.record.will_flush(None):
            return sampling.due(self.record)
        if not self.rules and self.record.settings.emit == "stats" and worlds.in_compiled_branch():
            # Measured: there XLA rounds stock's own step differently once its states have
            # another reader, and stock's bits come before statistics.
            self.record.unsampled = (
                "an update in a branch (gradient accumulation, loss scaling) under jit_compile is not "
                'sampled, to keep the training bit for bit; emit="tensor" samples it all the same'
            )
            records.warn_once(
                ("branch", self.record.optimizer_name),
                "the rates of {}: {}.".format(self.record.optimizer_name, self.record.unsampled),
            )
            return False
        return True

    def queue(self, rate, direction, alpha, outcome):
        """Queues a sample for the flush; `outcome` gives the update under rules, None where none holds."""
        shape = worlds.shape_of(self.variable)
        if shape is None:
            return
        sample = sampling.Sample(
            sampling.freeze(rate),
            sampling.freeze(direction),
            sampling.freeze(alpha),
            outcome,
            shape,
            worlds.dtype_of(self.variable),
            self.key,
            self._shown(alpha if outcome is None else self._stock_alpha()),
            [] if outcome is None else bounding.counted(self.rules),
            self.rows,
        )
        graph = worlds.current_graph()
        if self.record.will_flush(graph):
            self.record.queue(graph, self.identity, sample)
        else:
            sampling.take_alone(self.optimizer, self.record, self.identity, sample)

    def dominated(self, raw, alpha):
        """Mask of the elements that epsilon decides, of stock's rate and alpha; None where nothing tells."""
        if self.rows is not None or alpha is None:
            return None
        return measures.dominated(measures.Shown(alpha=lambda: alpha, epsilon=self._epsilon()), raw)

    def _epsilon(self):
        if self.epsilon is None:
            self.epsilon = measures.epsilon_of(self.optimizer)
        return self.epsilon

    def _stock_alpha(self):
        alpha = self.alpha
        return None if alpha is None else lambda: alpha

    def _shown(self, alpha):
        """What else the site shows; `alpha` gives stock's."""
        gradient = None
        if worlds.fence() is None:  # XLA would round the step otherwise, had the gradient one more reader
            if self.gradient is None:
                self.gradient = gradients.gradient_of(self.record, self.variable)
            if self.gradient is not None:

                def gradient():
                    return self.gradient_for(None, None)

        return measures.Shown(self.weights, gradient, sampling.freeze(alpha), self._epsilon())

    def not_observed(self, error):
        """Warns once that this site goes unobserved."""
        records.warn_once(
            ("site", self.record.optimizer_name),
            "the rate of {} could not be observed ({}: {}); training goes on unobserved. "
            "ADAMPATCH_EMIT=off silences this.".format(self.path, type(error).__name__, error),
        )


@worlds.do_not_convert
def stepped(binding, optimizer, variable, update, rate, direction, decay, alpha, indices):
    """See `Binding.step`."""
    site = Site(binding, optimizer, variable)
    if site.idle:
        return update
    outcome, stock = None, update
    reads = graph_reads.Reads(stock)
    if isinstance(stock, tf.IndexedSlices):
        site.rows = stock.indices
    elif indices is not None and site.rules:
        site.rows = tf.convert_to_tensor(indices())
    if site.rules:
        values = update.values if isinstance(update, tf.IndexedSlices) else tf.convert_to_tensor(update)
        with tf.name_scope("adampatch"):
            raw = tf.convert_to_tensor(reads.of(rate), values.dtype)
            part = tf.convert_to_tensor(reads.of(direction), values.dtype)
            offset = None if decay is None else reads.of(decay)
            if offset is not None:
                offset = tf.convert_to_tensor(offset, values.dtype)
            shown = None if alpha is None else reads.of(alpha)
            outcome = site.bounded(raw, part, offset, values, shown)
            known, values = values.shape, outcome.update
            if values.shape.rank is None:  # the arms of a condition on tensors had different shapes
                values.set_shape(known)
            if outcome.writes:
                with tf.control_dependencies(outcome.writes):
                    values = tf.identity(values)
        update = values
        if isinstance(stock, tf.IndexedSlices):
            update = tf.IndexedSlices(values, stock.indices, stock.dense_shape)
        if islands.under_way() is not None and site.wanted():
            again = _SeenAgain(site, values.dtype, rate, direction, decay, alpha)

        def rate(raw=raw):
            return raw

        if outcome.alpha is not None:

            def alpha(applied=outcome.alpha):
                return applied

    if site.record.silent:
        return update
    try:
        if indices is not None and site.rows is None:
            site.rows = tf.convert_to_tensor(indices())
        if worlds.world() == worlds.GRAPH:
            return _publish_step(site, update, reads, rate, alpha, outcome)
        if site.wanted():
            if outcome is None:
                site.queue(rate, direction, alpha, None)
            elif islands.under_way() is None:
                site.queue(rate, direction, alpha, lambda: outcome)
            else:
                site.queue(again.rate, direction, alpha, again)
    except programs.NoProgram:
        raise
    except Exception as error:
        site.not_observed(error)
    return update


class _SeenAgain(object):
    """What `step` was given, asked once more when the update is done: a program hands nothing out, and the
    rate is made of the states that the update has left."""

    def __init__(self, site, dtype, rate, direction, decay, alpha):
        thunks = rate, direction, decay, alpha
        for thunk in thunks:
            islands.must_be_outside(thunk)
        self.site, self.dtype = site, dtype
        self.rate, self.direction, self.decay, self.alpha = (sampling.freeze(thunk) for thunk in thunks)

    def __call__(self):
        """The Outcome."""
        rate, direction = (tf.convert_to_tensor(f(), self.dtype) for f in (self.rate, self.direction))
        update, decay = rate * direction, None if self.decay is None else self.decay()
        if decay is not None:
            decay = tf.convert_to_tensor(decay, self.dtype)
            update += decay
        alpha = None if self.alpha is None else self.alpha()
        return self.site.bounded(rate, direction, decay, update, alpha)


def _publish_step(site, update, reads, rate, alpha, outcome):
    slices = update if isinstance(update, tf.IndexedSlices) else None
    update = tf.convert_to_tensor(update) if slices is None else slices.values
    rows = site.rows
    with tf.name_scope("adampatch"):
        effective = reads.of(rate) if outcome is None else outcome.rate
        effective = tf.convert_to_tensor(effective, update.dtype)
        clamped = None if outcome is None else outcome.clamped
        scalar = None if alpha is None else tf.convert_to_tensor(reads.of(alpha))
        shown = update
        shape = worlds.shape_of(site.variable)
        if rows is None and shape is not None:
            effective = sampling.spread(effective, shape)
            clamped = None if clamped is None else sampling.spread(clamped, shape)
        elif rows is not None:
            effective = sampling.placed(effective, rows, shape, np.nan)
            shown = sampling.placed(update, rows, shape, 0)
            clamped = None if clamped is None else sampling.placed(clamped, rows, shape, False)
        # Before the write: `_finish` moves the beta powers in place once the writes are done,
        # and an alpha evaluated after that would be the next update's.
        hang = [] if scalar is None else [scalar]
        dominated = None
        if rows is None and shape is not None:
            raw = effective if outcome is None else sampling.spread(reads.of(rate), shape)
            dominated = site.dominated(raw, scalar if site.alpha is None else site.alpha)
        hang += graph_tensors.publish(site.record, site.path, effective, scalar, shown, clamped, dominated)
        with tf.control_dependencies(hang):
            update = tf.identity(update) if hang else update
    return update if slices is None else tf.IndexedSlices(update, slices.indices, slices.dense_shape)


def prepare_state(record, optimizer, variables):
    """Makes what the rules remember of `variables`, so that a checkpoint that is loaded next finds it."""
    remembers_start = False
    for variable in variables:
        identity, path = worlds.identify(optimizer, variable)
        rules = record.rules_for(path)
        shape = worlds.shape_of(variable)
        if shape is None or not any(rule.stateful for rule in rules):
            continue
        remembers_start = remembers_start or any(rule.remembers_start for rule in rules)
        key = record.key(identity, path)
        if any(rule.limits_change for rule in rules):
            bounding.remembered(record, optimizer, key, variable, shape, worlds.dtype_of(variable), None)
        if worlds.world() != worlds.GRAPH and not record.silent:
            sampling.totals_of(optimizer, record, key, rules)
    if remembers_start:
        moments.start_of(record, optimizer)
