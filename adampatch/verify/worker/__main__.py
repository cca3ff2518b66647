"""Serves cases: one JSON request per line on stdin, one JSON answer per line on stdout.

    {"do": "describe"}                     -> versions, devices
    {"do": "discover", "again": false}     -> the Adam-family optimizers of this environment
    {"do": "calibrate", "dtype": "float32", "device": "CPU:0", "numbers": FILE.npz, "out": FILE.npz}
    {"do": "run", "case": {...}, "numbers": FILE.npz, "out": FILE.npz}

Runs with the standard library, NumPy, TensorFlow and adampatch's target side; Python 3.7.
"""

import contextlib
import importlib
import json
import os
import platform
import sys
import traceback


def _numbers(tensor):
    """An array as bit patterns (unsigned), integers as they are."""
    import numpy as np

    array = np.asarray(tensor)
    if array.dtype.kind in "iub":
        return array
    return np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}").reshape(array.shape)


def _words(error):
    return "{}: {}".format(type(error).__name__, str(error).strip().split("\n")[0][:300])


def _cast(array, dtype):
    import numpy as np
    import tensorflow as tf

    with np.errstate(over="ignore"):
        return np.asarray(array).astype(tf.as_dtype(dtype).as_numpy_dtype)


def describe(request):
    import numpy as np
    import tensorflow as tf

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
    return {"versions": versions, "devices": devices, "machine": platform.machine()}


def discover(request):
    from adampatch.runtime import bind, stock_table
    from adampatch.verify.worker import discovery

    if request.get("again"):  # the table has been written anew
        importlib.reload(stock_table)
    found, unknown = discovery.discover(bind().patched)
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


def run(request):
    """Trains stock and patched side by side and writes what each step left."""
    import numpy as np
    import tensorflow as tf

    case, given = request["case"], np.load(request["numbers"])
    record = {}
    with tf.device(case["device"]):
        told = _run(case, given, record)
    np.savez(request["out"], **record)
    return told


def _release(tf):
    return tuple(int(part) for part in tf.__version__.split(".")[:2])


def _run(case, given, record):
    import tensorflow as tf

    from adampatch.runtime import bind
    from adampatch.verify.worker import discovery, families

    where = case["optimizer"]
    cls = discovery.module_of(where["path"])
    if case["mode"] == "xla" and _release(tf) < (2, 10):
        return {
            "not_run": "XLA before TensorFlow 2.10 keeps to no rounding that a bound could be derived from"
        }
    kind = families.training_for(where["family"], where["name"], case["mode"])
    count, steps = len(case["shapes"]), range(1, case["steps"] + 1)
    start = [_cast(given[f"start/{i}"], case["dtype"]) for i in range(count)]
    grads = {t: [_cast(given[f"g/{t}/{i}"], case["dtype"]) for i in range(count)] for t in steps}
    indices = given["indices"].tolist() if "indices" in given else None

    def training(wrap):
        return kind(
            wrap(cls), case["options"], case["rates"][0], start, indices, case["mode"], case["schedule"]
        )

    def note(run, t, arrays):
        for name, array in arrays.items():
            record[f"{t}/{run}/{name}"] = _numbers(array)

    def step(which, t):
        if not case["schedule"]:
            which.set_learning_rate(case["rates"][t - 1])
        return which.update(grads[t])

    def emission(run, t, which):
        rates, alpha = which.emitted()
        note(run, t, {f"rate/{i}": rate for i, rate in rates.items()})
        return alpha

    rates, alphas = {}, {}
    try:
        stock = training(lambda c: c)
        states = {0: stock.read()}
        for t in steps:
            rates[t] = step(stock, t)
            states[t] = stock.read()
    except Exception as error:
        return {"not_run": "stock itself: " + _words(error)}
    for t in steps:
        for i in range(count):
            record[f"{t}/g/{i}"] = _numbers(grads[t][i])
    for t, (arrays, _) in states.items():
        note("stock", t, arrays)

    ours = training(lambda c: bind().patched(c, emit="tensor"))
    ours.load(states[0])
    for t in steps:
        step(ours, t)
        note("free", t, ours.read()[0])
    for t in steps:
        ours.load(states[t - 1])
        step(ours, t)
        note("cross", t, ours.read()[0])
        alphas[t] = emission("cross", t, ours)

    if case["bounds"] is not None:
        low, high = case["bounds"]
        rule = {"id": "verify", "match": ["**"], "quantity": "rate", "min": low, "max": high}
        bounded = training(lambda c: bind({"version": 1, "rules": [rule]}).patched(c, emit="tensor"))
        for t in steps:
            bounded.load(states[t - 1])
            step(bounded, t)
            note("bounded", t, bounded.read()[0])
            emission("bounded", t, bounded)
    return {"rates": rates, "alphas": alphas}


_DOING = {"describe": describe, "discover": discover, "calibrate": calibrate, "run": run}


def serve(requests, answers):
    """Answers each request; an error of the user's TensorFlow is an answer too."""
    for line in requests:
        request = json.loads(line)
        try:
            answer = _DOING[request["do"]](request)
        except Exception as error:
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
