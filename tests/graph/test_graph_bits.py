"""A patched graph trains to stock's bits without a binding rule, and to the formula's numbers with one."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from graphs import IDLE, STEPS, batches, graph_of, patched, rules, same_bits, serialized, trained, v1, v1_adam

from adampatch.graph.definition import Definition

pytestmark = pytest.mark.tensorflow


@pytest.mark.parametrize("form", [None, IDLE], ids=["observed", "idle rule"])
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("resource", [True, False], ids=["resource", "reference"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_without_a_binding_rule_all_variables_have_stock_s_bits(dtype, resource, sparse, form):
    if sparse and dtype == "float16":
        dtype = "bfloat16"
    number = getattr(tf, dtype)
    stock = serialized(graph_of(v1_adam(resource, sparse, number)))
    data, edits, sites = patched(stock, form)
    assert [site.status for site in sites] == ["patched"] * (3 if sparse else 2)
    rates = [edit.tensors["rate"] + ":0" for edit in edits]
    expected, _ = trained(stock, dtype=number.as_numpy_dtype)
    found, shown = trained(data, rates, dtype=number.as_numpy_dtype)
    assert same_bits(expected, found)
    assert all(np.all(np.asarray(rate, np.float64) > 0) for rate in shown[-1])
    for name, rate in zip(("dense/kernel", "dense/bias", "table"), shown[-1], strict=False):
        assert rate.shape == expected[name].shape


@pytest.mark.parametrize("resource", [True, False], ids=["resource", "reference"])
def test_under_a_ceiling_the_variables_are_those_of_the_formula(resource):
    ceiling = 0.02
    stock = serialized(graph_of(v1_adam(resource, dtype=tf.float64)))
    definition = v1.GraphDef.FromString(stock)
    kernels = [node for node in definition.node if node.op.endswith("ApplyAdam")]
    gradient = next(node.input[9] for node in kernels if "kernel" in node.name)
    gradient += "" if ":" in gradient else ":0"
    data, edits, _ = patched(stock, rules(high=ceiling))
    fetched = [edits[0].tensors[q] + ":0" for q in ("rate", "clamped", "update", "alpha")]
    found, shown = trained(data, [gradient, *fetched], dtype=np.float64)
    start, _ = trained(data, steps=0, dtype=np.float64)
    w, m, v = start["dense/kernel"].copy(), np.zeros([4, 3]), np.zeros([4, 3])
    b1, b2, lr, eps = (float(np.float32(x)) for x in (0.9, 0.999, 0.01, 1e-8))
    clamped_ever = open_ever = False
    for t, (g, rate, clamped, update, alpha) in enumerate(shown, 1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        expected_alpha = lr * np.sqrt(1 - b2**t) / (1 - b1**t)
        np.testing.assert_allclose(alpha, expected_alpha, rtol=2e-5)
        stock_rate = alpha / (np.sqrt(v) + eps)
        np.testing.assert_allclose(rate, np.minimum(stock_rate, ceiling), rtol=1e-6)
        np.testing.assert_array_equal(clamped, stock_rate > ceiling)
        np.testing.assert_allclose(update, rate * m, rtol=1e-6)
        w = w - update
        clamped_ever, open_ever = clamped_ever or clamped.any(), open_ever or not clamped.all()
    np.testing.assert_allclose(found["dense/kernel"], w, rtol=1e-12)
    assert len(shown) == STEPS and clamped_ever and open_ever


def test_a_floor_bounds_from_below_and_not_a_number_stays_not_a_number():
    stock = serialized(graph_of(v1_adam()))
    data, edits, _ = patched(stock, rules(low=0.05, high=0.2))
    rates = [edit.tensors["rate"] + ":0" for edit in edits]
    _, shown = trained(data, rates)
    assert all(
        np.float32(rate).min() >= 0.05 and rate.max() <= np.float32(0.2) for row in shown for rate in row
    )
    graph = tf.Graph()
    with graph.as_default(), v1.Session(graph=graph) as session:
        tf.import_graph_def(v1.GraphDef.FromString(data), name="")
        session.run("init")
        batch = next(iter(batches(1)))
        batch[0, 0] = np.nan
        rate, clamped = session.run([*rates[:1], edits[0].tensors["clamped"] + ":0"], {"x:0": batch})
    assert np.isnan(rate).any() and not clamped[np.isnan(rate)].any()


def test_use_nesterov_takes_the_kernel_s_own_direction():
    def build():
        from graphs import model

        loss, variables = model()
        done = []
        for g, w in zip(tf.gradients(loss, variables), variables, strict=True):
            m, v = (v1.Variable(tf.zeros(w.shape), name=n, use_resource=True) for n in "mv")
            scalars = dict(beta1_power=0.9, beta2_power=0.999, lr=0.01, beta1=0.9, beta2=0.999, epsilon=1e-8)
            handles = dict(var=w.handle, m=m.handle, v=v.handle)
            done.append(tf.raw_ops.ResourceApplyAdam(**handles, **scalars, grad=g, use_nesterov=True))
        return tf.group(*done)

    stock = serialized(graph_of(build))
    expected, _ = trained(stock)
    for form in (None, IDLE):
        data, _, sites = patched(stock, form)
        assert "grad" in sites[0].texts[1]
        assert same_bits(expected, trained(data)[0])


def test_the_last_node_keeps_its_name_and_what_hangs_on_it():
    stock = serialized(graph_of(v1_adam()))
    before = Definition(stock).body.nodes
    data, edits, _ = patched(stock, rules(high=0.02))
    after = Definition(data).body.nodes
    assert set(before) <= set(after)
    changed = {name for name, node in before.items() if after[name].serialized() != node.serialized()}
    assert changed == {edit.site.node.name for edit in edits}
    for name in changed:
        assert after[name].op == "AssignSubVariableOp"
        assert after[name].attrs["_class"] == before[name].attrs["_class"]


def test_a_patched_graph_is_not_patched_again():
    data, _, _ = patched(serialized(graph_of(v1_adam(sparse=True))), rules(high=0.02))
    again, edits, sites = patched(data, rules(high=0.001))
    assert again == data and not edits
    assert [site.status for site in sites] == ["already"] * 3


def test_rules_choose_variables_by_their_paths():
    stock = serialized(graph_of(v1_adam()))
    data, edits, _ = patched(stock, rules(high=0.001, match=["dense/b*"]))
    _, shown = trained(data, [edit.tensors["rate"] + ":0" for edit in edits])
    kernel, bias = shown[-1]
    assert kernel.max() > 0.001 >= bias.max()
