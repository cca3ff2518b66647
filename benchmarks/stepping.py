"""What an update costs: patched beside stock, other libraries and memory, in one run.

    python -m benchmarks.stepping [--quick] [--row WORDS] [--json FILE]

A row is one piece of work; its variants take turns (see ``pairs``), and each is told as the median ratio
to stock. Seconds are printed too, to be read beside one another only.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import peers
from benchmarks.growth import svg
from benchmarks.pairs import Step, Timed, side_by_side

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
#: of a gradient that stays as it is the rate is lr/|g|: this one binds where |g| < 0.063, on 5 %
BOUND = 0.016
STOCK = "stock"
MANY, EACH = 200, 10_000


def ceiling(compile: str | bool = "auto", high: float = BOUND) -> dict[str, Any]:
    """The normal form of one bound on all rates."""
    rule = {"id": "ceiling", "match": ["**"], "exclude": [], "optimizer": "*", "quantity": "rate"}
    return {
        "version": 1,
        "observe": {},
        "runtime": {"compile": compile},
        "rules": [{**rule, "min": None, "max": high}],
    }


@dataclass(frozen=True)
class Row:
    """One piece of work.

    variants: functions that make a step, None where a peer is missing; wanted: the greatest ratio of
    each that has one.
    """

    work: str
    variants: Mapping[str, Callable[[], Step | None]]
    wanted: Mapping[str, float] = field(default_factory=dict)


def patched(cls: Any, rules: Any = None, emit: str = "off", every: int | None = None) -> Callable[[], Any]:
    """A function that makes a patched optimizer."""
    import adampatch

    return lambda: adampatch.patched(cls, rules=rules, emit=emit, every=every)()


def rows() -> list[Row]:
    import keras
    import tensorflow as tf
    import tf_keras

    adam, v1 = keras.optimizers.Adam, tf.compat.v1.train.AdamOptimizer
    v2, keras2 = tf_keras.optimizers.legacy.Adam, tf_keras.optimizers.Adam
    large = [10_000_000]
    many = [EACH] * MANY

    def steps(make: Any, sizes: peers.Sizes, runs: Any = peers.keras3, **options: Any) -> Any:
        return lambda: runs(make, sizes, **options)

    found = [
        Row(
            "V2 fused Adam, 1 x 10M, ceiling on 5 %",
            {
                STOCK: steps(v2, large, peers.older),
                "ceiling": steps(patched(v2, ceiling()), large, peers.older),
                "ceiling, stats": steps(patched(v2, ceiling(), "stats", 100), large, peers.older),
                "ceiling, not compiled": steps(patched(v2, ceiling(False)), large, peers.older),
                "optax": lambda: peers.optax(large),
                "optax, ceiling": lambda: peers.optax(large, BOUND),
                "torch, fused": lambda: peers.torch(large),
                "memory floor": lambda: peers.memory_floor(large[0]),
            },
            {"ceiling": 1.20},
        ),
        Row(
            "V1 fused Adam in a session, 1 x 10M, ceiling on 5 %",
            {
                STOCK: steps(v1, large, peers.session),
                "ceiling": steps(patched(v1, ceiling()), large, peers.session),
                "ceiling, stats": steps(patched(v1, ceiling(), "stats", 100), large, peers.session),
            },
            {"ceiling": 1.20},
        ),
        Row(
            "Keras 3 Adam, 1 x 10M, ceiling",
            {
                STOCK: steps(adam, large),
                "ceiling": steps(patched(adam, ceiling()), large),
                "ceiling, stats": steps(patched(adam, ceiling(), "stats", 100), large),
                "ceiling, not compiled": steps(patched(adam, ceiling(False)), large),
                "keras-adabound": lambda: adabound(large),
                "fused kernel": steps(v2, large, peers.older),
            },
            {"ceiling": 0.45},
        ),
        Row(
            "Keras 2 Adam, 1 x 10M, ceiling",
            {
                STOCK: steps(keras2, large, peers.older),
                "ceiling": steps(patched(keras2, ceiling()), large, peers.older),
            },
        ),
    ]
    for words, sizes, wanted in (("1 x 10M", large, 1.02), (f"{MANY} x 10k", many, 1.05)):
        found.append(
            Row(
                f"Keras 3 Adam, {words}, no rule",
                {
                    STOCK: steps(adam, sizes),
                    "stock again": steps(adam, sizes),
                    "emit=off": steps(patched(adam), sizes),
                    "emit=stats, every 100": steps(patched(adam, None, "stats", 100), sizes),
                },
                {"emit=off": 1.01, "emit=stats, every 100": wanted},
            )
        )
    found += [
        Row(
            f"Keras 3 Adam, {MANY} x 10k of one shape, ceiling",
            {
                STOCK: steps(adam, many),
                "ceiling": steps(patched(adam, ceiling()), many),
                "ceiling, stats": steps(patched(adam, ceiling(), "stats", 100), many),
                "ceiling, not compiled": steps(patched(adam, ceiling(False)), many),
                "fused kernel": steps(v2, many, peers.older),
            },
            {"ceiling": 1.0},
        ),
        Row(
            "Keras 3 Adam, eager, 1 x 1M, ceiling",
            {
                STOCK: steps(adam, [1_000_000], eager=True),
                "ceiling": steps(patched(adam, ceiling()), [1_000_000], eager=True),
                "ceiling, stats": steps(patched(adam, ceiling(), "stats", 100), [1_000_000], eager=True),
                "ceiling, not compiled": steps(patched(adam, ceiling(False)), [1_000_000], eager=True),
            },
            {"ceiling": 2.0},
        ),
    ]
    return found


def adabound(sizes: peers.Sizes) -> Step | None:
    """A step of keras-adabound, where it is installed and can be imported beside this Keras."""
    try:
        from keras_adabound import AdaBound
    except Exception:  # it was written for another Keras
        return None
    return peers.older(AdaBound, sizes)


def measured(row: Row, rounds: int) -> dict[str, Timed | None]:
    """The Timed of each variant, None of a missing peer."""
    made = {name: make() for name, make in row.variants.items()}
    times = side_by_side({name: step for name, step in made.items() if step is not None}, STOCK, rounds)
    return {name: times.get(name) for name in made}


# -- what is not a time per step ----------------------------------------------------------------


def extra_operations() -> int:
    """Operations that a patched optimizer with nothing to observe and no rule adds to a traced step."""
    import keras
    import tensorflow as tf

    def count(make: Callable[[], Any]) -> int:
        optimizer, variables = make(), [keras.Variable(x) for x in peers.arrays([(7, 3), 5])]
        gradients = [tf.constant(x) for x in peers.arrays([(7, 3), 5])]
        optimizer.build(variables)
        traced = tf.function(lambda: optimizer.apply(gradients, variables)).get_concrete_function()
        return len(traced.graph.get_operations())

    return count(patched(keras.optimizers.Adam)) - count(keras.optimizers.Adam)


def bytes_kept() -> dict[str, float]:
    """Bytes per element that a rule keeps of float32 variables, from one update to the next."""
    import keras

    from adampatch.runtime import records

    limit = {**ceiling()["rules"][0], "id": "slew", "max": None, "max_increase": 2.0}
    found = {}
    for name, rule in (("ceiling", ceiling()["rules"][0]), ("change limit", limit)):
        optimizer = patched(keras.optimizers.Adam, {"version": 1, "rules": [rule]})()
        sizes = [1_000_000, (500, 400)]
        variables = [keras.Variable(x) for x in peers.arrays(sizes)]
        optimizer.apply([keras.ops.convert_to_tensor(x) for x in peers.arrays(sizes)], variables)
        own = [v for record in records.find(optimizer) for v in record.variables()]
        kept = sum(v.dtype.size * v.shape.num_elements() for v in own)
        found[name] = round(kept / sum(v.value.shape.num_elements() for v in variables), 3)
    return found


def first_calls(rounds: int) -> dict[str, dict[str, float]]:
    """First and later calls with as many shapes as variables, each in a process of its own; medians of the
    ratios to stock's of the same round."""
    ratios: dict[str, dict[str, list[float]]] = {}
    for _ in range(rounds):
        stock = _in_process(STOCK)
        for name in ("ceiling", "ceiling, stats"):
            own = _in_process(name)
            for call, seconds in own.items():
                ratios.setdefault(name, {}).setdefault(call, []).append(seconds / stock[call])
    return {name: {call: statistics.median(r) for call, r in calls.items()} for name, calls in ratios.items()}


def _in_process(name: str) -> dict[str, float]:
    words = [sys.executable, "-m", "benchmarks.stepping", "--first-call", name]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def first_call(name: str) -> None:
    """Prints the seconds of the first call and of later ones, of ``MANY`` variables that differ in shape."""
    import time

    import keras

    adam = keras.optimizers.Adam
    sizes = [(20 + n, EACH // (20 + n)) for n in range(MANY)]
    made = {
        STOCK: adam,
        "ceiling": patched(adam, ceiling()),
        "ceiling, stats": patched(adam, ceiling(), "stats", 100),
    }[name]
    keras.Variable(0.0).assign(1.0)  # TensorFlow has started
    step = peers.keras3(made, sizes)
    times = []
    for _ in range(40):
        begin = time.perf_counter()
        step()
        times.append(time.perf_counter() - begin)
    print(json.dumps({"first": times[0], "later": statistics.median(times[5:])}))


# -- growth -----------------------------------------------------------------------------------


def growth(rounds: int, largest: int) -> dict[str, dict[int, float]]:
    """Seconds of a step of one variable by its elements, from a thousand on."""
    import keras
    import tf_keras

    adam, v2 = keras.optimizers.Adam, tf_keras.optimizers.legacy.Adam
    makes: dict[str, Callable[[peers.Sizes], Step]] = {
        "Keras 3, stock": lambda sizes: peers.keras3(adam, sizes),
        "Keras 3, ceiling": lambda sizes: peers.keras3(patched(adam, ceiling()), sizes),
        "fused, stock": lambda sizes: peers.older(v2, sizes),
        "fused, ceiling": lambda sizes: peers.older(patched(v2, ceiling()), sizes),
        "memory floor": lambda sizes: peers.memory_floor(int(str(sizes[0]))),
    }
    found: dict[str, dict[int, float]] = {name: {} for name in makes}
    elements = 1000
    while elements <= largest:
        steps = {name: make([elements]) for name, make in makes.items()}
        for name, timed in side_by_side(steps, "Keras 3, stock", rounds, 0.05).items():
            found[name][elements] = timed.seconds
        elements *= 10
    return found


# -- the table --------------------------------------------------------------------------------


def table(row: Row, times: Mapping[str, Timed | None]) -> str:
    """A row's variants in Markdown."""
    lines = [
        f"**{row.work}**",
        "",
        "| variant | of stock | quarters | wanted | ms |",
        "|---|---|---|---|---|",
    ]
    for name, timed in times.items():
        wanted = f"{row.wanted[name]:.2f}" if name in row.wanted else ""
        if timed is None:
            lines.append(f"| {name} | not installed | | {wanted} | |")
            continue
        lines.append(
            f"| {name} | {timed.ratio:.2f} | {timed.low:.2f} - {timed.high:.2f} | {wanted} "
            f"| {timed.seconds * 1000:.2f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few rounds, no growth")
    parser.add_argument("--row", default="", help="only rows whose name holds these words, and nothing else")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--json", type=Path, default=Path("build/bench-stepping.json"))
    parser.add_argument("--plot", type=Path, default=Path("build/growth.svg"))
    parser.add_argument("--first-call", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.first_call:
        first_call(options.first_call)
        return
    rounds = options.rounds or (5 if options.quick else 15)
    options.plot.parent.mkdir(parents=True, exist_ok=True)
    figures = stepping(rounds, options.quick, options.row, options.plot)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(figures, indent=1) + "\n")


def stepping(rounds: int, quick: bool, only: str = "", plot: Path | None = None) -> dict[str, Any]:
    """Prints the tables, writes the plot; returns the figures."""
    figures: dict[str, Any] = {"rows": {}}
    for row in rows():
        if only not in row.work:
            continue
        times = measured(row, rounds)
        figures["rows"][row.work] = {n: t and asdict(t) for n, t in times.items()}
        print(table(row, times), flush=True)
    if only:
        return figures
    print("**Not times per step**\n\n| what | measured | wanted |\n|---|---|---|")
    figures["extra_operations"] = extra_operations()
    print(f"| operations that emit=off without a rule adds | {figures['extra_operations']} | 0 |")
    figures["bytes_per_element"] = bytes_kept()
    for name, kept in figures["bytes_per_element"].items():
        print(f"| bytes per element kept by a {name} | {kept:g} | {0 if name == 'ceiling' else 4} |")
    figures["first_calls"] = first_calls(2 if quick else 5)
    for name, calls in figures["first_calls"].items():
        for call, ratio in calls.items():
            wanted = "1.50" if name == "ceiling" else ""
            print(f"| {MANY} distinct shapes, {name}: {call} call over stock's | {ratio:.2f} | {wanted} |")
    if not quick:
        figures["growth"] = growth(min(rounds, 7), 100_000_000)
        if plot is not None:
            plot.write_text(svg(figures["growth"], "Seconds of one update of one variable"), "utf-8")
    print(flush=True)
    return figures


if __name__ == "__main__":
    main()
