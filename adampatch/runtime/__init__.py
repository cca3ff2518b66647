"""The target side: what patched code imports in the user's process.

Only the standard library, NumPy and TensorFlow; importing this imports none of the latter.
"""

_HOMES = {
    "bind": "binding",
    "Binding": "binding",
    "NotYetAvailable": "settings",
    "effective_rates": "reading",
    "snapshot": "reading",
    "update_rules": "reading",
}

__all__ = sorted(_HOMES)


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError("module {!r} has no attribute {!r}".format(__name__, name))
    import importlib

    return getattr(importlib.import_module(__name__ + "." + _HOMES[name]), name)


def __dir__():
    return sorted(list(globals()) + __all__)
