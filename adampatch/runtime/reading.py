"""effective_rates and snapshot: what was sampled, as NumPy arrays and Python floats.

Reads variables of ours; writes nothing.
"""

import numpy as np

from adampatch.runtime import fetching, measures, records, settings, wrappers
from adampatch.runtime.lazy import tf
from adampatch.runtime.settings import NotYetAvailable

PERCENTILES = (
    ("rate_min", 0), ("rate_p05", 5), ("rate_p25", 25), ("rate_p50", 50),
    ("rate_p75", 75), ("rate_p95", 95), ("rate_max", 100),
)  # fmt: skip


def _records(optimizer):
    """Of the optimizer and of all that it wraps."""
    return [record for part in wrappers.opened(optimizer) for record in records.find(part)]


def is_patched(optimizer):
    """Whether `optimizer`, or one that it wraps, is patched."""
    return any(
        getattr(type(part), "__adampatch_observed__", False) or records.find(part)
        for part in wrappers.opened(optimizer)
    )


def _put(out, key, value):
    """Several optimizers in one wrapper may name their variables alike: the second is key#2."""
    name, n = key, 1
    while name in out:
        n += 1
        name = "{}#{}".format(key, n)
    out[name] = value


def _in_graph(optimizer):
    try:
        eager = tf.executing_eagerly()
    except ImportError:
        return ""
    if not eager and getattr(tf.compat.v1.get_default_graph(), "_adampatch_tensors", None):
        return " In a v1 graph fetch adampatch.v1.tensors() instead."
    return ""


def _unavailable(optimizer, what, fix):
    if not is_patched(optimizer):
        fix = "it is no patched optimizer; pass the optimizer through adampatch.patched() before training"
    return NotYetAvailable(
        "adampatch: {} of {}: {}.{}".format(what, type(optimizer).__name__, fix, _in_graph(optimizer))
    )


def effective_rates(optimizer):
    """The effective rates of the last sampled update.

    Returns {variable path: NumPy array of the variable's shape and dtype}, copies; the rate
    is what multiplied the direction, after any rule; with every=1 (the default for
    emit="tensor") that is the last update.

    Raises NotYetAvailable, naming the setting, when nothing was emitted yet.
    """
    found = _records(optimizer)
    out = {}
    for record in found:
        for store in list(record.stores.values()):
            if store.full is not None:
                _put(out, store.key, np.array(store.full.numpy()))
    if out:
        return out
    if found and all(record.settings.emit != "tensor" for record in found):
        raise _unavailable(
            optimizer,
            "the effective rates",
            'emit is "{}"; use patched(optimizer, emit="tensor"), emit = "tensor" in the [observe] table, or '
            "ADAMPATCH_EMIT=tensor".format(found[0].settings.emit),
        )
    raise _unavailable(
        optimizer,
        "the effective rates",
        'no update ran yet; they need emit="tensor" (patched(optimizer, emit="tensor") or '
        "ADAMPATCH_EMIT=tensor) and one update of a patched optimizer",
    )


def percentiles(rates, suffix):
    """{"rate_p50" + suffix: ...} of the finite ones of `rates`."""
    rates = rates[np.isfinite(rates)].astype(np.float64)
    if rates.size == 0:
        return {name + suffix: float("nan") for name, _ in PERCENTILES}
    # What `np.percentile` does, without its checks, which take longer than all the rest of a sample.
    places = [share / 100.0 * (rates.size - 1) for _, share in PERCENTILES]
    values = np.interp(places, np.arange(rates.size), np.sort(rates)).tolist()
    return {name + suffix: value for (name, _), value in zip(PERCENTILES, values)}


def _sample(store):
    """(rates, 1.0 where the element is active), float32 [k] each."""
    return fetching.host_value(store.sheet.samples)[:, store.span[0] : store.span[1]]


def _describe(store):
    rates, active = _sample(store)
    numbers = fetching.host_value(store.sheet.numbers)[store.row]
    counts, sums = numbers[: store.sheet.COUNTS], numbers[store.sheet.COUNTS :]
    clamped, clamped_active, active_count, nonfinite, touched, dominated, dominated_active = map(int, counts)
    out = percentiles(rates, "")
    if active.all():
        out.update([(name + "_active", out[name]) for name, _ in PERCENTILES])
    else:
        out.update(percentiles(rates[active != 0], "_active"))
    out["active_frac"] = active_count / float(max(touched, 1))
    out["clamped_frac"] = clamped / float(max(touched, 1))
    out["clamped_frac_active"] = clamped_active / float(max(active_count, 1))
    out["eps_dominated_frac"] = None if dominated < 0 else dominated / float(max(touched, 1))
    out["eps_dominated_frac_active"] = (
        None if dominated < 0 else dominated_active / float(max(active_count, 1))
    )
    out.update(measures.described(sums.tolist(), touched, active_count))
    out["nonfinite"] = nonfinite
    out["elements"] = store.elements
    out["rules"] = _rules(store, touched, active_count)
    return out


def _listed(variable):
    return fetching.host_value(variable).tolist()


def _rules(store, touched, active):
    """{rule id: what it did}, of a rule with bounds and limits of change together under both."""
    if store.rules is None:
        return {}
    out = {}
    for name, row, total in zip(store.hits, _listed(store.rules), _listed(store.totals)):
        low, high, clamped, clamped_active, changed, crossed, relative = row
        _put(
            out,
            name,
            {
                "min": _plain(low),
                "max": _plain(high),
                "clamped_frac": clamped / max(touched, 1),
                "clamped_frac_active": clamped_active / max(active, 1),
                "changed_frac": changed / max(touched, 1),
                "clamp_rel_change": relative,
                "crossed": bool(crossed),
                "samples": total[0],
                "clamped_total": total[1],
                "clamped_active_total": total[2],
                "changed_total": total[3],
                "crossed_total": total[4],
            },
        )
    return out


def _plain(value):
    value = float(value)
    return None if value != value else value


def to_read(found):
    """The variables that a snapshot is made of."""
    small = []
    for record in found:
        small += [] if record.scalars is None else [record.updates] + list(record.scalars)
        for store in list(record.stores.values()):
            small += [store.sheet.samples, store.sheet.numbers]
            small += [] if store.rules is None else [store.rules, store.totals]
    return small


def snapshot_of(found):
    """What `snapshot` returns, of the records of one optimizer; None where nothing was sampled yet."""
    with fetching.Together(to_read(found)):
        return _snapshot_of(found)


def _snapshot_of(found):
    out = None
    for record in found:
        if record.scalars is None or not record.stores:
            continue
        step = int(fetching.host_value(record.scalars[1]))
        if step == 0:
            continue  # traced, not run
        lr, alpha = (_plain(value) for value in fetching.host_value(record.scalars[0]))
        if out is None:
            out = {"step": step, "lr": lr, "alpha": alpha, "variables": {}}
        else:  # several optimizers in one wrapper
            out["step"] = max(out["step"], step)
            out["lr"] = lr if out["lr"] == lr else None
            out["alpha"] = alpha if out["alpha"] == alpha else None
        for store in list(record.stores.values()):
            _put(out["variables"], store.key, _describe(store))
    return out


def samples_of(found):
    """{path: (rates, whether each is of an active element)} that the percentiles are of; float32 [k]
    and bool [k]."""
    out = {}
    with fetching.Together(to_read(found)):
        for record in found:
            for store in list(record.stores.values()):
                rates, active = _sample(store)
                _put(out, store.key, (rates, active != 0))
    return out


def updates_of(record):
    """How many updates of its optimizer a record has seen."""
    return 0 if record.updates is None else int(fetching.host_value(record.updates))


def snapshot(optimizer):
    """Statistics of the last sampled update.

    Returns {"step", "lr", "alpha", "variables": {path: {...}}}, copies, Python numbers:
    `step` counts optimizer updates from 1; `lr` and `alpha` are None where the code does not
    show them, or where a wrapper holds optimizers that differ in them; per variable
    `rate_min`, `_p05`, `_p25`, `_p50`, `_p75`, `_p95`, `_max` of the effective rate over a
    strided sample of at most 4096 elements, the same with the suffix
    `_active` over the elements whose direction is not 0, and exact over all elements
    `active_frac`, `clamped_frac`, `clamped_frac_active`, `nonfinite` (a count) and `elements`;
    where an update touches some rows only, shares are of the touched elements. With both suffixes, and None
    where the code does not show what they are made of: `update_rms`, the root of the mean square of
    rate * direction; `update_to_weight`, the norm of that over the norm of the variable after the
    update; `rms_t`, the root of the mean of g^2/v with v free of its bias (about 1 for steady gradients;
    not under `jit_compile`, where XLA rounds what has another reader otherwise); and
    `eps_dominated_frac`, the share of elements where sqrt(v) is below epsilon. `rules` says of
    each rule that holds for the variable its `min` and `max` (None where it has none; outside of its
    window they are infinite),
    `clamped_frac` of all elements, `clamped_frac_active`, `changed_frac` (clamped, and the step was
    another), `clamp_rel_change` = |applied - stock| / |stock|, as that rule alone would have it, and since
    the start of training `samples` and the sums `..._total` over them; rules in shadow mode too.
    Percentiles are of the finite rates (NaN where there is none).

    Raises NotYetAvailable, naming the setting, before the first sample.
    """
    found = _records(optimizer)
    out = snapshot_of(found)
    if out is not None:
        return out
    if found and all(record.silent for record in found):
        raise _unavailable(
            optimizer,
            "a snapshot",
            'emit is "off"; use patched(optimizer, emit="stats") or ADAMPATCH_EMIT=stats',
        )
    for record in found:
        if record.unsampled is not None:
            raise _unavailable(optimizer, "a snapshot", record.unsampled)
    raise _unavailable(
        optimizer,
        "a snapshot",
        'no sample was taken yet; it needs one update of a patched optimizer with emit="stats" or "tensor" '
        "(the first update is sampled, then every `every` updates); a model that trained before its "
        "optimizer was patched needs model.compile again",
    )


def update_rules(optimizer, rules):
    """Gives a patched optimizer rules that differ from its own in numbers alone; no step is traced anew.

    `rules`: a file, a preset or the normal form, as for `patched(..., rules=)`. In a v1 graph feed the
    tensor in the collection "adampatch/numbers" instead.

    Raises ValueError where more than numbers differs, or `optimizer` is no patched one.
    """
    found = _records(optimizer)
    if not found:
        raise ValueError(
            "adampatch: {} has no rules to update; pass it through adampatch.patched() first".format(
                type(optimizer).__name__
            )
        )
    form = settings.load_rules(rules)[0]
    for record in found:
        record.update_numbers(form)
