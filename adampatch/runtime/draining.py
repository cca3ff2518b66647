"""When numbers are brought to the host: after an eager update, after a call of a traced function, at exit.

Asks `reading` for them, one transfer each time, and hands them to whoever listens. Touches TensorFlow
only to count the calls of functions; never raises into training.
"""

import atexit
import functools
import os
import sys
import threading
import weakref

from adampatch.runtime import alerts, fetching, reading, records, sessions, sinks, worlds, wrappers
from adampatch.runtime.lazy import tf

_DRAIN_LOCK = threading.RLock()
_WATCHED = {}  # id(record) -> _Watched
_LISTENERS = []  # functions (optimizer or None, Batch) of every batch
_NAMES = {}  # name of an optimizer in the log -> reference to it
_COUNTED = []  # the class of tf.function objects, once its calls are counted


class _Pace(object):
    """How many updates a record has seen, as far as the host can tell without asking.

    Attributes:
        every: updates between samples; updates: as read at the last drain; calls: of functions
            since then; each: updates per call, None as long as that is not known.
    """

    def __init__(self, every):
        self.every = every
        self.updates = 0
        self.calls = 0
        self.each = None
        self._patience = 1

    def called(self):
        """Counts a call; whether a new sample is to be expected."""
        self.calls += 1
        if self.each is None:
            return self.calls >= self._patience
        expected = self.updates + self.calls * self.each
        # updates 0, every, 2*every... are sampled, counted from 0
        return -(-int(expected + 1e-6) // self.every) > -(-self.updates // self.every)

    def read(self, updates):
        """Takes what the device says; whether there is anything new."""
        new = updates - self.updates
        if new > 0 and self.calls:
            self.each = new / float(self.calls)
        elif self.calls:  # gradients are accumulated: ask again, ever more rarely
            self._patience = 2 * self.calls
        self.updates, self.calls = updates, 0
        return new > 0


class _Watched(object):
    """One optimizer under one binding: `name` in the log; `step` last logged; in a v1 graph, which."""

    def __init__(self, record, optimizer):
        self.record = record
        self.optimizer = weakref.ref(optimizer)
        self.pace = _Pace(record.settings.every)
        self.state = alerts.State()
        self.name = None
        self.step = None
        self.graph = lambda: None
        self.key = None

    def is_gone(self):
        """Whether nothing can come of it any more: a v1 graph goes on without the optimizer."""
        return self.optimizer() is None and self.graph() is None


# -- who listens ------------------------------------------------------------------------------


def listen(listener):
    """Has `listener(optimizer, batch)` called with every Batch from now on."""
    with _DRAIN_LOCK:
        if listener not in _LISTENERS:
            _LISTENERS.append(listener)


def unlisten(listener):
    """Takes `listen` back."""
    with _DRAIN_LOCK:
        if listener in _LISTENERS:
            _LISTENERS.remove(listener)


def is_active():
    """Whether anybody wants numbers."""
    return bool(_LISTENERS) or bool(os.environ.get("ADAMPATCH_LOG"))


def prepare():
    """Begins to count calls, once TensorFlow is there: the end of a call under way would go unnoticed."""
    if _COUNTED or not is_active():
        return
    module = sys.modules.get("tensorflow")
    spec = getattr(module, "__spec__", None)
    if spec is not None and not getattr(spec, "_initializing", False) and "function" in vars(module):
        _count_calls()


def _is_first_task():
    """Whether this process writes the log: of several that train one model, the first does."""
    try:
        from tensorflow.python.distribute.cluster_resolver import TFConfigClusterResolver as Resolver

        resolver = Resolver()
        if not resolver.cluster_spec().as_dict():
            return True
        kind, index = resolver.task_type, resolver.task_id
    except Exception:
        return True
    return kind in ("chief", "master") or (kind == "worker" and index == 0 and not _has_chief(resolver))


def _has_chief(resolver):
    return any(kind in resolver.cluster_spec().as_dict() for kind in ("chief", "master"))


def _to_log(batch):
    directory = os.environ.get("ADAMPATCH_LOG")
    if directory and _is_first_task():
        sinks.open_directory(directory).write(batch, histograms=True)


# -- when -------------------------------------------------------------------------------------


def update_ended(optimizer, record, was_due):
    """After every update that patched code ends: `was_due` says of an eager one whether it was sampled."""
    if record.silent:
        return
    try:
        if worlds.world() == worlds.GRAPH:  # whoever wants numbers may come when the graph is built
            sessions.follow(optimizer, _watch(optimizer, record))
            if is_active():
                sessions.watch_sessions(is_active, hand_on)
            return
        if not is_active() or worlds.replica() != 0:
            return
        watched = _watch(optimizer, record)
        if worlds.current_graph() is not None:
            if _count_calls():
                watched.pace.calls += 1  # the call under way, whose end is not noticed
            for function in _functions_being_called():
                _functions().setdefault(function, {})[id(record)] = watched
        elif was_due:
            drain(watched)
    except Exception as error:
        _give_up(record, error)


def _give_up(record, error):
    records.warn_once(
        ("drain", record.optimizer_name),
        "the numbers of {} could not be logged ({}: {}); training goes on.".format(
            record.optimizer_name, type(error).__name__, error
        ),
    )


def _watch(optimizer, record):
    with _DRAIN_LOCK:
        watched = _WATCHED.get(id(record))
        if watched is None or watched.record is not record:
            for gone in [key for key, other in _WATCHED.items() if other.is_gone()]:
                drain(_WATCHED.pop(gone))
            if not _WATCHED:
                atexit.register(drain_all)
            watched = _WATCHED[id(record)] = _Watched(record, optimizer)
            watched.name = _name_of(optimizer, record)
        return watched


def _name_of(optimizer, record):
    """The class's name; of a second optimizer of that class Adam#2."""
    name, n = record.optimizer_name, 1
    while name in _NAMES and _NAMES[name]() is not optimizer:
        n += 1
        name = "{}#{}".format(record.optimizer_name, n)
    _NAMES[name] = weakref.ref(optimizer)
    return name


# -- calls of functions -----------------------------------------------------------------------

_BY_FUNCTION = []


def _functions():
    """{tf.function object: {id(record): what is watched}} of those that update something."""
    if not _BY_FUNCTION:
        _BY_FUNCTION.append(weakref.WeakKeyDictionary())
    return _BY_FUNCTION[0]


def _count_calls():
    """Has every call of a tf.function noticed, on the host and once per call; False where they are."""
    with _DRAIN_LOCK:
        if _COUNTED:
            return False
        cls = type(tf.function(lambda: None))
        stock = cls.__call__

        @functools.wraps(stock)
        def __call__(self, *args, **kwargs):
            out = stock(self, *args, **kwargs)
            found = _functions().get(self)
            if found:
                _function_called(self, found)
            return out

        cls.__call__ = __call__
        _COUNTED.append(cls)
        return True


def _function_called(function, found):
    try:
        if not tf.executing_eagerly():  # it became part of another one, which is what is called then
            for outer in _functions_being_called():
                if outer is not function:
                    _functions().setdefault(outer, {}).update(found)
            return
        for watched in list(found.values()):
            if watched.pace.called():
                drain(watched)
    except Exception as error:
        _give_up(next(iter(found.values())).record, error)


def _functions_being_called():
    """The tf.functions being traced that no other one is tracing: outermost of this thread, else,
    in a thread that a distribution strategy has started, of those that wait for it."""
    frames = sys._current_frames()
    own = _outermost(frames.pop(threading.get_ident(), None))
    if own is not None:
        return [own]
    found = [_outermost(frame) for frame in frames.values()]
    return [function for function in found if function is not None]


def _outermost(frame):
    cls = _COUNTED[0]
    found = None
    while frame is not None:
        holder = frame.f_locals.get("self") if "self" in frame.f_code.co_varnames else None
        if isinstance(holder, cls):
            found = holder
        frame = frame.f_back
    return found


# -- the transfer -----------------------------------------------------------------------------


def drain(watched):
    """Brings what is new of one optimizer to the host and hands it on."""
    record = watched.record
    with _DRAIN_LOCK:
        if record.updates is None or not tf.executing_eagerly():
            return
        with fetching.Together(reading.to_read([record])):
            if not watched.pace.read(reading.updates_of(record)):
                return
            found = reading.snapshot_of([record])
            if found is None or found["step"] == watched.step:
                return
            watched.step = found["step"]
            hand_on(watched, found, reading.samples_of([record]))


def hand_on(watched, found, samples):
    """Gives one snapshot to all who listen; its failure is not the training's."""
    try:
        _hand_on(watched, found, samples)
    except Exception as error:
        _give_up(watched.record, error)


def _hand_on(watched, found, samples):
    batch = batch_of(watched, found, samples)
    _to_log(batch)
    optimizer = watched.optimizer()
    for listener in list(_LISTENERS):
        listener(optimizer, batch)


def batch_of(watched, found, samples):
    """The Batch of one snapshot, with the alerts that it gives reason to."""
    raised = alerts.check(watched.state, watched.record, watched.optimizer(), watched.name, found)
    rows = rows_of(found) + [(a.variable, "alert/" + a.kind, 1.0, a.rule) for a in raised]
    return sinks.Batch(found["step"], watched.name, rows, samples)


def rows_of(found):
    """(variable or None, metric, value, rule or None) of every number in a snapshot."""
    rows = _numbers(None, {k: v for k, v in found.items() if k not in ("step", "variables")}, None)
    for variable, numbers in found["variables"].items():
        rows += _numbers(variable, numbers, None)
    return rows


def _numbers(variable, numbers, rule):
    rows = []
    for metric, value in numbers.items():
        if metric == "rules" and isinstance(value, dict):
            for name, inner in value.items():
                rows += _numbers(variable, inner, name)
        elif isinstance(value, (bool, int, float)):
            rows.append((variable, metric, float(value), rule))
    return rows


def drain_optimizer(optimizer):
    """Brings over what is new of `optimizer` and all it wraps."""
    with _DRAIN_LOCK:
        found = [w for w in _WATCHED.values() if w.optimizer() is not None]
    parts = [id(part) for part in wrappers.opened(optimizer)]
    for watched in found:
        if id(watched.optimizer()) in parts:
            drain(watched)


def drain_all():
    """Brings over what is new of everything, at the end of the process: calls of concrete functions, as
    a ClusterCoordinator makes, were not counted."""
    with _DRAIN_LOCK:
        todo = list(_WATCHED.values())
    for watched in todo:
        try:
            drain(watched)
        except Exception as error:
            _give_up(watched.record, error)
