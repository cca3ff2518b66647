"""`python monitored.py LOG`: fit of `tf.keras` with an OptimizerMonitor, in any TensorFlow 2 generation.

Prints, as JSON: the alphas in History with their types, and whether the bits are those without a monitor.
"""

import json
import sys

import numpy as np
import tensorflow as tf

import adampatch


def fitted(optimizer, callbacks):
    tf.random.set_seed(3)
    layers = tf.keras.layers
    ones = tf.keras.initializers.Constant(0.5)
    model = tf.keras.Sequential(
        [
            layers.Dense(3, name="a", input_shape=(4,), kernel_initializer=ones),
            layers.Dense(1, name="b", kernel_initializer=ones),
        ]
    )
    model.compile(optimizer=optimizer, loss="mse")
    x = np.linspace(-1, 1, 160).reshape(40, 4).astype("float32")
    history = model.fit(
        x, x[:, :1], batch_size=8, epochs=5, verbose=0, shuffle=False, callbacks=callbacks
    ).history
    return history, [np.asarray(w) for w in model.get_weights()]


def main(log):
    classes = [tf.keras.optimizers.Adam]
    for name in ("legacy", "experimental"):
        found = getattr(getattr(tf.keras.optimizers, name, None), "Adam", None)
        if hasattr(found, "apply_gradients"):  # Keras 3 has a name there that only raises
            classes.append(found)
    out = {}
    for index, cls in enumerate(classes):
        folder = "{}/{}".format(log, index)
        monitor = adampatch.keras.OptimizerMonitor(
            folder, log_every_n_steps=10, per_variable=("**a/kernel*",)
        )
        history, weights = fitted(adampatch.patched(cls(1e-3)), [monitor])
        _, stock = fitted(cls(1e-3), [])
        alphas = history["optimizer/alpha"]
        out[folder] = {
            "class": "{}.{}".format(cls.__module__, cls.__name__),
            "alphas": [float(a) for a in alphas],
            "types": sorted(set(type(a).__name__ for a in alphas)),
            "same": all(np.array_equal(a, b) for a, b in zip(weights, stock)),
        }
    print(json.dumps(out))


if __name__ == "__main__":
    main(sys.argv[1])
