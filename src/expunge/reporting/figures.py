"""The figures of what was measured, as inline SVG: forgetting against utility, the gate, a release's rounds."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from expunge.metrics import METRICS
from expunge.metrics.gate import share_open
from expunge.reporting.escape import visible
from expunge.reporting.metric_rows import GROUPS, Interval, Summaries, group_of, rows
from expunge.reporting.svg import INK, LOOKS, axis_name, light_grid, looks, styled, svg, whiskers

_GATE_COLOURS = {"forget": "#CC79A7", "retain": "#56B4E9", "others": "#E69F00"}
_BINS = 40
_LEGEND_LENGTH = 36
_ROC_POINTS, _ROC_DENSE, _ROC_RESAMPLES = 101, 0.05, 200


def tradeoff_figure(summary: Summaries) -> str | None:
    """Forgetting against utility: a point with 95 % whiskers for each model, the control's forget value as a line.

    Args:
        summary: of a report's models, or of several runs by their names, with the original and the control.

    Returns:
        SVG; None if no forget metric can be set against a utility for an unlearned model.
    """
    axes_of = _tradeoff_axes(summary)
    if axes_of is None:
        return None
    (x_label, x_cells), (y_label, y_cells) = axes_of
    with styled():
        figure = Figure(figsize=(6.4, 4.2), layout="constrained")
        axes = figure.subplots()
        for name, look in looks(summary).items():
            if name in x_cells and name in y_cells:
                x, y = x_cells[name], y_cells[name]
                axes.errorbar(x["value"], y["value"], xerr=whiskers(x), yerr=whiskers(y), fmt="none", ecolor=look.colour, capsize=3)
                axes.scatter(x["value"], y["value"], color=look.colour, marker=look.marker, s=64, label=_legend_name(name), zorder=3)
        if "control" in y_cells:
            _control_line(axes, y_cells["control"])
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
        axes.set_xlabel(f"{x_label}  (further right is better)")
        axes.set_ylabel(f"{y_label}\n(lower is better, down to the control)")
        light_grid(axes)
        figure.legend(loc="outside upper center", ncols=4 if set(summary) <= set(LOOKS) else 2, frameon=False)
        return svg(figure, "Forgetting against utility, one point for each model")


def gate_figure(gate_logits: Mapping[str, Sequence[float]], threshold: float) -> str:
    """How the gate's logits spread on each evaluation set, the threshold as a line, and the share that opens it."""
    order = sorted(gate_logits, key=lambda name: GROUPS.index(group_of(name)))
    edges = _bin_edges(np.concatenate([np.asarray(gate_logits[name], dtype=float) for name in order]), threshold)
    with styled():
        figure = Figure(figsize=(8.2, 0.7 + 0.62 * len(order)), layout="constrained")
        panels = figure.subplots(len(order), 1, sharex=True, squeeze=False)[:, 0]
        for axes, name in zip(panels, order, strict=True):
            logits = gate_logits[name]
            # Each panel has its own height: sets differ in size, and shapes are what is compared.
            axes.hist(logits, bins=edges, color=_GATE_COLOURS[group_of(name)], alpha=0.85)
            axes.axvline(threshold, color=INK, linestyle="--", linewidth=1)
            axes.set_yticks([])
            axes.spines["left"].set_visible(False)
            axes.tick_params(bottom=False)
            axes.set_ylabel(axis_name(name), rotation=0, ha="right", va="center")
            note = f"{100 * share_open(logits, threshold):.3g} % open, n = {len(logits)}"
            axes.text(1.01, 0.5, note, transform=axes.transAxes, va="center", fontsize=9)
        panels[-1].tick_params(bottom=True)
        panels[-1].set_xlabel(f"gate logit (the gate opens from the dashed line on, {threshold:.2f})")
        return svg(figure, "Histogram of the gate's logits for each evaluation set")


def roc_figure(targets: Sequence[float], others: Sequence[float], threshold: float) -> str:
    """Share of target prompts against share of others that a gate opens for, with a 95 % band, and where its threshold lies.

    The band is of the share of targets at each share of others, both resampled.
    """
    # Dense where few false positives are told apart.
    grid = np.concatenate([np.linspace(0, _ROC_DENSE, _ROC_POINTS), np.linspace(_ROC_DENSE, 1, _ROC_POINTS)[1:]])
    rng = np.random.default_rng(0)
    drawn = [_roc(rng.choice(targets, len(targets)), rng.choice(others, len(others)), grid) for _ in range(_ROC_RESAMPLES)]
    low, high = np.quantile(drawn, (0.025, 0.975), axis=0)
    with styled():
        figure = Figure(figsize=(5.2, 4.2), layout="constrained")
        axes = figure.subplots()
        axes.fill_between(grid, low, high, color=_GATE_COLOURS["retain"], alpha=0.3, linewidth=0)
        axes.plot(grid, _roc(np.asarray(targets), np.asarray(others), grid), color=LOOKS["original"].colour)
        at = share_open(others, threshold), share_open(targets, threshold)
        axes.scatter(*at, color=LOOKS["unlearned"].colour, zorder=3, label=f"threshold: {at[1]:.1%} of targets, {at[0]:.1%} of others")
        # Most of what matters happens at few false positives.
        axes.set_xscale("symlog", linthresh=0.02)
        axes.set_xticks([0, 0.01, 0.02, 0.1, 0.5, 1], ["0", "1 %", "2 %", "10 %", "50 %", "100 %"])
        axes.set_xlim(-0.001, 1)
        axes.set_ylim(-0.02, 1.02)
        axes.set_xlabel("opens for others")
        axes.set_ylabel("opens for what is to be forgotten")
        light_grid(axes)
        axes.legend(loc="lower right", frameon=False)
        return svg(figure, "Receiver operating characteristic of the gate over all prompts of its exam")


def rounds_figure(curve: Sequence[Mapping[str, Any]]) -> str:
    """A release's rounds: what was forgotten against what it cost, on the validation split; rows as `expunge.pipeline.release.curve`."""
    before, points = curve[0], [row for row in curve if "validation_forget_nll" in row]
    kept = ("validation_retain_perplexity", "validation_neutral_perplexity")
    costs = [100 * (max(row[name] / before[name] for name in kept) - 1) for row in points]
    with styled():
        figure = Figure(figsize=(6.4, 3.6), layout="constrained")
        axes = figure.subplots()
        axes.plot(
            costs, [row["validation_forget_nll"] for row in points], color=LOOKS["unlearned"].colour, marker=LOOKS["unlearned"].marker
        )
        for cost, row in zip(costs, points, strict=True):
            name = f"round {row['round']}" if row["round"] else "original"
            axes.annotate(name, (cost, row["validation_forget_nll"]), xytext=(6, -12), textcoords="offset points", fontsize=9)
        axes.set_xlabel("rise of the worse of retain and neutral perplexity, %")
        axes.set_ylabel("NLL of the forget data,\nnats a token")
        axes.margins(0.15)
        light_grid(axes)
        return svg(figure, "Forgetting against the rise of perplexity, one point for each round")


def _roc(targets: np.ndarray, others: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Share of targets above the logit that these shares of the others are above."""
    return np.mean(np.asarray(targets)[None] > np.quantile(others, 1 - grid)[:, None], axis=1)


def _tradeoff_axes(summary: Summaries) -> tuple[tuple[str, dict[str, Interval]], tuple[str, dict[str, Interval]]] | None:
    """((utility's label, its cells), (forget label, its cells)), by what was measured."""
    table = [row for row in rows(summary) if set(row.cells) - {"original", "control"}]
    for metric in ("rouge", "probability"):
        y = next((row for row in table if row.group == "forget" and row.metric == metric), None)
        if y is None:
            continue
        x = next((row for row in table if row.metric == "model_utility"), None)
        x = x or next((row for row in table if row.group == "retain" and row.metric == metric), None)
        if x is not None:
            x_label = x.label if x.metric == "model_utility" else f"Retain {METRICS[metric].label}"
            return (x_label, x.cells), (f"Forget {METRICS[metric].label}", y.cells)
    return None


def _control_line(axes: Axes, control: Interval) -> None:
    axes.axhline(control["value"], color=LOOKS["control"].colour, linestyle="--", linewidth=1.2, label="control's forget value")
    if control["ci95"] is not None:
        axes.axhspan(*control["ci95"], color=LOOKS["control"].colour, alpha=0.12, linewidth=0)


def _legend_name(name: str) -> str:
    """Of a path the end, which tells runs apart."""
    shown = visible(name)
    return shown if len(shown) <= _LEGEND_LENGTH else "\u2026" + shown[1 - _LEGEND_LENGTH :]


def _bin_edges(logits: np.ndarray, threshold: float) -> np.ndarray:
    """About `_BINS` equal bins, one of which begins at the threshold: no bar may straddle it."""
    low, high = min(logits.min(), threshold), max(logits.max(), threshold)
    width = max(high - low, 1.0) / _BINS
    return threshold + width * np.arange(np.floor((low - threshold) / width), np.ceil((high - threshold) / width) + 2)
