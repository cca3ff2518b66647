"""Whether XLA computes a program to the bit as TensorFlow's own kernels do, asked on this machine.

Touches TensorFlow, in a graph and a session of its own. Asked once per process and program.
"""

import threading
import warnings

import numpy as np

from adampatch.runtime.lazy import tf

_ELEMENTS = 600  # odd in bytes of every vector register, so that there is a remainder
_ROUNDS = 6
_PROOFS_LOCK = threading.RLock()
_PROVEN = {}  # key of a program -> words saying why not, "" where it is proven


def objection(program):
    """Words saying why `program` must not be compiled, "" where it may."""
    with _PROOFS_LOCK:
        found = _PROVEN.get(program.key)
        if found is None:
            try:
                found = _differences(program)
            except Exception as error:  # whatever XLA lacks here is no reason to stop training
                found = "XLA cannot do it here ({}: {})".format(type(error).__name__, str(error)[:200])
            _PROVEN[program.key] = found
        return found


def compiled(function):
    """`function` in a function compiled by XLA; None where this TensorFlow has none."""
    try:
        return tf.function(function, jit_compile=True, autograph=False)
    except TypeError:
        return None


def _differences(program):
    dtypes = program.states + program.arrays
    rng = np.random.RandomState(7)
    v1 = tf.compat.v1
    with tf.init_scope(), tf.Graph().as_default(), tf.device("CPU:0"):
        arrays = [v1.placeholder(dtype, [_ELEMENTS]) for dtype in dtypes]
        scalars = [v1.placeholder(dtype, []) for dtype in program.scalars]
        zero = v1.placeholder("float32", [])
        plain = program.run(arrays + scalars)

        def contracted(arrays, scalars, zero):
            return program.run(list(arrays) + list(scalars), minus_zeros(zero))

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fast = compiled(contracted)(arrays, scalars, zero)
        config = v1.ConfigProto(device_count={"GPU": 0}, intra_op_parallelism_threads=1)
        config.graph_options.rewrite_options.disable_meta_optimizer = True
        with v1.Session(config=config) as session:
            for _ in range(_ROUNDS):
                fed = {x: _elements(rng, x.dtype.as_numpy_dtype) for x in arrays}
                for x in arrays[: len(program.states)]:
                    fed[x] = _flushed(fed[x])
                fed.update({x: _scalar(rng, x.dtype) for x in scalars})
                fed[zero] = -0.0
                for ours, stocks in zip(session.run(fast, fed), session.run(plain, fed)):
                    count = int(np.sum(_bits(ours) != _bits(stocks)))
                    if count:
                        return "{} of {} elements differ when XLA computes them".format(count, _ELEMENTS)
    return ""


def minus_zeros(zero):
    """{dtype: -0.0} of the floating dtypes, of a float32 scalar that only run time knows."""
    return {tf.float32: zero, tf.float64: tf.cast(zero, tf.float64)}


def _bits(array):
    if array.dtype.kind != "f":
        return array
    whole = np.ascontiguousarray(array).view("i{}".format(array.dtype.itemsize))
    return np.where(np.isnan(array), 0, whole) + 3 * np.isnan(array)


def _elements(rng, dtype):
    if np.dtype(dtype).kind != "f":
        return rng.randint(0, 2, _ELEMENTS).astype(dtype)
    out = (rng.randn(_ELEMENTS) * 10.0 ** rng.uniform(-6, 2, _ELEMENTS)).astype(dtype)
    out[: _ELEMENTS // 2] = np.abs(out[: _ELEMENTS // 2])  # second moments are positive
    tiny = np.finfo(dtype).tiny
    odd = [0.0, -0.0, np.inf, -np.inf, np.nan, tiny, tiny / 8, -tiny / 8, np.finfo(dtype).max]
    places = rng.permutation(_ELEMENTS)[: 4 * len(odd)]
    out[places] = np.tile(np.array(odd, dtype), 4)
    return out


def _flushed(array):
    """Without subnormal numbers: arithmetic leaves none in a state, as TensorFlow's kernels flush them."""
    return np.where(np.abs(array) < np.finfo(array.dtype).tiny, np.copysign(0, array), array)


def _scalar(rng, dtype):
    if dtype == tf.bool:
        return bool(rng.randint(2))
    if not dtype.is_floating:
        return rng.randint(1, 100)
    # between what decays, rates, bounds and epsilons are; a bound outside of its window is infinite
    return np.inf if rng.randint(12) == 0 else 10.0 ** rng.uniform(-4, 0)
