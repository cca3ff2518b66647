"""The monitors: a Keras callback's and a session hook's work, apart from the classes they derive from.

Touches TensorFlow by way of `draining` and `sessions`.
"""

import sys
import threading

from adampatch.runtime import draining, graph_tensors, matching, reading, records, sessions, sinks, wrappers
from adampatch.runtime.lazy import tf

_CALLBACKS = {}  # Callback of one Keras -> its OptimizerMonitor


def _check_interval(value, name):
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(
            "adampatch: {} is {!r}; give a whole number of updates, 1 or more".format(name, value)
        )
    return value


class Monitor(object):
    """Writes what an optimizer does to one log directory, and keeps the latest numbers.

    Attributes:
        latest: {"optimizer/alpha": float, "rate_p50/a/kernel": float, ...} of the last batch.
    """

    def __init__(self, log_dir, per_variable=("**",), histograms=False):
        if isinstance(per_variable, str):
            per_variable = (per_variable,)
        self._log_dir = log_dir
        self._per_variable = tuple(per_variable or ())
        self._histograms = histograms
        self._optimizers = []
        self._lock = threading.RLock()
        self.latest = {}

    def watch(self, optimizer, every):
        """Listens to `optimizer` and all it wraps, sampled every `every` updates unless it says otherwise.

        Raises ValueError where it is no patched optimizer.
        """
        if not reading.is_patched(optimizer):
            raise ValueError(
                "adampatch: OptimizerMonitor: {} is no patched optimizer; pass it through "
                "adampatch.patched() before model.compile, or run the script under `adampatch "
                "run`".format(type(optimizer).__name__)
            )
        self._optimizers = wrappers.opened(optimizer)
        for part in self._optimizers:
            is_new = all(record.updates is None for record in records.find(part))
            if is_new and "every" not in records.given(part):
                records.give(part, {"every": every})
        draining.listen(self)
        draining.prepare()

    def finish(self):
        """Brings over what is new, and listens no longer."""
        for part in self._optimizers[:1]:
            draining.drain_optimizer(part)
        draining.unlisten(self)

    def __call__(self, optimizer, batch):
        """See `draining.listen`."""
        if any(part is optimizer for part in self._optimizers):
            self.take(batch)

    def take(self, batch):
        """Writes those numbers of a batch that were asked for."""
        rows = [row for row in batch.rows if row[0] is None or self._wants(row[0])]
        samples = {name: found for name, found in batch.samples.items() if self._wants(name)}
        with self._lock:
            self.latest.update(
                (sinks.tag_of(variable, metric, rule), value) for variable, metric, value, rule in rows
            )
            chosen = sinks.Batch(batch.step, batch.optimizer, rows, samples, batch.time)
            sinks.open_directory(self._log_dir).write(chosen, self._histograms)

    def _wants(self, path):
        return any(matching.matches(pattern, path) for pattern in self._per_variable)


class CallbackParts(object):
    """What a Keras callback does, for every Keras; comes before its Callback among the bases."""

    def __init__(self, log_dir, log_every_n_steps=100, per_variable=("**/kernel",), histograms=False):
        super(CallbackParts, self).__init__()
        self._every = _check_interval(log_every_n_steps, "log_every_n_steps")
        self._monitor = Monitor(log_dir, per_variable, histograms)

    def on_train_begin(self, logs=None):
        """Finds the optimizer, before anything is traced."""
        self._monitor.watch(self.model.optimizer, self._every)

    def on_train_batch_end(self, batch, logs=None):
        """Puts the latest numbers into `logs`, as Python floats."""
        if logs is not None:
            logs.update(self._monitor.latest)

    def on_epoch_end(self, epoch, logs=None):
        """The same, for History and what else keeps epochs."""
        if logs is not None:
            logs.update(self._monitor.latest)

    def on_train_end(self, logs=None):
        """Writes what is left."""
        self._monitor.finish()


def OptimizerMonitor(
    log_dir, log_every_n_steps=100, per_variable=("**/kernel",), histograms=False, keras=None
):
    """A Keras callback that writes lr, alpha and rates to TensorBoard files and JSON lines in `log_dir`.

    Args:
        log_dir: the directory, made where it is missing.
        log_every_n_steps: optimizer updates between samples, unless the optimizer was told otherwise.
        per_variable: globs of the variables whose rates are written; () for none.
        histograms: whether to write histograms of log10 of their rates too.
        keras: the Keras whose callback it is, tf_keras for instance; by default the one whose optimizers
            are in use: `keras`, else `tf.keras`.

    The latest numbers are put into Keras' `logs` as Python floats, under the tags of TensorBoard
    ("optimizer/alpha", "rate_p50/dense/kernel").

    Raises ValueError, as training begins, where the model's optimizer is not patched.
    """
    callback = (_the_keras() if keras is None else keras).callbacks.Callback
    if callback not in _CALLBACKS:
        _CALLBACKS[callback] = type(
            "OptimizerMonitor",
            (CallbackParts, callback),
            {"__doc__": CallbackParts.__doc__, "__module__": "adampatch.keras"},
        )
    return _CALLBACKS[callback](log_dir, log_every_n_steps, per_variable, histograms)


def _the_keras():
    """tf_keras where the script uses it alone, else what `tf.keras` is."""
    if "tf_keras" in sys.modules and "keras" not in sys.modules:
        return sys.modules["tf_keras"]
    return tf.keras


class HookParts(object):
    """What a SessionRunHook does: fetches, along with each run, what is due of the updates in it."""

    def __init__(self, log_dir, every_n_steps=100):
        self._every = _check_interval(every_n_steps, "every_n_steps")
        self._monitor = Monitor(log_dir, ("**",), True)
        self._counts = {}
        self._extra = None

    def begin(self):
        """The graph is complete: has its optimizers sampled as often as was asked for."""
        graph = tf.compat.v1.get_default_graph()
        owners = getattr(graph, "_adampatch_owners", None)
        if not owners:
            raise ValueError(
                "adampatch: OptimizerMonitorHook: no update in this graph is patched; build the optimizer "
                "by adampatch.patched(), or run the script under `adampatch run`"
            )

    def before_run(self, run_context):
        """Adds to the fetches of a run that updates something."""
        session = run_context.session
        fetches = run_context.original_args.fetches
        self._extra = sessions.extra_of(session, fetches, None, self._counts, self._every)
        if self._extra is None or not self._extra.fetches:
            return None
        return tf.compat.v1.train.SessionRunArgs(self._extra.fetches)

    def after_run(self, run_context, run_values):
        """Writes what was fetched."""
        if self._extra is not None:
            self._extra.take(run_values.results or {}, self._hand_on)

    def _hand_on(self, watched, found, samples):
        self._monitor.take(draining.batch_of(watched, found, samples))


class V1Names(object):
    """What `adampatch.v1` and the `v1` of patched code offer."""

    tensors = staticmethod(graph_tensors.tensors)

    @property
    def OptimizerMonitorHook(self):
        """The SessionRunHook that logs one graph: OptimizerMonitorHook(log_dir, every_n_steps=100)."""
        base = tf.compat.v1.train.SessionRunHook
        if base not in _CALLBACKS:
            _CALLBACKS[base] = type(
                "OptimizerMonitorHook",
                (HookParts, base),
                {"__doc__": HookParts.__doc__, "__module__": "adampatch.v1"},
            )
        return _CALLBACKS[base]


class KerasNames(object):
    """What `adampatch.keras` and the `keras` of patched code offer."""

    OptimizerMonitor = staticmethod(OptimizerMonitor)


V1_NAMES, KERAS_NAMES = V1Names(), KerasNames()
