"""bind(rules): the functions that patched code calls, tied to one project's rules.

Touches no TensorFlow: what does is imported when an optimizer first steps.
"""

import json
import threading

from adampatch.runtime import (
    draining,
    fusing,
    monitoring,
    observing,
    patching,
    reading,
    records,
    sampling,
    settings,
    stepping,
    worlds,
)

_BINDINGS_LOCK = threading.Lock()
_BINDINGS = {}


class Binding(object):
    """The run time for one set of rules.

    Attributes:
        rules: normal form (plain data) or None; name: the module that holds them;
        given: {"rules", "emit", "every"} as given to `patched(cls, ...)`;
        v1, keras: what watches graphs and models, as `adampatch.v1` and `adampatch.keras` do.
    """

    def __init__(self, rules, name, given):
        self.rules = rules
        self.name = name
        self.given = given

    def __repr__(self):
        return "adampatch.runtime.bind(name={!r})".format(self.name)

    def __reduce__(self):
        return _restore, (self.rules, self.name, self.given)

    @worlds.unconverted
    def step(self, optimizer, variable, update, rate, direction, decay=None, alpha=None, indices=None):
        """Stands for `update` in `w <- w - update`.

        Args:
            optimizer: the optimizer that steps.
            variable: the model variable (or its replica, or its Keras 3 value).
            update: the stock expression, already evaluated; a tensor or IndexedSlices.
            rate, direction, decay, alpha: functions of no argument with
                `update == rate() * direction() + decay()` in exact arithmetic; `decay` may be
                or give None; `alpha` gives a scalar and is only shown.
            indices: a function that gives the rows of the variable that `update` is for, where
                it is for some rows only; int [rows]. IndexedSlices bring their own.

        Returns:
            `update` itself, same bits, where no rule applies. Where one does, `update` with
            the elements whose rate is out of bounds replaced by `bounded * direction + decay`.

        Raises:
            ValueError: settings or rules that cannot be obeyed, before the first update.
        """
        return stepping.stepped(self, optimizer, variable, update, rate, direction, decay, alpha, indices)

    @worlds.unconverted
    def fused(self, optimizer, variable, stock):
        """Stands for the callee of a fused kernel and is called with the kernel's arguments.

        Returns `stock` itself with nothing to observe and no rule for `variable`; else a
        function with the kernel's signature and return value.
        """
        return fusing.fused_call(self, optimizer, variable, stock)

    def observed(self, cls):
        """Class decorator: marks the end of one optimizer update. Returns `cls` itself."""
        draining.prepare()
        return observing.observed_class(self, cls)

    def patched(self, x, rules=None, emit=None, every=None, keras=None, strict=True):
        """The patched form of an optimizer class, instance, Keras name or config.

        Args:
            x: a class (gives its patched subclass, always the same one), an instance (gives
                the same object, patched in place), a Keras name in any case or a config dict
                (give a patched instance).
            rules: replaces the project's rules; a file name or the normal form.
            emit: "off", "stats" or "tensor"; every: optimizer updates between samples.
            keras: the Keras that names and configs are looked up in.
            strict: False gives `x` itself back where there is nothing to patch in it: it names
                or is another optimizer, or one whose update cannot be separated.

        Raises:
            ValueError: no Adam-family update in `x`, one that cannot be patched (with its
                code and reason), or bad settings.
            RuntimeError: the tool side of adampatch is not installed here.
        """
        return patching.patched_form(self, x, {"rules": rules, "emit": emit, "every": every}, keras, strict)

    where = staticmethod(worlds.where)
    effective_rates = staticmethod(reading.effective_rates)
    snapshot = staticmethod(reading.snapshot)
    update_rules = staticmethod(reading.update_rules)

    @property
    def v1(self):
        """What has `tensors(graph=None)` and `OptimizerMonitorHook`."""
        return monitoring.V1_NAMES

    @property
    def keras(self):
        """What has `OptimizerMonitor`."""
        return monitoring.KERAS_NAMES

    def end(self, optimizer):
        """Ends one update of `optimizer` (called by what `observed` wraps)."""
        record = records.record_of(optimizer, self)
        was_due = record.due
        sampling.flush(optimizer, record)
        draining.update_ended(optimizer, record, was_due)

    def derive(self, given):
        """This binding with settings given to `patched(cls, ...)`."""
        given = {name: value for name, value in given.items() if value is not None}
        if not given:
            return self
        if "rules" in given:
            given["rules"] = settings.load_rules(given["rules"])[0]
        merged = dict(self.given, **given)
        settings.resolve(self.rules, merged, {})
        return _restore(self.rules, self.name, merged)


def _restore(rules, name, given):
    """The one Binding of these rules and settings in this process."""
    key = json.dumps([rules, name, given], sort_keys=True)
    with _BINDINGS_LOCK:
        found = _BINDINGS.get(key)
        if found is None:
            found = _BINDINGS[key] = Binding(rules, name, given)
        return found


def bind(rules=None, name="_adampatch"):
    """The Binding for the normal form `rules` (plain data; None for no rules).

    The same arguments give the same object. Raises ValueError for a normal form with
    features this runtime does not know.
    """
    settings.check_form(rules or {}, "the rules in {}".format(name))
    return _restore(rules, name, {})
