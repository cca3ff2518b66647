"""What rules remember from one update to the next, as variables that checkpoints hold.

Touches TensorFlow. Stock code does not see them: they hang on one child object of the optimizer,
and in a v1 graph they are global variables like the optimizer's own slots.
"""

import contextlib
import threading
import weakref

from adampatch.runtime import saver_restore, worlds
from adampatch.runtime.lazy import tf

#: what the child is called among the optimizer's in a `tf.train.Checkpoint`
CHILD = "adampatch"
#: and the attribute that Keras 3 finds when it writes a `.keras` or `.weights.h5` file
ATTRIBUTE = "adampatch_rule_state"
#: the number of updates, where the optimizer does not count them itself
CLOCK = "updates"
_STATES = "_adampatch_rule_state"


class RuleState(object):
    """The variables of one optimizer's rules, each made when it is first asked for.

    Attributes:
        names: {name: variable} of those made outside of v1 graphs.
        holder: the trackable object that holds them, or None.
    """

    def __init__(self):
        self.lock = threading.RLock()
        self.names = {}
        self.holder = None

    def variable(self, optimizer, name, initial, near=None, replicated=True):
        """The variable `name`, made with the NumPy array `initial` and its dtype if there is none.

        `near`: a model variable, whose replicas and devices it follows; `replicated`: False for what one
        replica alone writes.
        """
        with self.lock:
            if worlds.world() == worlds.GRAPH:
                return self._in_graph(optimizer, name, initial)
            found = self.names.get(name)
            if found is None:
                self._attach(optimizer)
                found = self.names[name] = _new_variable(name, initial, near, replicated)
                # Tracked by name: what a checkpoint that was restored before has for it is put in now.
                setattr(self.holder, name, found)
            return found

    def _attach(self, optimizer):
        if self.holder is not None:
            return
        with tf.init_scope():
            self.holder = tf.Module(name=CHILD)
        if not callable(getattr(optimizer, "_track_trackable", None)):
            return
        optimizer._track_trackable(self.holder, name=CHILD, overwrite=True)
        # Keras 2's newer optimizers list their children once, when they are restored or saved first.
        listed = getattr(optimizer, "_coalesced_children", None)
        if listed is not None:
            listed[CHILD] = self.holder
        deferred = getattr(optimizer, "_handle_deferred_dependencies", None)
        if deferred is not None:
            deferred(name=CHILD, trackable=self.holder)
        saved = _keras_saved(optimizer, self)
        if saved is not None:
            object.__setattr__(optimizer, ATTRIBUTE, saved)

    def _in_graph(self, optimizer, name, initial):
        with tf.init_scope():
            graph = tf.compat.v1.get_default_graph()
            registry = getattr(graph, _STATES, None)
            if registry is None:
                registry = {}
                setattr(graph, _STATES, registry)
                saver_restore.let_savers_restore_without_us()
            found = registry.get((self, name))
            if found is None:
                prefix = getattr(optimizer, "_name", None) or type(optimizer).__name__
                with tf.compat.v1.name_scope(None):
                    found = tf.compat.v1.Variable(
                        initial,
                        trainable=False,
                        dtype=tf.as_dtype(initial.dtype),
                        name="{}/{}/{}".format(CHILD, prefix, name),
                        use_resource=True,
                    )
                registry[(self, name)] = found
                if name.startswith(CLOCK):
                    setattr(found, saver_restore.CLOCK_OF, weakref.ref(optimizer))
                graph.add_to_collection(saver_restore.COLLECTION, found)
            return found


@contextlib.contextmanager
def _following(near):
    """A scope in which a new variable has the replicas and devices of the variable `near`."""
    held = worlds.replicated(near)
    strategy = getattr(held, "distribute_strategy", None)
    if strategy is None:
        yield
    elif not tf.distribute.in_cross_replica_context():
        yield  # the scope of the strategy is that of the replica
    else:
        with strategy.scope(), strategy.extended.colocate_vars_with(held):
            yield


def _new_variable(name, initial, near, replicated):
    if not replicated:
        return worlds.hidden_variable(initial, tf.as_dtype(initial.dtype), name)
    with tf.init_scope(), _following(getattr(near, "value", near) if hasattr(near, "path") else near):
        return tf.Variable(
            initial,
            trainable=False,
            dtype=tf.as_dtype(initial.dtype),
            name="{}/{}".format(CHILD, name),
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )


def _keras_saved(optimizer, state):
    """An object that Keras 3 saves and loads along with the optimizer; None for other families."""
    try:
        from keras.src.saving.keras_saveable import KerasSaveable
    except ImportError:
        return None
    if not isinstance(optimizer, KerasSaveable):
        return None

    class RuleStateOfKeras(KerasSaveable):
        def _obj_type(self):
            return "Optimizer"

        def save_own_variables(self, store):
            for name, variable in sorted(state.names.items()):
                store[_escaped(name)] = variable.numpy()

        def load_own_variables(self, store):
            known = set(store.keys())
            for name, variable in state.names.items():
                if _escaped(name) in known:
                    variable.assign(store[_escaped(name)])

    return RuleStateOfKeras()


def _escaped(name):
    return name.replace("%", "%25").replace("/", "%2F")


def read(variable):
    """The value of a state now; in a v1 graph its initial one where no session initialised it."""
    if worlds.world() != worlds.GRAPH:
        return tf.convert_to_tensor(variable)
    value = tf.compat.v1.cond(
        tf.raw_ops.VarIsInitializedOp(resource=variable.handle),
        lambda: tf.raw_ops.ReadVariableOp(resource=variable.handle, dtype=variable.dtype),
        lambda: tf.identity(variable.initial_value),
    )
    value.set_shape(variable.shape)
    return value


def read_rows(variable, rows):
    """The rows `rows` of a state."""
    return tf.gather(read(variable), rows)


def write(variable, value):
    """Assigns a state; a list of the ops to depend on, empty where code runs in its order."""
    if worlds.world() == worlds.GRAPH:
        return [tf.raw_ops.AssignVariableOp(resource=variable.handle, value=value)]
    variable.assign(value)
    return []


def write_rows(variable, rows, value):
    """Assigns the rows `rows` of a state, of several for one row the last."""
    if worlds.world() == worlds.GRAPH:
        # From the value read, which is the initial one in a session that has not initialised it.
        whole = tf.tensor_scatter_nd_update(read(variable), tf.expand_dims(rows, 1), value)
        return write(variable, whole)
    part = (
        variable._get()
        if hasattr(variable, "distribute_strategy") and hasattr(variable, "_get")
        else variable
    )
    part.scatter_update(tf.IndexedSlices(value, rows))
    return []
