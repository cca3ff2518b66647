"""patched(x): slips rewritten update methods into a class, just above the class that defines them.

Touches classes and the `__class__` of instances; where the edits come from is said in
`stock_edits`, how they become functions in `methods`.
"""

import copy
import copyreg
import sys
import threading

from adampatch.runtime import methods, records, stock_edits, wrappers
from adampatch.runtime.lazy import tf

_CLASSES_LOCK = threading.RLock()
_CLASSES = {}  # (binding, stock class) -> patched class
_METACLASSES = {}

# What defines the frame of an update and never a site: looking into it costs time, and it is
# written otherwise in every version.
_FRAME_PACKAGES = (
    "builtins", "abc", "typing", "six", "keras.src.backend", "keras.src.saving",
    "tensorflow.python.trackable",
    "tensorflow.python.training.tracking", "tensorflow_core.python.training.tracking",
    "tensorflow.python.checkpoint", "tensorflow.python.util",
)  # fmt: skip
_FRAME_FILES = ("optimizer", "optimizer_v2", "base_optimizer")  # of stock packages
_SCOPE = (
    "RMSprop and the like are not in the default scope; a wrapper (loss scaling, Lookahead) is patched as "
    "an instance, patched(Wrapper(optimizer))"
)
# Where each Keras keeps the name a class is serialised under.
_NAME_TABLES = (
    ("keras.src.api_export", "REGISTERED_OBJS_TO_NAMES"),
    ("keras.src.saving.object_registration", "GLOBAL_CUSTOM_NAMES"),
    ("keras.src.saving.object_registration", "_GLOBAL_CUSTOM_NAMES"),
    ("tf_keras.src.saving.object_registration", "_GLOBAL_CUSTOM_NAMES"),
)
# What TensorFlow's own export leaves on a class, and reads there alone, for the same purpose.
_EXPORT_NAMES = (
    "_keras_api_names", "_keras_api_names_v1", "_tf_api_names", "_tf_api_names_v1",
    "_tf_deprecated_api_names",
)  # fmt: skip


class NoToolSide(RuntimeError):
    """A class that only the tool side could say something of, where that is not installed; `stock` as
    in `methods.Unpatchable`."""

    stock = None


def patched_form(binding, x, given, keras=None, strict=True):
    """See `Binding.patched`."""
    given = {name: value for name, value in given.items() if value is not None}
    made = x
    try:
        if isinstance(x, type):
            return patched_class(binding.derive(given), x)
        if isinstance(x, (str, dict)):
            made = _from_keras(x, keras) if strict else _from_keras_or_none(x, keras)
        return _patched_instance(binding, made, given)
    except (methods.Unpatchable, NoToolSide) as error:
        if error.stock is not None:  # newer than anything tested: training goes on
            warn_of_stock(error.stock, error)
            return made
        if strict:
            raise
        if isinstance(error, NoToolSide):
            records.warn_once(("tool side", str(error)), "{}. It stays as it is.".format(error))
        return x


def warn_of_stock(owner, error):
    """One warning that `owner`, a stock class of an unknown version, stays as it is."""
    package = owner.__module__.partition(".")[0]
    version = getattr(sys.modules.get(package), "__version__", None)
    words, prefix = str(error), "adampatch: "
    records.warn_once(
        ("stock", owner),
        "{} is written otherwise in this {} than in any known version, and stays stock: no rates, no "
        "rules. ({})".format(
            ".".join([_name(owner)] + stock_edits.unknown_methods(owner)[:1]),
            " ".join([package] + [version] * bool(version)),
            words[len(prefix) :] if words.startswith(prefix) else words,
        ),
    )


def _from_keras_or_none(identifier, keras):
    try:
        return _from_keras(identifier, keras)
    except (TypeError, ValueError, KeyError):  # whoever uses it will say so
        return None


def _from_keras(identifier, keras):
    if keras is None:
        keras = tf.keras
    if isinstance(identifier, str):
        identifier = identifier.lower()  # the registry's spelling
    return keras.optimizers.get(copy.deepcopy(identifier))


def _patched_instance(binding, optimizer, given):
    # A wrapper is opened: what it holds is what updates. All or nothing is switched.
    parts = wrappers.opened(optimizer)
    found = []
    for part in parts:
        try:
            found.append((part, patched_class(binding, type(part))))
        except methods.Unpatchable as error:
            if len(parts) == 1 or not _may_stay(part, error):
                raise
        except NoToolSide:
            if not wrappers.held(part):
                raise
    if not found:
        wrapped = ", ".join(_name(type(part)) for part in parts[1:])
        raise methods.Unpatchable(
            None,
            "adampatch: neither {} nor what it wraps ({}) has an Adam-family update; "
            "nothing to patch. {}".format(_name(type(optimizer)), wrapped, _SCOPE),
        )
    for part, _ in found:
        records.give(part, given)
    records.join([part for part, _ in found])
    for part, cls in found:
        if cls is not type(part):
            # Keras tracks attributes; this is none.
            object.__setattr__(part, "__class__", cls)
    return optimizer


def _may_stay(part, error):
    """Whether `part` of what is patched together may stay stock: it has no update of its own,
    or is a wrapper whose class has no source that would show one."""
    return error.code is None or (error.code == "AP230" and bool(wrappers.held(part)))


def patched_class(binding, cls):
    """As `Binding.patched` of a class, but raises for every class that stays as it is."""
    if cls.__dict__.get("__adampatch_origin__") is not None:
        if cls.__adampatch_binding__ is binding:
            return cls
        cls = cls.__adampatch_origin__  # another project's rules
    if getattr(cls, "__adampatch_observed__", False) and not _has_own_update(cls):
        return cls  # patched in its source or in place, or derived from a patched class
    with _CLASSES_LOCK:
        found = _CLASSES.get((binding, cls))
        if found is None:
            found = _CLASSES[(binding, cls)] = _build(binding, cls)
        return found


def _has_own_update(cls):
    """Whether `cls` derives from a class patched in place and may hold an update that is not."""
    if not any("__adampatch_installed__" in vars(base) for base in cls.__mro__):
        return False
    return any(
        "__adampatch_observed__" not in vars(base)
        and not stock_edits.has_no_update(base)
        and not is_frame(base)
        for base in cls.__mro__
    )


def _name(cls):
    return "{}.{}".format(cls.__module__, cls.__qualname__)


def _backend_of(cls):
    """The Keras 3 backend an optimizer class runs on; "tensorflow" for every other family."""
    if any(base.__module__.startswith("keras.src.optimizers.base_optimizer") for base in cls.__mro__):
        backend = sys.modules.get("keras.src.backend")
        if backend is not None:
            return backend.backend()
    return "tensorflow"


def runs_on_tensorflow(cls):
    """Whether an optimizer class steps on TensorFlow; warns, once, where Keras 3 runs on another backend."""
    backend = _backend_of(cls)
    if backend != "tensorflow":
        records.warn_once(
            ("backend", backend),
            "Keras runs on {}, adampatch on TensorFlow only: stock behaviour.".format(backend),
        )
    return backend == "tensorflow"


def is_frame(owner):
    """Whether a class defines the frame of an update and never a site."""
    module = owner.__module__
    if any(module == m or module.startswith(m + ".") for m in _FRAME_PACKAGES):
        return True
    return module.partition(".")[0] in stock_edits.PACKAGES and module.rpartition(".")[2] in _FRAME_FILES


def _rewritten(binding, cls):
    """[(owner, {name: function})] over the MRO: of stock classes from the table of edits that
    this package brings, of all others from the tool side."""
    out = []
    for owner in cls.__mro__:
        if is_frame(owner) or "__adampatch_installed__" in vars(owner):
            continue
        try:
            found = edits_of(owner, cls)
            made = {name: methods.remade(owner, name, *found[name], binding=binding) for name in found}
        except (methods.Unpatchable, NoToolSide) as error:
            error.stock = owner if stock_edits.is_unknown(owner) else None
            raise
        if made:
            out.append((owner, made))
    return out


def edits_of(owner, cls):
    """{name: (digest, edits)} of the methods of `owner`, a base of `cls` or itself, that hold sites."""
    found = stock_edits.of_class(owner)
    if found is not None:
        return found
    found = _edits_by_tool(owner, cls)
    if not found and stock_edits.is_stock(owner) and stock_edits.has_two_moments(owner):
        raise methods.Unpatchable(None, "no update of {} was found in its source".format(_name(owner)))
    return found


def _edits_by_tool(owner, cls):
    """{name: (digest, edits)} of a class that the table does not know."""
    try:
        from adampatch.rewrite import live
    except ImportError as error:
        if stock_edits.has_no_update(owner):
            return {}
        raise NoToolSide(
            "adampatch: patched({}): {} is no stock class of a known version, so the tool side is "
            "needed here ({}); `pip install adampatch` (Python >= 3.10), or have `adampatch apply` patch its "
            "source, or, where it is stock, `adampatch apply --standalone --python {}` brings what it "
            "needs".format(cls.__name__, _name(owner), error, sys.executable)
        )
    try:
        return live.method_edits(owner)
    except live.Refused as refused:
        raise methods.refusal(owner, refused.code, refused.reason)


def _build(binding, cls):
    if not runs_on_tensorflow(cls):
        return cls
    rewritten = _rewritten(binding, cls)
    if not rewritten and getattr(cls, "__adampatch_observed__", False):
        return cls
    if not rewritten:
        raise methods.Unpatchable(
            None, "adampatch: {} has no Adam-family update; nothing to patch. {}".format(_name(cls), _SCOPE)
        )
    meta = _metaclass(type(cls))
    owners = [
        meta(
            "Patched" + owner.__name__,
            (owner,),
            dict(functions, __module__=owner.__module__, __doc__=owner.__doc__),
        )
        for owner, functions in rewritten
    ]
    # `class PatchedAdam(Adam)` carries the methods; with (AdamW, PatchedAdam) as bases it comes
    # right before Adam in the MRO, so what AdamW does before calling super() stays.
    bases = tuple(owners) if rewritten[0][0] is cls else (cls,) + tuple(owners)
    final = meta(
        cls.__name__,
        bases,
        {
            "__module__": cls.__module__,
            "__qualname__": cls.__qualname__,
            "__doc__": cls.__doc__,
            # Dunder names: Keras walks the other attributes when it saves.
            "__adampatch_origin__": cls,
            "__adampatch_binding__": binding,
            "__reduce_ex__": _reduce_instance,
        },
    )
    for name in _EXPORT_NAMES:
        if name in cls.__dict__:
            setattr(final, name, cls.__dict__[name])
    if callable(getattr(cls, "__deepcopy__", None)):
        final.__deepcopy__ = _deepcopy_by(final)
    for module, table in _NAME_TABLES:
        names = getattr(sys.modules.get(module), table, None)
        if names is not None and cls in names:
            names[final] = names[cls]
    return binding.observed(final)


# -- pickling ---------------------------------------------------------------------------------


def _metaclass(base):
    """A metaclass derived from `base`, so that copyreg can be told how to pickle its classes."""
    if base in _METACLASSES.values():
        return base
    meta = _METACLASSES.get(base)
    if meta is None:
        meta = _METACLASSES[base] = type("PatchedMeta", (base,), {})
        copyreg.pickle(meta, _reduce_class)
    return meta


def _reduce_class(cls):
    origin = cls.__dict__.get("__adampatch_origin__")
    if origin is None:
        return cls.__qualname__  # a user's subclass: by name, as any class
    return patched_class, (cls.__adampatch_binding__, origin)


def _reduce_instance(self, protocol):
    # Keras 3 pickles through its own file format and would give back the stock class.
    stock = super(_final_of(type(self)), self).__reduce_ex__(protocol)
    if not isinstance(stock, tuple):
        return stock
    remade = (type(self).__adampatch_binding__, records.given(self), stock[0], stock[1])
    return (_remake,) + (remade,) + tuple(stock[2:])


def _deepcopy_by(final):
    """A `__deepcopy__` of the class's own does not ask `__reduce_ex__`, which hands settings on."""

    def __deepcopy__(self, memo):
        again = super(final, self).__deepcopy__(memo)
        records.give(again, records.given(self))
        return again

    return __deepcopy__


def _final_of(cls):
    return next(base for base in cls.__mro__ if base.__dict__.get("__reduce_ex__") is _reduce_instance)


def _remake(binding, given, function, arguments):
    return _patched_instance(binding, function(*arguments), given)
