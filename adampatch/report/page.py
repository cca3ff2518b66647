"""One self-contained HTML page of a log: inline SVG, no scripts, nothing from elsewhere."""

from __future__ import annotations

import math
from html import escape

from adampatch.report.curves import Band, Curve, chart, spark
from adampatch.report.reading import OptimizerLog, Series

_PLOTTED = 12  # variables with a chart of their own; all are in the table
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 78em; padding: 0 1em; color: #222 }
h2 { margin-top: 2em } h3 { margin: 1.2em 0 .2em; font-size: 1em }
table { border-collapse: collapse; margin: 1em 0; font-size: 13px }
td, th { border-bottom: 1px solid #ddd; padding: .15em .6em; text-align: left; white-space: nowrap }
th { background: #f4f4f4; position: sticky; top: 0 }
td.n { text-align: right; font-variant-numeric: tabular-nums }
tr.bad td { background: #fdecea } .note { color: #666 } code { font-size: 92% }
.charts { display: flex; flex-wrap: wrap; gap: 1em } figure { margin: 0 }
figcaption { font-size: 13px } figcaption code { word-break: break-all }
svg text { font: 11px system-ui, sans-serif; fill: #666 } svg text.y { text-anchor: end }
svg text.x { text-anchor: middle } line.grid { stroke: #e5e5e5 }
polyline { fill: none; stroke-width: 1.5 } .lr { stroke: #999 } .alpha { stroke: #1f6fb2 }
.median { stroke: #1f6fb2 } .edge { stroke: #8fb7d8; stroke-width: 1 }
.bound { stroke: #c0392b; stroke-dasharray: 5 3 }
.clamped { stroke: #c0392b } .active { stroke: #e08e0b } .spark { stroke: #1f6fb2; stroke-width: 1 }
polygon.range { fill: #1f6fb2; opacity: .12 } circle { stroke-width: 1; fill: none }
.key { font-size: 13px } .key span { border-top: 2px solid; padding: 0 .4em; margin-right: 1em }
"""


def as_html(logs: list[OptimizerLog], title: str) -> str:
    """The page of all optimizers of a log directory."""
    parts = [f"<h1>{escape(title)}</h1>", *(section for log in logs for section in _optimizer(log))]
    meta = '<meta charset="utf-8"/><meta name="viewport" content="width=device-width"/>'
    head = f"{meta}<title>{escape(title)}</title><style>{_STYLE}</style>"
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body>{"".join(parts)}</body></html>\n'


def _optimizer(log: OptimizerLog) -> list[str]:
    lr, alpha = log.own.get("lr", {}), log.own.get("alpha", {})
    number = len(log.variables)
    parts = [
        f"<h2>{escape(log.name)}</h2>",
        f'<p class="note">{number} variable{"" if number == 1 else "s"}, up to update {log.last_step}. '
        "Steps are optimizer updates.</p>",
        _alerts(log),
        "<h3>Learning rate and alpha</h3>",
        _key(("#999", "lr"), ("#1f6fb2", "alpha, bias-corrected")),
        chart([Curve("lr", lr, "lr"), Curve("alpha", alpha, "alpha")]) or "<p>Neither was shown.</p>",
    ]
    clamped = _share(log, "clamped_frac"), _share(log, "clamped_frac_active")
    if any(value > 0 for series in clamped for value in series.values()):
        curves = [Curve("all elements", clamped[0], "clamped"), Curve("active", clamped[1], "active")]
        parts += [
            "<h3>Share of elements whose rate a rule changed</h3>",
            _key(("#c0392b", "of all"), ("#e08e0b", "of active elements")),
            chart(curves),
        ]
    names = _ordered(log)
    if names:
        shown = names[:_PLOTTED]
        which = f", the {_PLOTTED} with most to tell of {len(names)}" if len(names) > _PLOTTED else ""
        parts += [
            f"<h3>Rates{which}</h3>",
            _key(("#1f6fb2", "median"), ("#8fb7d8", "p05 and p95"), ("#c0392b", "bounds")),
            '<div class="charts">',
            *(_rates(log, name) for name in shown),
            "</div>",
            "<h3>Variables</h3>",
            _table(log, names),
        ]
    return parts


def _key(*curves: tuple[str, str]) -> str:
    spans = "".join(f'<span style="border-color:{colour}">{words}</span>' for colour, words in curves)
    return f'<p class="key">{spans}</p>'


def _alerts(log: OptimizerLog) -> str:
    if not log.alerts:
        return ""
    found: dict[str, list[tuple[int, str | None, str | None]]] = {}
    for step, kind, variable, rule in log.alerts:
        found.setdefault(kind, []).append((step, variable, rule))
    items = []
    for kind, places in found.items():
        named = [f"<code>{escape(variable or rule or '')}</code>" for _, variable, rule in places]
        named = [name for name in named if name != "<code></code>"]
        more = f" and {len(named) - 5} more" if len(named) > 5 else ""
        of = f" of {', '.join(named[:5])}{more}" if named else ""
        items.append(f"<li>{escape(kind.replace('_', ' '))}{of}, since update {places[0][0]}</li>")
    return f"<h3>Alerts</h3><ul>{''.join(items)}</ul>"


def _share(log: OptimizerLog, metric: str) -> Series:
    """A share over all variables, weighted by their elements where these are known."""
    sums: dict[int, list[float]] = {}
    for numbers in log.variables.values():
        weights = numbers.get("elements", {})
        for step, value in numbers.get(metric, {}).items():
            if math.isfinite(value):
                weight = weights.get(step, 1.0)
                total = sums.setdefault(step, [0.0, 0.0])
                total[0] += value * weight
                total[1] += weight
    return {step: total / weight for step, (total, weight) in sorted(sums.items()) if weight}


def _ordered(log: OptimizerLog) -> list[str]:
    """Variables: those with rates that are not finite, what a rule changes most, what spreads most."""

    def key(name: str) -> tuple[float, float, float, str]:
        spread = _last(log, name, "rate_p95") / max(_last(log, name, "rate_p05"), 1e-45)
        order = (_last(log, name, "nonfinite"), _last(log, name, "clamped_frac_active"), spread)
        broken, clamped, spread = (-_or_zero(value) for value in order)
        return broken, clamped, spread, name

    return sorted(log.variables, key=key)


def _or_zero(value: float) -> float:
    return value if math.isfinite(value) else 0.0


def _last(log: OptimizerLog, variable: str, metric: str) -> float:
    series = log.variables[variable].get(metric, {})
    return series[max(series)] if series else math.nan


def _rates(log: OptimizerLog, name: str) -> str:
    numbers = log.variables[name]
    # Elements without a gradient have the rate alpha/epsilon: the active ones tell more.
    suffix = "_active" if any(math.isfinite(v) for v in numbers.get("rate_p50_active", {}).values()) else ""
    low, middle, high = (numbers.get(f"rate_{part}{suffix}", {}) for part in ("p05", "p50", "p95"))
    curves = [Curve("p05", low, "edge"), Curve("p95", high, "edge"), Curve("median", middle, "median")]
    for (variable, rule), bounds in sorted(log.rules.items()):
        if variable == name:
            curves += [
                Curve(f"{rule}: {side}", bounds[side], "bound") for side in ("min", "max") if side in bounds
            ]
    drawn = chart(curves, [Band(low, high, "range")], logarithmic=True, size=(560, 190))
    words = f"<code>{escape(name)}</code>{', active elements' if suffix else ''}"
    return f"<figure><figcaption>{words}</figcaption>{drawn or '<p>No finite rate.</p>'}</figure>"


_COLUMNS = (
    ("p05", "rate_p05_active"),
    ("median", "rate_p50_active"),
    ("p95", "rate_p95_active"),
    ("active", "active_frac"),
    ("clamped", "clamped_frac_active"),
    ("update rms", "update_rms"),
    ("update / weight", "update_to_weight"),
    ("rms_t", "rms_t_active"),
    ("by epsilon", "eps_dominated_frac_active"),
    ("not finite", "nonfinite"),
)
_SHARES = ("active_frac", "clamped_frac", "clamped_frac_active", "eps_dominated_frac_active")


def _table(log: OptimizerLog, names: list[str]) -> str:
    columns = [(head, m) for head, m in _COLUMNS if any(m in log.variables[name] for name in names)]
    heads = ["variable", "median over time", *(head for head, _ in columns)]
    lines = ["<tr>" + "".join(f"<th>{escape(head)}</th>" for head in heads) + "</tr>"]
    for name in names:
        cells = "".join(f'<td class="n">{_cell(m, _last(log, name, m))}</td>' for _, m in columns)
        curve = spark(log.variables[name].get("rate_p50_active", {}))
        bad = ' class="bad"' if _last(log, name, "nonfinite") > 0 else ""
        lines.append(f"<tr{bad}><td><code>{escape(name)}</code></td><td>{curve}</td>{cells}</tr>")
    words = "The last sample of each; first what is not finite, then by share clamped, then by spread."
    return f'<p class="note">{words}</p><table>{"".join(lines)}</table>'


def _cell(metric: str, value: float) -> str:
    if math.isnan(value):
        return "-"
    if metric in _SHARES:
        return f"{value:.1%}"
    return f"{value:.0f}" if metric == "nonfinite" else f"{value:.3g}"
