"""Edits of stock update methods, so that stock classes can be patched where the tool side is not
installed. The table itself is generated, see `stock_table`.

Touches no TensorFlow.
"""

import inspect

from adampatch.runtime import methods, stock_table

#: Where a class is stock: what lies elsewhere may be a copy with more in it than its methods show.
PACKAGES = ("tensorflow", "tensorflow_core", "keras", "tf_keras", "tensorflow_addons")
#: Where updates are written, in every family. One of these that the table does not know is a
#: reason not to trust it with the class.
UPDATE_METHODS = (
    "_apply_dense", "_resource_apply_dense", "_apply_sparse", "_apply_sparse_shared",
    "_resource_apply_sparse", "_apply_sparse_duplicate_indices", "_resource_apply_sparse_duplicate_indices",
    "_resource_apply", "update_step", "get_updates", "apply_gradients", "apply", "step",
    "_adamw_update_step",
)  # fmt: skip


def is_stock(owner):
    """Whether a class is one of those that TensorFlow, Keras or Addons bring."""
    return owner.__module__.partition(".")[0] in PACKAGES


def is_unknown(owner):
    """Whether a stock class has an update method that no known version has."""
    return is_stock(owner) and bool(unknown_methods(owner))


def unknown_methods(owner):
    """The names of the update methods of a stock class that the table does not know."""
    return [name for name in UPDATE_METHODS if name in vars(owner) and not _is_known(owner, name)]


def _is_known(owner, name):
    try:
        key = _key(owner, name)
    except methods.Unpatchable:
        return False
    return key in stock_table.EDITS or key in stock_table.PLAIN or key in stock_table.REFUSED


def _key(owner, name):
    return methods.digest(methods.source_of(owner, methods.wrapped_function(owner, name)[-1]))


def of_class(owner):
    """{name: (digest, edits)} of the methods of a stock class that hold update sites; None for a
    class that the table does not know.

    Raises Unpatchable for a stock class that must not be patched, or that has no source.
    """
    if not is_stock(owner):
        return None
    found = {}
    for name in UPDATE_METHODS:
        if name not in vars(owner):
            continue
        key = _key(owner, name)
        if key in stock_table.REFUSED:
            code, _, why = stock_table.REFUSED[key].partition(": ")
            raise methods.refusal(owner, code, "{}: {}".format(owner.__name__, why))
        if key in stock_table.EDITS:
            found[name] = (key, stock_table.EDITS[key])
        elif key not in stock_table.PLAIN:
            return None
    return found


def has_two_moments(cls):
    """Whether a constructor takes two decay rates."""
    try:
        names = set(inspect.signature(cls.__init__).parameters)
    except (TypeError, ValueError):
        return False
    return {"beta_1", "beta_2"} <= names or {"beta1", "beta2"} <= names


def has_no_update(owner):
    """Whether no method of a class, stock or not, is one that updates are written in."""
    return not any(name in vars(owner) for name in UPDATE_METHODS)
