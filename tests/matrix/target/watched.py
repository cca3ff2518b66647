"""Trains a Keras model under the callback, and a v1 graph under the session hook; writes answers.json.

python watched.py FOLDER
"""

import json
import os
import sys

import numpy as np
import tensorflow as tf
import training
from tensorflow import keras

X = np.random.RandomState(0).randn(32, 5).astype("float32")
Y = X[:, :1] * 3 - 1


def rows(folder):
    with open(os.path.join(folder, "adampatch.jsonl")) as stream:
        return [json.loads(line) for line in stream]


def tags(folder):
    """{tag: {step: value}} of the event files, as TensorFlow reads them."""
    found = {}
    for name in sorted(os.listdir(folder)):
        if "tfevents" in name:
            for event in tf.compat.v1.train.summary_iterator(os.path.join(folder, name)):
                for value in event.summary.value:
                    if value.HasField("simple_value"):
                        found.setdefault(value.tag, {})[int(event.step)] = value.simple_value
    return found


def fitted(callbacks, optimizer):
    model = keras.Sequential(
        [keras.layers.Dense(4, activation="tanh", input_shape=(5,)), keras.layers.Dense(1)]
    )
    rng = np.random.RandomState(1)
    model.set_weights([rng.randn(*w.shape).astype("float32") for w in model.get_weights()])
    model.compile(optimizer, keras.losses.MeanSquaredError())
    history = model.fit(X, Y, batch_size=8, epochs=3, shuffle=False, verbose=0, callbacks=callbacks)
    logs = {name: [type(x).__name__ for x in values] for name, values in history.history.items()}
    return [w.tolist() for w in model.get_weights()], logs


def by_callback(folder):
    folder = os.path.join(folder, "fit")
    stock, _ = fitted([], keras.optimizers.Adam(0.02))
    if training._adampatch is None:
        return {"weights": stock}
    monitor = training._adampatch.keras.OptimizerMonitor(
        folder, log_every_n_steps=4, per_variable="**", keras=keras
    )
    weights, logs = fitted([monitor], keras.optimizers.Adam(0.02))
    return {"weights": weights, "logs": logs, "rows": rows(folder), "tags": tags(folder)}


def by_hook(folder):
    folder = os.path.join(folder, "hook")
    v1 = tf.compat.v1
    with tf.Graph().as_default():
        w = v1.get_variable("w", initializer=np.linspace(-1, 1, 6).astype("float32"))
        given = v1.placeholder(tf.float32, [6])
        count = v1.train.get_or_create_global_step()
        train = v1.train.AdamOptimizer(0.02).apply_gradients([(given, w)], global_step=count)
        hooks = []
        if training._adampatch is not None:
            hooks.append(training._adampatch.v1.OptimizerMonitorHook(folder, every_n_steps=4))
        with v1.train.MonitoredSession(
            v1.train.ChiefSessionCreator(config=training.settings()), hooks=hooks
        ) as session:
            for step in range(12):
                session.run(train, {given: np.linspace(-2, 3, 6) * (1 + step % 3)})
            end = session.run(w).tolist()
    if training._adampatch is None:
        return {"weights": [end]}
    return {"weights": [end], "rows": rows(folder), "tags": tags(folder)}


def main(folder):
    answers = {}
    if not tf.__version__.startswith("1."):  # whose `fit` in eager code loses its iterator, stock's too
        training.prepare()
        answers["callback"] = by_callback(folder)
    answers["hook"] = by_hook(folder)
    with open("answers.json", "w") as stream:
        json.dump(answers, stream)


if __name__ == "__main__":
    main(*sys.argv[1:])
