"""Unusual updates: patched with stock's bits, or refused with a code; never wrong."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from graphs import IDLE, graph_of, model, patched, rules, same_bits, serialized, trained, v1
from hard import CASES

import adampatch

pytestmark = pytest.mark.tensorflow

#: case -> the statuses of its sites, a refused one by its code
EXPECTED = {
    "two_in_one_run": ["AP238"] * 4,
    "one_of_two": ["patched"] * 4,
    "cond": ["patched"] * 2,
    "cond_v2": ["patched"] * 2,
    "accumulated": ["patched"] * 2,
    "loop": ["patched"],
    "loop_v2": ["patched"],
    "loss_scaled": ["patched"] * 2,
    "weight_decay": ["patched"] * 2,
    "weight_decay_of_references": ["patched"] * 2,
    "in_a_function": ["patched"] * 2,
    "read_in_a_function": ["AP241"] * 2,
    "normaliser_inside": ["AP204"] * 2,
    "others": [],
    "keras_amsgrad": ["patched"] * 3,
    "keras_adamax": ["patched"] * 3,
    "keras_nadam": ["patched"] * 3,
}
INSIDE = {"cond", "cond_v2", "accumulated", "loop", "loop_v2", "loss_scaled"}


@pytest.fixture(autouse=True)
def restored():
    yield
    v1.enable_control_flow_v2()


def statuses(sites):
    return [site.reason.partition(":")[0] if site.status == "refused" else site.status for site in sites]


@pytest.mark.parametrize("case", CASES)
def test_unusual_updates_keep_their_bits(case):
    stock = serialized(graph_of(CASES[case]))
    expected, _ = trained(stock)
    for form in (None, IDLE):
        data, edits, sites = patched(stock, form)
        assert statuses(sites) == EXPECTED[case]
        assert {site.fetchable for site in sites} <= {case not in INSIDE}
        assert same_bits(expected, trained(data)[0])
    if "patched" in EXPECTED[case]:
        data, edits, _ = patched(stock, rules(high=0.001))
        fetched = [
            e.tensors["rate"] + ":0" for e in edits if e.site.fetchable and "second" not in e.site.node.name
        ]
        found, shown = trained(data, fetched)
        assert not same_bits(expected, found)
        assert all(np.max(rate) <= np.float32(0.001) for row in shown for rate in row)
    else:
        assert data == stock


@pytest.mark.parametrize("case", ["cond", "loop", "accumulated"])
def test_the_bound_holds_where_no_one_can_look(case):
    stock = serialized(graph_of(CASES[case]))
    data, _, _ = patched(stock, rules(high=0.0))
    start, end = trained(data, steps=0)[0], trained(data)[0]
    weights = [name for name in start if name in ("w", "dense/kernel", "dense/bias")]
    assert weights
    assert all(np.array_equal(start[name], end[name]) for name in weights)
    moments = [name for name in start if name.endswith("/Adam_1")]
    assert any(not np.array_equal(start[name], end[name]) for name in moments)


def test_grappler_s_own_output_is_patched_too():
    from tensorflow.python.grappler import tf_optimizer

    graph = graph_of(CASES["weight_decay"])
    with graph.as_default():
        meta = v1.train.export_meta_graph()
    config = v1.ConfigProto()
    config.graph_options.rewrite_options.min_graph_nodes = -1
    meta.collection_def["train_op"].node_list.value[:] = ["train", "init"]
    optimized = tf_optimizer.OptimizeGraph(config, meta).SerializeToString()
    assert optimized != serialized(graph)
    expected, _ = trained(optimized, grappler=False)
    for form in (None, IDLE):
        data, _, sites = patched(optimized, form)
        assert statuses(sites) == ["patched"] * 2
        assert same_bits(expected, trained(data, grappler=False)[0])
    _, shown = trained(
        patched(optimized, rules(high=0.02))[0],
        [e.tensors["rate"] + ":0" for e in patched(optimized, rules(high=0.02))[1]],
    )
    assert max(np.max(rate) for row in shown for rate in row) == np.float32(0.02)


def test_AP239_one_function_for_variables_under_different_rules():
    def build():
        x = v1.placeholder(tf.float32, [None, 4], name="x")
        normal = v1.random_normal_initializer(seed=1)
        states = []
        for name in ("first", "second"):
            with v1.variable_scope(name, use_resource=True):
                states.append([v1.get_variable(n, [4, 3], initializer=normal) for n in ("w", "m", "v")])
        step = tf.function(_step, autograph=False)
        for w, m, v in states:
            g = tf.gradients(tf.reduce_sum(tf.tanh(tf.matmul(x, w)) ** 2), w)[0]
            step(w, m, v, g)
        return tf.group(*[op for op in v1.get_default_graph().get_operations() if "Call" in op.type])

    def _step(w, m, v, g):
        m.assign_add((g - m) * 0.1)
        v.assign_add((g * g - v) * 0.001)
        w.assign_sub(0.01 * m / (tf.sqrt(tf.abs(v)) + 1e-7))

    stock = serialized(graph_of(build))
    _, _, sites = patched(stock, None)
    assert {tuple(site.paths) for site in sites} == {("first/w", "second/w")}
    data, _, sites = patched(stock, rules(high=0.02, match=["first/*"]))
    assert statuses(sites) == ["AP239"] * len(sites)
    assert data == stock
    _, _, sites = patched(stock, rules(high=0.02))
    assert statuses(sites) == ["patched"] * len(sites)


def test_AP240_in_a_branch_of_a_live_graph():
    graph = graph_of(CASES["cond"])
    rows = adampatch.graph.patch(graph)
    assert [row["reason"][:5] for row in rows] == ["AP240"] * 2
    assert adampatch.v1.tensors(graph) == {}


def test_AP242_two_gradients():
    def build():
        loss, (kernel, _) = model()
        m, v = (v1.Variable(tf.zeros([4, 3]), name=n, use_resource=True) for n in "mv")
        other = tf.random.stateless_normal([4, 3], [1, 2])
        new_m = m.assign(0.9 * m + 0.1 * tf.gradients(loss, kernel)[0], read_value=True)
        new_v = v.assign(0.9 * v + 0.1 * other * other, read_value=True)
        return kernel.assign_sub(0.01 * new_m / (tf.sqrt(new_v) + 1e-7))

    _, _, sites = patched(serialized(graph_of(build)))
    assert statuses(sites) == ["AP242"]
