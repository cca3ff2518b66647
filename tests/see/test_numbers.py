"""Every number of a snapshot, against Adam in float64 by hand, and on its way into both files."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from logs import events, rows

import adampatch
from adampatch.runtime import sinks

pytestmark = pytest.mark.tensorflow
LR, BETA_1, BETA_2, EPSILON = 1e-2, 0.9, 0.999, 1e-7
START = np.linspace(0.5, 1.5, 8).astype("float32")
#: an element without gradients, one whose gradients are small against epsilon, and others
GRADIENTS = np.array(
    [[0, 1e-9, 0.1, -1, 2, 3, 4, -5], [0, 2e-9, 0.3, 1, 1, 1, -4, 2], [0, 1e-9, 0.2, -1, 0, 5, 4, 1]],
    "float32",
)
FAMILIES = {
    "keras": lambda: keras.optimizers.Adam(LR),
    "tf_keras": lambda: tf_keras.optimizers.Adam(LR),
    "legacy": lambda: tf_keras.optimizers.legacy.Adam(LR),
    "v1": lambda: tf.compat.v1.train.AdamOptimizer(LR, epsilon=EPSILON),
}


def by_hand(ceiling=np.inf):
    """The numbers of the last of the updates."""
    w, m, v = START.astype(float), 0.0, 0.0
    for step, gradient in enumerate(GRADIENTS.astype(float), 1):
        m = BETA_1 * m + (1 - BETA_1) * gradient
        v = BETA_2 * v + (1 - BETA_2) * gradient**2
        c1, c2 = 1 - BETA_1**step, 1 - BETA_2**step
        alpha = LR * np.sqrt(c2) / c1
        raw = alpha / (np.sqrt(v) + EPSILON)
        update = np.minimum(raw, ceiling) * m
        w = w - update
        ratio = gradient * raw * c1 / LR
    active = m != 0

    def rms(x):
        return np.sqrt(np.mean(np.square(x)))

    small = np.sqrt(v) < EPSILON
    return {
        "active_frac": 7 / 8,
        "update_rms": rms(update),
        "update_rms_active": rms(update[active]),
        "update_to_weight": rms(update) / rms(w),
        "update_to_weight_active": rms(update[active]) / rms(w[active]),
        "rms_t": rms(ratio),
        "rms_t_active": rms(ratio[active]),
        "eps_dominated_frac": np.mean(small),
        "eps_dominated_frac_active": np.mean(small[active]),
    }


def trained(optimizer, how):
    # A Keras variable is what Keras 3 optimizers see of a model.
    if isinstance(optimizer, keras.optimizers.Optimizer):
        variable = keras.Variable(START, name="w")
    else:
        variable = tf.Variable(START, name="w")

    def update(gradient):
        optimizer.apply_gradients([(gradient, variable)])

    if how != "eager":
        if hasattr(optimizer, "build"):
            optimizer.build([variable])
        update = tf.function(update, jit_compile=how == "jit")
    for gradient in GRADIENTS:
        update(tf.constant(gradient))
    return adampatch.snapshot(optimizer)


@pytest.mark.parametrize("how", ["eager", "function", "jit"])
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_sizes_and_the_share_of_epsilon_are_those_of_the_formula(family, how):
    snapshot = trained(adampatch.patched(FAMILIES[family](), every=1), how)
    (numbers,) = snapshot["variables"].values()
    expected = by_hand()
    assert 0 < expected["eps_dominated_frac_active"] < expected["eps_dominated_frac"] < 0.5
    for name, value in expected.items():
        if how == "jit" and name.startswith("rms_t"):
            assert numbers[name] is None
        else:
            assert numbers[name] == pytest.approx(value, rel=1e-4), name


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_under_a_rule_the_update_is_the_bounded_one_and_the_rest_is_stock_s(family):
    rules = {"version": 1, "rules": [{"id": "top", "match": ["**"], "exclude": [], "optimizer": "*"}]}
    rules["rules"][0].update(quantity="rate", min=None, max=0.05)
    snapshot = trained(adampatch.patched(FAMILIES[family](), every=1, rules=rules), "function")
    (numbers,) = snapshot["variables"].values()
    expected = by_hand(ceiling=0.05)
    assert expected["update_rms"] < 0.9 * by_hand()["update_rms"]
    for name, value in expected.items():
        assert numbers[name] == pytest.approx(value, rel=1e-4), name


def test_every_number_of_a_snapshot_is_in_both_files(tmp_path, monkeypatch):
    monkeypatch.setenv("ADAMPATCH_LOG", str(tmp_path))
    rules = {"version": 1, "rules": [{"id": "top", "match": ["**"], "exclude": [], "optimizer": "*"}]}
    rules["rules"][0].update(quantity="rate", min=1e-3, max=0.05)
    snapshot = trained(adampatch.patched(FAMILIES["keras"](), every=1, rules=rules), "eager")
    found = {
        (row["variable"], row["rule"], row["metric"]): row["value"]
        for row in rows(tmp_path)
        if row["step"] == 3
    }
    scalars, histograms = events(tmp_path)
    wanted = {(None, None, name): snapshot[name] for name in ("lr", "alpha")}
    for path, numbers in snapshot["variables"].items():
        for rule, inner in numbers.pop("rules").items():
            wanted.update({(path, rule, name): value for name, value in inner.items()})
        wanted.update({(path, None, name): value for name, value in numbers.items()})
    assert len(wanted) > 40
    assert not [key for key, value in wanted.items() if value is None]
    for (variable, rule, metric), value in wanted.items():
        assert found.pop((variable, rule, metric)) == float(value), metric
        assert scalars[sinks.tag_of(variable, metric, rule)][3] == np.float32(value), metric
    assert not found
    assert histograms == {"rate_log10/w"}


@pytest.mark.parametrize("resource", [True, False])
def test_a_session_logs_what_its_tensors_tell(tmp_path, monkeypatch, resource):
    monkeypatch.setenv("ADAMPATCH_LOG", str(tmp_path))
    monkeypatch.setenv("ADAMPATCH_EVERY", "1")
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        w = tf.compat.v1.get_variable("w", initializer=START, use_resource=resource)
        gradient = tf.compat.v1.placeholder(tf.float32, [8])
        train = adampatch.v1.AdamOptimizer(LR, epsilon=EPSILON).apply_gradients([(gradient, w)])
        session.run(tf.compat.v1.global_variables_initializer())
        for value in GRADIENTS:
            session.run(train, {gradient: value})
    found = {row["metric"]: row["value"] for row in rows(tmp_path) if row["step"] == 3 and row["variable"]}
    expected = {
        name: value for name, value in by_hand().items() if not name.startswith(("rms_t", "update_to"))
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-4), name
    assert found["elements"] == 8


def test_the_tensors_themselves_are_had_with_emit_tensor():
    optimizer = adampatch.patched(FAMILIES["keras"](), emit="tensor")
    snapshot = trained(optimizer, "function")
    ((path, rates),) = adampatch.effective_rates(optimizer).items()
    assert rates.shape == START.shape and rates.dtype == np.float32
    assert snapshot["variables"][path]["rate_max"] == rates.max()


def test_of_variables_that_an_update_leaves_out_the_last_sample_stays():
    optimizer = adampatch.patched(tf_keras.optimizers.legacy.Adam(LR), every=1)
    both = [tf.Variable(START, name=name) for name in "ab"]

    @tf.function
    def update(pairs):
        optimizer.apply_gradients(pairs)

    update([(tf.constant(GRADIENTS[0]), v) for v in both])
    before = adampatch.snapshot(optimizer)["variables"]
    update([(tf.constant(GRADIENTS[1]), both[0])])
    after = adampatch.snapshot(optimizer)["variables"]
    assert after["b"] == before["b"]
    assert after["a"]["update_rms"] != before["a"]["update_rms"]
