"""Patched code of a project under rules of ours, and what happens at its sites, written down.

Reaches into the run time, whether it is the package or a project's own copy; valid on Python 3.7.
"""

import contextlib
import json
import os
import tempfile

import numpy as np

#: of the values of rates that were seen: what lies below and above is out of bounds
_SHARES = (0.3, 0.7)


@contextlib.contextmanager
def rules_of(form):
    """The environment in which patched code emits tensors and obeys `form`, or no rule (None)."""
    form = {"version": 1, "rules": []} if form is None else form
    with tempfile.NamedTemporaryFile("w", suffix=".json", delete=False) as stream:
        json.dump(form, stream)
    given = {"ADAMPATCH_EMIT": "tensor", "ADAMPATCH_RULES": stream.name}
    os.environ.update(given)
    try:
        yield
    finally:
        for name in given:
            os.environ.pop(name, None)
        os.unlink(stream.name)


def quantiles(record, dtype, clamp="bounds"):
    """(low, high) between which the middle of the finite rates of a record lies, so that some lie
    beyond; `clamp`: "floor" or "ceiling" for one of them and None; None where all rates are one.
    Both are numbers of the format."""
    import tensorflow as tf

    number = tf.as_dtype(dtype).as_numpy_dtype
    rates = [
        np.ascontiguousarray(bits).reshape(-1).view(number).astype(np.float64)
        for name, bits in record.items()
        if name.split("/")[1] == "cross" and "/rate/" in name
    ]
    found = np.unique(np.concatenate(rates)) if rates else np.zeros(0)
    found = found[np.isfinite(found)]
    last = found.size - 1
    if last < 1 or found[0] < 0:
        return None
    low = float(found[max(1, int(_SHARES[0] * last))])
    high = float(found[min(last - 1, int(_SHARES[1] * last))])
    if clamp == "bounds":
        return low, max(low, high)
    return (low, None) if clamp == "floor" else (None, high)


@contextlib.contextmanager
def sites(eager):
    """A list that gets, for each site that eager code runs through, its arrays: rate, direction,
    decay (where there is one), update as stock has it, and what was returned in its place. It
    stays empty where `eager` is false."""
    from adampatch.verify.worker.families import run_times

    seen, undo = [], []
    for runtime in run_times() if eager else ():
        undo += _watch_steps(runtime.stepping, seen) + _watch_kernels(runtime.fusing, seen)
    try:
        yield seen
    finally:
        for owner, name, value in undo:
            setattr(owner, name, value)


def _watch_steps(stepping, seen):
    stepped = stepping.stepped

    def watched(binding, optimizer, variable, update, rate, direction, decay, alpha, indices):
        site = {"rate": rate(), "direction": direction(), "update": update}
        offset = None if decay is None else decay()
        if offset is not None:
            site["decay"] = offset
        out = stepped(binding, optimizer, variable, update, rate, direction, decay, alpha, indices)
        _keep(seen, dict(site, returned=out))
        return out

    stepping.stepped = watched
    return [(stepping, "stepped", stepped)]


def _watch_kernels(fusing, seen):
    bounded_call, write_variable = fusing._bounded_call, fusing.kernels.write_variable
    reads = []

    def watched(site, kernel, resource, x):
        read = kernel.read

        def reading(*arguments):
            reads.append(read(*arguments))
            return reads[-1]

        kernel.read = reading
        try:
            return bounded_call(site, kernel, resource, x)
        finally:
            kernel.read = read

    def writing(x, update, writes, resource):
        if reads:
            read = reads.pop()
            _keep(
                seen,
                {
                    "rate": read.rate,
                    "direction": read.direction,
                    "update": read.update,
                    "returned": update,
                },
            )
        return write_variable(x, update, writes, resource)

    fusing._bounded_call, fusing.kernels.write_variable = watched, writing
    return [
        (fusing, "_bounded_call", bounded_call),
        (fusing.kernels, "write_variable", write_variable),
    ]


def _keep(seen, site):
    arrays = {name: np.asarray(getattr(value, "values", value)) for name, value in site.items()}
    if arrays["returned"].dtype == np.float32:
        seen.append({name: array.astype(np.float32) for name, array in arrays.items()})
