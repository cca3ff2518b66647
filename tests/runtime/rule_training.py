"""Trainings of two variables, one of them sparse, that show their states, in each code family."""

import contextlib

import numpy as np
import tensorflow as tf

import adampatch
from adampatch.runtime import records

ROWS = np.array([0, 2, 2, 5])
SHAPES = ((4, 3), (8, 3))


def starts():
    rng = np.random.RandomState(3)
    return [rng.randn(*shape).astype(np.float32) for shape in SHAPES]


def gradients(steps, seed=0):
    """[dense gradient, values of ROWS] of each step, of a size that wanders over decades."""
    rng = np.random.RandomState(seed)
    size = 0.0
    for _ in range(steps):
        size = 0.98 * size + 0.3 * rng.randn()
        yield [(10**size * rng.randn(n, 3)).astype(np.float32) for n in (SHAPES[0][0], len(ROWS))]


def whole(values):
    """The rows of a sparse gradient in their variable, doubles summed."""
    out = np.zeros(SHAPES[1], np.float32)
    np.add.at(out, ROWS, values)
    return out


class Eager:
    """Keras and eager `tf.train` optimizers, stepped in a `tf.function` (or eagerly, or compiled).

    Attributes: epsilon and sums: whether duplicate rows of a gradient are summed by the family.
    """

    epsilon = 1e-7

    def __init__(self, make, rules, mode="function", emit="tensor", v1=False, build=True):
        named = zip(starts(), ("kernel", "table"), strict=True)
        self.w = [tf.Variable(x, name=name) for x, name in named]
        self.opt = adampatch.patched(make(), rules={"version": 1, "rules": rules}, emit=emit)
        self.v1 = v1
        if v1:
            self.epsilon = 1e-8
        if build and hasattr(self.opt, "build") and not v1:
            self.opt.build(self.w)

        def apply(dense, values):
            rows = tf.IndexedSlices(values, tf.constant(ROWS), tf.constant(SHAPES[1]))
            self.opt.apply_gradients([(dense, self.w[0]), (rows, self.w[1])])

        compiled = {"jit_compile": True} if mode == "jit" else {}
        self.apply = apply if mode == "eager" else tf.function(apply, **compiled)

    def step(self, dense, values):
        self.apply(tf.constant(dense), tf.constant(values))

    def slots(self, i):
        """(m, v) of variable i."""
        if hasattr(self.opt, "get_slot"):
            try:
                return tuple(self.opt.get_slot(self.w[i], name).numpy() for name in ("m", "v"))
            except (AttributeError, KeyError):
                return np.zeros(SHAPES[i], np.float32), np.zeros(SHAPES[i], np.float32)
        return tuple(of[i].numpy() for of in (self.opt._momentums, self.opt._velocities))

    def variables(self):
        own = self.opt.variables
        return [*self.w, *(own() if callable(own) else own)]

    def alpha(self):
        return adampatch.snapshot(self.opt)["alpha"]

    def rates(self):
        found = adampatch.effective_rates(self.opt)
        return [found[name] for name in ("kernel", "table")]

    def remembered(self, i):
        """The rates that limits of change go by, None where no rule has one."""
        found = [record.state.names.get(f"rate/{i}") for record in records.find(self.opt)]
        return None if found[0] is None else found[0].numpy()

    def shown(self):
        return adampatch.snapshot(self.opt)


class Graph:
    """`tf.compat.v1.train.AdamOptimizer` in a graph and a session."""

    epsilon = 1e-8

    def __init__(self, make, rules, resource=True):
        v1 = tf.compat.v1
        self.graph = tf.Graph()
        with self.graph.as_default():
            self.w = [
                v1.get_variable(name, initializer=x, use_resource=resource)
                for x, name in zip(starts(), ("kernel", "table"), strict=True)
            ]
            self.fed = [v1.placeholder(tf.float32, [n, 3]) for n in (SHAPES[0][0], len(ROWS))]
            rows = tf.IndexedSlices(self.fed[1], tf.constant(ROWS), tf.constant(SHAPES[1], tf.int64))
            self.opt = adampatch.patched(make(), rules={"version": 1, "rules": rules})
            self.train = self.opt.apply_gradients([(self.fed[0], self.w[0]), (rows, self.w[1])])
            self.shows = adampatch.v1.tensors()
            self.states = [[self.opt.get_slot(w, name) for name in ("m", "v")] for w in self.w]
            self.saver = v1.train.Saver(max_to_keep=100)
            self.initial = v1.global_variables_initializer()
        self.session = v1.Session(graph=self.graph)
        self.session.run(self.initial)
        self.last = {}

    def step(self, dense, values):
        self.last = self.session.run(
            {"train": self.train, "shows": self.shows}, dict(zip(self.fed, (dense, values), strict=True))
        )["shows"]

    def slots(self, i):
        return tuple(self.session.run(self.states[i]))

    def save(self, path, step=None):
        with self.graph.as_default():
            return self.saver.save(self.session, str(path), step)

    def restore(self, path):
        with self.graph.as_default():
            self.saver.restore(self.session, path)

    @property
    def values(self):
        return self.session.run(self.w)

    def alpha(self):
        return float(self.last["kernel"]["alpha"])

    def rates(self):
        return [self.last[name]["rate"] for name in ("kernel", "table")]

    def remembered(self, i):
        names = [v for v in self.graph.get_collection("adampatch/state") if "/rate/" in v.name]
        return self.session.run(names[i]) if names else None


def values_of(training):
    if hasattr(training, "values"):
        return list(training.values)
    return [w.numpy() for w in training.w]


@contextlib.contextmanager
def unpatched():
    patched, adampatch.patched = adampatch.patched, lambda optimizer, **_: optimizer
    try:
        yield
    finally:
        adampatch.patched = patched


class Stock(Eager):
    """The same training, unpatched."""

    def __init__(self, make, mode="function"):
        with unpatched():
            made = make()
            super().__init__(lambda: made, [], mode=mode, v1=isinstance(made, tf.compat.v1.train.Optimizer))

    def state(self):
        return self.variables()[2:]


class StockGraph(Graph):
    """The same session, unpatched."""

    def __init__(self):
        with unpatched():
            super().__init__(lambda: tf.compat.v1.train.AdamOptimizer(0.01), [])
        self.shows = {}
