"""`adampatch.graph.patch`: a live graph keeps its operations, and trains to stock's bits."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from graphs import IDLE, STEPS, batches, graph_of, rules, same_bits, v1, v1_adam
from hard import CASES

import adampatch
from adampatch.errors import AdampatchError

pytestmark = pytest.mark.tensorflow


def trained(graph, fetch=None):
    with graph.as_default(), v1.Session(graph=graph) as session:
        session.run("init")
        fetch = adampatch.v1.tensors(graph) if fetch is None else fetch
        train = v1.get_collection("train_op")[0]
        shown = [session.run([train, fetch], {"x:0": x})[1] for x in batches(STEPS)]
        return {v.op.name: session.run(v) for v in v1.global_variables()}, shown


@pytest.mark.parametrize("form", [None, IDLE], ids=["observed", "idle rule"])
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("resource", [True, False], ids=["resource", "reference"])
def test_a_live_graph_trains_to_stock_s_bits(resource, sparse, form):
    expected, _ = trained(graph_of(v1_adam(resource, sparse)))
    graph = graph_of(v1_adam(resource, sparse))
    rows = adampatch.graph.patch(graph, form)
    assert [row["status"] for row in rows] == ["patched"] * (3 if sparse else 2)
    found, shown = trained(graph)
    assert same_bits(expected, found)
    assert set(shown[-1]) == set(expected) & {"dense/kernel", "dense/bias", "table"}
    assert all((shown[-1][name]["rate"] > 0).all() for name in shown[-1])


@pytest.mark.parametrize("resource", [True, False], ids=["resource", "reference"])
def test_the_operation_that_users_hold_makes_the_bounded_update(resource):
    graph = graph_of(v1_adam(resource))
    kernels = [op for op in graph.get_operations() if op.type.endswith("ApplyAdam")]
    adampatch.graph.patch(graph, rules(high=0.0))
    with graph.as_default(), v1.Session(graph=graph) as session:
        session.run("init")
        before = session.run(v1.trainable_variables())
        for x in batches(3):
            session.run(kernels, {"x:0": x})  # not the train op, the kernels themselves
        after = session.run(v1.trainable_variables())
        slots = session.run([v for v in v1.global_variables() if v.op.name.endswith("Adam_1")])
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(slot.any() for slot in slots)


def test_a_bound_holds_in_a_live_graph():
    graph = graph_of(CASES["weight_decay"])
    adampatch.graph.patch(graph, rules(high=0.01))
    _, shown = trained(graph)
    assert max(found["rate"].max() for row in shown for found in row.values()) == np.float32(0.01)
    assert any(found["clamped"].any() for row in shown for found in row.values())


def test_a_live_graph_is_patched_once():
    graph = graph_of(v1_adam())
    adampatch.graph.patch(graph)
    count = len(graph.get_operations())
    assert [row["status"] for row in adampatch.graph.patch(graph)] == ["already"] * 2
    assert len(graph.get_operations()) == count


def test_a_patched_live_graph_is_exported_and_imported():
    graph = graph_of(v1_adam())
    adampatch.graph.patch(graph, rules(high=0.01))
    expected, _ = trained(graph, [])
    with graph.as_default():
        meta = v1.train.export_meta_graph()
    other = tf.Graph()
    with other.as_default():
        v1.train.import_meta_graph(meta)
    found, _ = trained(other, v1.get_collection("adampatch/rate"))
    assert same_bits(expected, found)


def test_what_is_no_graph_or_in_use_is_an_error():
    with pytest.raises(AdampatchError, match=r"'int' is no tf\.Graph"):
        adampatch.graph.patch(3)
    graph = graph_of(v1_adam())
    graph.finalize()
    with pytest.raises(AdampatchError, match="finalized"):
        adampatch.graph.patch(graph)
    with pytest.raises(AdampatchError, match="AP243: a limit on changes"):
        adampatch.graph.patch(graph_of(v1_adam()), rules(max_increase=1.1))
    with pytest.raises(AdampatchError, match="quantity 'speed' is not known"):
        adampatch.graph.patch(graph_of(v1_adam()), rules(high=1.0, quantity="speed"))
