"""Figures of attacks and of membership inference as inline SVG: curves, bars, and a receiver operating characteristic."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import roc_curve

from expunge.metrics.gate import auroc
from expunge.reporting.attack_tables import AttackPlot
from expunge.reporting.metric_rows import ROLES, Interval
from expunge.reporting.svg import INK, LOOKS, light_grid, styled, svg, whiskers

# For readers who print in grey.
_HATCHES = {"original": "", "unlearned": "//", "control": "\\\\"}


def attack_figure(plot: AttackPlot) -> str:
    """Draw an attack's rows: curves if they have a horizontal value, else bars."""
    return _curves(plot) if plot.figure.x_column else _bars(plot)


def membership_figure(scores: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> str:
    """Draw each model's receiver operating characteristic of members against non-members; a higher score means a likelier member."""
    with styled():
        figure = Figure(figsize=(4.6, 4.2), layout="constrained")
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=INK, linestyle=":", linewidth=1)
        for model in _models(scores):
            members, nonmembers = scores[model]
            is_member = [True] * len(members) + [False] * len(nonmembers)
            false_positives, true_positives, _ = roc_curve(is_member, [*members, *nonmembers])
            label = f"{model}, AUROC {auroc(members, nonmembers):.2f}"
            axes.plot(false_positives, true_positives, color=LOOKS[model].colour, marker=LOOKS[model].marker, markersize=4, label=label)
        axes.set_xlabel("false positive rate (records that no model saw)")
        axes.set_ylabel("true positive rate (forget records)")
        axes.set_aspect("equal")
        light_grid(axes)
        axes.legend(loc="lower right", frameon=False)
        return svg(figure, "Receiver operating characteristic of membership inference")


def _curves(plot: AttackPlot) -> str:
    """Draw a panel for each series, with a line and a 95 % band for each model."""
    spec, series = plot.figure, plot.series
    width = max(4.6, 3.1 * len(series)) if any(series) else 6.4
    with styled():
        figure = Figure(figsize=(width, 3.3), layout="constrained")
        panels = figure.subplots(1, len(series), sharey=True, squeeze=False)[0]
        for axes, (name, models) in zip(panels, series.items(), strict=True):
            for model in _models(models):
                _line(axes, model, models[model])
            if name:
                n = max(cell["n"] for curve in models.values() for cell in curve.values())
                axes.set_title(f"{name} (n = {n})", fontsize=10)
            axes.set_xlabel(spec.x_label)
            axes.set_ylim(0, 1 if spec.up_to_one else None)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            light_grid(axes)
        panels[0].set_ylabel(spec.y_label)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
        return svg(figure, spec.alt)


def _bars(plot: AttackPlot) -> str:
    """Draw a group of bars for each series, with a bar and 95 % whiskers for each model."""
    spec, series = plot.figure, plot.series
    roles = [role for role in ROLES if any(role in models for models in series.values())]
    width = 0.8 / len(roles)
    with styled():
        figure = Figure(figsize=(6.4, 3.3), layout="constrained")
        axes = figure.subplots()
        for place, role in enumerate(roles):
            drawn = [(i, models[role][0]) for i, models in enumerate(series.values()) if role in models]
            positions = [i + width * (place - (len(roles) - 1) / 2) for i, _ in drawn]
            look = {"color": LOOKS[role].colour, "hatch": _HATCHES[role], "edgecolor": INK, "linewidth": 0.6, "alpha": 0.85}
            axes.bar(positions, [cell["value"] for _, cell in drawn], width=0.92 * width, label=role, **look)
            for x, (_, cell) in zip(positions, drawn, strict=True):
                axes.errorbar(x, cell["value"], yerr=whiskers(cell), fmt="none", ecolor=INK, capsize=3, linewidth=1)
        axes.set_xticks(range(len(series)), list(series))
        axes.tick_params(bottom=False)
        axes.set_ylim(0, 1.02 if spec.up_to_one else None)
        axes.set_ylabel(spec.y_label)
        axes.yaxis.grid(color=INK, alpha=0.12, linewidth=0.6)
        axes.set_axisbelow(True)
        figure.legend(loc="outside upper center", ncols=3, frameon=False)
        return svg(figure, spec.alt)


def _models(by_model: Mapping[str, object]) -> list[str]:
    return [role for role in ROLES if role in by_model]


def _line(axes: Axes, model: str, points: Mapping[int, Interval]) -> None:
    """Draw a model's values with a 95 % band."""
    look, cells = LOOKS[model], list(points.values())
    ends = np.array([cell["ci95"] or (cell["value"], cell["value"]) for cell in cells])
    axes.fill_between(list(points), *ends.T, color=look.colour, alpha=0.15, linewidth=0)
    line = [cell["value"] for cell in cells]
    axes.plot(list(points), line, color=look.colour, marker=look.marker, markersize=5, clip_on=False, label=model)
