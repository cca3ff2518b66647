"""Which Adam-family optimizers this environment has, and what can be said about them.

Touches TensorFlow and Keras; valid on Python 3.7.
"""

import importlib

#: where optimizers are looked for; what is not installed is left out
NAMESPACES = (
    "keras.optimizers",
    "keras.optimizers.legacy",
    "tf_keras.optimizers",
    "tf_keras.optimizers.legacy",
    "tensorflow.compat.v1.train",
    "tensorflow.python.keras.optimizer_v2.adam",
    "tensorflow.python.keras.optimizer_v2.adamax",
    "tensorflow.python.keras.optimizer_v2.nadam",
    "tensorflow_addons.optimizers",
)
#: classes that are no optimizers themselves
_FRAMES = ("Optimizer",)


def module_of(path):
    """The module of a dotted path of which only the beginning can be imported, or None."""
    parts = path.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:end]))
        except ImportError:
            continue
        for part in parts[end:]:
            found = getattr(found, part, None)
        return found
    return None


def family_of(cls):
    """ "v1", "v2", "keras2" or "keras3" by the frame a class hangs in; None for no optimizer."""
    names = set(name for base in cls.__mro__ for name in vars(base))
    if "_backend_update_step" in names:
        return "keras3"
    if "update_step" in names and "apply_gradients" in names:
        return "keras2"
    if "_create_all_weights" in names and "apply_gradients" in names:
        return "v2"
    if "_resource_apply_dense" in names and "_apply_dense" in names:
        return "v1"
    return None


def discover(patched):
    """[{"path", "family", "name", "reason"}] of what can be patched, or could not be (`reason`).

    `patched` patches a class. A class that has no Adam-family update is left out.
    """
    found, seen = [], set()
    for namespace in NAMESPACES:
        module = module_of(namespace)
        for name, cls in sorted(vars(module).items()) if module is not None else ():
            if not isinstance(cls, type) or cls in seen or name in _FRAMES or name.startswith("_"):
                continue
            family = family_of(cls)
            if family is None:
                continue
            seen.add(cls)
            reason = None
            try:
                patched(cls)
            except ValueError as error:
                reason = str(error)
                if "has no Adam-family update" in reason:
                    continue
            row = {"path": namespace + "." + name, "family": family, "name": name, "reason": reason}
            found.append(row)
    return found
