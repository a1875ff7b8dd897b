"""Draw the report's figures as inline SVG: forgetting against utility, the gate, the rounds of a release."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from expunge.console import visible
from expunge.metrics import METRICS
from expunge.metrics.gate import share_open
from expunge.reporting.metric_rows import GROUPS, Interval, Summaries, group_of, rows
from expunge.reporting.svg import INK, LOOKS, axis_name, light_grid, looks, styled, svg, whiskers

_GATE_COLOURS = {"forget": "#CC79A7", "retain": "#56B4E9", "others": "#E69F00"}
_BINS = 40
_LEGEND_LENGTH = 36
_ROC_POINTS, _ROC_DENSE, _ROC_RESAMPLES = 101, 0.05, 200


def tradeoff_figure(summary: Summaries) -> str | None:
    """Draw forgetting against utility: a point with 95 % whiskers for each model, and the control's forget value as a line.

    Args:
        summary: the metrics of a report's models, or of several runs with the original and the control.

    Returns:
        SVG; None if an unlearned model has no forget metric or no matching utility.
    """
    chosen_axes = _tradeoff_axes(summary)
    if chosen_axes is None:
        return None
    (x_label, x_cells), (y_label, y_cells) = chosen_axes
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
        axes.set_xlabel(f"{x_label}  (higher is better)")
        axes.set_ylabel(f"{y_label}\n(lower is better, down to the control)")
        light_grid(axes)
        figure.legend(loc="outside upper center", ncols=4 if set(summary) <= set(LOOKS) else 2, frameon=False)
        return svg(figure, "Forgetting against utility, one point for each model")


def gate_figure(gate_logits: Mapping[str, Sequence[float]], threshold: float) -> str:
    """Draw a histogram of the gate's logits for each evaluation set, with threshold and share of prompts that open it."""
    order = sorted(gate_logits, key=lambda name: GROUPS.index(group_of(name)))
    edges = _bin_edges(np.concatenate([np.asarray(gate_logits[name], dtype=float) for name in order]), threshold)
    with styled():
        figure = Figure(figsize=(8.2, 0.7 + 0.62 * len(order)), layout="constrained")
        panels = figure.subplots(len(order), 1, sharex=True, squeeze=False)[:, 0]
        for axes, name in zip(panels, order, strict=True):
            logits = gate_logits[name]
            # Each panel has its own vertical scale: sets differ in size, and only the shapes are compared.
            axes.hist(logits, bins=edges, color=_GATE_COLOURS[group_of(name)], alpha=0.85)
            axes.axvline(threshold, color=INK, linestyle="--", linewidth=1)
            axes.set_yticks([])
            axes.spines["left"].set_visible(False)
            axes.tick_params(bottom=False)
            axes.set_ylabel(axis_name(name), rotation=0, ha="right", va="center")
            note = f"{100 * share_open(logits, threshold):.3g} % open, n = {len(logits)}"
            axes.text(1.01, 0.5, note, transform=axes.transAxes, va="center", fontsize=9)
        panels[-1].tick_params(bottom=True)
        panels[-1].set_xlabel(f"gate logit (the gate opens at {threshold:.2f} and above, dashed line)")
        return svg(figure, "Histogram of the gate's logits for each evaluation set")


def roc_figure(targets: Sequence[float], others: Sequence[float], threshold: float) -> str:
    """Draw the gate's ROC curve with a 95 % bootstrap band and its threshold.

    Args:
        targets: logits of prompts that should open the gate.
        others: logits of all other prompts.
        threshold: the logit from which the gate opens.
    """
    # The grid is dense where the false positive rate is small.
    grid = np.concatenate([np.linspace(0, _ROC_DENSE, _ROC_POINTS), np.linspace(_ROC_DENSE, 1, _ROC_POINTS)[1:]])
    rng = np.random.default_rng(0)
    resampled = [_roc(rng.choice(targets, len(targets)), rng.choice(others, len(others)), grid) for _ in range(_ROC_RESAMPLES)]
    low, high = np.quantile(resampled, (0.025, 0.975), axis=0)
    with styled():
        figure = Figure(figsize=(5.2, 4.2), layout="constrained")
        axes = figure.subplots()
        axes.fill_between(grid, low, high, color=_GATE_COLOURS["retain"], alpha=0.3, linewidth=0)
        axes.plot(grid, _roc(np.asarray(targets), np.asarray(others), grid), color=LOOKS["original"].colour)
        others_open, targets_open = share_open(others, threshold), share_open(targets, threshold)
        axes.scatter(
            others_open,
            targets_open,
            color=LOOKS["unlearned"].colour,
            zorder=3,
            label=f"threshold: {targets_open:.1%} of forget prompts, {others_open:.1%} of others",
        )
        # Small false positive rates matter most.
        axes.set_xscale("symlog", linthresh=0.02)
        axes.set_xticks([0, 0.01, 0.02, 0.1, 0.5, 1], ["0", "1 %", "2 %", "10 %", "50 %", "100 %"])
        axes.set_xlim(-0.001, 1)
        axes.set_ylim(-0.02, 1.02)
        axes.set_xlabel("other prompts that open the gate")
        axes.set_ylabel("forget prompts that open the gate")
        light_grid(axes)
        axes.legend(loc="lower right", frameon=False)
        return svg(figure, "ROC curve of the gate over all prompts of its evaluation")


def rounds_figure(curve: Sequence[Mapping[str, Any]]) -> str:
    """Draw a release's rounds: forget NLL against the increase of perplexity, on validation records.

    Args:
        curve: as `expunge.reveal_release.release.round_results.curve` returns it.
    """
    before, points = curve[0], [row for row in curve if "validation_forget_nll" in row]
    perplexities = ("validation_retain_perplexity", "validation_neutral_perplexity")
    costs = [100 * (max(row[name] / before[name] for name in perplexities) - 1) for row in points]
    with styled():
        figure = Figure(figsize=(6.4, 3.6), layout="constrained")
        axes = figure.subplots()
        axes.plot(
            costs, [row["validation_forget_nll"] for row in points], color=LOOKS["unlearned"].colour, marker=LOOKS["unlearned"].marker
        )
        for cost, row in zip(costs, points, strict=True):
            name = f"round {row['round']}" if row["round"] else "original"
            axes.annotate(name, (cost, row["validation_forget_nll"]), xytext=(6, -12), textcoords="offset points", fontsize=9)
        axes.set_xlabel("increase of retain or neutral perplexity, the larger one, %")
        axes.set_ylabel("NLL of the forget data,\nnats per token")
        axes.margins(0.15)
        light_grid(axes)
        return svg(figure, "Forgetting against the increase of perplexity, one point for each round")


def _roc(targets: np.ndarray, others: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Return the true positive rate at each false positive rate of the grid."""
    return np.mean(np.asarray(targets)[None] > np.quantile(others, 1 - grid)[:, None], axis=1)


def _tradeoff_axes(summary: Summaries) -> tuple[tuple[str, dict[str, Interval]], tuple[str, dict[str, Interval]]] | None:
    """Return ((utility label, cells), (forget label, cells)) of the first metric that has both."""
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
    """Shorten a long path to its end, where runs differ."""
    shown = visible(name)
    return shown if len(shown) <= _LEGEND_LENGTH else "\u2026" + shown[1 - _LEGEND_LENGTH :]


def _bin_edges(logits: np.ndarray, threshold: float) -> np.ndarray:
    """Return about `_BINS` equal bins. One starts at the threshold, so that no bar lies on both sides of it."""
    low, high = min(logits.min(), threshold), max(logits.max(), threshold)
    width = max(high - low, 1.0) / _BINS
    return threshold + width * np.arange(np.floor((low - threshold) / width), np.ceil((high - threshold) / width) + 2)
