"""Optimizers in v1 graphs, run by a Session: V1's, OptimizerV2's, and those that have `get_updates`.

Touches TensorFlow; valid on Python 3.7.
"""

import inspect
import os
import tempfile

import numpy as np
import tensorflow as tf

from adampatch.verify.worker import families
from adampatch.verify.worker.families import V1, Family, OptimizerV2, OptimizerV2Adamax
from adampatch.verify.worker.races import races


class InGraph:
    """A family in a graph of its own, with resource variables ("graph") or references ("graph-ref")."""

    def __init__(self, cls, options, rate, start, rows, mode, schedule, arguments=None, strategy="none"):
        self.graph = tf.Graph()
        with self.graph.as_default():
            super().__init__(cls, options, rate, start, rows, mode, schedule, arguments)
            self._named = self.variables()
            self._slots = [tf.compat.v1.placeholder(v.dtype.base_dtype, v.shape) for _, v in self._named]
            pairs = zip(self._named, self._slots)
            self._loads = [tf.compat.v1.assign(v, slot).op for (_, v), slot in pairs]
            if self.rate is not None:
                self._rate_slot = tf.compat.v1.placeholder(tf.float32, [])
                self._set_rate = tf.compat.v1.assign(self.rate, self._rate_slot).op
            self.session = tf.compat.v1.Session(graph=self.graph)
            self.session.run(tf.compat.v1.global_variables_initializer())
        self._told = {}

    def variable(self, value, name):
        return tf.compat.v1.get_variable(name, initializer=value, use_resource=self.mode != "graph-ref")

    def scheduled(self, cls, rate, schedule):
        self.rate = tf.compat.v1.get_variable("rate", initializer=np.float32(rate), use_resource=True)
        # a reference variable's optimizer reads it as a tensor, not by calling it
        return tf.identity(self.rate)

    def _traced(self):
        shapes = [list(w.shape) for w in self.w]
        shapes = [s if rows is None else [rows] + s[1:] for rows, s in zip(self.rows, shapes)]
        self._feeds = [tf.compat.v1.placeholder(w.dtype.base_dtype, s) for w, s in zip(self.w, shapes)]
        self._rows_fed = [
            None if rows is None else tf.compat.v1.placeholder(tf.int64, [rows]) for rows in self.rows
        ]
        rows = zip(self._feeds, self._rows_fed, self.w)
        self._train = self.apply([families.dense_or_rows(g, i, list(w.shape)) for g, i, w in rows])

    def step(self, values, indices):
        feeds = dict(zip(self._feeds, values))
        feeds.update((slot, rows) for slot, rows in zip(self._rows_fed, indices) if slot is not None)
        self.ran += 1
        _, self._told = self.session.run([self._train, self._shown()], feeds)

    def _shown(self):
        return {
            name: {what: found[what] for what in ("rate", "alpha", "update", "clamped")}
            for runtime in families.run_times()
            for name, found in runtime.graph_tensors.tensors(self.graph).items()
        }

    def races(self):
        shown = [tensor for found in self._shown().values() for tensor in found.values()]
        names = {_operation(variable): name for name, variable in self._named}
        train = self._train if isinstance(self._train, (list, tuple)) else [self._train]
        found = races(list(train) + shown)
        return [(names.get(where, where), reader, writer) for where, reader, writer in found]

    def learning_rate(self):
        return float(self.session.run(self.rate))

    def set_learning_rate(self, rate):
        self.session.run(self._set_rate, {self._rate_slot: rate})

    def read(self):
        return self.session.run(dict(self._named)), {}

    def load(self, state):
        feeds = {slot: state[0][name] for (name, _), slot in zip(self._named, self._slots)}
        self.session.run(self._loads, feeds)

    def resume(self, former):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "model")
            with former.graph.as_default():
                path = tf.compat.v1.train.Saver().save(former.session, path, write_meta_graph=False)
            with self.graph.as_default():
                tf.compat.v1.train.Saver().restore(self.session, path)

    def statistics(self):
        """The alpha alone: there is no snapshot, but tensors to fetch."""
        alphas = [float(found["alpha"]) for found in self._told.values()]
        return {"alpha": next((alpha for alpha in alphas if alpha == alpha), None)}

    def emitted(self):
        return {
            f"{what}/{name.split('/')[-1][1:]}": found[what]
            for name, found in self._told.items()
            for what in ("rate", "update", "clamped")
        }

    def untracked(self):
        """A v1 graph's variables are in collections: words on those of ours that are."""
        with self.graph.as_default():
            every = tf.compat.v1.global_variables()
        return [f"{v.name} is a global variable" for v in every if "adampatch/" in v.name]


def _operation(variable):
    """The name of the operation that makes a variable of a v1 graph."""
    return variable.handle.op.name if hasattr(variable, "handle") else variable.op.name


class V1Graph(InGraph, V1):
    def make(self, cls, rate, options, schedule):
        return cls(learning_rate=self.scheduled(cls, rate, schedule), **self.counting(cls, options))


class OptimizerV2Graph(InGraph, OptimizerV2):
    pass


class OptimizerV2AdamaxGraph(InGraph, OptimizerV2Adamax):
    pass


class GetUpdates(InGraph, Family):
    """Keras 1 and 2's first optimizers: a list of updates that `K.function` would run."""

    slots = {"m": (0,), "v": (1,), "vhat": (2,)}

    def make(self, cls, rate, options, schedule):
        names = inspect.signature(cls.__init__).parameters
        optimizer = cls(**dict(options, **{"learning_rate" if "learning_rate" in names else "lr": rate}))
        self.rate = optimizer.lr
        return optimizer

    def build(self):
        """Its states are made with the updates."""

    def apply(self, gradients):
        self.optimizer.get_gradients = lambda loss, params: gradients
        words = {"loss": tf.zeros([]), "params": self.w}
        if "constraints" in inspect.signature(self.optimizer.get_updates).parameters:
            words["constraints"] = {}
        updates = self.optimizer.get_updates(**words)
        return [tf.compat.v1.assign(*u) if isinstance(u, tuple) else u for u in updates]

    def slot(self, number, i):
        """Its weights are a counter and then one list of slots after another, each as long as the model's."""
        if number == 2 and not getattr(self.optimizer, "amsgrad", False):
            return None  # of one element each, that nothing writes
        slots = self.optimizer.weights[1 + number * len(self.w) :]
        return slots[i] if slots else None

    def own_variables(self):
        # what rules remember is not stock's
        found = [v for v in tf.compat.v1.global_variables() if not v.name.startswith("adampatch/")]
        return [v for v in found if v is not self.rate]


class GetUpdatesAdamax(GetUpdates):
    slots = {"m": (0,), "u": (1,)}


_GRAPHS = {"v1": V1Graph, "v2": OptimizerV2Graph, "get_updates": GetUpdates}
_GRAPHS_OF_CLASS = {("v2", "Adamax"): OptimizerV2AdamaxGraph, ("get_updates", "Adamax"): GetUpdatesAdamax}


def training_for(family, name, mode):
    """The class of trainings for an optimizer of `family` called `name` in `mode`."""
    if mode.startswith("graph"):
        return _GRAPHS_OF_CLASS.get((family, name)) or _GRAPHS[family]
    if family == "v2" and name == "Adamax":
        return OptimizerV2Adamax
    named = {"v1": V1, "v2": OptimizerV2, "keras2": families.Keras2, "keras3": families.Keras3}
    return named[family]
