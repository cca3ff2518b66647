"""`python two_models.py RULES,RULES answers.json`: one class under different rules, trained alone, in turn
and in threads; writes the weights of each and how often they were bounded."""

import json
import sys
import threading

import _adampatch
import numpy as np
import tensorflow as tf
from tensorflow import keras

STEPS = 60


class Model(object):
    """A variable and the optimizer that trains it under its own rules."""

    def __init__(self, number, rules):
        self.w = tf.Variable(np.linspace(-1, 1, 500).astype("float32"), name="w")
        self.opt = _adampatch.patched(keras.optimizers.Adam(0.01 * (number + 1)), rules=rules)
        self.random = np.random.RandomState(number)
        self.compiled = tf.function(self._step) if number % 2 else self._step

    def _step(self, gradient):
        self.opt.apply_gradients([(gradient, self.w)])

    def step(self):
        gradient = self.random.normal(size=500) * np.logspace(-2, 1, 500)
        self.compiled(tf.constant(gradient.astype("float32")))

    def train(self):
        for _ in range(STEPS):
            self.step()

    def answer(self):
        found = _adampatch.snapshot(self.opt)
        (row,) = found["variables"].values()
        return [self.w.numpy().tobytes().hex(), found["step"], row["clamped_frac"], sorted(row["rules"])]


def main(rules, out):
    tf.compat.v1.enable_eager_execution()

    def models():
        return [Model(number, rules[number % len(rules)]) for number in range(4)]

    answers = {}
    for model in models():
        model.train()
        answers.setdefault("alone", []).append(model.answer())
    together = models()
    for _ in range(STEPS):
        for model in together:
            model.step()
    answers["in turn"] = [model.answer() for model in together]
    together = models()
    threads = [threading.Thread(target=model.train) for model in together]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    answers["in threads"] = [model.answer() for model in together]
    with open(out, "w") as stream:
        json.dump(answers, stream)


if __name__ == "__main__":
    main(sys.argv[1].split(","), sys.argv[2])
