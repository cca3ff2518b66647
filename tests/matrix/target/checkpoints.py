"""Saves optimizers in the midst of a training, or goes on from what another project saved.

    python checkpoints.py save|load FOLDER MODULE ...

Writes answers.json: {"case|way": digest of the training's end}, or why it could not be.
"""

import copy
import hashlib
import importlib
import json
import os
import pickle
import sys

import numpy as np
import tensorflow as tf
import training

FIRST, LAST = 5, 9  # updates before the save, and in all
DTYPES = ("float32",)


class Eager(object):
    """A training in eager code that can be stopped and gone on with."""

    def __init__(self, make):
        self.variables = [tf.Variable(v, name=n) for n, v in training.initial(DTYPES)]
        self.optimizer = make()

    def train(self, first, last):
        for given in list(training.gradients(last, DTYPES))[first:]:
            pairs = training.pairs([tf.constant(g) for g in given], self.variables, DTYPES)
            self.optimizer.apply_gradients(pairs)
        return self

    def values(self):
        # A restored optimizer makes its slots in another order.
        state = sorted((name, v.numpy().tolist()) for name, v in training.state_of(self.optimizer))
        return [v.numpy() for v in self.variables] + [np.array(value) for _, value in state]


def digest(values):
    found = hashlib.sha256()
    for value in values:
        found.update(np.ascontiguousarray(value).tobytes())
    return found.hexdigest()


def is_patched(optimizer):
    """Whether the rates of a training that has just run are there to be had."""
    if training._adampatch is None:
        return True
    return bool(training._adampatch.effective_rates(optimizer))


# ------------------------------------------------------------------------ ways to save and load


def save_checkpoint(make, path):
    run = Eager(make).train(0, FIRST)
    names = {"w%d" % i: v for i, v in enumerate(run.variables)}
    saved = tf.train.Checkpoint(optimizer=run.optimizer, **names).save(path)
    with open(path + ".path", "w") as stream:
        json.dump([saved, sorted(name for name, _ in tf.train.list_variables(saved))], stream)
    return run.train(FIRST, LAST).values()


def load_checkpoint(make, path):
    run = Eager(make)
    names = {"w%d" % i: v for i, v in enumerate(run.variables)}
    with open(path + ".path") as stream:
        saved, listed = json.load(stream)
    status = tf.train.Checkpoint(optimizer=run.optimizer, **names).restore(saved)
    run.train(FIRST, LAST)
    status.assert_consumed()
    again = path + ".again"
    saved = tf.train.Checkpoint(optimizer=run.optimizer, **names).save(again)
    if sorted(name for name, _ in tf.train.list_variables(saved)) != listed:
        raise AssertionError("the checkpoint of the other project has other keys")
    return run.values()


def save_arrays(make, path):
    run = Eager(make).train(0, FIRST)
    if hasattr(run.optimizer, "get_weights"):
        arrays = run.optimizer.get_weights()
    else:
        arrays = [v.numpy() for _, v in training.state_of(run.optimizer)]
    np.savez(path + ".npz", *([v.numpy() for v in run.variables] + arrays))
    return run.train(FIRST, LAST).values()


def load_arrays(make, path):
    run = Eager(make)
    with np.load(path + ".npz") as found:
        arrays = [found[name] for name in found.files]
    run.train(0, 1)  # makes the slots
    for variable, value in zip(run.variables, arrays):
        variable.assign(value)
    if hasattr(run.optimizer, "set_weights"):
        run.optimizer.set_weights(arrays[len(run.variables) :])
    else:
        kept = [v for _, v in training.state_of(run.optimizer)]
        for variable, value in zip(kept, arrays[len(run.variables) :]):
            variable.assign(value)
    return run.train(FIRST, LAST).values()


def save_config(make, path):
    with open(path + ".config", "w") as stream:
        json.dump(make().get_config(), stream, default=float)
    return Eager(make).train(0, LAST).values()


def load_config(make, path):
    with open(path + ".config") as stream:
        config = json.load(stream)
    made = type(make()).from_config(config)
    if hasattr(made, "_optimizer"):  # a wrapper makes what it wraps anew, of stock's classes
        made = training.opened(made)
    run = Eager(lambda: made).train(0, LAST)
    if not is_patched(run.optimizer):
        raise AssertionError("what the config made is not patched")
    return run.values()


def save_pickle(make, path):
    with open(path + ".pickle", "wb") as stream:
        pickle.dump(make(), stream)
    return Eager(make).train(0, LAST).values()


def load_pickle(make, path):
    with open(path + ".pickle", "rb") as stream:
        found = pickle.load(stream)
    run = Eager(lambda: found).train(0, LAST)
    if not is_patched(run.optimizer):
        raise AssertionError("what was pickled is not patched")
    return run.values()


def copy_deeply(make, path):
    run = Eager(lambda: copy.deepcopy(make())).train(0, LAST)
    if not is_patched(run.optimizer):
        raise AssertionError("the copy is not patched")
    return run.values()


class Graph(object):
    """A v1 graph with a Saver over all of its variables."""

    def __init__(self, make):
        v1 = tf.compat.v1
        self.graph = tf.Graph()
        with self.graph.as_default():
            self.variables = [v1.get_variable(n, initializer=v) for n, v in training.initial(DTYPES)]
            self.given = [v1.placeholder(g.dtype, g.shape) for g in next(training.gradients(1, DTYPES))]
            optimizer = make()
            pairs = training.pairs(self.given, self.variables, DTYPES)
            count = v1.train.get_or_create_global_step()
            self.train_op = optimizer.apply_gradients(pairs, global_step=count)
            self.saver = v1.train.Saver(v1.global_variables())
            self.init = v1.global_variables_initializer()
        self.session = v1.Session(graph=self.graph, config=training.settings())

    def train(self, first, last):
        for given in list(training.gradients(last, DTYPES))[first:]:
            self.session.run(self.train_op, dict(zip(self.given, given)))
        return self

    def values(self):
        with self.graph.as_default():
            return self.session.run(tf.compat.v1.global_variables())


def save_saver(make, path):
    run = Graph(make)
    run.session.run(run.init)
    run.train(0, FIRST)
    with run.graph.as_default():
        run.saver.save(run.session, path)
    return run.train(FIRST, LAST).values()


def load_saver(make, path):
    run = Graph(make)
    with run.graph.as_default():
        run.saver.restore(run.session, path)
    return run.train(FIRST, LAST).values()


#: way -> (save, load, families that it is asked of)
WAYS = {
    "checkpoint": (save_checkpoint, load_checkpoint, ("v1", "v2", "keras2", "keras3")),
    "arrays": (save_arrays, load_arrays, ("v2", "keras2", "keras3")),
    "config": (save_config, load_config, ("v2", "keras2", "keras3")),
    "pickle": (save_pickle, load_pickle, ("v1", "v2", "keras2", "keras3")),
    "deepcopy": (copy_deeply, copy_deeply, ("v1", "v2", "keras2", "keras3")),
    "saver": (save_saver, load_saver, ("v1",)),
}


def main(command, folder, modules):
    training.prepare()
    answers = {}
    for name in modules:
        module = importlib.import_module(name)
        for case, make in module.CASES.items():
            for way, (save, load, families) in WAYS.items():
                if module.FAMILY not in families or (case.startswith("contrib") and way != "saver"):
                    continue  # Addons of TensorFlow 1 run in graphs
                path = os.path.join(folder, case + "-" + way)
                try:
                    ends = (save if command == "save" else load)(make, path)
                except Exception as error:
                    answers[case + "|" + way] = "%s: %s" % (type(error).__name__, error)
                else:
                    answers[case + "|" + way] = digest(ends)
    with open("answers.json", "w") as stream:
        json.dump(answers, stream)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
