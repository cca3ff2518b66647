"""The Keras callback, in both Kerases, and the session hook."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from logs import events, rows, series

import adampatch
from adampatch.runtime import fetching

pytestmark = pytest.mark.tensorflow
OPTIMIZERS = {
    "keras": (keras, lambda: adampatch.patched(keras.optimizers.Adam)(1e-3)),
    "scaled": (keras, lambda: keras.mixed_precision.LossScaleOptimizer(adampatch.patched("adam"))),
    "tf_keras": (tf_keras, lambda: adampatch.patched(tf_keras.optimizers.Adam)(1e-3)),
    "legacy": (tf_keras, lambda: adampatch.patched(tf_keras.optimizers.legacy.Adam)(1e-3)),
}


def fitted(library, optimizer, callbacks, epochs=5):
    library.utils.set_random_seed(1)
    model = library.Sequential(
        [library.layers.Input((4,)), library.layers.Dense(3, name="a"), library.layers.Dense(1, name="b")]
    )
    model.compile(optimizer=optimizer, loss="mse")
    x, y = np.ones((40, 4), "float32"), np.ones((40, 1), "float32")
    history = model.fit(x, y, batch_size=8, epochs=epochs, verbose=0, shuffle=False, callbacks=callbacks)
    return history, [np.asarray(w) for w in model.get_weights()]


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_the_callback_logs_and_fills_keras_logs_and_leaves_the_bits(tmp_path, name):
    library, make = OPTIMIZERS[name]
    monitor = adampatch.keras.OptimizerMonitor(
        tmp_path, log_every_n_steps=10, per_variable="**a/kernel", histograms=True, keras=library
    )
    assert isinstance(monitor, library.callbacks.Callback)
    history, weights = fitted(library, make(), [monitor])
    _, stock = fitted(library, make(), [])
    for left, right in zip(weights, stock, strict=True):
        np.testing.assert_array_equal(left, right)
    found = series(tmp_path, "alpha")
    assert sorted(found) == [1, 11, 21]
    assert found[1] == pytest.approx(1e-3 * 0.001**0.5 / 0.1, rel=1e-5)
    assert {row["variable"] for row in rows(tmp_path)} - {None} == {
        v for v in (row["variable"] for row in rows(tmp_path)) if v and v.endswith("a/kernel")
    }
    alphas = history.history["optimizer/alpha"]
    assert len(alphas) == 5
    assert all(type(value) is float for value in alphas)
    assert alphas[-1] == found[21]
    scalars, histograms = events(tmp_path)
    assert scalars["optimizer/alpha"] == found
    assert len(histograms) == 1


def test_a_callback_of_a_stock_optimizer_is_told_so_before_training(tmp_path):
    monitor = adampatch.keras.OptimizerMonitor(tmp_path)
    with pytest.raises(ValueError, match="Adam is no patched optimizer; pass it through"):
        fitted(keras, keras.optimizers.Adam(), [monitor])
    with pytest.raises(ValueError, match="log_every_n_steps is 0"):
        adampatch.keras.OptimizerMonitor(tmp_path, log_every_n_steps=0)


def test_every_of_the_optimizer_stays_and_a_second_fit_goes_on(tmp_path):
    optimizer = adampatch.patched(keras.optimizers.Adam(1e-3), every=20)
    monitor = adampatch.keras.OptimizerMonitor(tmp_path, log_every_n_steps=10)
    before = fetching.Together.transfers
    fitted(keras, optimizer, [monitor], epochs=9)
    assert fetching.Together.transfers - before <= 4  # three samples, and a last look
    assert sorted(series(tmp_path, "alpha")) == [1, 21, 41]


@pytest.mark.parametrize("resource", [True, False])
def test_the_hook_logs_what_a_monitored_session_trains(tmp_path, resource):
    def trained(hooks):
        with tf.Graph().as_default():
            w = tf.compat.v1.get_variable("w", initializer=np.ones(3, "float32"), use_resource=resource)
            step = tf.compat.v1.train.get_or_create_global_step()
            optimizer = adampatch.v1.AdamOptimizer(1e-3)
            train = optimizer.minimize(tf.reduce_sum(tf.square(w)), global_step=step)
            with tf.compat.v1.train.MonitoredTrainingSession(hooks=hooks) as session:
                for _ in range(25):
                    session.run([train])
                    session.run(w)
                return session.run(w)

    stock = trained([])
    seen = trained([adampatch.v1.OptimizerMonitorHook(str(tmp_path), every_n_steps=10)])
    np.testing.assert_array_equal(seen, stock)
    found = series(tmp_path, "alpha")
    assert sorted(found) == list(range(1, 26))
    for step, value in found.items():
        # 1 - beta_2^t in float32, as stock has it, is exact to 1e-5 at some steps only
        assert value == pytest.approx(1e-3 * (1 - 0.999**step) ** 0.5 / (1 - 0.9**step), rel=3e-5)
    assert sorted(series(tmp_path, "rate_p50", "w")) == [1, 11, 21]


def test_a_hook_without_a_patched_update_is_told_so(tmp_path):
    hook = adampatch.v1.OptimizerMonitorHook(str(tmp_path))
    with tf.Graph().as_default():
        tf.compat.v1.train.get_or_create_global_step()
        with (
            pytest.raises(ValueError, match="no update in this graph is patched"),
            tf.compat.v1.train.MonitoredTrainingSession(hooks=[hook]),
        ):
            pass
