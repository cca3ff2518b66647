"""Target side: writes a meta graph, trains on from several, or patches a live graph; prints JSON.

Run by path in TensorFlow 1.15 and later; needs adampatch for `live` alone.
"""

import json
import sys

import numpy as np
import tensorflow.compat.v1 as tf

if hasattr(tf, "disable_v2_behavior"):
    tf.disable_v2_behavior()
STEPS = 20


def build(resource, optimizer=None):
    tf.set_random_seed(3)
    x = tf.placeholder(tf.float32, [None, 4], name="x")
    normal = tf.random_normal_initializer(seed=1)
    with tf.variable_scope("dense", use_resource=resource):
        kernel = tf.get_variable("kernel", [4, 3], initializer=normal)
        bias = tf.get_variable("bias", [3], initializer=tf.zeros_initializer())
        table = tf.get_variable("table", [10, 3], initializer=normal)
    rows = tf.nn.embedding_lookup(table, tf.constant([1, 2, 2, 7]))
    loss = tf.reduce_sum(tf.tanh((tf.matmul(x, kernel) + bias) * rows) ** 2)
    if optimizer is None:
        train = tf.train.AdamOptimizer(0.01).minimize(loss)
    else:
        import tensorflow_addons

        variables = [kernel, bias, table]
        gradients = tf.gradients(loss, variables)
        train = getattr(tensorflow_addons.optimizers, optimizer)(0.01).apply_gradients(
            zip(gradients, variables)
        )
    tf.add_to_collection("train_op", train)


def write(resource):
    build(resource)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        tf.train.Saver().save(session, "./model")


def train(session):
    """({variable: value}, the rates and masks of the last step)."""
    random = np.random.RandomState(0)
    rates, masks = tf.get_collection("adampatch/rate"), tf.get_collection("adampatch/clamped")
    clamped = False
    for _ in range(STEPS):
        feed = {"x:0": random.normal(size=(4, 4)).astype("float32")}
        _, shown, bounded = session.run([tf.get_collection("train_op")[0], rates, masks], feed)
        clamped = clamped or any(mask.any() for mask in bounded)
    return session.run(tf.global_variables()), shown, clamped


def distance(first, second):
    """The largest difference in units in the last place, of counters in ones."""

    def places(array):
        array = np.atleast_1d(array)
        return array.view("int32").astype("int64") if array.dtype == np.float32 else array.astype("int64")

    return max(int(np.abs(places(a) - places(b)).max()) for a, b in zip(first, second))


def compared(stock, found):
    values, rates, clamped = found
    highest = max([float(rate.max()) for rate in rates] or [0.0])
    return {"ulp": distance(stock[0], values), "highest": highest, "clamped": bool(clamped)}


def resume(names):
    results = []
    for name in names:
        with tf.Graph().as_default(), tf.Session() as session:
            tf.train.import_meta_graph(name).restore(session, "./model")
            results.append(train(session))
    return {name: compared(results[0], found) for name, found in zip(names, results)}


def live(resource, optimizer=None):
    import adampatch

    def run(patched, high=None, **more):
        with tf.Graph().as_default():
            build(resource, optimizer)
            if patched:
                rule = {"id": "c", "match": ["**"], "exclude": [], "optimizer": "*", "quantity": "rate"}
                rules = {"version": 1, "rules": [dict(rule, max=high, **more)]} if high else None
                rows = adampatch.graph.patch(tf.get_default_graph(), rules)
                assert [row["status"] for row in rows] == ["patched"] * 3, rows
            with tf.Session() as session:
                session.run(tf.global_variables_initializer())
                return train(session)

    stock = run(False)
    forms = {"observed": (True, None), "idle": (True, 1e30), "bound": (True, 0.02)}
    found = {name: compared(stock, run(*form)) for name, form in forms.items()}
    if optimizer is None:  # addons show their step in other ways
        closing = {"kind": "linear", "from": 0.5, "to": 0.02, "start": 2, "end": 15}
        found["closing"] = compared(stock, run(True, closing))
        found["of lr"] = compared(stock, run(True, 2.0, relative_to="lr", start=3))
    return found


if __name__ == "__main__":
    word, given = sys.argv[1], sys.argv[2:]
    said = {}
    if word == "write":
        write(given[0] == "resource")
    elif word == "resume":
        said = resume(given)
    else:
        said = live(given[0] == "resource", *given[1:])
    print(json.dumps(said))
