"""What a sample says of a whole variable beside its rates: sizes of update, weights and gradient, and
where epsilon decides.

Touches TensorFlow, on sampled updates only.
"""

import math

from adampatch.runtime import moments, worlds
from adampatch.runtime.lazy import tf

#: what the last of `numbers` are sums of squares of, in their order
SUMS = ("update", "weights", "weights of active elements", "rms_t")
_EPSILONS = ("epsilon", "_epsilon")


class Shown(object):
    """What the code at a site shows of one variable, beside rate and direction.

    Attributes:
        weights, gradient: functions of no argument giving tensors of the variable's shape (of the rows
            that the update is for); alpha: one giving stock's scalar, before any rule; epsilon: a
            number or tensor. Each may be None.
    """

    __slots__ = ("alpha", "epsilon", "gradient", "weights")

    def __init__(self, weights=None, gradient=None, alpha=None, epsilon=None):
        self.weights = weights
        self.gradient = gradient
        self.alpha = alpha
        self.epsilon = epsilon


def epsilon_of(optimizer):
    """The epsilon that an optimizer says it has, or None."""
    for name in _EPSILONS:
        value = getattr(optimizer, name, None)
        if value is not None and not callable(value):
            return value
    return None


def debiasing(optimizer, lr, step):
    """(1 - beta_1^t) / lr of update `step`, float64: what makes of a rate 1/(sqrt(v/c2) + epsilon), in
    every form of Adam; None where the code does not show it."""
    beta = moments.first_beta(optimizer)
    if lr is None or beta is None:
        return None
    return (1.0 - tf.pow(moments.as_float64(beta), tf.cast(step, tf.float64))) / lr


def _sum_of_squares(value):
    """Of a tensor, float64: no square overflows or vanishes there."""
    return 2.0 * tf.nn.l2_loss(tf.cast(value, tf.float64))


def parts_of(shown, sample, dtype, debias):
    """({name: tensor of the variable's shape}, {name: scalar}), what `numbers` takes beside the rates:
    of what the code shows."""
    arrays, scalars = {}, {}
    if shown.weights is not None:
        arrays["weights"] = sample.whole(tf.cast(shown.weights(), dtype), 0)
    if shown.gradient is not None and debias is not None:
        arrays["gradient"] = sample.whole(tf.cast(shown.gradient(), dtype), 0)
        scalars["debias"] = debias
    bound = _dominating(shown, dtype)
    if bound is not None:
        scalars["dominating"] = bound
    return arrays, scalars


def numbers(of):
    """The float64 numbers of a variable's row in a `sampling.Sheet`.

    Args:
        of: {name: flat tensor}: raw and direction; effective and clamped under a rule; touched where the
            update is for rows; and what `parts_of` gives. NaN, or -1 for a count, where that says nothing.
    """
    raw, direction = of["raw"], of["direction"]
    active = tf.not_equal(direction, 0)
    touched = of["touched"] if "touched" in of else tf.ones_like(active)
    nonfinite = tf.logical_not(tf.math.is_finite(raw))
    none = tf.constant(float("nan"), tf.float64)
    unknown, nothing = tf.constant(-1.0, tf.float64), tf.zeros([], tf.float64)
    found = [nothing, nothing]
    if "clamped" in of:
        found = [count(of["clamped"]), count(tf.logical_and(of["clamped"], active))]
    found += [count(active), count(tf.logical_and(nonfinite, touched)), count(touched)]
    if "dominating" in of:
        few = raw > of["dominating"]
        found += [count(tf.logical_and(few, mask)) for mask in (touched, active)]
    else:
        found += [unknown, unknown]
    zero = tf.zeros([], raw.dtype)
    found.append(_sum_of_squares(worlds.where(active, of.get("effective", raw) * direction, zero)))
    if "weights" in of:
        found.append(_sum_of_squares(of["weights"]))
        found.append(_sum_of_squares(worlds.where(active, of["weights"], zero)))
    else:
        found += [none, none]
    if "gradient" in of:
        squares = _sum_of_squares(worlds.where(active, of["gradient"] * raw, zero))
        found.append(tf.square(of["debias"]) * squares)
    else:
        found.append(none)
    return tf.stack(found)


def count(mask):
    """How many elements of a mask are true, float64."""
    return tf.reduce_sum(tf.cast(mask, tf.float64))


def dominated(shown, raw):
    """Mask of the elements whose sqrt(v) is below epsilon, None where the code does not show them."""
    bound = _dominating(shown, raw.dtype)
    return None if bound is None else raw > bound


def _dominating(shown, dtype):
    """The rate above which sqrt(v) is below epsilon, a scalar; None where the code does not show it."""
    if shown.alpha is None or shown.epsilon is None:
        return None
    alpha = tf.convert_to_tensor(shown.alpha())
    if alpha.shape.num_elements() != 1:
        return None
    # of alpha/(sqrt(v) + epsilon), the debiased form too
    bound = moments.as_float64(alpha) / (2.0 * moments.as_float64(shown.epsilon))
    return tf.cast(bound, dtype)


def dominated_shares(count, count_active, touched, active):
    """{"eps_dominated_frac": ..., "eps_dominated_frac_active": ...}, None where the counts are below 0."""
    return {
        "eps_dominated_frac": None if count < 0 else count / float(max(touched, 1)),
        "eps_dominated_frac_active": None if count < 0 else count_active / float(max(active, 1)),
    }


def described(found, touched, active):
    """{"update_rms": ..., "update_rms_active": ..., ...} of the `sums` over `touched` elements, `active`
    ones among them, Python floats; None where the sample does not tell."""
    update, weights, weights_active, ratios = (None if x != x else float(x) for x in found)
    return {
        "update_rms": _root(update, touched),
        "update_rms_active": _root(update, active),
        "update_to_weight": _root(update, weights),
        "update_to_weight_active": _root(update, weights_active),
        "rms_t": _root(ratios, touched),
        "rms_t_active": _root(ratios, active),
    }


def _root(squares, over):
    return math.sqrt(squares / over) if squares is not None and over else None
