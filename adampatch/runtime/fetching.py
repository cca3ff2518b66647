"""Values of our variables on the host, many of them in one transfer.

Touches TensorFlow; writes nothing.
"""

import threading

import numpy as np

from adampatch.runtime.lazy import tf

_fetched = threading.local()


def host_value(variable):
    """The value of a variable of ours, a NumPy array; no transfer inside of `Together`."""
    if hasattr(variable, "whole"):  # a part of one, see `stores`
        return variable.of(host_value(variable.whole)).reshape(variable.shape).astype(variable.dtype)
    known = getattr(_fetched, "values", None)
    if known is not None and id(variable) in known:
        return known[id(variable)]
    return np.array(variable.numpy())


class Together(object):
    """While it lasts, `host_value` knows the values that `variables` had at its beginning.

    They are brought over as one float64 array: exact for every format we keep, and for counts
    below 2^53. Attributes: transfers, how many there were in this process.
    """

    transfers = 0

    def __init__(self, variables):
        wholes = [getattr(variable, "whole", variable) for variable in variables]
        self._variables = list({id(variable): variable for variable in wholes}.values())
        self._outer = None

    def __enter__(self):
        self._outer = getattr(_fetched, "values", None)
        known = dict(self._outer or {})
        missing = [v for v in self._variables if id(v) not in known]
        if missing:
            with tf.init_scope():  # also while something is being traced
                flat = [tf.reshape(tf.cast(v.read_value(), tf.float64), [-1]) for v in missing]
                array = np.array(tf.concat(flat, 0).numpy())
            Together.transfers += 1
            start = 0
            for variable in missing:
                shape = variable.shape.as_list()
                size = int(np.prod(shape, dtype=np.int64))
                part = array[start : start + size].reshape(shape)
                known[id(variable)] = part.astype(variable.dtype.as_numpy_dtype)
                start += size
        _fetched.values = known
        return self

    def __exit__(self, *error):
        _fetched.values = self._outer
