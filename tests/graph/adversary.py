"""Graphs that are meant to go wrong: each is patched right, or refused with a code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from graphs import model, v1


def _adam(loss: Any, variables: Any = None, rate: Any = 0.01, **more: Any) -> Any:
    return v1.train.AdamOptimizer(rate, **more).minimize(loss, var_list=variables)


def nested_functions() -> Any:
    """The update is two calls deep, and both functions are called for each variable."""
    loss, variables = model()
    done = []

    @tf.function(autograph=False)
    def inner(w: Any, m: Any, v: Any, g: Any) -> Any:
        m.assign_add((g - m) * 0.1)
        v.assign_add((g * g - v) * 0.001)
        w.assign_sub(0.01 * m / (tf.sqrt(v) + 1e-7))
        return tf.reduce_sum(w)

    @tf.function(autograph=False)
    def outer(w: Any, m: Any, v: Any, g: Any) -> Any:
        return inner(w, m, v, g * 1.0)

    zeros = v1.zeros_initializer()
    for g, w in zip(tf.gradients(loss, variables), variables, strict=True):
        m, v = (v1.get_variable(w.op.name + n, w.shape, initializer=zeros, use_resource=True) for n in "mv")
        done.append(outer(w, m, v, g))
    return tf.group(*done)


def shared_moments() -> Any:
    """Two variables are stepped by one pair of moments: the second differs by a factor."""
    x = v1.placeholder(tf.float32, [None, 4], name="x")
    normal = v1.random_normal_initializer(seed=1)
    with v1.variable_scope("", use_resource=True):
        a, b, m, v = (v1.get_variable(n, [4, 3], initializer=normal) for n in "abmv")
    g = tf.gradients(tf.reduce_sum(tf.tanh(tf.matmul(x, a + b)) ** 2), a)[0]
    new_m = m.assign(0.9 * m + 0.1 * g, read_value=True)
    new_v = v.assign(0.999 * tf.abs(v) + 0.001 * g * g, read_value=True)
    step = 0.01 * new_m / (tf.sqrt(new_v) + 1e-7)
    return tf.group(a.assign_sub(step), b.assign_sub(step * 0.5))


def clipped_by_norm() -> Any:
    loss, variables = model(sparse=True)
    gradients, _ = tf.clip_by_global_norm(tf.gradients(loss, variables), 0.1)
    optimizer = v1.train.AdamOptimizer(0.01)
    return optimizer.apply_gradients(list(zip(gradients, variables, strict=True)))


def control_edges() -> Any:
    """The update waits for a check of the loss, and something waits for one update."""
    loss, variables = model()
    with tf.control_dependencies([tf.debugging.assert_less(loss, 1e6)]):
        gradients = [tf.identity(g) for g in tf.gradients(loss, variables)]
        optimizer = v1.train.AdamOptimizer(0.01)
        train = optimizer.apply_gradients(list(zip(gradients, variables, strict=True)))
    kernel = next(op for op in v1.get_default_graph().get_operations() if op.type == "ResourceApplyAdam")
    with tf.control_dependencies([kernel]):
        seen = v1.get_variable("seen", [4, 3], use_resource=True, initializer=v1.zeros_initializer())
        return tf.group(train, seen.assign(variables[0].read_value()))


def averaged() -> Any:
    """A moving average reads the variables after the update."""
    loss, variables = model()
    average = v1.train.ExponentialMovingAverage(0.9)
    with tf.control_dependencies([_adam(loss)]):
        return average.apply(variables)


def partitioned() -> Any:
    x = v1.placeholder(tf.float32, [None, 4], name="x")
    split = v1.fixed_size_partitioner(2)
    with v1.variable_scope("dense", use_resource=True, partitioner=split):
        kernel = v1.get_variable("kernel", [4, 3], initializer=v1.random_normal_initializer(seed=1))
    return _adam(tf.reduce_sum(tf.tanh(tf.matmul(x, tf.convert_to_tensor(kernel))) ** 2))


def placed() -> Any:
    with tf.device("/device:CPU:0"):
        loss, _ = model(sparse=True)
        return _adam(loss)


def taken_names() -> Any:
    """Some of the names that patching gives are those of other nodes."""
    loss, _ = model()
    train = _adam(loss)
    for tail in ("rate", "const", "where", "read_m", "update_1"):
        tf.constant(1.0, name=f"Adam/update_dense/kernel/ResourceApplyAdam/adampatch/{tail}/")
    return train


def odd_names() -> Any:
    x = v1.placeholder(tf.float32, [None, 4], name="x")
    w = v1.get_variable("w.1-a>b/C_", [4, 3], use_resource=True, initializer=v1.ones_initializer())
    return _adam(tf.reduce_sum(tf.tanh(tf.matmul(x, w)) ** 2), name="my.Adam-2")


def int64_rows() -> Any:
    x = v1.placeholder(tf.float32, [None, 4], name="x")
    table = v1.get_variable("table", [10, 4], use_resource=True, initializer=v1.ones_initializer())
    rows = tf.nn.embedding_lookup(table, tf.constant([1, 2, 2, 7], tf.int64))
    return _adam(tf.reduce_sum(tf.tanh(rows * x) ** 2))


def large_constant() -> Any:
    loss, variables = model()
    large = tf.constant(np.random.RandomState(0).normal(size=(1 << 18, 3)).astype("float32"))
    return _adam(loss + 1e-9 * tf.reduce_sum(large * variables[1]))


def fed_rate() -> Any:
    loss, _ = model()
    rate = v1.placeholder_with_default(tf.constant(0.02), [], name="rate")
    return _adam(loss, rate=rate / 2.0)


def one_state_for_both() -> Any:
    """A kernel whose two moments are one variable: the kernel makes one after the other of it."""
    loss, (kernel, _) = model()
    m = v1.get_variable("m", [4, 3], use_resource=True, initializer=v1.ones_initializer())
    scalars = dict(beta1_power=0.9, beta2_power=0.999, lr=0.01, beta1=0.9, beta2=0.999, epsilon=1e-8)
    g = tf.gradients(loss, kernel)[0]
    return tf.raw_ops.ResourceApplyAdam(var=kernel.handle, m=m.handle, v=m.handle, **scalars, grad=g)


def loop_in_a_branch() -> Any:
    v1.disable_control_flow_v2()
    x = v1.placeholder(tf.float32, [None, 4], name="x")
    w = v1.get_variable("w", [4, 3], initializer=v1.random_normal_initializer(seed=1), use_resource=True)
    optimizer = v1.train.AdamOptimizer(0.01)
    optimizer._create_slots([w])

    def step(i: Any) -> Any:
        gradient = tf.gradients(tf.reduce_sum(tf.tanh(tf.matmul(x, w)) ** 2), w)[0]
        with tf.control_dependencies([optimizer.apply_gradients([(gradient, w)])]):
            return i + 1

    def steps() -> Any:
        return v1.while_loop(lambda i: i < 3, step, [tf.constant(0)], parallel_iterations=1)

    return v1.cond(tf.reduce_sum(x) > 0, steps, lambda: tf.constant(0))


def both_sides_of_a_branch() -> Any:
    v1.disable_control_flow_v2()
    loss, variables = model()
    gradients = tf.gradients(loss, variables)
    fast, slow = (v1.train.AdamOptimizer(rate, name=name) for rate, name in ((0.1, "fast"), (0.001, "slow")))
    for optimizer in (fast, slow):
        optimizer._create_slots(variables)

    def step(optimizer: Any) -> Callable[[], Any]:
        def made() -> Any:
            with tf.control_dependencies(
                [optimizer.apply_gradients(list(zip(gradients, variables, strict=True)))]
            ):
                return tf.constant(1)

        return made

    return v1.cond(loss > 3.0, step(fast), step(slow))


def decay_before() -> Any:
    """Decoupled decay: the variable is written twice, and only the second time by Adam."""
    loss, variables = model()
    gradients = tf.gradients(loss, variables)
    with tf.control_dependencies(gradients):
        decayed = [w.assign_sub(0.001 * w) for w in variables]
    with tf.control_dependencies(decayed):
        gradients = [tf.identity(g) for g in gradients]
    optimizer = v1.train.AdamOptimizer(0.01)
    return optimizer.apply_gradients(list(zip(gradients, variables, strict=True)))


def sign_of_the_moment() -> Any:
    """A second moment that is never read: no rate."""
    loss, (kernel, _) = model()
    zeros = v1.zeros_initializer()
    m, v = (v1.get_variable(n, [4, 3], initializer=zeros, use_resource=True) for n in "mv")
    g = tf.gradients(loss, kernel)[0]
    new_m = m.assign(0.9 * m + 0.1 * g, read_value=True)
    return tf.group(kernel.assign_sub(0.01 * tf.sign(new_m)), v.assign(0.9 * v + 0.1 * g * g))


def added_step() -> Any:
    """The step is added, with its minus before it."""
    loss, variables = model()
    done = []
    zeros = v1.zeros_initializer()
    for g, w in zip(tf.gradients(loss, variables), variables, strict=True):
        m, v = (v1.get_variable(w.op.name + n, w.shape, initializer=zeros, use_resource=True) for n in "mv")
        new_m = m.assign(0.9 * m + 0.1 * g, read_value=True)
        new_v = v.assign(0.999 * v + 0.001 * g * g, read_value=True)
        done.append(w.assign_add(-0.01 * new_m / (tf.sqrt(new_v) + 1e-7)))
    return tf.group(*done)


def reciprocal_root() -> Any:
    loss, variables = model()
    done = []
    zeros = v1.zeros_initializer()
    for g, w in zip(tf.gradients(loss, variables), variables, strict=True):
        m, v = (v1.get_variable(w.op.name + n, w.shape, initializer=zeros, use_resource=True) for n in "mv")
        new_m = m.assign(0.9 * m + 0.1 * g, read_value=True)
        new_v = v.assign(0.999 * v + 0.001 * tf.square(g), read_value=True)
        done.append(w.assign(w - 0.01 * (new_m * tf.math.rsqrt(new_v + 1e-7))))
    return tf.group(*done)


def checked_before_it_is_written() -> Any:
    """The write waits for a check of the value that it writes."""
    loss, (kernel, _) = model()
    zeros = v1.zeros_initializer()
    m, v = (v1.get_variable(n, [4, 3], initializer=zeros, use_resource=True) for n in "mv")
    g = tf.gradients(loss, kernel)[0]
    new_m = m.assign(0.9 * m + 0.1 * g, read_value=True)
    new_v = v.assign(0.999 * v + 0.001 * g * g, read_value=True)
    new = kernel - 0.01 * new_m / (tf.sqrt(new_v) + 1e-7)
    with tf.control_dependencies([tf.debugging.assert_less(new, 1e6)]):
        return kernel.assign(new)


CASES: dict[str, tuple[Callable[[], Any], list[str]]] = {
    "nested functions": (nested_functions, ["patched"] * 2),  # one for each shape
    "shared moments": (shared_moments, ["patched"] * 2),
    "clipped by norm": (clipped_by_norm, ["patched"] * 3),
    "control edges": (control_edges, ["patched"] * 2),
    "averaged": (averaged, ["patched"] * 2),
    "partitioned": (partitioned, ["patched"] * 2),
    "placed": (placed, ["patched"] * 3),
    "taken names": (taken_names, ["patched"] * 2),
    "odd names": (odd_names, ["patched"]),
    "int64 rows": (int64_rows, ["patched"]),
    "large constant": (large_constant, ["patched"] * 2),
    "fed rate": (fed_rate, ["patched"] * 2),
    "one state for both": (one_state_for_both, ["AP241"]),
    "loop in a branch": (loop_in_a_branch, ["patched"]),
    "both sides of a branch": (both_sides_of_a_branch, ["patched"] * 4),
    "decay before": (decay_before, ["patched"] * 2),
    "sign of the moment": (sign_of_the_moment, []),
    "checked": (checked_before_it_is_written, ["patched"]),
    "added step": (added_step, ["patched"] * 2),
    "reciprocal root": (reciprocal_root, ["patched"] * 2),
}
