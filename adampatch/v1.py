"""v1 graphs: the tensors patched updates offer, a hook that logs them, the patched AdamOptimizer.

Names only; what they do lives in runtime/.
"""

__all__ = ["AdamOptimizer", "OptimizerMonitorHook", "tensors"]


def tensors(graph=None):
    """{variable op name: {"rate", "alpha", "update", "clamped"}}; see `adampatch.runtime.graph_tensors`."""
    from adampatch.runtime import graph_tensors

    return graph_tensors.tensors(graph)


def __getattr__(name):
    if name == "OptimizerMonitorHook":
        from adampatch.runtime import monitoring

        return monitoring.V1_NAMES.OptimizerMonitorHook
    if name != "AdamOptimizer":
        raise AttributeError("module {!r} has no attribute {!r}".format(__name__, name))
    import tensorflow as tf

    from adampatch import patched

    return patched(tf.compat.v1.train.AdamOptimizer)


def __dir__():
    return sorted(list(globals()) + __all__)
