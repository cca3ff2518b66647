"""Keras models compiled with Adam in every way that a script can say it; trained, saved, loaded, trained on.

    python models.py train|load FOLDER

Prints what stock prints. Writes answers.json: digests of weights, and which of our names answered.
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


class Mine(keras.optimizers.Adam):
    """A user's own class over stock's."""


def model_of():
    rng = np.random.RandomState(1)
    model = keras.Sequential(
        [keras.layers.Dense(4, activation="tanh", input_shape=(5,)), keras.layers.Dense(1)]
    )
    model.set_weights([rng.randn(*w.shape).astype("float32") for w in model.get_weights()])
    return model


def by_string(model):
    model.compile("adam", keras.losses.MeanSquaredError())


def by_keyword(model):
    model.compile(loss=keras.losses.MeanSquaredError(), optimizer="Nadam")


def by_getter(model):
    model.compile(optimizer=keras.optimizers.get("adamax"), loss=keras.losses.MeanSquaredError())


def by_config(model):
    config = {"class_name": "Adam", "config": {"learning_rate": 0.02}}
    model.compile(optimizer=keras.optimizers.deserialize(config), loss=keras.losses.MeanSquaredError())


def by_instance(model):
    model.compile(optimizer=keras.optimizers.Adam(0.02), loss=keras.losses.MeanSquaredError())


def by_subclass(model):
    model.compile(optimizer=Mine(0.02), loss=keras.losses.MeanSquaredError())


def by_variable(model, name="adam"):
    optimizer = keras.optimizers.get(name)
    model.compile(optimizer=optimizer, loss=keras.losses.MeanSquaredError())


def scaled(optimizer):
    """A loss scale around an optimizer, as this Keras has it; None where it has none."""
    for module in (keras.optimizers, getattr(keras, "mixed_precision", None)):
        if hasattr(module, "LossScaleOptimizer"):
            return module.LossScaleOptimizer(optimizer)
    return None


def by_scaled(model):
    """The optimizer is patched before it is wrapped."""
    optimizer = keras.optimizers.Adam(0.02)
    model.compile(optimizer=scaled(optimizer) or optimizer, loss=keras.losses.MeanSquaredError())


def by_opened(model):
    """The wrapper is patched, and what is in it, where the command could not know what that is."""
    inner = getattr(keras.optimizers, "Ad" + "am")(0.02)
    model.compile(optimizer=training.opened(scaled(inner) or inner), loss=keras.losses.MeanSquaredError())


def by_several(model):
    """An optimizer for each layer, where TensorFlow Addons are installed."""
    try:
        import tensorflow_addons as tfa
    except ImportError:
        return by_instance(model)
    inner = [getattr(keras.optimizers.legacy, "Ad" + "am")(0.02), tfa.optimizers.RectifiedAdam(0.02)]
    pairs = list(zip(inner, model.layers))
    optimizer = training.opened(tfa.optimizers.MultiOptimizer(pairs))
    model.compile(optimizer=optimizer, loss=keras.losses.MeanSquaredError())


WAYS = {
    "string": by_string,
    "keyword": by_keyword,
    "getter": by_getter,
    "config": by_config,
    "instance": by_instance,
    "subclass": by_subclass,
    "variable": by_variable,
    "scaled": by_scaled,
    "opened": by_opened,
    "several": by_several,
}


def fit(model, epochs):
    history = model.fit(X, Y, batch_size=8, epochs=epochs, shuffle=False, verbose=0)
    print(" ".join("%.9g" % loss for loss in history.history["loss"]))


def digest(model):
    import checkpoints

    return checkpoints.digest(model.get_weights())


def seen(model):
    """The keys of what our names answer of a model's optimizer."""
    if training._adampatch is None:
        return None
    if not tf.executing_eagerly():  # Keras over a session: tensors for whoever fetches them
        found = training._adampatch.v1.tensors(keras.backend.get_session().graph)
        return {"step": int(keras.backend.get_value(model.optimizer.iterations)), "rates": sorted(found)}
    rates = training._adampatch.effective_rates(model.optimizer)
    shot = training._adampatch.snapshot(model.optimizer)
    finite = all(np.isfinite(rate).all() for rate in rates.values())
    return {"step": shot["step"], "rates": sorted(rates) if finite else "not finite"}


def formats():
    """What this Keras saves optimizers in; whole models in h5 lose theirs in Keras 3."""
    if getattr(keras, "__version__", "2").startswith("3"):
        return ["keras", "weights.h5"]
    return ["h5", "keras"] if hasattr(keras, "saving") else ["h5"]


def loaded(path, kind):
    if kind == "weights.h5":
        model = model_of()
        by_instance(model)
        model.optimizer.build(model.trainable_variables)  # else its state is not looked for
        model.load_weights(path)
        return model
    model = keras.models.load_model(path)
    if training._adampatch is not None:
        model.compile(training.opened(model.optimizer), keras.losses.MeanSquaredError())
    return model


def main(command, folder):
    if tf.__version__.startswith("1."):
        session = tf.compat.v1.Session(config=training.settings())
        keras.backend.set_session(session)
    else:
        training.prepare()
    answers = {}
    for way, compiled in WAYS.items() if command == "train" else ():
        model = model_of()
        compiled(model)
        fit(model, 2)
        answers[way] = {"weights": digest(model), "seen": seen(model)}
    for kind in formats():
        path = os.path.join(folder, "model." + kind)
        if command == "train":
            model = model_of()
            by_instance(model)
            fit(model, 2)
            (model.save_weights if kind == "weights.h5" else model.save)(path)
        else:
            model = loaded(path, kind)
        fit(model, 2)
        answers["file." + kind] = {"weights": digest(model), "seen": seen(model)}
    with open("answers.json", "w") as stream:
        json.dump(answers, stream)


if __name__ == "__main__":
    main(*sys.argv[1:])
