"""SavedModels: the functions that train, their callers, the rates as outputs of signatures."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from graphs import batches, graph_of, same_bits, v1, v1_adam
from test_graph_files import run

pytestmark = pytest.mark.tensorflow
EXAMPLE = Path(__file__).parents[2] / "examples" / "saved_model" / "export.py"
RULES = 'version = 1\n[[rule]]\nid = "c"\nmatch = ["kernel"]\nquantity = "rate"\nmax = 0.004\n'


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved_model")
    model = runpy.run_path(str(EXAMPLE))["Regression"](0)
    tf.saved_model.save(model, str(folder / "in"), signatures={"train": model.train})
    return folder / "in"


def trained(path, steps=20):
    model = tf.saved_model.load(str(path))
    random = np.random.RandomState(0)
    for _ in range(steps):
        x, y = (tf.constant(random.normal(size=(8, n)), tf.float32) for n in (8, 2))
        returned = model.signatures["train"](x=x, y=y)
    return {name: getattr(model, name).numpy() for name in ("kernel", "bias")}, returned, model


def test_a_saved_model_trains_to_stock_s_bits(saved, tmp_path):
    expected, returned, _ = trained(saved)
    assert set(returned) == {"loss"}
    before = {path.name: path.read_bytes() for path in saved.rglob("*") if path.is_file()}
    for name, arguments in (("plain", []), ("outputs", ["--outputs"])):
        code, out, _ = run("apply", saved, tmp_path / name, *arguments)
        assert code == 0 and "2 patched" in out
        assert same_bits(expected, trained(tmp_path / name)[0])
    assert {path.name: path.read_bytes() for path in saved.rglob("*") if path.is_file()} == before
    assert run("apply", saved, tmp_path / "plain")[0] == 2  # is there already


def test_signatures_return_the_rates_and_functions_what_they_returned(saved, tmp_path):
    (tmp_path / "rules.toml").write_text(RULES)
    run("apply", saved, tmp_path / "out", "--outputs", "--rules", tmp_path / "rules.toml")
    _, returned, model = trained(tmp_path / "out")
    assert set(returned) == {"loss", "adampatch_rate", "adampatch_rate/kernel", "adampatch_rate/bias"}
    kernel, bias = (returned[f"adampatch_rate/{name}"].numpy() for name in ("kernel", "bias"))
    assert kernel.shape == (8, 2) and bias.shape == (2,)
    assert kernel.max() == np.float32(0.004) < bias.max()
    both = np.sort(returned["adampatch_rate"].numpy())
    assert np.array_equal(both, np.sort(np.concatenate([kernel.ravel(), bias.ravel()])))
    assert set(model.train(tf.zeros([1, 8]), tf.zeros([1, 2]))) == {"loss"}


def test_the_loader_of_tensorflow_1_runs_the_signature(saved, tmp_path):
    run("apply", saved, tmp_path / "out", "--outputs")

    def last(path):
        graph = tf.Graph()
        with graph.as_default(), v1.Session(graph=graph) as session:
            meta = v1.saved_model.load(session, ["serve"], str(path))
            signature = meta.signature_def["train"]
            random = np.random.RandomState(0)
            fetched = {key: info.name for key, info in signature.outputs.items()}
            for _ in range(5):
                feed = {signature.inputs[k].name: random.normal(size=(8, n)) for k, n in (("x", 8), ("y", 2))}
                shown = session.run(fetched, feed)
            return shown

    stock, patched = last(saved), last(tmp_path / "out")
    assert stock["loss"].tobytes() == patched["loss"].tobytes()
    assert (patched["adampatch_rate"] > 0).all() and patched["adampatch_rate"].shape == (18,)


def test_a_saved_model_of_tensorflow_1(tmp_path):
    graph = graph_of(v1_adam())
    with graph.as_default(), v1.Session(graph=graph) as session:
        session.run("init")
        x = graph.get_tensor_by_name("x:0")
        with tf.control_dependencies([graph.get_operation_by_name("train")]):
            done = tf.constant(1.0, name="done")
        y = tf.identity(x * 2.0, name="y")
        v1.saved_model.simple_save(session, str(tmp_path / "in"), {"x": x}, {"done": done, "y": y})
    assert run("apply", tmp_path / "in", tmp_path / "out", "--outputs")[0] == 0

    def last(path):
        graph = tf.Graph()
        with graph.as_default(), v1.Session(graph=graph) as session:
            meta = v1.saved_model.load(session, ["serve"], str(path))
            outputs = {k: info.name for k, info in meta.signature_def["serving_default"].outputs.items()}
            shown = [session.run(outputs, {"x:0": x}) for x in batches(20)]
            return {v.op.name: session.run(v) for v in v1.global_variables()}, shown

    expected, _ = last(tmp_path / "in")
    found, shown = last(tmp_path / "out")
    assert same_bits(expected, found)
    assert {"adampatch_rate", "adampatch_rate/dense/kernel", "adampatch_rate/dense/bias"} <= set(shown[0])


class Several(tf.Module):
    """Two signatures that train by one function, one that calls it twice, and one that does not train."""

    def __init__(self):
        super().__init__()
        self.kernel = tf.Variable(
            np.random.RandomState(0).normal(size=(8, 2)).astype("float32"), name="kernel"
        )
        self.m, self.v = (tf.Variable(tf.zeros([8, 2]), name=name) for name in "mv")

    @tf.function(input_signature=[tf.TensorSpec([None, 8])])
    def step(self, x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(tf.matmul(x, self.kernel) - 1.0))
        g = tape.gradient(loss, self.kernel)
        self.m.assign_add((g - self.m) * 0.1)
        self.v.assign_add((g * g - self.v) * 0.001)
        self.kernel.assign_sub(0.01 * self.m / (tf.sqrt(self.v) + 1e-7))
        return loss

    @tf.function(input_signature=[tf.TensorSpec([None, 8])])
    def once(self, x):
        return {"loss": self.step(x)}

    @tf.function(input_signature=[tf.TensorSpec([None, 8])])
    def half(self, x):
        return {"z_loss": self.step(x * 0.5), "a": tf.reduce_sum(x)}

    @tf.function(input_signature=[tf.TensorSpec([None, 8])])
    def twice(self, x):
        return {"loss": self.step(x) + self.step(x + 1.0)}

    @tf.function(input_signature=[tf.TensorSpec([None, 8])])
    def predict(self, x):
        return {"y": tf.matmul(x, self.kernel)}


def _several_trained(path):
    model = tf.saved_model.load(str(path))
    shown = []
    for t in range(4):
        x = tf.constant(np.random.RandomState(t).normal(size=(4, 8)), tf.float32)
        for name in ("once", "half", "twice", "predict"):
            shown.append((name, model.signatures[name](x=x)))
        shown.append(("method", {"loss": model.once(x)["loss"]}))
    return {name: getattr(model, name).numpy() for name in ("kernel", "m", "v")}, shown


def test_signatures_that_share_functions(tmp_path):
    model = Several()
    names = ("once", "half", "twice", "predict")
    signatures = {name: getattr(model, name) for name in names}
    tf.saved_model.save(model, str(tmp_path / "in"), signatures=signatures)
    expected, before = _several_trained(tmp_path / "in")
    code, out, _ = run("apply", tmp_path / "in", tmp_path / "out", "--outputs", "--format", "json")
    assert code == 0 and {row["status"] for row in json.loads(out)["sites"]} == {"patched"}
    found, after = _several_trained(tmp_path / "out")
    assert same_bits(expected, found)
    for (name, old), (_, new) in zip(before, after, strict=True):
        assert all(old[key].numpy().tobytes() == new[key].numpy().tobytes() for key in old), name
        rates = {key for key in new if key.startswith("adampatch_rate")}
        assert set(new) - set(old) == rates
        wanted = {"once": 1, "half": 1, "twice": 3, "predict": 0, "method": 0}
        assert len(rates) == wanted[name], (name, rates)
    (tmp_path / "rules.toml").write_text(RULES)
    run("apply", tmp_path / "in", tmp_path / "bound", "--outputs", "--rules", tmp_path / "rules.toml")
    _, shown = _several_trained(tmp_path / "bound")
    highest = [r.numpy().max() for _, new in shown for key, r in new.items() if key.startswith("adampatch")]
    assert highest and max(highest) == np.float32(0.004)


#: rules that let nothing of the update of Keras' Adam through, and one that does
IN_FUNCTIONS = {
    "window": 'quantity = "rate"\nmax = 0.0\nend = 3',
    "of lr": 'quantity = "rate"\nmax = 0.0\nrelative_to = "lr"',
    "alpha": 'quantity = "alpha"\nmax = 0.0',
    "closing": 'quantity = "rate"\nmax = { kind = "linear", from = 0.0, to = 0.0, end = 9 }',
    "corrected": 'quantity = "rate"\nmax = 0.0\nconvention = "corrected"',
    "update": 'quantity = "update"\nmax = 0.0',
    "update_rms": 'quantity = "update_rms"\nmax = 0.0',
    "update_to_weight": 'quantity = "update_to_weight"\nmax = 0.0',
    "rms_t": 'quantity = "rms_t"\nmax = 0.0',
    "bounded": 'quantity = "update"\nmax = 0.25\nrelative_to = "lr"',
}


@pytest.mark.parametrize("name", IN_FUNCTIONS)
def test_rules_hold_in_functions(name, saved, tmp_path):
    rule = f'version = 1\n[[rule]]\nid = "r"\nmatch = ["kernel"]\n{IN_FUNCTIONS[name]}\n'
    (tmp_path / "rules.toml").write_text(rule)
    code, out, err = run("apply", saved, tmp_path / "out", "--rules", tmp_path / "rules.toml", "--outputs")
    assert code == 0, out + err
    start = tf.saved_model.load(str(saved)).kernel.numpy()
    held, later = (trained(tmp_path / "out", steps)[0]["kernel"] for steps in (3, 5))
    if name == "bounded":  # by a quarter of 0.01 a step, where stock's is about 0.01
        size = np.abs(held - start)
        assert 0.9 * 3 * 0.0025 < size.max() < 3 * 0.0025 + 1e-6
        return
    assert np.array_equal(start, held)
    assert np.array_equal(start, later) == (name != "window")


def test_outputs_are_for_saved_models(tmp_path):
    (tmp_path / "x.pb").write_bytes(graph_of(v1_adam()).as_graph_def().SerializeToString())
    code, _, err = run("apply", tmp_path / "x.pb", tmp_path / "y.pb", "--outputs")
    assert code == 2 and "--outputs is for SavedModels" in err


def test_a_directory_that_is_none_is_an_error(tmp_path):
    code, _, err = run("scan", tmp_path)
    assert code == 2 and "is no SavedModel" in err
