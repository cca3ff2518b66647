"""observed(cls): where one optimizer update ends, per code family.

Touches only the class it decorates; no TensorFlow until an update ends.
"""

from adampatch.runtime import gradients, graph_tensors, islands, records, stepping, worlds, wrappers
from adampatch.runtime.lazy import tf

# In order: the method during which all variables of one update are stepped. Keras 3 runs
# `_backend_update_step` inside `cond` when it accumulates gradients, so the flush hangs there.
# Sonnet's optimizers have `apply` alone, with lists of gradients and of variables. `get_updates`
# builds the graph of an update: there is nothing to flush, but rules to check.
ENDS = ("_backend_update_step", "apply_gradients", "apply", "get_updates")


def observed_class(binding, cls):
    """Makes `cls` flush the samples of `binding` when one of its updates ends; returns `cls`.

    Idempotent; where several classes of an MRO are observed the outermost call flushes.
    """
    name = next((end for end in ENDS if callable(getattr(cls, end, None))), None)
    if name is None:
        return cls  # nothing here ends an update, and nothing is queued then
    cls.__adampatch_observed__ = True
    # `apply_gradients` has counted its update when it returns, the inner step has not
    cls.__adampatch_counted__ = name == "apply_gradients"
    own = cls.__dict__.get(name)
    if getattr(own, "__adampatch_end__", None) is binding:
        return cls
    if own is not None:

        def call(self, args, kwargs):
            return worlds.as_called(own)(self, *args, **kwargs)

    else:

        def call(self, args, kwargs):
            return worlds.as_called(getattr(super(cls, self), name))(*args, **kwargs)

    @worlds.stands_in_for(getattr(cls, name))
    def ending(self, *args, **kwargs):
        record = records.record_of(self, binding)
        sampled = not record.silent and worlds.world() != worlds.GRAPH
        if sampled or any(rule.quantity == "rms_t" for rule in record.settings.rules):
            gradients.keep_in(binding, cls)
        given = kwargs.get("grads_and_vars", args[0] if args else None)
        if name == "apply_gradients":
            args, kwargs = _check_pairs(record, args, kwargs)
        elif name == "get_updates":
            given = _variables_of_loss(args, kwargs)
            _check_variables(record, given)
        else:
            _check_listed(record, self)
        graph = worlds.current_graph()
        record.enter(graph)
        try:
            out = call(self, args, kwargs)
        except BaseException:
            record.leave(graph)
            record.abandon()
            raise
        if record.leave(graph):
            carried = record.take_carried()
            if graph is not None:
                _order(record, carried, out if isinstance(out, (list, tuple)) else [out])
            # what it holds may do the work, and so may code of another binding
            if not any(other.reached for other in records.find(self)) and not wrappers.held(self):
                _warn_unreached(record, given)
            binding.end(self)
        return out

    _compile_updates(binding, cls)
    _check_at_build(binding, cls)
    _check_at_slots(binding, cls)
    _show_to_saved_models(binding, cls)
    ending.__adampatch_end__ = binding
    ending.autograph_info__ = {}  # ours is not to be converted; what it calls is, see `_as_called`
    setattr(cls, name, ending)
    return cls


def _compile_updates(binding, cls):
    """Keras 2 and 3 update one variable in one method, `update_step`: see `islands.updated`."""
    if not callable(getattr(cls, "update_step", None)):
        return
    own = cls.__dict__.get("update_step")

    def method(optimizer):
        call = own.__get__(optimizer, cls) if own is not None else super(cls, optimizer).update_step
        return worlds.as_called(call)

    @worlds.stands_in_for(cls.update_step)
    def update_step(self, gradient, variable, *args, **kwargs):
        return islands.updated(binding, self, method, gradient, variable, args, kwargs)

    update_step.autograph_info__ = {}
    cls.update_step = update_step


def _order(record, carried, done):
    try:
        graph_tensors.order_after(carried, done)
    except Exception as error:  # observation never stops training
        records.warn_once(
            ("order", record.optimizer_name),
            "the rates of {} may be those of the update before ({}: {}).".format(
                record.optimizer_name, type(error).__name__, error
            ),
        )


def _warn_unreached(record, pairs):
    """The one sign that a class overrides the patched methods without calling them."""
    if (record.silent and not record.settings.rules) or (isinstance(pairs, (list, tuple)) and not pairs):
        return
    records.warn_once(
        ("unreached", record.optimizer_name),
        "an update of {} ended and came to nothing that is patched: its rates are neither seen nor "
        "bounded. Something replaces the update method of the class that was patched.".format(
            record.optimizer_name
        ),
    )


def _check_at_build(binding, cls):
    """Keras builds an optimizer before anything is updated: the place to refuse a rule."""
    own = cls.__dict__.get("build")
    if not callable(getattr(cls, "build", None)):
        return

    @worlds.stands_in_for(cls.build)
    def build(self, *args, **kwargs):
        call = own.__get__(self, cls) if own is not None else super(cls, self).build
        out = call(*args, **kwargs)
        record = records.record_of(self, binding)
        # Keras 2 keeps no list of them, and is given one.
        given = list(args[0] if args else kwargs.get("var_list") or ())
        variables = worlds.listed_variables(self) or given
        if variables:
            record.sizes = islands.sizes(variables)
            record.check([worlds.path_of(variable) for variable in variables])
            # Keras restores what is there when an optimizer is built, and traces again for what is not.
            stepping.prepare_state(record, self, variables)
        return out

    build.autograph_info__ = {}
    cls.build = build


def _check_at_slots(binding, cls):
    """A wrapper may never call `apply_gradients` of what it wraps, but makes its slots."""
    if not all(callable(getattr(cls, name, None)) for name in ("_create_all_weights", "_create_slots")):
        return  # a tf.train.Optimizer makes slots for one loss at a time
    own = cls.__dict__.get("_create_slots")

    @worlds.stands_in_for(cls._create_slots)
    def _create_slots(self, var_list):
        records.record_of(self, binding).check([worlds.path_of(variable) for variable in var_list])
        call = own.__get__(self, cls) if own is not None else super(cls, self)._create_slots
        out = call(var_list)
        stepping.prepare_state(records.record_of(self, binding), self, var_list)
        return out

    _create_slots.autograph_info__ = {}
    cls._create_slots = _create_slots


def _show_to_saved_models(binding, cls):
    """Names our variables as children, to a SavedModel only.

    A SavedModel of a training function refuses captured variables that no object tracks;
    a checkpoint must not see them.
    """
    if not callable(getattr(cls, "_trackable_children", None)) or "_trackable_children" in cls.__dict__:
        return

    def _trackable_children(self, save_type="checkpoint", **kwargs):
        children = super(cls, self)._trackable_children(save_type, **kwargs)
        if save_type == "savedmodel":
            own = records.record_of(self, binding).variables()
            children = dict(children, **{"adampatch_%d" % i: v for i, v in enumerate(own)})
        return children

    cls._trackable_children = _trackable_children


def _check_listed(record, optimizer):
    if record.checked or not record.settings.rules:
        return
    listed = worlds.listed_variables(optimizer)
    if listed:
        record.check([worlds.path_of(variable) for variable in listed])


def _check_pairs(record, args, kwargs):
    """Checks the rules against the variables of `apply_gradients(grads_and_vars, ...)`.

    Families that call it keep no list of variables. An iterator is read once, so a list is
    passed on in its place.
    """
    if record.checked or not record.settings.rules:
        return args, kwargs
    pairs = kwargs.get("grads_and_vars", args[0] if args else None)
    if pairs is None:
        return args, kwargs
    pairs = list(pairs)
    record.sizes = islands.sizes(variable for _, variable in pairs)
    if "grads_and_vars" in kwargs:
        kwargs = dict(kwargs, grads_and_vars=pairs)
    else:
        args = (pairs,) + args[1:]
    _check_variables(record, [variable for _, variable in pairs])
    return args, kwargs


def _variables_of_loss(args, kwargs):
    """The variables that `get_updates` is given: `(loss, params)`, or `(params, constraints, loss)`
    before Keras 2.1; the other arguments are no lists."""
    given = [kwargs["params"]] if "params" in kwargs else list(args)
    return next((list(value) for value in given if isinstance(value, (list, tuple))), [])


def _check_variables(record, variables):
    if record.checked or not record.settings.rules:
        return

    if not tf.executing_eagerly():
        # One optimizer may take several losses in turn, each with its own variables.
        variables = variables + list(tf.compat.v1.trainable_variables())
    record.check(sorted(set(worlds.path_of(variable) for variable in variables)))
