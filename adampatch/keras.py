"""The Keras face: a callback that logs what the optimizer does.

Names only; what it does lives in runtime/monitoring.
"""

__all__ = ["OptimizerMonitor"]


def OptimizerMonitor(
    log_dir, log_every_n_steps=100, per_variable=("**/kernel",), histograms=False, keras=None
):
    """A Keras callback; see `adampatch.runtime.monitoring.OptimizerMonitor`."""
    from adampatch.runtime import monitoring

    return monitoring.OptimizerMonitor(log_dir, log_every_n_steps, per_variable, histograms, keras)
