"""Monitoring: the time of training with the numbers logged every 100 updates, over that without.

python -m benchmarks.monitoring
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

UPDATES = 100  # of a round, and between two samples
#: {name: (inputs, [units of each layer], batch)}
MODELS = {
    "dense 784-512-256-10, batch 128": (784, [512, 256, 10], 128),
    "50 layers of 100, 100 variables": (100, [100] * 50, 64),
    "one layer of 4M weights": (2000, [2000, 1], 32),
}


def _trainings(inputs: int, units: list[int], batch: int) -> dict[str, Callable[[], None]]:
    """{variant: trains a model of its own by UPDATES updates}."""
    import keras
    import numpy as np

    import adampatch

    random = np.random.default_rng(0)
    x = random.normal(size=(batch * UPDATES, inputs)).astype("float32")
    y = random.normal(size=(batch * UPDATES, units[-1])).astype("float32")

    def variant(optimizer: keras.optimizers.Optimizer) -> Callable[[], None]:
        keras.utils.set_random_seed(0)
        layers = [keras.layers.Dense(n, activation="relu") for n in units]
        model = keras.Sequential([keras.Input((inputs,)), *layers])
        model.compile(optimizer, "mse", jit_compile=False)
        return lambda: model.fit(x, y, batch_size=batch, verbose=0, shuffle=False) and None

    stock = keras.optimizers.Adam
    return {
        "stock": variant(stock(1e-4)),
        "patched, unmonitored": variant(adampatch.patched(stock, emit="off")(1e-4)),
        "patched, logged every 100": variant(adampatch.patched(stock, every=UPDATES)(1e-4)),
    }


def costs(rounds: int) -> dict[str, dict[str, tuple[float, float]]]:
    """{model: {variant: (wall time, CPU time) over stock's}}, medians of interleaved rounds.

    CPU time is what tells on a machine that is not alone.
    """
    from adampatch.runtime import fetching

    out: dict[str, dict[str, tuple[float, float]]] = {}
    for name, (inputs, units, batch) in MODELS.items():
        with tempfile.TemporaryDirectory() as folder:
            os.environ["ADAMPATCH_LOG"] = folder
            variants = _trainings(inputs, units, batch)
            for train in variants.values():
                train()
            times: dict[str, list[tuple[float, float]]] = {variant: [] for variant in variants}
            before = fetching.Together.transfers
            for number in range(rounds):
                order = list(variants) if number % 2 == 0 else list(reversed(variants))
                for variant in order:
                    wall, cpu = time.perf_counter(), time.process_time()
                    variants[variant]()
                    times[variant].append((time.perf_counter() - wall, time.process_time() - cpu))
            del os.environ["ADAMPATCH_LOG"]
            transfers = fetching.Together.transfers - before
            if transfers > rounds:
                raise SystemExit(f"{name}: {transfers} transfers for {rounds} samples")
        stock = times["stock"]
        out[name] = {
            variant: (_ratio(own, stock, 0), _ratio(own, stock, 1)) for variant, own in times.items()
        }
    return out


def _ratio(own: list[tuple[float, float]], stock: list[tuple[float, float]], i: int) -> float:
    return statistics.median(mine[i] / its[i] for mine, its in zip(own, stock, strict=True))


def table(found: dict[str, dict[str, tuple[float, float]]], rounds: int) -> str:
    """The costs as a Markdown table, wall time and CPU time."""
    names = list(next(iter(found.values())))[1:]
    lines = [
        f"Time of `fit` over stock's, {UPDATES} updates a round, median of {rounds} interleaved rounds: "
        "wall / CPU (monitored over unmonitored: at most 1.03)\n",
        "| model | " + " | ".join(names) + " |",
        "|---|" + "---|" * len(names),
    ]
    for model, row in found.items():
        lines.append(f"| {model} | " + " | ".join("{:.3f} / {:.3f}".format(*row[n]) for n in names) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    print(table(costs(number), number))
