"""Timing side by side: variants take turns round by round, so that a machine that slows down slows all."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Step = Callable[[], object]


@dataclass(frozen=True)
class Timed:
    """One variant: median seconds of one step, and the median of its ratios to the baseline of the same
    round with the quarters around it."""

    seconds: float
    ratio: float
    low: float
    high: float


def side_by_side(
    variants: Mapping[str, Step], baseline: str, rounds: int, seconds: float = 0.1
) -> dict[str, Timed]:
    """Times each variant once a round, as many steps as take about ``seconds``."""
    repeats = {}
    for name, step in variants.items():
        step()  # traces and compiles
        step()
        begin = time.perf_counter()
        step()
        repeats[name] = max(1, min(1000, int(seconds / max(time.perf_counter() - begin, 1e-6))))
    times: dict[str, list[float]] = {name: [] for name in variants}
    order = list(variants)
    gc.collect()
    gc.disable()
    try:
        for number in range(rounds):
            shift = number % len(order)  # nobody always runs after the same one
            for name in order[shift:] + order[:shift]:
                step, count = variants[name], repeats[name]
                step()  # fills the caches that the one before has taken
                begin = time.perf_counter()
                for _ in range(count):
                    step()
                times[name].append((time.perf_counter() - begin) / count)
    finally:
        gc.enable()
    return {name: _timed(found, times[baseline]) for name, found in times.items()}


def _timed(own: list[float], base: list[float]) -> Timed:
    ratios = sorted(a / b for a, b in zip(own, base, strict=True))
    quarter = len(ratios) // 4
    return Timed(
        statistics.median(own), statistics.median(ratios), ratios[quarter], ratios[len(ratios) - 1 - quarter]
    )
