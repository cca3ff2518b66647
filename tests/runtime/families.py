"""tf_keras optimizers, newer (K2), legacy and TensorFlow's own copy (V2), and a training of variables
of every dtype, dense and sparse. Where Keras is of generation 2 it stands for tf_keras."""

import numpy as np
import tensorflow as tf

try:
    import tf_keras
except ImportError:
    tf_keras = tf.keras

NEW, LEGACY = tf_keras.optimizers, tf_keras.optimizers.legacy
AMSGRAD = {"amsgrad": True}
CASES = {
    "new-Adam": (NEW.Adam, {}),
    "new-AMSGrad": (NEW.Adam, AMSGRAD),
    "new-AdamW": (NEW.AdamW, {"weight_decay": 0.1}),
    "new-Nadam": (NEW.Nadam, {}),
    "new-Adamax": (NEW.Adamax, {}),
    "legacy-Adam": (LEGACY.Adam, {}),
    "legacy-AMSGrad": (LEGACY.Adam, AMSGRAD),
    "legacy-Nadam": (LEGACY.Nadam, {}),
    "legacy-Adamax": (LEGACY.Adamax, {}),
}
#: sparse updates of these touch only the rows of the gradient
LAZY = {"legacy-Nadam", "legacy-Adamax"}
ROWS = [0, 2, 2, 5]


def internal(name):
    """(class, options) of `tensorflow.python.keras.optimizer_v2`, which legacy was copied from."""
    from tensorflow.python.keras import optimizer_v2
    from tensorflow.python.keras.optimizer_v2 import adam, adamax, nadam

    assert optimizer_v2
    return {
        "Adam": (adam.Adam, {}),
        "AMSGrad": (adam.Adam, AMSGRAD),
        "Nadam": (nadam.Nadam, {}),
        "Adamax": (adamax.Adamax, {}),
    }[name]


def variables_of(opt):
    """All state of an optimizer of any family, a list."""
    own = opt.variables
    return list(own() if callable(own) else own)


class Training:
    """Two variables of each dtype and an optimizer: a kernel, and a table whose gradient comes in
    rows, one of them twice.

    `mode` is eager, function, jit (the whole step compiled) or island (newer tf_keras compiles
    the update of each variable, its default on a GPU).
    """

    def __init__(self, opt, mode="eager", dtypes=("float32",)):
        rng = np.random.RandomState(3)
        self.opt, self.dtypes = opt, dtypes
        self.w = [
            tf.Variable(tf.cast(rng.randn(6, 3), dtype), name=dtype + "/" + name)
            for dtype in dtypes
            for name in ("kernel", "table")
        ]
        if mode == "island":
            opt.jit_compile = True

        def apply(*grads):
            grads = list(grads)
            for i in range(1, len(grads), 2):
                grads[i] = tf.IndexedSlices(grads[i], tf.constant(ROWS), tf.constant([6, 3]))
            opt.apply_gradients(zip(grads, self.w, strict=True))

        self.apply = tf.function(apply, jit_compile=mode == "jit") if mode in ("function", "jit") else apply

    def state(self):
        return [v.numpy() for v in [*self.w, *variables_of(self.opt)]]

    def load(self, values):
        for variable, value in zip([*self.w, *variables_of(self.opt)], values, strict=True):
            variable.assign(value)

    def gradients(self, steps, seed=0):
        rng = np.random.RandomState(seed)
        for _ in range(steps):
            yield [tf.cast(rng.randn(rows, 3), d) for d in self.dtypes for rows in (6, len(ROWS))]

    def run(self, steps):
        for grads in self.gradients(steps):
            self.apply(*grads)
        return self.state()
