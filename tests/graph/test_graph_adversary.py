"""Graphs that are meant to go wrong are patched with stock's bits and obey bounds, or are refused."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from adversary import CASES
from graphs import IDLE, STEPS, graph_of, patched, rules, same_bits, serialized, trained, v1, v1_adam
from test_graph_hard import statuses

from adampatch.graph.definition import Definition

pytestmark = pytest.mark.tensorflow


@pytest.fixture(autouse=True)
def restored():
    yield
    v1.enable_control_flow_v2()


@pytest.mark.parametrize("case", CASES)
def test_bits_without_a_binding_rule_and_bounds_under_one(case):
    build, expected_statuses = CASES[case]
    stock = serialized(graph_of(build))
    expected, _ = trained(stock)
    for form in (None, IDLE):
        data, edits, sites = patched(stock, form)
        assert statuses(sites) == expected_statuses
        assert same_bits(expected, trained(data)[0])
    if "patched" not in expected_statuses:
        assert data == stock
        return
    data, edits, _ = patched(stock, rules(high=1e-4))
    fetched = [edit.tensors["rate"] + ":0" for edit in edits if edit.site.fetchable]
    found, shown = trained(data, fetched)
    assert not same_bits(expected, found)
    assert all(np.max(rate) <= np.float32(1e-4) for row in shown for rate in row)


@pytest.mark.parametrize("case", [name for name, (_, statuses) in CASES.items() if "patched" in statuses])
def test_what_may_not_move_does_not(case):
    """Under a ceiling of 0 what is stepped by Adam alone stays where it began."""
    build, _ = CASES[case]
    stock = serialized(graph_of(build))
    data, edits, _ = patched(stock, rules(high=0.0))
    start, stock_end, end = trained(stock, steps=0)[0], trained(stock)[0], trained(data)[0]
    stepped = {path for edit in edits for path in edit.site.paths} & set(start)
    assert stepped
    for name in stepped:
        assert not np.array_equal(start[name], stock_end[name])
        if case == "decay before":  # no rule touches it
            np.testing.assert_allclose(end[name], start[name] * 0.999**STEPS, rtol=1e-5)
        else:
            assert np.array_equal(start[name], end[name])


@pytest.mark.parametrize("quantity", ["alpha", "update", "update_rms", "update_to_weight", "rms_t"])
@pytest.mark.parametrize("case", ["checked", "control edges", "averaged", "decay before", "taken names"])
def test_every_quantity_is_bounded_without_a_cycle_or_another_order(case, quantity):
    build, _ = CASES[case]
    stock = serialized(graph_of(build))
    bound = {"alpha": 1e-4, "rms_t": 1e-3}.get(quantity, 1e-5)
    data, edits, sites = patched(stock, rules(high=bound, quantity=quantity))
    if case == "checked" and quantity == "rms_t":  # there is no bias to correct
        assert statuses(sites) == ["AP243"]
        return
    start, free, found = trained(stock, steps=0)[0], trained(stock)[0], trained(data)[0]
    path = edits[0].site.paths[0]
    assert np.abs(found[path] - start[path]).max() < np.abs(free[path] - start[path]).max()
    idle = patched(stock, rules(high=1e30, quantity=quantity))[0]
    assert same_bits(free, trained(idle)[0])


def test_a_graph_whose_variables_are_constants_has_no_update():
    graph = graph_of(v1_adam())
    with v1.Session(graph=graph) as session:
        session.run("init")
        frozen = v1.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), ["MatMul"])
    data = frozen.SerializeToString()
    after, edits, sites = patched(data)
    assert after == data and not edits and not sites


def test_devices_of_other_tasks_and_colocations_are_those_of_the_kernel():
    def build():
        with tf.device("/job:ps/task:1/device:CPU:0"):
            return v1_adam(False)()

    stock = serialized(graph_of(build))
    before = Definition(stock).body.nodes
    data, edits, _ = patched(stock, rules(high=0.02))
    assert len(edits) == 2
    for edit in edits:
        kernel = before[edit.site.node.name]
        for node in edit.added:
            assert node.device == kernel.device
            assert node.attrs["_class"] == kernel.attrs["_class"]
    assert (
        Definition(data).body.nodes[edits[0].site.node.name].device == before[edits[0].site.node.name].device
    )
