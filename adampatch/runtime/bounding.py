"""Rules put on one update: from rate, direction and bounds to the update that is applied.

Touches TensorFlow. The order is that of docs/rules.md: alpha, rate, its change, the product with the
direction, the update, numbers of the whole variable; decay is added last and left alone.
"""

import numpy as np

from adampatch.runtime import rule_state, worlds
from adampatch.runtime.lazy import tf

#: numbers of a whole variable, in the order in which they are bounded
_OF_VARIABLES = ("update_rms", "rms_t", "update_to_weight")


class Hit(object):
    """What one rule says of one update, each a function of no argument that makes tensors when asked.

    Attributes:
        rule: the Rule; low, high: its bounds, float64 scalars or None.
        mask: bool, elementwise or scalar: what is out of its bounds.
        before: the rate that it was given; alone: the rate that it alone makes of that.
        crossed: whether its lower bound had to give way to an upper one.
    """

    __slots__ = ("alone", "before", "crossed", "high", "low", "mask", "rule")

    def __init__(self, rule, low, high, mask, before, alone, crossed):
        self.rule = rule
        self.low = low
        self.high = high
        self.mask = mask
        self.before = before
        self.alone = alone
        self.crossed = crossed


class Outcome(object):
    """One update under rules.

    Attributes:
        update: what is to be subtracted, decay included; stock's own bits where nothing was bounded.
        rate: what multiplied the direction; alpha: the scalar that went into it, or None.
        clamped: bool, elementwise: where a rule that is enforced made it another rate or update.
        hits: a Hit for each rule, those that only watch too.
        writes: ops that the write of the variable has to depend on in a v1 graph.
    """

    __slots__ = ("alpha", "clamped", "hits", "rate", "update", "writes")


def clip(value, low, high):
    """(value within [low, high], mask of what was not), bounds of the value's dtype or None.

    Comparisons with NaN are false, so NaN stays NaN; minimum and maximum would not say so. Where the
    bounds cross the upper one holds.
    """
    out, mask = value, None
    if low is not None:
        mask = value < low
        out = worlds.where(mask, low, out)
    if high is not None:
        above = out > high
        out = worlds.where(above, high, out)
        mask = above if mask is None else tf.logical_or(mask, above)
    if low is not None and high is not None:
        mask = tf.logical_and(mask, tf.not_equal(out, value))
    return out, mask


def _tightest(rules):
    """(greatest lower, least upper) bound of the enforced ones of [(rule, low, high)], None for none."""
    low = high = None
    for rule, own_low, own_high in rules:
        if rule.shadow:
            continue
        if own_low is not None:
            low = own_low if low is None else tf.maximum(low, own_low)
        if own_high is not None:
            high = own_high if high is None else tf.minimum(high, own_high)
    return low, high


def _cast(pair, dtype):
    return tuple(None if bound is None else tf.cast(bound, dtype) for bound in pair)


def _cast_once(moment, pair, dtype):
    """`_cast` of bounds that the variables of an update share."""
    return tuple(None if bound is None else moment.as_format(bound, dtype) for bound in pair)


def wide(dtype):
    """The dtype in which sums and remembered rates of variables of `dtype` are kept: float32 at least."""
    return tf.float32 if dtype in (tf.float16, tf.bfloat16) else dtype


class _Bounding(object):
    """One update on its way through the stages."""

    def __init__(self, site, moment, stock_rate, direction, decay, update):
        self.site = site
        self.moment = moment
        self.dtype = update.dtype
        self.rate = stock_rate
        self.direction = direction
        self.decay = decay
        self.update = update
        self.clamped = self.alike = None
        self.hits = []

    def _rules(self, *quantities):
        """[(rule, low, high)] of these quantities."""
        found = [rule for rule in self.site.rules if rule.quantity in quantities]
        return [(rule,) + self.moment.limits(rule, self.site) for rule in found]

    def _hit(self, rule, low, high, upper, mask, alone):
        crossed = (lambda: tf.constant(False)) if low is None or upper is None else (lambda: low > upper)
        before = self.rate
        self.hits.append(Hit(rule, low, high, mask, lambda: before, alone, crossed))

    def _clamp(self, mask, alike=None):
        """Adds to what is clamped; `alike`: the scalar that all of it has for its rate, if it is one."""
        self.alike = alike if self.clamped is None else None
        self.clamped = mask if self.clamped is None else tf.logical_or(self.clamped, mask)

    def alpha(self, alpha):
        """Bounds of the scalar; the rate goes with it. Returns the scalar that was applied."""
        rules = self._rules("alpha")
        if not rules:
            return alpha
        # The rate is linear in alpha; of an alpha of 0 no factor makes another.
        stock = tf.cast(self.site.alpha_for(rules[0][0]), tf.float64)
        low, high = _tightest(rules)
        before = self.rate

        def scaled(low, high):
            bounded, mask = clip(stock, low, high)
            mask = tf.logical_and(mask, tf.not_equal(stock, 0))
            bounded = worlds.where(mask, bounded, stock)
            factor = bounded / worlds.where(mask, stock, tf.ones_like(stock))
            return worlds.where(mask, before * tf.cast(factor, self.dtype), before), mask, bounded

        for rule, own_low, own_high in rules:
            self._hit(
                rule, own_low, own_high, high,
                lambda low=own_low, high=own_high: scaled(low, high)[1],
                lambda low=own_low, high=own_high: scaled(low, high)[0],
            )  # fmt: skip
        if low is None and high is None:
            return alpha
        self.rate, mask, bounded = scaled(low, high)
        self._clamp(mask)
        return tf.cast(bounded, tf.convert_to_tensor(alpha).dtype)

    def bound_rate(self):
        rules = self._rules("rate")
        rules = [(rule, low, high) for rule, low, high in rules if low is not None or high is not None]
        before = self.rate
        low, high = _tightest(rules)
        for rule, own_low, own_high in rules:

            def alone(own_low=own_low, own_high=own_high):
                return clip(before, *_cast((own_low, own_high), before.dtype))

            self._hit(rule, own_low, own_high, high, lambda a=alone: a()[1], lambda a=alone: a()[0])
        if low is None and high is None:
            return
        low, high = _cast_once(self.moment, (low, high), self.dtype)
        self.rate, mask = clip(before, low, high)
        self._clamp(mask, high if low is None else low if high is None else None)

    def bound_change(self, previous):
        """Limits of the rate's own change; returns the rate to remember, of the wide dtype."""
        rules = [rule for rule in self.site.rules if rule.limits_change]
        before = tf.cast(self.rate, previous.dtype)
        known = tf.logical_and(previous > 0, tf.math.is_finite(previous))
        limits = []
        for rule in rules:
            high = low = None
            if rule.max_increase is not None:
                high = previous * tf.cast(self.moment.number(rule, "max_increase"), previous.dtype)
                open_high = worlds.where(known, high, tf.constant(np.inf, previous.dtype))
                high = self.moment.while_open(rule, open_high, np.inf)
            if rule.max_decrease is not None:
                low = previous / tf.cast(self.moment.number(rule, "max_decrease"), previous.dtype)
                open_low = worlds.where(known, low, tf.constant(-np.inf, previous.dtype))
                low = self.moment.while_open(rule, open_low, -np.inf)

            def alone(low=low, high=high):
                bounded, mask = clip(before, low, high)
                return tf.cast(bounded, self.dtype), mask

            self._hit(rule, None, None, None, lambda a=alone: a()[1], lambda a=alone: a()[0])
            limits.append((rule, low, high))
        lower, upper = _tightest(limits)
        if upper is None and lower is None:
            return before
        out, mask = clip(before, lower, upper)
        self.rate = worlds.where(mask, tf.cast(out, self.dtype), self.rate)
        self._clamp(mask)
        return out

    def multiply(self):
        """The update of the rate that the stages before have made; stock's own where they made none."""
        if self.clamped is not None:
            rate = self.rate if self.alike is None else self.alike
            self.update = worlds.where(self.clamped, self._with_decay(rate * self.direction), self.update)

    def _with_decay(self, step):
        return step if self.decay is None else step + self.decay

    def bound_update(self):
        """Bounds of |R*D|, whose sign is kept."""
        rules = self._rules("update")
        if not rules:
            return
        before, step = self.rate, self.rate * self.direction
        size = tf.abs(step)
        low, high = _tightest(rules)

        def bounded(low, high):
            out, mask = clip(size, low, high)
            mask = tf.logical_and(mask, size > 0)  # nothing says which way a step of 0 would go
            out = worlds.where(mask, out, size)
            rate = worlds.where(
                mask, before * (out / worlds.where(size > 0, size, tf.ones_like(size))), before
            )
            return out, mask, rate

        for rule, own_low, own_high in rules:

            def alone(own_low=own_low, own_high=own_high):
                return bounded(*_cast((own_low, own_high), self.dtype))

            self._hit(rule, own_low, own_high, high, lambda a=alone: a()[1], lambda a=alone: a()[2])
        if low is None and high is None:
            return
        out, mask, self.rate = bounded(*_cast((low, high), self.dtype))
        self.update = worlds.where(mask, self._with_decay(tf.sign(step) * out), self.update)
        self._clamp(mask)

    def bound_variable(self, quantity):
        """Bounds of one number of the whole variable: the update is scaled to obey."""
        rules = self._rules(quantity)
        if not rules:
            return
        before, kind = self.rate, wide(self.dtype)
        step = before * self.direction
        size = tf.cast(self._measure(quantity, rules[0][0], step), tf.float64)

        def scaled(low, high):
            bounded, mask = clip(size, low, high)
            # Of nothing no factor makes a step, and what is not finite is shown as it is.
            mask = tf.logical_and(mask, tf.logical_and(size > 0, tf.math.is_finite(size)))
            scale = worlds.where(
                mask, bounded / worlds.where(mask, size, tf.ones_like(size)), tf.ones_like(size)
            )
            scale = tf.cast(scale, kind)
            return tf.cast(tf.cast(before, kind) * scale, self.dtype), mask, scale

        low, high = _tightest(rules)
        for rule, own_low, own_high in rules:

            def alone(own_low=own_low, own_high=own_high):
                rate, mask, _ = scaled(own_low, own_high)
                return worlds.where(mask, rate, before), mask

            self._hit(rule, own_low, own_high, high, lambda a=alone: a()[1], lambda a=alone: a()[0])
        if low is None and high is None:
            return
        rate, mask, scale = scaled(low, high)
        self.rate = worlds.where(mask, rate, before)
        smaller = tf.cast(tf.cast(step, kind) * scale, self.dtype)
        self.update = worlds.where(mask, self._with_decay(smaller), self.update)
        self._clamp(mask)

    def _measure(self, quantity, rule, step):
        if quantity == "update_rms":
            return root_mean_square(step)
        if quantity == "rms_t":
            # R*c1/lr is 1/(sqrt(v/c2) + eps) in both forms of Adam.
            debiased = self.site.first_correction(self.moment, rule) / self.moment.lr(rule)
            scale = self.site.stock_rate * tf.cast(debiased, self.dtype)
            return root_mean_square(self.site.gradient_for(self.moment, rule) * scale)
        weight = root_mean_square(self.site.weights())
        size = root_mean_square(step)
        return worlds.where(
            weight > 0, size / worlds.where(weight > 0, weight, tf.ones_like(weight)), 0.0 * size
        )


def counted(rules):
    """The rules of a variable in the order of the `Outcome.hits` they give: by stage, a rule with bounds
    and limits of change in both."""
    out = []
    for quantity in ("alpha", "rate"):
        out += [r for r in rules if r.quantity == quantity and (r.low is not None or r.high is not None)]
    out += [rule for rule in rules if rule.limits_change]
    for quantity in ("update",) + _OF_VARIABLES:
        out += [rule for rule in rules if rule.quantity == quantity]
    return out


def root_mean_square(x):
    """The root of the mean square of a tensor, a scalar of the wide dtype; 0 of nothing.

    Divided by the greatest element first, so that no square overflows or vanishes.
    """
    x = tf.abs(tf.cast(tf.convert_to_tensor(x), wide(x.dtype)))
    if x.shape.num_elements() == 0:
        return tf.zeros([], x.dtype)
    greatest = tf.reduce_max(x)
    scale = worlds.where(greatest > 0, greatest, tf.ones_like(greatest))
    return scale * tf.sqrt(tf.reduce_mean(tf.square(x / scale)))


def bounded_update(site, moment, rate, direction, decay, update, alpha):
    """The Outcome of an update under the rules of its site.

    Args:
        site: has `rules`, `alpha_for(rule)`, `gradient_for(moment, rule)`, `weights()`, `stock_rate`, and
            `previous()` giving (rates of the update before, function that writes those to remember).
        rate, direction, decay, update: tensors of one dtype, `update == rate * direction + decay` up to
            rounding; `decay` may be None.
        alpha: stock's scalar, or None.
    """
    stages = _Bounding(site, moment, rate, direction, decay, update)
    out = Outcome()
    out.writes = []
    out.alpha = stages.alpha(alpha)
    stages.bound_rate()
    if any(rule.limits_change for rule in site.rules):
        previous, remember = site.previous()
        out.writes += remember(stages.bound_change(previous))
    stages.multiply()
    stages.bound_update()
    for quantity in _OF_VARIABLES:
        stages.bound_variable(quantity)
    out.rate, out.update, out.hits = stages.rate, stages.update, stages.hits
    out.clamped = stages.clamped
    if out.clamped is None:
        out.clamped = tf.zeros([], tf.bool)
    out.writes += moment.writes
    return out


def remembered(record, optimizer, key, variable, shape, dtype, rows):
    """(rates of the update before, function that writes the rates to remember and gives the ops)."""
    kept = record.state.variable(
        optimizer, "rate/" + record.kept_as(key), np.zeros(shape, wide(dtype).as_numpy_dtype), near=variable
    )
    if rows is None:
        return rule_state.read(kept), lambda value: rule_state.write(kept, tf.broadcast_to(value, shape))
    size = tf.concat([tf.shape(rows), tf.constant(shape[1:], tf.int32)], 0)
    return (
        rule_state.read_rows(kept, rows),
        lambda value: rule_state.write_rows(kept, rows, tf.broadcast_to(value, size)),
    )
