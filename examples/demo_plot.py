"""Draws the effective learning rates of two trainings over their updates: one figure, one file."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

RATE, CEILING, ALPHA = "#1f5fa8", "#d1495b", "#6b6b6b"
GRID = "#e4e4e4"
CEILING_LINE = {"linewidth": 1.4, "linestyle": "--"}
ALPHA_LINE = {"linewidth": 1.4, "linestyle": ":"}


def draw(path, title, trainings, ceiling, bounded, variables):
    """Save a PNG at `path`: a row of panels per training, a column per variable.

    `trainings` maps a label to its snapshots (`adampatch.snapshot`). Rates are those of the active
    elements: the others, which never had a gradient, stay at alpha/epsilon and would hide the rest.
    The ceiling is drawn for the variables in `bounded`.
    """
    rows, columns = len(trainings), len(variables)
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(3.1 * columns + 0.8, 2.5 * rows + 1.1),
        sharex=True,
        sharey=True,
        squeeze=False,
    )
    for row, (label, samples) in zip(axes, trainings.items(), strict=True):
        for axis, variable in zip(row, variables, strict=True):
            draw_panel(axis, samples, variable, ceiling if variable in bounded else None)
        row[0].set_ylabel(f"{label}\n\neffective learning rate")
    for axis, variable in zip(axes[0], variables, strict=True):
        axis.set_title(variable, fontsize=10, family="monospace")
    for axis in axes[-1]:
        axis.set_xlabel("optimizer update")

    figure.suptitle(title, x=0.01, y=0.985, ha="left", fontsize=13, fontweight="bold")
    figure.legend(
        handles=[
            Line2D([], [], color=RATE, linewidth=1.8, label="rate, median"),
            Patch(facecolor=RATE, alpha=0.22, edgecolor=RATE, label="rate, p05 to p95"),
            Line2D([], [], color=CEILING, **CEILING_LINE, label=f"the rule's ceiling, {ceiling:g}"),
            Line2D([], [], color=ALPHA, **ALPHA_LINE, label="alpha, the bias-corrected learning rate"),
        ],
        loc="upper left",
        bbox_to_anchor=(0.005, 0.955),
        ncols=4,
        frameon=False,
        fontsize=9,
    )
    figure.tight_layout(rect=(0, 0, 1, 0.935))
    figure.savefig(path, dpi=140)
    plt.close(figure)


def draw_panel(axis, samples, variable, ceiling):
    steps = [sample["step"] for sample in samples]
    low, median, high = (
        np.array([sample["variables"][variable][f"rate_{name}_active"] for sample in samples], dtype=float)
        for name in ("p05", "p50", "p95")
    )
    axis.fill_between(steps, low, high, color=RATE, alpha=0.22, linewidth=0)
    axis.plot(steps, low, color=RATE, linewidth=0.6, alpha=0.7)
    axis.plot(steps, high, color=RATE, linewidth=0.6, alpha=0.7)
    axis.plot(steps, median, color=RATE, linewidth=1.8)
    if ceiling is not None:
        axis.axhline(ceiling, color=CEILING, **CEILING_LINE)
    axis.plot(steps, [sample["alpha"] for sample in samples], color=ALPHA, **ALPHA_LINE)
    axis.set_yscale("log")
    axis.set_xlim(0, max(steps))
    axis.grid(True, color=GRID, linewidth=0.7)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
