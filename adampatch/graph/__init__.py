"""Graphs: the algebra over nodes. Reads and writes graph files without TensorFlow.

Valid on Python 3.7 with NumPy alone, so that a live graph is patched wherever it is built;
TensorFlow is touched in `live.py` and nowhere else.
"""


def __getattr__(name):  # type: ignore[no-untyped-def]
    # Later than the import of adampatch: a live graph needs TensorFlow, files do not.
    if name == "patch":
        from adampatch.graph.live import patch

        return patch
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
