"""Serves cases: one JSON request per line on stdin, one JSON answer per line on stdout.

    {"do": "describe"}                     -> versions, devices, GPUs by name
    {"do": "discover", "again": false}     -> the Adam-family optimizers of this environment
    {"do": "calibrate", "dtype": "float32", "device": "CPU:0", "numbers": FILE.npz, "out": FILE.npz}
    {"do": "run", "case": {...}, "numbers": FILE.npz, "out": FILE.npz}
    {"do": "inspect", "module": M, "name": N}, {"do": "limit", "gigabytes": G}
    {"do": "run_graph", ...}, see graph_cases
    {"do": "run_stock"}, {"do": "run_patched"}: halves of "run", in two processes, with "states": FILE.npz

Runs with the standard library, NumPy, TensorFlow and adampatch's target side; Python 3.7.
"""

import contextlib
import functools
import importlib
import json
import os
import platform
import sys
import traceback
import warnings
import zlib

#: how often a step of a graph is made again
_REPEATS = 8


def _numbers(tensor):
    """An array as bit patterns (unsigned), integers as they are."""
    import numpy as np

    array = np.asarray(tensor)
    if array.dtype.kind in "iub":
        return array
    return np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}").reshape(array.shape)


def _words(error):
    lines = [line.strip() for line in str(error).strip().split("\n")]
    # AutoGraph puts the error last, below the user's own lines
    words = lines[-1] if lines[0].startswith("in user code") else lines[0]
    return "{}: {}".format(type(error).__name__, words[:300])


def _cast(array, dtype):
    import numpy as np
    import tensorflow as tf

    with np.errstate(over="ignore"):
        return np.asarray(array).astype(tf.as_dtype(dtype).as_numpy_dtype)


def _two_processors(tf):
    """Makes two logical devices of the CPU, for replicas; TensorFlow must not have started."""
    config = tf.config if hasattr(tf.config, "set_logical_device_configuration") else tf.config.experimental
    kind = getattr(config, "LogicalDeviceConfiguration", None) or config.VirtualDeviceConfiguration
    divide = (
        getattr(config, "set_logical_device_configuration", None) or config.set_virtual_device_configuration
    )
    with contextlib.suppress(RuntimeError, ValueError):  # it has started, or has no CPU of that name
        divide(config.list_physical_devices("CPU")[0], [kind(), kind()])


def describe(request):
    import numpy as np
    import tensorflow as tf

    _two_processors(tf)
    if not tf.executing_eagerly():  # TensorFlow 1 can, if it is told before anything else
        tf.compat.v1.enable_eager_execution()

    versions = {"python": platform.python_version(), "tensorflow": tf.__version__, "numpy": np.__version__}
    for name in ("keras", "tf_keras", "tensorflow_addons"):
        with contextlib.suppress(Exception):  # what is broken is not there
            versions[name] = __import__(name).__version__
    config = tf.config if hasattr(tf.config, "list_logical_devices") else tf.config.experimental
    devices = [d.name.split("device:")[-1] for d in config.list_logical_devices()]
    # XLA_CPU and XLA_GPU are other names for the same device
    devices = [name for name in devices if name.split(":")[0] in ("CPU", "GPU")]
    found = {"versions": versions, "devices": devices, "machine": platform.machine()}
    from adampatch.verify.worker import accelerators

    gpus = accelerators.described(tf)
    return dict(found, accelerators=gpus) if gpus else found


def discover(request):
    from adampatch.runtime import bind, patching, stock_table
    from adampatch.verify.worker import discovery

    if request.get("again"):  # the table has been written anew
        importlib.reload(stock_table)
    found, unknown = discovery.discover(functools.partial(patching.patched_class, bind()))
    return {"optimizers": found, "unknown": unknown}


def calibrate(request):
    """Divides, takes roots and powers of the given numbers, in a format on a device."""
    import numpy as np
    import tensorflow as tf

    dtype, given = request["dtype"], np.load(request["numbers"])
    with tf.device(request["device"]):
        values = {name: tf.constant(_cast(given[name], dtype)) for name in given.files}
        found = {"sqrt": tf.sqrt(values["x"])}
        if "y" in values:
            found["divide"] = tf.divide(values["x"], values["y"])
            found["power"] = tf.pow(values["base"], values["exponent"])
        np.savez(request["out"], **{name: _numbers(value.numpy()) for name, value in found.items()})
    return {}


def inspect_class(request):
    """What can be said of a class before it is run."""
    import inspect

    from adampatch.verify.worker import discovery

    cls = _class_of(request)
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
    named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    defaults = {p.name: p.default for p in named if isinstance(p.default, (bool, int, float, str))}
    return {
        "family": discovery.family_of(cls),
        "names": [p.name for p in named],
        "required": [p.name for p in named if p.default is p.empty],
        "defaults": defaults,
    }


def limit(request):
    """Bounds the memory of this process, where the system can."""
    try:
        import resource
    except ImportError:
        return {"limited": False}
    size = int(request["gigabytes"] * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (size, size))
    return {"limited": True}


def run(request):
    """Trains stock and patched side by side and writes what each step left."""
    return _recorded(request, _side_by_side)


def run_stock(request):
    """Trains the class that is imported here; the states of each step come with the record."""
    return _recorded(request, _alone)


def run_patched(request):
    """Trains the class that is imported here, which is patched, from states that `run_stock` left."""
    return _recorded(request, _from_states)


def _recorded(request, how):
    import numpy as np
    import tensorflow as tf

    case, record = request["case"], {}
    if case["mode"] == "xla" and _release(tf) < (2, 10):
        return {
            "not_run": "XLA before TensorFlow 2.10 keeps to no rounding that a bound could be derived from"
        }
    if case["mode"] == "function" and _release(tf) < (2,):
        return {"not_run": "before TensorFlow 2 a function hands tensors of its own out of itself"}
    with tf.device(case["device"]), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            told = how(Setup(case, np.load(request["numbers"])), record, request)
        except ValueError as error:
            if case["rule"] is None or not str(error).startswith("adampatch: the rules "):
                raise
            return {"not_run": "it refuses the rule: " + _words(error).partition("rule ")[2]}
    np.savez(request["out"], **record)
    return dict(told, warned=warned(caught))


def warned(caught):
    """What patched code warned of: each of these is an update that it could not observe or bound."""
    words = [str(warning.message) for warning in caught]
    return sorted(set(text for text in words if text.startswith("adampatch: ")))


def _release(tf):
    return tuple(int(part) for part in tf.__version__.split(".")[:2])


def _class_of(where):
    """A class by its dotted path, or by "module" and "name" where importing it may fail."""
    from adampatch.verify.worker import discovery

    if not where.get("module"):
        return discovery.module_of(where["path"])
    found = importlib.import_module(where["module"])
    for part in where["name"].split("."):
        found = getattr(found, part)
    return found


class Setup(object):
    """A case with its numbers: makes trainings."""

    def __init__(self, case, given):
        from adampatch.verify.worker import graphs

        self.case = case
        where = case["optimizer"]
        self.cls = _class_of(where)
        self.kind = graphs.training_for(where["family"], where["name"], case["mode"])
        self.count, self.steps = len(case["shapes"]), range(1, case["steps"] + 1)
        self.start = [_cast(given[f"start/{i}"], case["dtype"]) for i in range(self.count)]
        dtype = case["gradient_dtype"] or case["dtype"]
        self.grads = {t: [_cast(given[f"g/{t}/{i}"], dtype) for i in range(self.count)] for t in self.steps}
        names = [f"indices/{i}" for i in range(self.count)]
        #: whether an update is made to fail in between: what a failing trace leaves is Keras' own affair
        self.fails = case["mode"] == "eager" and not case["arguments"] and case["strategy"] == "none"
        #: for each variable the rows of its sparse gradient by step, or None
        self.indices = [given[name].tolist() if name in given else None for name in names]

    def training(self, wrap=lambda cls: cls):
        case = self.case
        return self.kind(
            wrap(self.cls),
            case["options"],
            case["rates"][0],
            self.start,
            [None if steps is None else len(steps[0]) for steps in self.indices],
            case["mode"],
            case["schedule"],
            case["arguments"],
            case["strategy"],
        )

    def step(self, which, t):
        if self.case["schedule"] in ("changed", "constant", "callable") and not self.case["arguments"]:
            which.set_learning_rate(self.case["rates"][t - 1])
        rows = [None if steps is None else steps[t - 1] for steps in self.indices]
        return which.update(self.grads[t], rows)


def _note(record, run, t, arrays):
    for name, array in arrays.items():
        record[f"{t}/{run}/{name}"] = _numbers(array)


def _same_bits(one, other):
    """Whether two states, arrays and counters, are the same to the bit."""
    import numpy as np

    arrays, counters = zip(one, other)
    same = (np.array_equal(_numbers(arrays[0][name]), _numbers(arrays[1][name])) for name in arrays[0])
    return set(arrays[0]) == set(arrays[1]) and counters[0] == counters[1] and all(same)


def _emission(record, told, run, t, which):
    """Notes what a training shows of its last update: the arrays in the record, words in `told`."""
    _note(record, run, t, which.emitted())
    told["said"].setdefault(run, {})[t] = dict(which.statistics() or {}, ran=which.ran)


def _stock(setup, record):
    """(states by step, what is told of it: learning rates by step and what races) of stock; the record
    gets its gradients and states."""
    rates = {}
    stock = setup.training()
    states = {0: stock.read()}
    for t in setup.steps:
        rates[t] = setup.step(stock, t)
        states[t] = stock.read()
    for t in setup.steps if setup.case["mode"].startswith("graph") else ():
        again = {f"{t}/stock/{name}": _numbers(array) for name, array in states[t][0].items()}
        _repeat(setup, again, "stock", states, t, stock)
        if len(again) > len(states[t][0]):
            raise RuntimeError(f"two runs of its step {t} from one state differ")
    for t in setup.steps:
        _note(record, "g", t, {str(i): g for i, g in enumerate(setup.grads[t])})
    for t, (arrays, _) in states.items():
        _note(record, "stock", t, arrays)
    return states, {"rates": rates, "races": {"stock": stock.races()}, "said": {}}


def _ours(setup, record, told, states, patched):
    """A patched training: on its own, and from each of stock's states. `patched` makes one, and
    another where the case is restored."""
    alike, shown = True, set()
    ours = patched()
    ours.load(states[0])
    for t in setup.steps:
        setup.step(ours, t)
        now = ours.read()
        _note(record, "free", t, now[0])
        alike = alike and _same_bits(now, states[t])
        if setup.case["frugal"] and alike:  # so far it has stood where stock stood
            _note(record, "cross", t, now[0])
            _emission(record, told, "cross", t, ours)
            shown.add(t)
        if t == setup.case["restore"]:
            ours = patched()
            ours.load(now)
    for t in [t for t in setup.steps if t not in shown]:
        _note(record, "cross", t, _after(setup, states, t, ours))
        _emission(record, told, "cross", t, ours)
        _repeat(setup, record, "cross", states, t, ours)
    told["races"]["cross"] = ours.races()
    told["untracked"] = ours.untracked()


def _bounded(setup, record, told, states, patched):
    """The same under a rule, from each of stock's states. In eager code an update fails in between,
    which may leave nothing behind; what rules remember goes through a checkpoint where the case is
    restored."""
    bounded = patched()
    for t in setup.steps:
        # what such a rule remembers is of the updates that there were
        remembers = bool(setup.case["forms"])
        if t == 2 and setup.fails and not remembers:
            bounded.fail(setup.grads[t])
        _note(record, "bounded", t, _after(setup, states, t, bounded))
        _emission(record, told, "bounded", t, bounded)
        if not remembers:
            _repeat(setup, record, "bounded", states, t, bounded)
        elif t == setup.case["restore"]:
            former, bounded = bounded, patched()
            bounded.resume(former)
    told["races"]["bounded"] = bounded.races()


def _quiet(setup, record, told, states, quiet):
    """Where less is emitted than tensors at every step, from each of stock's states."""
    for t in setup.steps:
        if t == 2 and setup.fails and not setup.case["forms"]:
            quiet.fail(setup.grads[t])
        _note(record, "quiet", t, _after(setup, states, t, quiet))
        _emission(record, told, "quiet", t, quiet)


def _refused(setup, patched):
    """How an optimizer refuses rules of which a pattern matches no variable: when it is built, or where a
    family is told its variables no sooner, by its first update; None where it does not, or too late."""
    training = None
    try:
        training = patched()
        if not training.built_first:
            setup.step(training, 1)
    except ValueError as error:
        moved = training is not None and not _same_bits(_variables(training), _variables(setup.training()))
        return None if moved else _words(error)
    return None


def _variables(training):
    arrays, counters = training.read()
    return {name: array for name, array in arrays.items() if name.startswith("w/")}, counters


def _after(setup, states, t, which):
    """The arrays of a training after step `t` from the state that stock had before it."""
    which.load(states[t - 1])
    setup.step(which, t)
    return which.read()[0]


def _repeat(setup, record, run, states, t, which):
    """Makes a step of a graph, which many threads run, again and again from its state. What differs
    from the first outcome is noted as "race": what runs beside each other is not ordered."""
    import numpy as np

    for _ in range(_REPEATS if setup.case["mode"].startswith("graph") else 0):
        for name, array in _after(setup, states, t, which).items():
            bits = _numbers(array)
            if not np.array_equal(bits, record[f"{t}/{run}/{name}"]):
                record[f"race/{t}/{run}/{name}"] = bits


def _side_by_side(setup, record, request):
    try:
        states, told = _stock(setup, record)
    except Exception as error:
        return {"not_run": "stock itself: " + _words(error)}
    for run in patched_runs(setup, record, told, states):
        run()
    return told


def patched_runs(setup, record, told, states, alter=lambda cls: cls):
    """The runs of the patched class, changed by `alter`: functions that fill the record and what is told,
    to be called in their order. The first answers all but what a rule asks for."""
    from adampatch.runtime import bind

    case = setup.case

    def patched(bounds=None, emit="tensor", every=1, rules=None, ruled=False):
        rules = rules or (None if bounds is None else _rules(case, *bounds))
        if case["forms"] and ruled:
            rules = {"version": 1, "rules": case["forms"]}
        if rules is not None:
            rules = dict(rules, runtime={"compile": _is_compiled(case)})
        return setup.training(lambda cls: alter(bind(rules).patched(cls, emit=emit, every=every)))

    def ours():
        from adampatch.verify.worker import watching

        _ours(setup, record, told, states, patched)
        if case["bounds"] is None and case["clamp"] is not None:
            told["bounds"] = watching.quantiles(record, case["dtype"], case["clamp"])

    def bounded():
        bounds = told.get("bounds", case["bounds"])
        if case["forms"]:
            try:
                _bounded(setup, record, told, states, lambda: patched(ruled=True))
            except ValueError as error:  # an optimizer that does not have what the rule asks for
                if "the code does not show" not in str(error):
                    raise
                told["not_ruled"] = str(error)
        elif bounds is not None:
            _bounded(setup, record, told, states, lambda: patched(bounds))
            if case["outside"]:
                told["refused"] = _refused(
                    setup, lambda: patched(rules=_rules(case, *bounds, "no/such/variable"))
                )

    def quiet():
        if case["emit"] != "tensor":
            bounds = told.get("bounds", case["bounds"])
            emit, every = case["emit"], case["every"]
            _quiet(setup, record, told, states, patched(bounds, emit, every, ruled=True))

    return [ours, bounded, quiet]


def _is_compiled(case):
    """Whether the bounded updates of a case are compiled wherever they can be: those of every other case,
    by all that it is made of, so that both ways are judged."""
    return zlib.crc32(json.dumps(case, sort_keys=True).encode()) % 2 == 0


def _rules(case, low, high, pattern=None):
    """The normal form that bounds the rates of a case: one rule for all variables; where some are outside,
    one for each side, which names them in its own way. `pattern`: one more that has to match."""
    outside, sides = case["outside"], [("min", low), ("max", high)]
    found = [dict([("match", ["**"])] + sides)]
    if outside:
        inside = "|".join(str(i) for i in range(len(case["shapes"])) if i not in outside)
        found = [
            {"match": ["**"], "exclude": [f"**/w{i}" for i in outside], "min": low},
            {"match": ["re:(^|/)w({})$".format(inside)], "max": high},
        ]
    if pattern is not None:
        found[0]["match"] = found[0]["match"] + [pattern]
    found = [{name: value for name, value in rule.items() if value is not None} for rule in found]
    found = [rule for rule in found if "min" in rule or "max" in rule]
    rules = [dict(rule, id=f"verify-{k}", quantity="rate") for k, rule in enumerate(found)]
    return {"version": 1, "rules": rules}


# ------------------------------------------------------------------------ projects


def _alone(setup, record, request):
    import numpy as np

    try:
        states, told = _stock(setup, record)
    except Exception as error:
        return {"not_run": "stock itself: " + _words(error)}
    kept = {f"{t}/{name}": array for t, (arrays, _) in states.items() for name, array in arrays.items()}
    np.savez(request["states"], **kept)
    return dict(told, counters={t: counters for t, (_, counters) in states.items()})


def _from_states(setup, record, request):
    import numpy as np

    from adampatch.verify.worker import watching

    kept = np.load(request["states"])
    states = {
        int(t): ({key.split("/", 1)[1]: kept[key] for key in kept.files if key.split("/")[0] == t}, counters)
        for t, counters in request["counters"].items()
    }
    told = {"rates": {t: 0.0 for t in setup.steps}, "races": {}, "said": {}}
    forms = setup.case["forms"]
    if forms:
        with watching.rules_of(None):
            _ours(setup, record, told, states, setup.training)
        with watching.rules_of({"version": 1, "rules": forms}):
            _bounded(setup, record, told, states, setup.training)
        return told
    with watching.rules_of(None):
        _ours(setup, record, told, states, setup.training)
    if setup.case["watch"]:
        told["bounds"] = bounds = setup.case["bounds"] or watching.quantiles(record, setup.case["dtype"])
        if bounds is not None:
            with watching.rules_of(_rules(setup.case, *bounds)):
                bounded = setup.training()
                with watching.sites(setup.case["mode"] == "eager") as seen:
                    _bounded(setup, record, told, states, lambda: bounded)
            for k, site in enumerate(seen):
                record.update({f"site/{k}/{name}": _numbers(array) for name, array in site.items()})
    return told


def run_graph(request):
    from adampatch.verify.worker import graph_cases

    return graph_cases.run_graph(request)


_DOING = {
    "describe": describe,
    "discover": discover,
    "calibrate": calibrate,
    "inspect": inspect_class,
    "limit": limit,
    "run": run,
    "run_stock": run_stock,
    "run_patched": run_patched,
    "run_graph": run_graph,
}


def serve(requests, answers):
    """Answers each request; an error of the user's TensorFlow is an answer too."""
    for line in requests:
        request = json.loads(line)
        try:
            answer = _DOING[request["do"]](request)
        except (Exception, SystemExit) as error:
            answer = {"error": _words(error), "traceback": traceback.format_exc()}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def main():
    # TensorFlow and others print to stdout; the answers get a descriptor of their own.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(sys.stdin, answers)


if __name__ == "__main__":
    main()
