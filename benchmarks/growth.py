"""Time over size as an SVG: both axes logarithmic, so that linear growth is a straight line."""

from __future__ import annotations

import math
from collections.abc import Mapping

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 760, 430, 70, 180, 30, 50
_COLOURS = ("#7f7f7f", "#1f77b4", "#bcbd22", "#d62728", "#2ca02c")


def svg(series: Mapping[str, Mapping[int, float]], title: str) -> str:
    """A plot of seconds by elements, one line for each of ``series``."""
    sizes = sorted({size for line in series.values() for size in line})
    times = [seconds for line in series.values() for seconds in line.values()]
    low, high = math.floor(math.log10(min(times))), math.ceil(math.log10(max(times)))
    first, last = math.log10(sizes[0]), math.log10(sizes[-1])

    def x(size: float) -> float:
        return _LEFT + (math.log10(size) - first) / (last - first) * (_WIDTH - _LEFT - _RIGHT)

    def y(seconds: float) -> float:
        return _HEIGHT - _BOTTOM - (math.log10(seconds) - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
        f'font-size="12"><rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        f'<text x="{_LEFT}" y="18" font-size="14">{title}</text>',
    ]
    for power in range(low, high + 1):
        at = y(10.0**power)
        out.append(f'<path d="M{_LEFT} {at:.1f}H{_WIDTH - _RIGHT}" stroke="#ddd"/>')
        out.append(f'<text x="{_LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{_duration(power)}</text>')
    for size in sizes:
        at = x(size)
        out.append(f'<path d="M{at:.1f} {_TOP}V{_HEIGHT - _BOTTOM}" stroke="#ddd"/>')
        out.append(f'<text x="{at:.1f}" y="{_HEIGHT - 30}" text-anchor="middle">{_count(size)}</text>')
    out.append(f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 10}">elements</text>')
    for number, (name, line) in enumerate(series.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        points = " ".join(f"{x(size):.1f},{y(seconds):.1f}" for size, seconds in sorted(line.items()))
        out.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        at = _TOP + 20 * number + 10
        out.append(f'<path d="M{_WIDTH - _RIGHT + 12} {at}h22" stroke="{colour}" stroke-width="2"/>')
        out.append(f'<text x="{_WIDTH - _RIGHT + 40}" y="{at + 4}">{name}</text>')
    return "\n".join([*out, "</svg>\n"])


def _duration(power: int) -> str:
    unit, scale = ("s", 0) if power >= 0 else ("ms", -3) if power >= -3 else ("µs", -6)
    return f"{10 ** (power - scale)} {unit}"


def _count(size: int) -> str:
    return f"{size // 1_000_000}M" if size >= 1_000_000 else f"{size // 1000}k"
