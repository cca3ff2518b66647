"""The fused training kernels, taken apart: arguments, states and formulas in the kernels' own order.

Touches TensorFlow; formulas follow core/kernels/training_ops.cc and are bit-identical to it on
CPU from TensorFlow 2.10 (adampatch docs, formulas section 3).
"""

from adampatch.runtime import worlds
from adampatch.runtime.lazy import tf

_ADAM_TAIL = ("beta1_power", "beta2_power", "lr", "beta1", "beta2", "epsilon", "grad", "use_locking")


class Read(object):
    """One update as the kernel makes it.

    Attributes:
        alpha: scalar; rate: elementwise; direction: elementwise; update: what the kernel
            subtracts, in its own order of operations (equal to rate*direction up to rounding).
    """

    __slots__ = ("alpha", "direction", "rate", "update")

    def __init__(self, alpha, rate, direction, update):
        self.alpha = alpha
        self.rate = rate
        self.direction = direction
        self.update = update


def _one(x):
    return tf.ones([], x.dtype)


def _alpha_adam(x):
    one = _one(x)
    return (x.lr * tf.sqrt(one - x.beta2_power)) / (one - x.beta1_power)


def _alpha_adamax(x):
    return x.lr / (_one(x) - x.beta1_power)


def _maximum(kept, fresh):
    # As the kernels take it: a NaN that comes in does not reach the running maximum.
    return worlds.where(fresh > kept, fresh, kept)


def _advance_adam(x, old):
    one = _one(x)
    new = {
        "m": old["m"] + (x.grad - old["m"]) * (one - x.beta1),
        "v": old["v"] + (tf.square(x.grad) - old["v"]) * (one - x.beta2),
    }
    if "vhat" in old:
        new["vhat"] = _maximum(old["vhat"], new["v"])
    return new


def _advance_adamax(x, old):
    return {
        "m": old["m"] + (x.grad - old["m"]) * (_one(x) - x.beta1),
        "v": _maximum(x.beta2 * old["v"], tf.abs(x.grad)),
    }


def _read_adam(x, new, alpha):
    root = tf.sqrt(new["vhat" if "vhat" in new else "v"]) + x.epsilon
    direction = new["m"]
    if x.use_nesterov:
        direction = x.grad * (_one(x) - x.beta1) + x.beta1 * new["m"]
    return Read(alpha, alpha / root, direction, (direction * alpha) / root)


def _read_adamax(x, new, alpha):
    norm = new["v"] + x.epsilon
    return Read(alpha, alpha / norm, new["m"], alpha * (new["m"] / norm))


class Kernel(object):
    """How to read the arguments of one fused kernel and to do its work in separate ops.

    Attributes:
        arguments: parameter names in the wrapper's order.
        states: names of the variables it moves beside `var`, in the order of their writes.
        alpha: function of the arguments; needs no state.
        advance: function of (arguments, old states) giving the new states as tensors.
        read: function of (arguments, new states, alpha) giving a Read.
    """

    def __init__(self, arguments, states, alpha, advance, read):
        self.arguments = arguments
        self.states = states
        self.alpha = alpha
        self.advance = advance
        self.read = read


KERNELS = {
    "applyadam": Kernel(
        ("var", "m", "v") + _ADAM_TAIL + ("use_nesterov", "name"),
        ("m", "v"),
        _alpha_adam,
        _advance_adam,
        _read_adam,
    ),
    "applyadamwithamsgrad": Kernel(
        ("var", "m", "v", "vhat") + _ADAM_TAIL + ("name",),
        ("m", "v", "vhat"),
        _alpha_adam,
        _advance_adam,
        _read_adam,
    ),
    "applyadamax": Kernel(
        ("var", "m", "v", "beta1_power", "lr", "beta1", "beta2", "epsilon", "grad", "use_locking", "name"),
        ("m", "v"),
        _alpha_adamax,
        _advance_adamax,
        _read_adamax,
    ),
}


def kernel_of(stock):
    """(Kernel, whether it takes resource handles) by the callable's name, or (None, False).

    Every spelling of one kernel is the same name without underscores: `apply_adam`,
    `resource_apply_adam`, `raw_ops.ResourceApplyAdam`.
    """
    name = getattr(stock, "__name__", "").replace("_", "").lower()
    resource = name.startswith("resource")
    return KERNELS.get(name[len("resource") :] if resource else name), resource


class Arguments(object):
    """The arguments of one kernel call by name; scalars are tensors of the gradient's dtype."""

    use_locking = False
    use_nesterov = False
    name = None

    def __init__(self, kernel, args, kwargs):
        if len(args) > len(kernel.arguments):
            raise TypeError("too many arguments")
        given = dict(zip(kernel.arguments, args))
        for name, value in kwargs.items():
            if name not in kernel.arguments or name in given:
                raise TypeError("unexpected argument " + name)
            given[name] = value
        handles = ("var",) + kernel.states
        self.grad = tf.convert_to_tensor(given.pop("grad"))
        self.dtype = self.grad.dtype.base_dtype
        for name, value in given.items():
            if name not in handles and name not in ("use_locking", "use_nesterov", "name"):
                value = tf.convert_to_tensor(value, self.dtype)
            if value is not None:
                setattr(self, name, value)


def read_state(handle, dtype, resource):
    """The value of a state now: of a resource handle by ReadVariableOp, of a reference by Identity."""
    if resource:
        return tf.raw_ops.ReadVariableOp(resource=handle, dtype=dtype)
    return tf.identity(handle)


def write_state(handle, value, x, resource):
    """Assigns a state; returns the op (or reference tensor) to depend on, None in eager."""
    if resource:
        return tf.raw_ops.AssignVariableOp(resource=handle, value=value)
    return tf.compat.v1.assign(handle, value, use_locking=x.use_locking)


def write_variable(x, update, writes, resource):
    """`var -= update` once every state in `writes` is written; returns what the wrapper returned."""
    with tf.control_dependencies([w for w in writes if w is not None]):
        if resource:
            return tf.raw_ops.AssignSubVariableOp(resource=x.var, value=update)
        return tf.compat.v1.assign_sub(x.var, update, use_locking=x.use_locking)
