"""`python newer.py OUT`: trains `keras.optimizers.Adam` whose update is written as in no known version.

Writes the weights and what was warned of. The update does what it did: a line at its head makes another
text of it, and one that cannot be followed.
"""

import inspect
import json
import linecache
import os
import sys
import types
import warnings

import numpy as np
import tensorflow as tf
from tensorflow import keras

METHODS = ("update_step", "_resource_apply_dense")


def rewrite(owner, name):
    """Exchanges a method for one of another text, as a newer version would have."""
    live = vars(owner)[name]
    variable = inspect.getfullargspec(live).args[2]
    lines = inspect.getsource(live).splitlines(True)
    body = next(i for i, line in enumerate(lines) if line.rstrip().endswith(":")) + 1
    indent = lines[body][: len(lines[body]) - len(lines[body].lstrip())]
    lines.insert(body, "{}({},) = map(lambda x: x, [{}])\n".format(indent, variable, variable))
    path = os.path.abspath("newer_{}.py".format(name))
    text = "class {}(object):\n".format(owner.__name__) + "".join(lines)
    with open(path, "w") as stream:
        stream.write(text)
    linecache.checkcache(path)
    found = {}
    exec(compile(text, path, "exec"), live.__globals__, found)
    code = vars(found[owner.__name__])[name].__code__
    setattr(
        owner, name, types.FunctionType(code, live.__globals__, name, live.__defaults__, live.__closure__)
    )


def main(out):
    tf.compat.v1.enable_eager_execution()
    cls = keras.optimizers.Adam
    found = [(o, n) for o in cls.__mro__ for n in METHODS if o.__name__ == "Adam" and n in vars(o)]
    for owner, name in found:
        rewrite(owner, name)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        first, second = keras.optimizers.Adam(0.01), keras.optimizers.Adam(0.01)
        w = tf.Variable(np.linspace(-1, 1, 6).astype("float32"), name="w")
        for step in range(5):
            for optimizer in (first, second)[: 1 + step % 2]:
                optimizer.apply_gradients([(tf.constant(np.linspace(-2, 3, 6).astype("float32")), w)])
    with open(out, "w") as stream:
        said = [str(c.message) for c in caught if "adampatch" in str(c.message)]
        methods = ["{}.{}.{}".format(o.__module__, o.__name__, n) for o, n in found]
        json.dump({"methods": methods, "said": said, "weights": w.numpy().tobytes().hex()}, stream)


if __name__ == "__main__":
    main(sys.argv[1])
