"""Which Adam-family optimizers this environment has, and what can be said about them.

Touches TensorFlow and Keras; valid on Python 3.7.
"""

import importlib
import inspect
import warnings

#: where optimizers are looked for; what is not installed is left out. A class is known by the first
NAMESPACES = (
    "keras.optimizers",
    "keras.optimizers.experimental",
    "keras.optimizers.legacy",
    "tf_keras.optimizers",
    "tf_keras.optimizers.legacy",
    "tensorflow.keras.optimizers",
    "tensorflow.keras.optimizers.experimental",
    "tensorflow.keras.optimizers.legacy",
    "tensorflow.compat.v1.train",
    "tensorflow.contrib.opt",
    "tensorflow.python.keras.optimizer_v2.adam",
    "tensorflow.python.keras.optimizer_v2.adamax",
    "tensorflow.python.keras.optimizer_v2.nadam",
    "tensorflow_addons.optimizers",
    "keras.optimizer_v1",
    "keras.optimizers.optimizer_v1",
    "keras.src.optimizers.optimizer_v1",
    "tf_keras.src.optimizers.optimizer_v1",
    "tensorflow.python.keras.optimizer_v1",
    "tensorflow.python.keras.optimizers",
)
#: classes that are no optimizers themselves
_FRAMES = ("Optimizer", "OptimizerV2")
#: (a method that a base has, another one, the family): the first that fits
_FAMILIES = (
    ("_backend_update_step", "apply_gradients", "keras3"),
    ("update_step", "apply_gradients", "keras2"),
    ("_set_hyper", "apply_gradients", "v2"),
    ("_resource_apply_dense", "_apply_dense", "v1"),
    ("get_updates", "get_gradients", "get_updates"),
)


def module_of(path):
    """The module of a dotted path of which only the beginning can be imported, or None."""
    parts = path.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:end]))
        except Exception:  # an old package that this Python cannot import is not there
            continue
        for part in parts[end:]:
            found = getattr(found, part, None)
        return found
    return None


def family_of(cls):
    """The family by the frame a class hangs in; None for no optimizer."""
    names = set(name for base in cls.__mro__ for name in vars(base))
    for one, other, family in _FAMILIES:
        if one in names and other in names:
            return family
    return None


def _unknown(cls):
    """[{"file", "module", "class", "frame", "digests"}] of the bases of a class that write updates
    and are in no table; `digests` of their update methods; `frame`: whether a class that analysis
    does not take for an optimizer is none."""
    from adampatch.runtime import methods, stock_edits

    found = []
    for owner in cls.__mro__:
        try:
            if stock_edits.has_no_update(owner) or stock_edits.of_class(owner) is not None:
                continue
            live = [
                methods.wrapped_function(owner, n)[-1] for n in stock_edits.UPDATE_METHODS if n in vars(owner)
            ]
            digests = [methods.digest(methods.source_of(owner, function)) for function in live]
            file = inspect.getsourcefile(owner)
        except (TypeError, ValueError, OSError):  # it has no source, or is refused
            continue
        # the frame of get_updates has no base that would tell its optimizers from it
        row = {"file": file, "module": owner.__module__, "class": owner.__qualname__, "digests": digests}
        found.append(dict(row, frame=family_of(owner) != "get_updates"))
    return found


def discover(patched):
    """({"path", "family", "name", "reason"} of what can be patched, or could not be (`reason`);
    what is not known yet, see `_unknown`).

    `patched` patches a class. A class that has no Adam-family update is left out.
    """
    from adampatch.runtime import stock_edits

    found, sources, seen = [], [], set()
    for namespace in NAMESPACES:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = module_of(namespace)
            members = _members(module)
        for name, cls in members:
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
            except RuntimeError:
                unknown = _unknown(cls)
                sources += [source for source in unknown if source not in sources]
                if not stock_edits.has_two_moments(cls):
                    continue
                reason = "no update of it was found in its source"
            row = {"path": namespace + "." + name, "family": family, "name": name, "reason": reason}
            found.append(row)
    return found, sources


def _members(module):
    """[(name, value)] of a module, also of one that loads its names late."""
    if module is None:
        return []
    found = []
    for name in sorted(set(dir(module)) | set(vars(module))):
        try:
            found.append((name, getattr(module, name)))
        except Exception:  # a name that is there only to say that it is gone
            continue
    return found
