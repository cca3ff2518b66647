"""Edits of stock update methods, so that stock classes can be patched where the tool side is not
installed. The table itself is generated, see `stock_table`.

Touches no TensorFlow.
"""

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


def of_class(owner):
    """{name: (digest, edits)} of the methods of a stock class that hold update sites; None for a
    class that the table does not know.

    Raises Unpatchable for a stock class that must not be patched, or that has no source.
    """
    if owner.__module__.partition(".")[0] not in PACKAGES:
        return None
    found = {}
    for name in UPDATE_METHODS:
        if name not in vars(owner):
            continue
        live = methods.wrapped_function(owner, name)[-1]
        key = methods.digest(methods.source_of(owner, live))
        if key in stock_table.REFUSED:
            code, _, why = stock_table.REFUSED[key].partition(": ")
            raise methods.refusal(owner, code, "{}: {}".format(owner.__name__, why))
        if key in stock_table.EDITS:
            found[name] = (key, stock_table.EDITS[key])
        elif key not in stock_table.PLAIN:
            return None
    return found


def has_no_update(owner):
    """Whether no method of a class, stock or not, is one that updates are written in."""
    return not any(name in vars(owner) for name in UPDATE_METHODS)
