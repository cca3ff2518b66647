"""Stock classes patched in place: their update methods exchanged, and put back.

Touches classes only; where the edits come from is said in runtime/stock_edits.
"""

import re

from adampatch.runtime import gradients, methods, patching, records, stock_edits

# Where stock optimizers live, in every generation; see also `_FILES` of project/stock.
_STOCK = re.compile(
    r"(keras|tf_keras|tensorflow|tensorflow_core|tensorflow_addons)\.(.*\.)?"
    r"(training\.adam|optimizers|optimizer_v1|optimizer_v2|opt\.python\.training)(\..*)?$"
)
_GONE = object()
#: stock classes that no API exports, and whose updates are compiled functions
_LEFT = {"NonFusedAdam": "its update is wrapped in tf.function"}


def is_stock(name):
    """Whether stock optimizers may be defined in the module `name`."""
    return _STOCK.match(name) is not None


def swap_module(module, binding, swapped, stays):
    """Patches in place the Adam-family classes that `module` defines.

    `swapped` gets {class: {name: what it had}}, `stays` {class: why it stays stock}. A class that is
    not what any known version has is named in a warning.
    """
    for cls in list(vars(module).values()):
        if not isinstance(cls, type) or cls in swapped or cls.__module__ != module.__name__:
            continue
        if stock_edits.has_no_update(cls) or patching.is_frame(cls):
            continue
        if cls.__name__ in _LEFT:
            stays[cls] = _LEFT[cls.__name__]
            continue
        try:
            had = _swapped(cls, binding)
        except methods.Unpatchable as error:
            stays[cls] = str(error)
            if stock_edits.is_unknown(cls):
                patching.warn_of_stock(cls, error)
            elif error.code in ("AP230", "AP234"):  # of this installation, not of its formula
                _warn(cls, stays[cls])
        except Exception as error:  # an import never fails because of us
            stays[cls] = str(error)
            _warn(cls, stays[cls])
        else:
            if had:
                swapped[cls] = had


def _warn(cls, why):
    name = "{}.{}".format(cls.__module__, cls.__name__)
    prefix = "adampatch: "
    why = why[len(prefix) :] if why.startswith(prefix) else why
    records.warn_once(("stock", name), "{} stays as it is: {}".format(name, why))


def _swapped(cls, binding):
    """Patches `cls` in place; returns what it had under each name that changed."""
    if getattr(cls, "__adampatch_binding__", None) is not None or not patching.runs_on_tensorflow(cls):
        return {}
    found = patching.edits_of(cls, cls)
    made = {name: methods.remade(cls, name, *found[name], binding=binding) for name in found}
    if not made:
        return {}
    before = dict(vars(cls))
    for name, function in made.items():
        setattr(cls, name, function)
    cls.__adampatch_installed__ = True
    binding.observed(cls)
    after = dict(vars(cls))
    return {name: before.get(name, _GONE) for name in after if after[name] is not before.get(name, _GONE)}


def put_back(swapped):
    """Takes back what `swap_module` did."""
    for cls, had in swapped.items():
        gradients.let_go(cls)
        for name, value in had.items():
            if value is _GONE:
                delattr(cls, name)
            else:
                setattr(cls, name, value)
    swapped.clear()
