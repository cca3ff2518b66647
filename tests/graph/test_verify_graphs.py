"""`adampatch verify GRAPH`: green on what `graph apply` makes, and not on anything else."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf
from adversary import CASES as ADVERSARY
from graphs import graph_of, model, serialized, v1, v1_adam
from hard import CASES
from test_graph_files import run

from adampatch.graph import attributes
from adampatch.graph.definition import Definition
from adampatch.verify import graph_subject

pytestmark = pytest.mark.tensorflow


def verify(path, *arguments):
    code, out, err = run(path, "--format", "json", "-q", *arguments, command="verify")
    return code, json.loads(out) if code != 2 else err


def verdicts(document):
    return {row["id"].rpartition("/")[2]: row["verdict"] for row in document["cases"]}


@pytest.fixture
def written(tmp_path):
    def write(build, name="graph.pb"):
        graph = graph_of(build)
        (tmp_path / name).write_bytes(serialized(graph))
        return tmp_path / name

    return write


GREEN = {"observed": "PASS_BITWISE", "idle": "PASS_BITWISE", "clamped": "PASS_BOUND"}


@pytest.mark.parametrize(
    "case", ["resource", "reference sparse", "weight_decay", "keras_amsgrad", "bfloat16"]
)
def test_patched_graphs_are_green_to_the_bit_and_within_their_bounds(case, written):
    builds = {
        "resource": v1_adam(),
        "reference sparse": v1_adam(False, True),
        "bfloat16": v1_adam(dtype=tf.bfloat16),
    }
    code, document = verify(written(builds.get(case) or CASES[case]))
    assert code == 0 and verdicts(document) == GREEN
    assert document["schema"] == "adampatch/verify/1"
    row = document["cases"][2]
    assert row["mode"] == "graph" and row["device"] == "CPU:0" and row["optimizer"].startswith("graph.pb:")
    assert 0 < row["max_error_over_bound"] < 1


@pytest.mark.parametrize("case", ["averaged", "control edges", "decay before"])
def test_what_follows_from_a_bounded_update_may_move(case, written):
    code, document = verify(written(ADVERSARY[case][0]), "--quick")
    assert code == 0 and verdicts(document) == GREEN


def test_two_train_ops_over_one_variable_are_run_one_after_the_other(written):
    code, document = verify(written(CASES["one_of_two"]), "--quick")
    assert code == 0 and len(document["cases"]) == 6
    assert {row["optimizer"] for row in document["cases"]} == {"graph.pb:train", "graph.pb:other"}


def test_what_is_in_a_branch_is_compared_with_stock_and_its_clamp_is_not_shown(written):
    path = written(CASES["cond"])
    v1.enable_control_flow_v2()
    code, document = verify(path, "--quick")
    found = verdicts(document)
    assert code == 0 and found["observed"] == found["idle"] == "PASS_BITWISE"
    assert found["clamped"] == "NOT_RUN"
    assert any("out of a function, a branch or a loop" in row["reason"] for row in document["not_verified"])


RULES = """version = 1
[[rule]]
id = "closing"
quantity = "rate"
max = { kind = "exp", from = 0.5, to = 0.01, end = 5 }
[[rule]]
id = "size"
quantity = "update"
max = 0.2
relative_to = "lr"
[[rule]]
id = "slow"
quantity = "alpha"
max = 0.002
[[rule]]
id = "rms"
quantity = "update_rms"
max = 1e-3
[[rule]]
id = "steady"
quantity = "rms_t"
max = 0.5
[[rule]]
id = "slew"
quantity = "rate"
max_increase = 1.01
"""


def test_rules_of_the_user_s_are_judged_one_by_one(written, tmp_path):
    (tmp_path / "my.toml").write_text(RULES)
    code, document = verify(written(v1_adam()), "--rules", tmp_path / "my.toml")
    found = {key.partition(":")[2]: verdict for key, verdict in verdicts(document).items()}
    slew, together = found.pop("slew"), found.pop("together")
    assert code == 0 and found.pop("") == "PASS_BITWISE"
    assert set(found.values()) == {"PASS_BOUND"} and len(found) == 5
    assert [row["reason"] for row in document["cases"]][1:-2] == [None] * 5  # each was reached
    assert slew == together == "NOT_RUN" and any("AP243" in row["reason"] for row in document["not_verified"])


def unseeded():
    loss, _ = model()
    return v1.train.AdamOptimizer(0.01).minimize(
        loss * tf.raw_ops.RandomUniform(shape=tf.zeros([0], tf.int32), dtype=tf.float32)
    )


def of_words():
    words = v1.placeholder(tf.string, [None], name="words")
    loss, _ = model()
    scale = tf.reduce_mean(tf.strings.to_number(words))
    return v1.train.AdamOptimizer(0.01).minimize(loss * scale)


@pytest.mark.parametrize(
    "build, words", [(of_words, "nothing is known to feed to words"), (unseeded, "two runs of stock differ")]
)
def test_what_cannot_be_run_or_says_nothing_is_not_verified(build, words, written):
    path = written(build)
    if build is unseeded:  # the graph's seed would make it alike in each session
        definition = v1.GraphDef.FromString(path.read_bytes())
        for node in definition.node:
            if node.op == "RandomUniform":
                node.attr["seed"].i = node.attr["seed2"].i = 0
        path.write_bytes(definition.SerializeToString())
    code, document = verify(path, "--quick")
    assert code == 0 and set(verdicts(document).values()) == {"NOT_RUN"}
    assert any(words in row["reason"] for row in document["not_verified"])


def _node(nodes, tail):
    return next(node for name, node in nodes.items() if name.endswith(tail))


def _looser(nodes):
    """The upper bounds are a little too high."""
    for above in [node for name, node in nodes.items() if "/adampatch/above" in name]:
        constant = nodes[above.inputs[1]]
        value = attributes.read_scalar(constant.attrs["value"]) * 1.01
        attrs = {**constant.attrs, "value": attributes.scalar(value, attributes.FLOAT)}
        nodes[constant.name] = constant.changed(attrs=attrs)


def _unclamped_step(nodes):
    """The bounded rate is shown, and stock's is used."""
    step = _node(nodes, "/adampatch/step")
    nodes[step.name] = step.changed(inputs=[_node(nodes, "/adampatch/above").inputs[0], step.inputs[1]])


def _other_moment(nodes):
    """The second moment is not written."""
    write = _node(nodes, "/adampatch/assign_v")
    nodes[write.name] = write.changed(inputs=[write.inputs[0], _node(nodes, "/adampatch/read_v").name])


def _wrong_rate(nodes):
    """What is shown as the rate is the step."""
    rate = _node(nodes, "/adampatch/rate")
    nodes[rate.name] = rate.changed(inputs=[_node(nodes, "/adampatch/update").inputs[0]])


def _masked_all(nodes):
    """Elements that no bound reaches are computed as the clamped ones are, which rounds otherwise."""
    for name in [name for name in nodes if name.endswith("/adampatch/update")]:
        where = nodes[nodes[name].inputs[0]]
        nodes[where.name] = where.changed(inputs=[where.inputs[0], where.inputs[1], where.inputs[1]])


@pytest.mark.parametrize("wrong", [_looser, _unclamped_step, _other_moment, _wrong_rate, _masked_all])
def test_a_patch_with_one_thing_wrong_is_not_green(wrong, written, monkeypatch):
    patch = graph_subject.patch

    def altered(subject, rules):
        made = patch(subject, rules)
        definition = Definition(made.data)
        if rules is not None or wrong is _wrong_rate:
            wrong(definition.body.nodes)
        made.data = definition.serialized()
        return made

    monkeypatch.setattr(graph_subject, "patch", altered)
    code, document = verify(written(v1_adam()))
    assert code == 1, document
    failed = [row for row in document["cases"] if row["verdict"] == "FAIL"]
    assert failed and all(row["first_divergence"] for row in failed)


def test_bad_graphs_are_bad_input(tmp_path):
    (tmp_path / "x.pb").write_bytes(b"\x89PNG")
    code, output = verify(tmp_path / "x.pb")
    assert code == 2 and "is no GraphDef" in output
    code, output = verify(tmp_path / "none.meta")
    assert code == 2 and "does not exist" in output


def test_a_graph_without_updates_has_no_case(written):
    code, document = verify(written(CASES["others"]))
    assert code == 5 and document["cases"] == []
    assert np.isfinite(document["summary"]["planned"])
