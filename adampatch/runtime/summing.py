"""What is counted of a variable's elements, in one function for all variables of a kind: traced once,
whatever their shapes and however many they are.

Touches TensorFlow, on sampled updates only.
"""

import threading

from adampatch.runtime.lazy import tf

_FUNCTIONS = {}
_FUNCTIONS_LOCK = threading.Lock()


def over_elements(body, arrays, scalars):
    """`body` of {name: tensor}: `arrays`, all of one static shape, flat there, and `scalars`.

    Args:
        body: a function of a dict that gives a tensor or a tuple of tensors, none as long as the arrays.
    """
    flat = {name: tf.reshape(value, [-1]) for name, value in arrays.items()}
    if any(value.shape.num_elements() == 0 for value in flat.values()):
        return body(dict(flat, **scalars))  # where there is nothing, only a static shape says so
    names = tuple(sorted(flat)) + tuple(sorted(scalars))
    values = [flat[name] for name in sorted(flat)] + [scalars[name] for name in sorted(scalars)]
    key = (body, names, tuple(value.dtype for value in values), len(flat))
    with _FUNCTIONS_LOCK:
        if key not in _FUNCTIONS:
            _FUNCTIONS[key] = _of_signature(body, names, values, len(flat))
    return _FUNCTIONS[key](*values)


def _of_signature(body, names, values, arrays):
    signature = [tf.TensorSpec([None] if k < arrays else [], value.dtype) for k, value in enumerate(values)]

    def elements(*given):
        return body(dict(zip(names, given)))

    return tf.function(elements, input_signature=signature, autograph=False)
