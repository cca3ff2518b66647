"""Graphs to patch, each with the placeholder `x`, the ops `train` and `init`; and training of a GraphDef."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from adampatch.graph.definition import Definition
from adampatch.graph.rewriting import Found, carry_out
from adampatch.graph.rules import Rules

v1 = tf.compat.v1
STEPS = 20


def rules(high: float | None = None, low: float | None = None, **more: Any) -> dict[str, Any]:
    """The normal form of one rule on the rate."""
    rule = {"id": "bound", "match": ["**"], "exclude": [], "optimizer": "*", "quantity": "rate"}
    return {"version": 1, "rules": [{**rule, "min": low, "max": high, **more}]}


IDLE = rules(high=1e30)


def model(dtype: Any = tf.float32, resource: bool = True, sparse: bool = False) -> tuple[Any, list[Any]]:
    """(loss, variables) over the placeholder `x`."""
    v1.set_random_seed(3)
    x = v1.placeholder(dtype, [None, 4], name="x")
    normal = v1.random_normal_initializer(seed=1, dtype=dtype)
    with v1.variable_scope("dense", use_resource=resource):
        kernel = v1.get_variable("kernel", [4, 3], dtype, initializer=normal)
        bias = v1.get_variable("bias", [3], dtype, initializer=v1.zeros_initializer())
    variables = [kernel, bias]
    y = tf.matmul(x, kernel) + bias
    if sparse:
        with v1.variable_scope("", use_resource=resource):
            table = v1.get_variable("table", [10, 3], dtype, initializer=normal)
        variables.append(table)
        y = y * tf.nn.embedding_lookup(table, tf.constant([1, 2, 2, 7]))
    return tf.reduce_sum(tf.tanh(y) ** 2), variables


def graph_of(build: Callable[[], Any]) -> Any:
    """A graph in which `build` makes the train op."""
    graph = tf.Graph()
    with graph.as_default():
        train = build()
        v1.add_to_collection("train_op", tf.group(train, name="train"))
        tf.group(v1.global_variables_initializer(), v1.local_variables_initializer(), name="init")
    return graph


def v1_adam(resource: bool = True, sparse: bool = False, dtype: Any = tf.float32) -> Callable[[], Any]:
    def build() -> Any:
        loss, _ = model(dtype, resource, sparse)
        return v1.train.AdamOptimizer(0.01).minimize(loss)

    return build


def serialized(graph: Any) -> bytes:
    return bytes(graph.as_graph_def().SerializeToString())


def patched(data: bytes, form: dict[str, Any] | None = None) -> tuple[bytes, list[Any], list[Any]]:
    """(GraphDef patched, edits, sites)."""
    definition = Definition(data)
    found = Found(definition)
    edits = []
    for body, edit in found.edits(None if form is None else Rules(form, "rules")):
        carry_out(body, edit)
        if body.function:
            definition.functions[body.function].changed()
        edits.append(edit)
    return definition.serialized(), edits, [site for _, site in found.sites]


def batches(steps: int, dtype: Any = np.float32) -> Iterable[Any]:
    random = np.random.RandomState(0)
    for _ in range(steps):
        yield random.normal(size=(4, 4)).astype(dtype)


def trained(
    data: bytes, fetch: Iterable[str] = (), steps: int = STEPS, dtype: Any = np.float32, grappler: bool = True
) -> tuple[dict[str, Any], list[list[Any]]]:
    """({variable: value at the end}, what was fetched in each step) of training an imported GraphDef."""
    graph = tf.Graph()
    definition = v1.GraphDef.FromString(data)
    options = v1.ConfigProto()
    if not grappler:
        options.graph_options.rewrite_options.disable_meta_optimizer = True
    with graph.as_default(), v1.Session(graph=graph, config=options) as session:
        tf.import_graph_def(definition, name="")
        names = [node.name for node in definition.node if node.op in ("VarHandleOp", "VariableV2")]
        reads = {}
        for node in definition.node:
            if node.op == "ReadVariableOp" and node.input[0] in names and len(node.input) == 1:
                reads.setdefault(node.input[0], node.name + ":0")
            elif node.op == "VariableV2":
                reads[node.name] = node.name + ":0"
        session.run("init")
        shown = [session.run(["train", *fetch], {"x:0": x})[1:] for x in batches(steps, dtype)]
        return session.run(reads), shown


def same_bits(first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Whether all variables of the first are in the second with the same bits."""
    return all(
        np.asarray(first[name]).tobytes() == np.asarray(second[name]).tobytes() for name in first
    ) and bool(first)
