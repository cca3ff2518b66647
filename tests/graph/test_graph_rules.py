"""The language of rules in graphs, against an oracle in float64 that is written apart from it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from graphs import batches, graph_of, model, patched, same_bits, serialized, trained, v1, v1_adam
from hard import CASES, weight_decay

sys.path.append(str(Path(__file__).parents[1] / "runtime"))
from rule_oracle import Oracle, Start

from adampatch.errors import AdampatchError
from adampatch.graph import attributes
from adampatch.graph.counting import Clocks, _lasts
from adampatch.graph.definition import Definition

pytestmark = pytest.mark.tensorflow
STEPS = 12


def rule(id="r", quantity="rate", **fields):
    return {"id": id, "match": ["**"], "exclude": [], "optimizer": "*", "quantity": quantity, **fields}


def form(*rules):
    return {"version": 1, "rules": list(rules)}


def table(kind, **fields):
    return {"kind": kind, **fields}


RULES = {
    "a window": [rule(max=0.02, start=3, end=6)],
    "from an update on": [rule(max=0.02, start=4)],
    "linear": [rule(max=table("linear", **{"from": 0.5, "to": 0.005, "start": 2, "end": 9}))],
    "exp": [rule(max=table("exp", **{"from": 0.5, "to": 0.005, "start": 2, "end": 9}))],
    "piecewise": [rule(max=table("piecewise", boundaries=[2, 6], values=[0.01, 0.2, 0.02]))],
    "adabound": [
        rule(
            min=table("adabound", final=0.1, gamma=0.05, side="lower"),
            max=table("adabound", final=0.1, gamma=0.05, side="upper"),
            relative_to="lr/lr0",
            lr0=0.01,
        )
    ],
    "relative to lr": [rule(max=2.0, relative_to="lr")],
    "relative to lr0": [rule(max=3.0, relative_to="lr0", lr0=0.01)],
    "relative to alpha": [rule(max=8.0, min=2.0, relative_to="alpha")],
    "corrected": [rule(max=0.003, convention="corrected")],
    "alpha": [rule(quantity="alpha", max=0.002)],
    "alpha from below": [rule(quantity="alpha", min=0.02, end=8)],
    "update": [rule(quantity="update", max=0.3, relative_to="lr")],
    "update from below": [rule(quantity="update", min=1e-3, start=2)],
    "update_rms": [rule(quantity="update_rms", max=1e-3)],
    "update_to_weight": [rule(quantity="update_to_weight", max=1e-3)],
    "rms_t": [rule(quantity="rms_t", max=0.5)],
    "all together": [
        rule("a", quantity="alpha", max=0.004),
        rule("b", max=1.0, relative_to="lr"),
        rule("c", max=table("linear", **{"from": 0.5, "to": 0.005, "start": 1, "end": 9})),
        rule("d", quantity="update", max=1e-3),
        rule("e", quantity="update_rms", max=5e-4),
    ],
}


def scheduled_adam(resource):
    """Adam whose learning rate falls with the global step."""

    def build():
        loss, _ = model(resource=resource)
        with v1.variable_scope("", use_resource=resource):
            step = v1.train.get_or_create_global_step()
        lr = v1.train.exponential_decay(0.01, step, 3, 0.7)
        return v1.train.AdamOptimizer(tf.identity(lr, name="lr")).minimize(loss, global_step=step)

    return build


def run(stock, data, edits, steps=STEPS):
    """Per step: ({variable: value} before it, what was fetched, {variable: value} after it)."""
    definition = v1.GraphDef.FromString(stock)
    kernels = [node for node in definition.node if node.op.endswith("ApplyAdam")]
    fetched = {
        "gradients": [node.input[9] + ("" if ":" in node.input[9] else ":0") for node in kernels],
        "edits": [{q: ref + ":0" for q, ref in edit.tensors.items()} for edit in edits],
        "lr": kernels[0].input[5] + ("" if ":" in kernels[0].input[5] else ":0"),
    }
    graph = tf.Graph()
    with graph.as_default(), v1.Session(graph=graph) as session:
        tf.import_graph_def(v1.GraphDef.FromString(data), name="")
        names = [n.name for n in definition.node if n.op in ("VarHandleOp", "VariableV2")]
        reads = {n.name: n.name + ":0" for n in definition.node if n.op == "VariableV2"}
        for node in definition.node:
            if node.op == "ReadVariableOp" and node.input[0] in names and len(node.input) == 1:
                reads.setdefault(node.input[0], node.name + ":0")
        session.run("init")
        rows, before = [], session.run(reads)
        for x in batches(steps):
            _, shown = session.run(["train", fetched], {"x:0": x})
            after = session.run(reads)
            rows.append((before, shown, after))
            before = after
    return rows


@pytest.mark.parametrize("resource", [True, False], ids=["resource", "reference"])
@pytest.mark.parametrize("name", RULES)
def test_a_rule_does_to_the_update_what_the_oracle_does(name, resource):
    stock = serialized(graph_of(scheduled_adam(resource)))
    data, edits, sites = patched(stock, form(*RULES[name]))
    assert [site.reason for site in sites] == ["", ""]
    rows = run(stock, data, edits)
    start, changed = Start(), False
    betas = [float(np.float32(beta)) for beta in (0.9, 0.999)]  # as the kernel is given them
    oracles = [Oracle(RULES[name], *betas, epsilon=1e-8) for _ in edits]
    for t, (before, shown, after) in enumerate(rows, 1):
        lr = float(shown["lr"])
        lr0 = start.see(lr)
        b1, b2 = (before[f"beta{k}_power"] for k in (1, 2))
        alpha = np.float32(lr) * np.sqrt(np.float32(1) - b2) / (np.float32(1) - b1)
        for k, variable in enumerate(("dense/kernel", "dense/bias")):
            states = [before[variable + tail] for tail in ("", "/Adam", "/Adam_1")]
            wanted, rate, error = oracles[k].step(*states, shown["gradients"][k], t, lr, lr0, float(alpha))
            got = shown["edits"][k]
            assert np.all(np.abs(after[variable] - wanted) <= error), (name, t, variable)
            moved = np.abs(oracles[k].direction) > 1e-3 * np.abs(oracles[k].direction).max()
            np.testing.assert_allclose(got["rate"][moved], rate[moved], rtol=2e-5)
            np.testing.assert_array_equal(after[variable], before[variable] - got["update"])
            changed |= bool(got["clamped"].any())
    assert changed


def test_a_rule_in_shadow_changes_no_bit_and_says_what_it_would_do():
    stock = serialized(graph_of(scheduled_adam(True)))
    rules = form(rule("quiet", mode="shadow", max=0.02), rule("size", "update_rms", mode="shadow", max=1e-4))
    data, edits, _ = patched(stock, rules)
    assert same_bits(trained(stock)[0], trained(data)[0])
    rows = run(stock, data, edits)
    seen = False
    for _, shown, _ in rows:
        for got in shown["edits"]:
            np.testing.assert_array_equal(got["rules/quiet"], got["rate"] > np.float32(0.02))
            assert got["rules/size"] and not got["clamped"].any()
            seen |= bool(got["rules/quiet"].any())
    assert seen


@pytest.mark.parametrize("case", ["sparse", "keras_amsgrad", "loop", "cond"])
def test_a_window_in_unusual_updates(case):
    """Bounded to nothing up to the fourth update, then let go: nothing moves, then all does."""
    build = v1_adam(sparse=True) if case == "sparse" else CASES[case]
    stock = serialized(graph_of(build))
    data, _, sites = patched(stock, form(rule(max=0.0, end=4)))
    assert {site.reason for site in sites} == {""}
    per_run = 3 if case == "loop" else 1
    runs = 4 if case != "cond" else 10  # of which every third makes an update
    names = ["w"] if case == "loop" else ["dense/kernel", "dense/bias"]
    names += ["table"] if case in ("sparse", "keras_amsgrad") else []
    start, held, moved = (trained(data, steps=steps)[0] for steps in (0, runs // per_run, runs + 3))
    for name in names:
        assert np.array_equal(start[name], held[name]) and not np.array_equal(start[name], moved[name])


def test_the_number_of_the_update_goes_on_with_the_global_step_when_powers_end():
    def build():
        step = v1.train.get_or_create_global_step()
        return v1.train.AdamOptimizer(0.01).minimize(model()[0], global_step=step)

    stock = serialized(graph_of(build))
    data, edits, _ = patched(stock, form(rule(max=table("adabound", final=0.1, gamma=1e-3, side="upper"))))
    body = Definition(stock).body
    node = next(n for n in body.nodes.values() if n.op == "ResourceApplyAdam")
    clock = Clocks(body).of(node.inputs[3:5], node.name)
    assert clock is not None and clock.last > 87_000 and clock.steps == "global_step"
    graph = tf.Graph()
    with graph.as_default(), v1.Session(graph=graph) as session:
        tf.import_graph_def(v1.GraphDef.FromString(data), name="")
        session.run("init")

        def put(name, value):
            handle, dtype = graph.get_tensor_by_name(name + ":0"), np.asarray(value).dtype
            session.run(tf.raw_ops.AssignVariableOp(resource=handle, value=tf.constant(value, dtype)))

        rate = edits[0].tensors["rate"] + ":0"
        shown = {}
        for t in (10, 50_000, 87_000, 200_000):
            put("beta2_power", np.float32(np.float64(np.float32(0.999)) ** t))
            put("beta1_power", np.float32(0.9**t))
            put("global_step", np.int64(t - 1))
            put("dense/kernel/Adam_1", np.zeros([4, 3], np.float32))
            shown[t] = session.run(rate, {"x:0": np.zeros([4, 4], np.float32)}).max()
    for t, found in shown.items():
        assert abs(found / (0.1 * (1 + 1 / (1e-3 * t))) - 1) < 1e-6, t


REFUSED = {
    "no step": (weight_decay(), rule(max=1.0, start=3), "the number of the update is asked for"),
    "no correction": (weight_decay(), rule(max=1.0, convention="corrected"), "1 - beta_1^t is asked for"),
    "no end of powers": (
        v1_adam(),
        rule(max=table("adabound", final=0.1, gamma=1e-3, side="upper")),
        "beyond 87",
    ),
    "a start that is not remembered": (
        scheduled_adam(True),
        rule(max=1.0, relative_to="lr0"),
        "give it in the rule as lr0",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_AP243_what_a_graph_does_not_show(name):
    build, given, words = REFUSED[name]
    stock = serialized(graph_of(build))
    data, _, sites = patched(stock, form(given))
    assert data == stock
    assert all(site.status == "refused" and site.reason.startswith("AP243: rule ") for site in sites)
    assert all(words in site.reason for site in sites)


def test_a_learning_rate_that_never_changes_is_the_one_at_the_start():
    stock = serialized(graph_of(v1_adam()))
    bound = rule(max=3.0, relative_to="lr0")
    data, edits, _ = patched(stock, form(bound))
    rates = [edit.tensors["rate"] + ":0" for edit in edits]
    _, shown = trained(data, rates)
    assert max(np.max(rate) for row in shown for rate in row) == np.float32(3.0 * np.float32(0.01))


def test_rules_that_leave_nothing_are_an_error():
    with pytest.raises(AdampatchError, match="leave no rate for 'dense/kernel'"):
        patched(serialized(graph_of(v1_adam())), form(rule("a", max=0.1), rule("b", min=0.2)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("base", [0.5, 0.9, 0.95, 0.99, 0.999, 0.9999])
def test_the_number_of_the_update_is_right_as_long_as_the_power_is_said_to_last(base, dtype):
    number = {np.float32: attributes.FLOAT, np.float64: attributes.DOUBLE}[dtype]
    last, least = _lasts(base, number)
    power, logarithm = dtype(base), np.log(float(dtype(base)))
    for t in range(1, min(last, 200_000) + 1):
        assert round(np.log(float(power)) / logarithm) == t
        assert float(power) >= least
        power = dtype(power * dtype(base))
    if last < 200_000:
        assert float(power) < least
