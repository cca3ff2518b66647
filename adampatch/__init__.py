"""The Python face of adampatch; importing it imports neither TensorFlow nor libcst.

Names only; what they do lives in runtime/ (target side) and ruleset/ (tool side).
"""

__version__ = "0.1.0"

__all__ = [
    "NotYetAvailable",
    "Rules",
    "effective_rates",
    "graph",
    "install",
    "keras",
    "optimizers",
    "patched",
    "snapshot",
    "uninstall",
    "update_rules",
    "v1",
]


def __getattr__(name):
    import importlib

    if name in ("effective_rates", "snapshot", "update_rules"):
        return getattr(importlib.import_module("adampatch.runtime.reading"), name)
    if name in ("install", "uninstall"):
        return getattr(importlib.import_module("adampatch.importing"), name)
    if name == "patched":
        return importlib.import_module("adampatch.runtime.binding").bind(None, "adampatch").patched
    if name == "NotYetAvailable":
        return importlib.import_module("adampatch.runtime.settings").NotYetAvailable
    if name == "Rules":
        return importlib.import_module("adampatch.ruleset").Rules
    if name in ("graph", "keras", "optimizers", "v1"):
        return importlib.import_module("adampatch." + name)
    raise AttributeError("module {!r} has no attribute {!r}".format(__name__, name))


def __dir__():
    return sorted(list(globals()) + __all__)
