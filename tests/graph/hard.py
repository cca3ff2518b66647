"""Updates that are not the usual ones: in branches and loops, twice, accumulated, scaled, written out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from graphs import model, v1


def two_in_one_run() -> Any:
    loss, _ = model()
    first = v1.train.AdamOptimizer(0.01, name="first").minimize(loss)
    with tf.control_dependencies([first]):
        second = v1.train.AdamOptimizer(0.02, name="second").minimize(loss)
    return tf.group(first, second)


def one_of_two() -> Any:
    """The second one is never run with the first."""
    loss, _ = model()
    first = v1.train.AdamOptimizer(0.01, name="first").minimize(loss)
    v1.train.AdamOptimizer(0.02, name="second").minimize(loss, name="other")
    return first


def _under_cond(new: bool) -> Callable[[], Any]:
    def build() -> Any:
        (v1.enable_control_flow_v2 if new else v1.disable_control_flow_v2)()
        loss, variables = model()
        optimizer = v1.train.AdamOptimizer(0.01)
        gradients = optimizer.compute_gradients(loss, variables)
        optimizer._create_slots(variables)
        count = v1.get_variable("count", [], tf.int32, initializer=v1.zeros_initializer(), use_resource=True)

        def step() -> Any:
            with tf.control_dependencies([optimizer.apply_gradients(gradients)]):
                return tf.constant(1)

        done = v1.cond(tf.equal(count % 3, 0), step, lambda: tf.constant(0))
        with tf.control_dependencies([done]):
            return count.assign_add(1)

    return build


def accumulated() -> Any:
    """Gradients of two batches are added up, the update is made every second time."""
    v1.disable_control_flow_v2()
    loss, variables = model()
    sums = [v1.Variable(tf.zeros(v.shape), name="sum", use_resource=True) for v in variables]
    count = v1.get_variable("count", [], tf.int32, initializer=v1.zeros_initializer(), use_resource=True)
    added = [s.assign_add(g) for s, g in zip(sums, tf.gradients(loss, variables), strict=True)]
    optimizer = v1.train.AdamOptimizer(0.01)
    optimizer._create_slots(variables)
    optimizer._prepare()
    with tf.control_dependencies(added):
        count = count.assign_add(1)

    def step() -> Any:
        pairs = [(s / 2.0, v) for s, v in zip(sums, variables, strict=True)]
        with tf.control_dependencies([optimizer.apply_gradients(pairs)]):
            cleared = [s.assign(tf.zeros_like(s)) for s in sums]
        with tf.control_dependencies(cleared):
            return tf.constant(1)

    return v1.cond(tf.equal(count % 2, 0), step, lambda: tf.constant(0))


def _in_loop(new: bool) -> Callable[[], Any]:
    """Three updates per run of the train op."""

    def build() -> Any:
        (v1.enable_control_flow_v2 if new else v1.disable_control_flow_v2)()
        x = v1.placeholder(tf.float32, [None, 4], name="x")
        w = v1.get_variable("w", [4, 3], initializer=v1.random_normal_initializer(seed=1), use_resource=True)
        optimizer = v1.train.AdamOptimizer(0.01)
        optimizer._create_slots([w])

        def step(i: Any) -> Any:
            loss = tf.reduce_sum(tf.tanh(tf.matmul(x, w)) ** 2)
            gradient = tf.gradients(loss, w)[0]
            with tf.control_dependencies([optimizer.apply_gradients([(gradient, w)])]):
                return i + 1

        return v1.while_loop(lambda i: i < 3, step, [tf.constant(0)], parallel_iterations=1)

    return build


def loss_scaled() -> Any:
    loss, variables = model()
    v1.disable_control_flow_v2()
    scale = v1.get_variable("scale", [], initializer=v1.constant_initializer(1024.0), use_resource=True)
    gradients = [g / scale for g in tf.gradients(loss * scale, variables)]
    finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(g)) for g in gradients])
    optimizer = v1.train.AdamOptimizer(0.01)
    optimizer._create_slots(variables)

    def step() -> Any:
        with tf.control_dependencies(
            [optimizer.apply_gradients(list(zip(gradients, variables, strict=True)))]
        ):
            return tf.constant(1.0)

    doubled = v1.cond(finite, step, lambda: tf.constant(0.5))
    return scale.assign(scale * doubled)


def weight_decay(resource: bool = True) -> Callable[[], Any]:
    """AdamWeightDecayOptimizer, as models before TensorFlow 2 have it: everything written out."""

    def build() -> Any:
        loss, variables = model(resource=resource)
        done = []
        for g, w in zip(tf.gradients(loss, variables), variables, strict=True):
            with v1.variable_scope("", use_resource=resource):
                m = v1.get_variable(
                    w.op.name + "/adam_m", w.shape, initializer=v1.zeros_initializer(), trainable=False
                )
                v = v1.get_variable(
                    w.op.name + "/adam_v", w.shape, initializer=v1.zeros_initializer(), trainable=False
                )
            next_m = tf.multiply(0.9, m) + tf.multiply(1.0 - 0.9, g)
            next_v = tf.multiply(0.999, v) + tf.multiply(1.0 - 0.999, tf.square(g))
            update = next_m / (tf.sqrt(next_v) + 1e-6)
            update += 0.01 * w
            next_w = w - 0.01 * update
            done += [v1.assign(w, next_w), v1.assign(m, next_m), v1.assign(v, next_v)]
        return tf.group(*done)

    return build


def in_a_function(by_value: bool) -> Callable[[], Any]:
    """What the update is made of comes out of a function that the graph calls."""
    return lambda: _in_a_function(by_value)


def _in_a_function(by_value: bool) -> Any:
    loss, variables = model()
    done = []

    @tf.function(autograph=False)
    def scaled(m: Any, v: Any, lr: Any) -> Any:
        return lr * m / (tf.sqrt(v) + 1e-7)

    for g, w in zip(tf.gradients(loss, variables), variables, strict=True):
        m = v1.get_variable(w.op.name + "/m", w.shape, initializer=v1.zeros_initializer(), use_resource=True)
        v = v1.get_variable(w.op.name + "/v", w.shape, initializer=v1.zeros_initializer(), use_resource=True)
        next_m = m.assign_add((g - m) * 0.1, read_value=True)
        next_v = v.assign_add((g * g - v) * 0.001, read_value=True)
        states = [tf.identity(next_m), tf.identity(next_v)] if by_value else [next_m, next_v]
        done.append(w.assign_sub(scaled(*states, tf.constant(0.01))))
    return tf.group(*done)


def normaliser_inside() -> Any:
    """LaProp: there is no rate."""
    loss, variables = model()
    done = []
    for g, w in zip(tf.gradients(loss, variables), variables, strict=True):
        m = v1.get_variable(w.op.name + "/m", w.shape, initializer=v1.zeros_initializer(), use_resource=True)
        v = v1.get_variable(w.op.name + "/v", w.shape, initializer=v1.zeros_initializer(), use_resource=True)
        next_v = v.assign(0.999 * v + 0.001 * g * g, read_value=True)
        next_m = m.assign(0.9 * m + 0.1 * g / (tf.sqrt(next_v) + 1e-7), read_value=True)
        done.append(w.assign_sub(0.01 * next_m))
    return tf.group(*done)


def others() -> Any:
    """Momentum and RMSProp, of a variable each."""
    loss, (kernel, bias) = model()
    return tf.group(
        v1.train.MomentumOptimizer(0.01, 0.9).minimize(loss, var_list=[kernel]),
        v1.train.RMSPropOptimizer(0.01, centered=True).minimize(loss, var_list=[bias]),
    )


def keras(name: str, **arguments: Any) -> Callable[[], Any]:
    """An optimizer of tf_keras in a v1 graph; ``name`` may begin with `legacy.`."""

    def build() -> Any:
        import tf_keras

        where, _, last = name.rpartition(".")
        module = tf_keras.optimizers.legacy if where else tf_keras.optimizers
        loss, variables = model(sparse=True)
        optimizer = getattr(module, last)(0.01, **arguments)
        pairs = list(zip(tf.gradients(loss, variables), variables, strict=True))
        return optimizer.apply_gradients(pairs)

    return build


CASES: dict[str, Callable[[], Any]] = {
    "two_in_one_run": two_in_one_run,
    "one_of_two": one_of_two,
    "cond": _under_cond(False),
    "cond_v2": _under_cond(True),
    "accumulated": accumulated,
    "loop": _in_loop(False),
    "loop_v2": _in_loop(True),
    "loss_scaled": loss_scaled,
    "weight_decay": weight_decay(),
    "weight_decay_of_references": weight_decay(False),
    "in_a_function": in_a_function(True),
    "read_in_a_function": in_a_function(False),
    "normaliser_inside": normaliser_inside,
    "others": others,
    "keras_amsgrad": keras("legacy.Adam", amsgrad=True),
    "keras_adamax": keras("legacy.Adamax"),
    "keras_nadam": keras("legacy.Nadam"),
}
