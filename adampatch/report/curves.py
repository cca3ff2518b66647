"""Line charts as inline SVG: nothing but numbers and text, no script."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

Series = dict[int, float]
_WIDTH, _HEIGHT = 720, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 24, 10, 28
_POINTS = 400


@dataclass(frozen=True)
class Curve:
    """One line of a chart; ``style`` is a class of the page's style sheet."""

    name: str
    series: Series
    style: str


@dataclass(frozen=True)
class Band:
    """The area between two series."""

    low: Series
    high: Series
    style: str


def chart(
    curves: Sequence[Curve],
    bands: Sequence[Band] = (),
    *,
    logarithmic: bool = False,
    size: tuple[int, int] = (_WIDTH, _HEIGHT),
) -> str:
    """The chart as an ``<svg>`` element, steps along x; "" where there is nothing to draw."""
    curves = [Curve(c.name, _drawable(c.series, logarithmic), c.style) for c in curves]
    curves = [c for c in curves if c.series]
    if not curves:
        return ""
    steps = [step for curve in curves for step in curve.series]
    values = [value for curve in curves for value in curve.series.values()]
    for band in bands:
        values += [v for s in (band.low, band.high) for v in _drawable(s, logarithmic).values()]
    frame = _Frame(size, (min(steps), max(steps)), (min(values), max(values)), logarithmic)
    parts = [*frame.axes()]
    for band in bands:
        parts.append(_band(frame, band))
    for curve in curves:
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in frame.points(curve.series))
        if len(curve.series) == 1:
            x, y = next(iter(frame.points(curve.series)))
            shape = f'<circle class="{curve.style}" cx="{x:.1f}" cy="{y:.1f}" r="2.5">'
            parts.append(f"{shape}<title>{escape(curve.name)}</title></circle>")
        else:
            line = f'<polyline class="{curve.style}" points="{points}">'
            parts.append(f"{line}<title>{escape(curve.name)}</title></polyline>")
    width, height = size
    view = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" role="img" {view}>{"".join(parts)}</svg>'


def spark(series: Series, style: str = "spark") -> str:
    """A chart without axes, for a table."""
    series = _drawable(series, True)
    if len(series) < 2:
        return ""
    frame = _Frame((120, 22), (min(series), max(series)), (min(series.values()), max(series.values())), True)
    frame.margins = (1, 1, 2, 2)
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in frame.points(series))
    line = f'<polyline class="{style}" points="{points}"/>'
    return f'<svg viewBox="0 0 120 22" width="120" height="22">{line}</svg>'


def _drawable(series: Series, logarithmic: bool) -> Series:
    kept = {s: v for s, v in sorted(series.items()) if math.isfinite(v) and (v > 0 or not logarithmic)}
    stride = max(1, -(-len(kept) // _POINTS))
    steps = list(kept)
    # The first and the last are always drawn.
    return {s: kept[s] for i, s in enumerate(steps) if i % stride == 0 or i == len(steps) - 1}


class _Frame:
    """From steps and values to places in a chart."""

    def __init__(
        self, size: tuple[int, int], steps: tuple[int, int], values: tuple[float, float], logarithmic: bool
    ) -> None:
        self.width, self.height = size
        self.margins = (_LEFT, _RIGHT, _TOP, _BOTTOM)
        self.logarithmic = logarithmic
        self.first, self.last = steps
        low, high = (self._scaled(v) for v in values)
        room = 0.05 * (high - low) or max(0.05 * abs(high), 0.5 if logarithmic else 1e-12)
        self.low, self.high = low - room, high + room

    def _scaled(self, value: float) -> float:
        return math.log10(value) if self.logarithmic else value

    def x(self, step: float) -> float:
        left, right, _, _ = self.margins
        share = (step - self.first) / (self.last - self.first) if self.last > self.first else 0.5
        return left + share * (self.width - left - right)

    def y(self, scaled: float) -> float:
        _, _, top, bottom = self.margins
        share = (scaled - self.low) / (self.high - self.low)
        return self.height - bottom - share * (self.height - top - bottom)

    def points(self, series: Series) -> list[tuple[float, float]]:
        return [(self.x(step), self.y(self._scaled(value))) for step, value in series.items()]

    def axes(self) -> list[str]:
        left, right, _, bottom = self.margins
        end, floor = self.width - right, self.height - bottom
        parts = []
        for tick in _ticks(self.low, self.high, self.logarithmic):
            words = f"1e{tick:.0f}" if self.logarithmic and tick == int(tick) else _number(self._back(tick))
            place = f'y1="{self.y(tick):.1f}" y2="{self.y(tick):.1f}"'
            parts.append(f'<line class="grid" x1="{left}" x2="{end}" {place}/>')
            parts.append(f'<text class="y" x="{left - 6}" y="{self.y(tick) + 4:.1f}">{words}</text>')
        for tick in _ticks(self.first, self.last, False) if self.last > self.first else [self.first]:
            parts.append(f'<text class="x" x="{self.x(tick):.1f}" y="{floor + 18}">{_number(tick)}</text>')
        return parts

    def _back(self, scaled: float) -> float:
        return 10**scaled if self.logarithmic else scaled


def _band(frame: _Frame, band: Band) -> str:
    low, high = (_drawable(s, frame.logarithmic) for s in (band.low, band.high))
    around = [*frame.points(high), *reversed(frame.points(low))]
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in around)
    return f'<polygon class="{band.style}" points="{points}"/>' if points else ""


def _ticks(low: float, high: float, logarithmic: bool) -> list[float]:
    """Round numbers between two bounds, about five of them."""
    if logarithmic:
        whole = list(range(math.ceil(low), math.floor(high) + 1))
        if len(whole) >= 2:
            return [float(t) for t in whole[:: max(1, -(-len(whole) // 6))]]
    span = (high - low) / 5
    unit = 10 ** math.floor(math.log10(span)) if span > 0 else 1.0
    step = next(unit * m for m in (1, 2, 5, 10) if unit * m >= span)
    first = math.ceil(low / step)
    return [step * i for i in range(first, math.floor(high / step) + 1)]


def _number(value: float) -> str:
    return f"{value:.4g}"
