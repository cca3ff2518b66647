"""The Keras face: a callback that logs what the optimizer does.

Names only; what it does lives in runtime/monitoring.
"""

import sys

__all__ = ["OptimizerMonitor"]

_MADE = {}


def OptimizerMonitor(
    log_dir, log_every_n_steps=100, per_variable=("**/kernel",), histograms=False, keras=None
):
    """A Keras callback that writes lr, alpha and rates to TensorBoard files and JSON lines in `log_dir`.

    Args:
        log_dir: the directory, made where it is missing.
        log_every_n_steps: optimizer updates between samples, unless the optimizer was told otherwise.
        per_variable: globs of the variables whose rates are written; () for none.
        histograms: whether to write histograms of log10 of their rates too.
        keras: the Keras whose callback it is, tf_keras for instance; by default the one whose optimizers
            are in use: `keras`, else `tf.keras`.

    The latest numbers are put into Keras' `logs` as Python floats, under the tags of TensorBoard
    ("optimizer/alpha", "rate_p50/dense/kernel").

    Raises ValueError, as training begins, where the model's optimizer is not patched.
    """
    from adampatch.runtime import monitoring

    if keras is None:
        keras = _the_keras()
    callback = keras.callbacks.Callback
    if callback not in _MADE:
        _MADE[callback] = monitoring.callback_class(callback)
    return _MADE[callback](log_dir, log_every_n_steps, per_variable, histograms)


def _the_keras():
    """tf_keras where the script uses it alone, else what `tf.keras` is."""
    if "tf_keras" in sys.modules and "keras" not in sys.modules:
        return sys.modules["tf_keras"]
    import tensorflow as tf

    return tf.keras
