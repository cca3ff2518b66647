"""The gradient that an update method was given, for rules that ask for it.

Touches only the class it is told to.
"""

from adampatch.runtime import records, worlds
from adampatch.runtime.lazy import tf

#: the methods that are given the gradient of one variable, as their first two arguments
_UPDATES_OF_ONE = (
    "update_step", "_resource_apply_dense", "_resource_apply_sparse", "_apply_dense", "_apply_sparse",
)  # fmt: skip


def keep_in(binding, cls):
    """Makes the update methods of `cls` remember the gradient that they are given while they run."""
    for name in _UPDATES_OF_ONE:
        if callable(getattr(cls, name, None)) and not hasattr(getattr(cls, name), "__adampatch_keeps__"):
            setattr(cls, name, _keeping(binding, cls, name, cls.__dict__.get(name)))


def _keeping(binding, cls, name, own):
    @worlds.stands_in_for(getattr(cls, name))
    def keeping(self, gradient, variable, *args, **kwargs):
        local = records.record_of(self, binding).local
        rows = None
        if name == "_resource_apply_sparse":
            rows = kwargs.get("indices", args[0] if args else None)
        outer, local.gradient = getattr(local, "gradient", None), (variable, gradient, rows)
        try:
            call = own.__get__(self, type(self)) if own is not None else getattr(super(cls, self), name)
            return worlds.as_called(call)(gradient, variable, *args, **kwargs)
        finally:
            local.gradient = outer

    keeping.__adampatch_keeps__ = own  # what to put back, None where the class had none
    keeping.autograph_info__ = {}
    return keeping


def let_go(cls):
    """Takes back what `keep_in` did to `cls`."""
    for name in _UPDATES_OF_ONE:
        found = vars(cls).get(name)
        if hasattr(found, "__adampatch_keeps__"):
            own = found.__adampatch_keeps__
            if own is None:
                delattr(cls, name)
            else:
                setattr(cls, name, own)


def gradient_of(record, variable):
    """The gradient that the update method under way was given for `variable`, a tensor or IndexedSlices;
    None where none was."""
    known, gradient, rows = getattr(record.local, "gradient", None) or (None, None, None)
    if known is not variable:
        return None
    return gradient if rows is None else tf.IndexedSlices(gradient, rows)
