"""What a patched project says of itself under settings from outside: ADAMPATCH_EMIT, EVERY and RULES.

Settings are read when an optimizer first steps, so that one process can try several.
"""

import json
import os
import warnings

import numpy as np
import tensorflow as tf
import training

try:
    import _adampatch
except ImportError:
    _adampatch = None


def stepped(optimizer, steps):
    w = tf.Variable(np.linspace(-1, 1, 6).astype("float32"), name="w")
    for step in range(steps):
        optimizer.apply_gradients([(tf.constant(np.linspace(-2, 3, 6).astype("float32")), w)])
        yield step + 1


def failure(function, *arguments):
    try:
        function(*arguments)
    except Exception as error:
        return type(error).__name__ + ": " + str(error)
    return "no error"


def set_to(**settings):
    for name in ("EMIT", "EVERY", "RULES"):
        os.environ.pop("ADAMPATCH_" + name, None)
    for name, value in settings.items():
        os.environ["ADAMPATCH_" + name] = value


def make():
    return tf.compat.v1.train.AdamOptimizer(0.02)


def asked():
    set_to()
    optimizer = make()
    yield "before the first step", failure(_adampatch.effective_rates, optimizer)
    yield "no snapshot before it", failure(_adampatch.snapshot, optimizer)
    list(stepped(optimizer, 1))
    yield "statistics by default", failure(_adampatch.effective_rates, optimizer)
    yield "a snapshot by default", _adampatch.snapshot(optimizer)

    set_to(EMIT="off")
    optimizer = make()
    list(stepped(optimizer, 2))
    yield "off", failure(_adampatch.snapshot, optimizer)

    set_to(EVERY="3")
    optimizer = make()
    yield "every 3", [_adampatch.snapshot(optimizer)["step"] for _ in stepped(optimizer, 8)]

    set_to(EMIT="tensor", RULES="rules.json")
    optimizer = make()
    list(stepped(optimizer, 2))
    yield "rules", {name: rate.tolist() for name, rate in _adampatch.effective_rates(optimizer).items()}
    yield "clamped", _adampatch.snapshot(optimizer)["variables"]["w"]["clamped_frac"]

    set_to(RULES="rules.toml")
    yield "no TOML reader", failure(lambda: list(stepped(make(), 1)))
    set_to(RULES="missing.json")
    yield "no such file", failure(lambda: list(stepped(make(), 1)))
    set_to(EMIT="loud")
    yield "bad emit", failure(lambda: list(stepped(make(), 1)))
    set_to(RULES="other.json")
    yield "no such variable", failure(lambda: list(stepped(make(), 1)))
    set_to()
    yield "no optimizer", failure(_adampatch.effective_rates, object())
    yield "not patched", failure(_adampatch.effective_rates, tf.compat.v1.train.MomentumOptimizer(0.1, 0.9))


def main():
    training.prepare()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        answers = dict(asked())
    answers["warnings"] = [str(w.message) for w in told if "adampatch" in str(w.message)]
    with open("answers.json", "w") as stream:
        json.dump(answers, stream)


if __name__ == "__main__":
    main()
