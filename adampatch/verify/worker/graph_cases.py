"""Runs graphs from files: stock or patched, from their own start or from given states; notes every bit.

Touches TensorFlow, in a graph and a session of its own.
"""


def run_graph(request):
    """Runs one graph for some steps.

    The request: `kind`, `path` and `tags` of the graph; `targets`, operations; `fetch`, {name: tensor};
    `variables`, [{"name", "resource", "dtype", "initial": operation or None, "start": key or None}];
    `feeds`, an npz of STEP/TENSOR; `states`, an npz of STEP/VARIABLE to begin from, or None; `each`, whether
    every step begins from the state before it there, or the first alone; `out`, where it is written.

    Answers {} or {"not_run": why stock cannot be run}.
    """
    import numpy as np
    import tensorflow as tf

    graph = tf.Graph()
    with graph.as_default(), tf.compat.v1.Session(graph=graph) as session:
        try:
            _load(tf, session, request)
            training = _Training(tf, session, request)
            record = training.run(np)
        except _failures(tf) as error:
            return {"not_run": "{}: {}".format(type(error).__name__, _words(error))}
    np.savez(request["out"], **record)
    return {}


def _words(error):
    """What an error says; the first lines of TensorFlow's own may only say that there is one."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith(("Graph execution error", "Detected at", "File "))]
    said = [line for line in lines if not line.startswith(("(0)", "(1)", "node", "Node"))] or lines
    return (said or [""])[0][:300]


def _failures(tf):
    return (tf.errors.OpError, ValueError, TypeError, KeyError)


def _load(tf, session, request):
    v1 = tf.compat.v1
    if request["kind"] == "SavedModel":
        v1.saved_model.load(session, request["tags"], request["path"])
        return
    message = v1.MetaGraphDef() if request["kind"] == "MetaGraphDef" else v1.GraphDef()
    with open(request["path"], "rb") as stream:
        message.ParseFromString(stream.read())
    definition = message.graph_def if request["kind"] == "MetaGraphDef" else message
    tf.import_graph_def(definition, name="")


class _Training(object):
    def __init__(self, tf, session, request):
        self.session, self.request = session, request
        self.reads, self.writes = {}, {}
        graph = session.graph
        for variable in request["variables"]:
            tensor, dtype = graph.get_tensor_by_name(variable["name"] + ":0"), tf.as_dtype(variable["dtype"])
            given = tf.compat.v1.placeholder(dtype, None)
            if variable["resource"]:
                self.reads[variable["name"]] = tf.raw_ops.ReadVariableOp(resource=tensor, dtype=dtype)
                write = tf.raw_ops.AssignVariableOp(resource=tensor, value=given)
            else:
                self.reads[variable["name"]] = tensor
                write = tf.raw_ops.Assign(ref=tensor, value=given, validate_shape=False)
            self.writes[variable["name"]] = (write, given)

    def _start(self, tf, np):
        """Gives the variables their first values: as the graph does, else those that came along."""
        with np.load(self.request["feeds"]) as feeds:
            for variable in self.request["variables"]:
                try:
                    if variable["initial"] is not None:
                        self.session.run(variable["initial"])
                        continue
                except _failures(tf):
                    pass  # it asks for more than there is; what follows says so, or gives a value
                if variable["start"] is not None:
                    self._put(np, variable["name"], feeds[variable["start"]])

    def _put(self, np, name, value):
        write, given = self.writes[name]
        self.session.run(write, {given: _typed(np, value, given.dtype)})

    def _load_state(self, np, t):
        with np.load(self.request["states"]) as states:
            for name in self.writes:
                self._put(np, name, states["{}/{}".format(t, name)])

    def _state(self):
        return self.session.run(self.reads)

    def run(self, np):
        import tensorflow as tf

        record, states = {}, self.request["states"]
        if states is not None:
            self._load_state(np, 0)
        elif self.request["kind"] != "SavedModel":
            self._start(tf, np)
        _note(np, record, 0, self._state())
        graph = self.session.graph
        targets = [graph.get_operation_by_name(name) for name in self.request["targets"]]
        fetch = {name: graph.get_tensor_by_name(ref) for name, ref in self.request["fetch"].items()}
        with np.load(self.request["feeds"]) as given:
            feeds = dict(given)
        for t in range(1, self.request["steps"] + 1):
            if self.request["each"] and t > 1:
                self._load_state(np, t - 1)
            head = "{}/".format(t)
            feed = {}
            for key, value in feeds.items():
                if key.startswith(head):
                    tensor = graph.get_tensor_by_name(key[len(head) :])
                    feed[tensor] = _typed(np, value, tensor.dtype)
            shown = self.session.run([targets, fetch], feed)[1]
            _note(np, record, t, self._state())
            _note(np, record, "{}/fetched".format(t), shown)
        return record


def _typed(np, value, dtype):
    """An array of a type; bit patterns are what states are kept as."""
    kind = np.dtype(dtype.as_numpy_dtype)
    if value.dtype.kind == "u" and kind.kind not in "iub":
        return np.ascontiguousarray(value).view(kind).reshape(value.shape)
    return np.asarray(value).astype(kind)


def _note(np, record, t, arrays):
    for name, array in arrays.items():
        array = np.asarray(array)
        if array.dtype.kind not in "iubOSU":
            array = np.ascontiguousarray(array).view("u{}".format(array.dtype.itemsize)).reshape(array.shape)
        if array.dtype.kind not in "OSU":
            record["{}/{}".format(t, name)] = array
