"""One optimizer trained for some steps on fixed gradients, in a mode: eager, function, or a v1 graph over
reference or resource variables. Everything that it leaves behind is recorded, bit for bit.

Runs wherever the generation's TensorFlow runs, stock and patched alike.
"""

import os
import sys

import numpy as np
import tensorflow as tf

if "ADAMPATCH_IS_INSTALLED" not in os.environ:
    for _name in ("adampatch", "libcst", "beniget"):
        sys.modules[_name] = None  # the tool is elsewhere: importing it fails

try:
    import _adampatch
except ImportError:  # the stock project
    _adampatch = None
OBSERVED = _adampatch is not None and os.environ.get("ADAMPATCH_EMIT") != "off"

ROWS = [0, 2, 2, 5]
SHAPES = (("kernel", [7, 3]), ("table", [6, 3]))
DTYPES = ("float32", "float64")


def opened(optimizer):
    """The optimizer itself; patched as an instance, with all that it wraps, in a patched project."""
    return optimizer if _adampatch is None else _adampatch.patched(optimizer)


def initial(dtypes=DTYPES):
    """[(name, value)]: in each dtype a kernel, and a table whose gradients come as rows."""
    rng = np.random.RandomState(3)
    return [("%s_%s" % (name, d), rng.randn(*shape).astype(d)) for d in dtypes for name, shape in SHAPES]


def gradients(steps, dtypes=DTYPES):
    """Per step a gradient for each of `initial`: one column of a kernel never has any; of a table's
    rows one comes twice."""
    rng = np.random.RandomState(4)
    for _ in range(steps):
        step = []
        for name, value in initial(dtypes):
            table = name.startswith("table")
            gradient = rng.randn(len(ROWS) if table else 7, 3) * [0.4, 1.0, 3.0]
            if not table:
                gradient[:, 1] = 0
            step.append(gradient.astype(value.dtype))
        yield step


def pairs(given, variables, dtypes):
    """Gradients and variables as an optimizer takes them, a table's as IndexedSlices."""
    made = []
    for gradient, (name, value), variable in zip(given, initial(dtypes), variables):
        if name.startswith("table"):
            gradient = tf.IndexedSlices(gradient, tf.constant(ROWS), tf.constant(value.shape))
        made.append((gradient, variable))
    return made


def state_of(optimizer):
    """[(name, value)] of what an optimizer keeps."""
    own = getattr(optimizer, "variables", None)
    own = own() if callable(own) else own
    own = getattr(optimizer, "weights", None) if own is None else own
    return [(getattr(v, "path", v.name), v) for v in own]


class Recorded(object):
    """What one training leaves: `weights` and `rates` per step, `state` after the last, `facts`."""

    def __init__(self, dtypes):
        self.dtypes = dtypes
        self.weights, self.rates, self.alphas, self.state, self.facts = [], [], [], [], {}

    def arrays(self):
        """{name: array} for an npz file; names are those of variables."""
        found = {}
        given = list(gradients(len(self.weights), self.dtypes))
        for i, (name, value) in enumerate(initial(self.dtypes)):
            found["start/" + name] = value
            found["gradients/" + name] = np.stack([step[i] for step in given])
            found["weights/" + name] = np.stack([step[i] for step in self.weights])
        for name in sorted(self.rates[0]) if self.rates else []:
            found["rates/" + name] = np.stack([step[name] for step in self.rates])
        for name in sorted(self.alphas[0]) if self.alphas else []:
            found["alpha/" + name] = np.stack([step[name] for step in self.alphas])
        for i, (_, value) in enumerate(self.state):
            found["state/%d" % i] = value
        self.facts["state"] = [name for name, _ in self.state]
        return found


def eager(make, steps, dtypes, function=False):
    """A training in eager code, its step in a tf.function or not."""
    out = Recorded(dtypes)
    variables = [tf.Variable(value, name=name) for name, value in initial(dtypes)]
    optimizer = make()

    def apply(*given):
        optimizer.apply_gradients(pairs(given, variables, dtypes))

    step = tf.function(apply, autograph=False) if function else apply
    for given in gradients(steps, dtypes):
        step(*[tf.constant(gradient) for gradient in given])
        out.weights.append([v.numpy() for v in variables])
        if OBSERVED:
            out.rates.append(_adampatch.effective_rates(optimizer))
    out.state = [(name, v.numpy()) for name, v in state_of(optimizer)]
    if OBSERVED:
        shot = _adampatch.snapshot(optimizer)
        out.facts["snapshot"] = shot
    return out


def in_graph(make, steps, dtypes, resource, branch=False):
    """A training in a v1 graph and a Session, its updates in a branch of a `cond` or not."""
    out = Recorded(dtypes)
    v1 = tf.compat.v1
    with tf.Graph().as_default():
        variables = [v1.get_variable(n, initializer=v, use_resource=resource) for n, v in initial(dtypes)]
        given = [v1.placeholder(g.dtype, g.shape) for g in next(gradients(1, dtypes))]
        optimizer = make()
        count = v1.train.get_or_create_global_step()
        keywords = {"global_step": count} if isinstance(optimizer, v1.train.Optimizer) else {}

        def update():
            return optimizer.apply_gradients(pairs(given, variables, dtypes), **keywords)

        def counted():
            with tf.control_dependencies([update()]):
                return tf.constant(1)

        if branch:
            train = v1.cond(v1.placeholder_with_default(True, []), counted, lambda: tf.constant(0))
        else:
            train = update()
        kept = [v for v in v1.global_variables() if not any(v is variable for variable in variables)]
        fetched = _adampatch.v1.tensors() if OBSERVED else {}
        with v1.Session(config=settings()) as session:
            session.run(v1.global_variables_initializer())
            for arrays in gradients(steps, dtypes):
                feed = dict(zip(given, arrays))
                if branch:  # what a branch leaves behind is there once it has run
                    session.run(train, feed)
                    seen = session.run(fetched)
                else:
                    _, seen = session.run([train, fetched], feed)
                out.weights.append(session.run(variables))
                if OBSERVED:
                    out.rates.append({name: found["rate"] for name, found in seen.items()})
                    out.alphas.append({name: found["alpha"] for name, found in seen.items()})
            out.state = list(zip([v.name for v in kept], session.run(kept)))
            if fetched:
                out.facts["clamped"] = {n: int(np.sum(found["clamped"])) for n, found in seen.items()}
    return out


def settings():
    """A Session in which an added op changes no bit of the others: one thread, no Grappler."""
    config = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    return config


def prepare():
    """The same for eager code; TensorFlow 1 is told to run it."""
    tf.compat.v1.enable_eager_execution(config=settings())
    if hasattr(tf.config, "threading"):
        tf.config.threading.set_inter_op_parallelism_threads(1)
        tf.config.threading.set_intra_op_parallelism_threads(1)
    if hasattr(getattr(tf.config, "optimizer", None), "set_experimental_options"):
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


MODES = {
    "eager": lambda make, steps, dtypes: eager(make, steps, dtypes),
    "function": lambda make, steps, dtypes: eager(make, steps, dtypes, function=True),
    "reference": lambda make, steps, dtypes: in_graph(make, steps, dtypes, resource=False),
    "branch": lambda make, steps, dtypes: in_graph(make, steps, dtypes, resource=True, branch=True),
    "resource": lambda make, steps, dtypes: in_graph(make, steps, dtypes, resource=True),
}
