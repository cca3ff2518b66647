"""Runs a patched training script as it is and writes down the rates that adampatch observes.

    python demo_collect.py SAMPLES.json EVERY train.py [ARGUMENTS...]

The script knows nothing of adampatch and stays as it is on disk: in this process only, `Model.fit`
is given one more callback and `Session.run` fetches a few more tensors. SAMPLES.json becomes a list
of snapshots, one per sampled update, as `adampatch.snapshot` returns them.
"""

import functools
import json
import runpy
import sys
from pathlib import Path

import numpy as np

QUANTILES = {"min": 0.0, "p05": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95, "max": 1.0}


def collect_from_keras(samples):
    """Have every `Model.fit` append the snapshot of each sampled update."""
    import keras

    import adampatch

    class Collector(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            snapshot = adampatch.snapshot(self.model.optimizer)
            if not samples or samples[-1]["step"] != snapshot["step"]:
                samples.append(snapshot)

    stock_fit = keras.Model.fit

    @functools.wraps(stock_fit)
    def fit(self, *args, callbacks=None, **kwargs):
        return stock_fit(self, *args, callbacks=[*(callbacks or []), Collector()], **kwargs)

    keras.Model.fit = fit


def collect_from_sessions(samples, every):
    """Have every `Session.run` of a train op fetch the rates too, once in `every` updates.

    In a v1 graph nothing runs that is not fetched, so the rates are tensors beside the train op:
    `adampatch.v1.tensors()`.
    """
    import tensorflow.compat.v1 as tf

    from adampatch import v1

    train_ops = []
    stock_apply_gradients = tf.train.Optimizer.apply_gradients
    stock_run = tf.Session.run
    updates = 0

    @functools.wraps(stock_apply_gradients)
    def apply_gradients(self, *args, **kwargs):
        train_op = stock_apply_gradients(self, *args, **kwargs)
        train_ops.append(train_op)
        return train_op

    @functools.wraps(stock_run)
    def run(self, fetches, *args, **kwargs):
        nonlocal updates
        if not any(fetch is op for fetch in tf.nest.flatten(fetches) for op in train_ops):
            return stock_run(self, fetches, *args, **kwargs)
        updates += 1
        if updates % every != 1 % every:
            return stock_run(self, fetches, *args, **kwargs)
        result, values = stock_run(self, (fetches, v1.tensors(self.graph)), *args, **kwargs)
        samples.append(snapshot_of_arrays(updates, values))
        return result

    tf.train.Optimizer.apply_gradients = apply_gradients
    tf.Session.run = run


def snapshot_of_arrays(step, values):
    """A snapshot, in the form of `adampatch.snapshot`, of one update of a v1 graph.

    `values` maps variable op names to the arrays `rate`, `alpha`, `update` and `clamped`. An element
    whose update is zero has no first moment: it is not active.
    """
    return {
        "step": step,
        "alpha": float(next(iter(values.values()))["alpha"]),
        "variables": {name: variable_statistics(value) for name, value in values.items()},
    }


def variable_statistics(value):
    rate, clamped = value["rate"], value["clamped"]
    active = value["update"] != 0
    statistics = {
        "elements": rate.size,
        "active_frac": float(active.mean()),
        "clamped_frac": float(clamped.mean()),
        "clamped_frac_active": float(clamped[active].mean()) if active.any() else 0.0,
        "nonfinite": int(np.sum(~np.isfinite(rate))),
    }
    for suffix, rates in (("", rate.ravel()), ("_active", rate[active])):
        rates = rates[np.isfinite(rates)]
        for name, quantile in QUANTILES.items():
            statistics[f"rate_{name}{suffix}"] = float(np.quantile(rates, quantile)) if rates.size else np.nan
    return statistics


def main():
    samples_path, every, script, *arguments = sys.argv[1:]
    samples = []
    if "compat.v1" in Path(script).read_text(encoding="utf-8"):
        collect_from_sessions(samples, int(every))
    else:
        collect_from_keras(samples)

    sys.argv = [script, *arguments]
    sys.path[0] = str(Path(script).resolve().parent)  # as `python train.py` sets it
    runpy.run_path(script, run_name="__main__")

    Path(samples_path).write_text(json.dumps(samples, default=float), encoding="utf-8")


if __name__ == "__main__":
    main()
