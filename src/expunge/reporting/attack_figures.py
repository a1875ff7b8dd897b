"""What attacks found as inline SVG: curves of relearning, bars of quantisation."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import roc_curve

from expunge.metrics.gate import auroc
from expunge.reporting.attack_tables import Bars, ByBlock, Curves
from expunge.reporting.metric_rows import ROLES, Interval
from expunge.reporting.svg import INK, LOOKS, light_grid, styled, svg, whiskers

_TOLD = "told: ROUGE-L recall of\nthe greedy answer"
# For those who print in grey.
_HATCHES = {"original": "", "unlearned": "//", "control": "\\\\"}


def relearn_figure(curves: Curves) -> str:
    """What comes back with every step of an attacker's training: a panel for each thing trained on, a line with a 95 % band a model."""
    with styled():
        figure = Figure(figsize=(max(4.6, 3.1 * len(curves)), 3.3), layout="constrained")
        panels = figure.subplots(1, len(curves), sharey=True, squeeze=False)[0]
        for axes, (source, models) in zip(panels, curves.items(), strict=True):
            for model in (role for role in ROLES if role in models):
                _line(axes, model, models[model])
            n = max(cell["n"] for curve in models.values() for cell in curve.values())
            axes.set_title(f"from {source} (n = {n})", fontsize=10)
            axes.set_xlabel("steps of training")
            axes.set_ylim(0, 1)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            light_grid(axes)
        panels[0].set_ylabel(_TOLD)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
        return svg(figure, "What each model tells with every step of relearning")


def lens_figure(lens: ByBlock) -> str:
    """How likely each block finds the answer: a line with a 95 % band a model."""
    with styled():
        figure = Figure(figsize=(6.4, 3.3), layout="constrained")
        axes = figure.subplots()
        for model in (role for role in ROLES if role in lens):
            _line(axes, model, lens[model])
        axes.set_ylim(bottom=0)
        axes.set_xlabel("block")
        axes.set_ylabel("probability of an\nanswer token")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        light_grid(axes)
        figure.legend(loc="outside upper center", ncols=3, frameon=False)
        return svg(figure, "How likely each block finds the answer")


def membership_figure(inferred: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> str:
    """Receiver operating characteristic of each model's members against non-members, the higher score for the better known."""
    with styled():
        figure = Figure(figsize=(4.6, 4.2), layout="constrained")
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=INK, linestyle=":", linewidth=1)
        for model in (role for role in ROLES if role in inferred):
            members, others = inferred[model]
            found = [True] * len(members) + [False] * len(others)
            false_positives, true_positives, _ = roc_curve(found, [*members, *others])
            label = f"{model}, AUROC {auroc(members, others):.2f}"
            axes.plot(false_positives, true_positives, color=LOOKS[model].colour, marker=LOOKS[model].marker, markersize=4, label=label)
        axes.set_xlabel("records that no model saw, taken for members")
        axes.set_ylabel("forget records, found")
        axes.set_aspect("equal")
        light_grid(axes)
        axes.legend(loc="lower right", frameon=False)
        return svg(figure, "Receiver operating characteristic of membership inference")


def quantise_figure(bars: Bars) -> str:
    """What each model tells before and after quantisation, with 95 % whiskers."""
    roles = [role for role in ROLES if any(role in models for models in bars.values())]
    width = 0.8 / len(roles)
    with styled():
        figure = Figure(figsize=(6.4, 3.3), layout="constrained")
        axes = figure.subplots()
        for place, role in enumerate(roles):
            drawn = [(i, models[role]) for i, models in enumerate(bars.values()) if role in models]
            at = [i + width * (place - (len(roles) - 1) / 2) for i, _ in drawn]
            look = {"color": LOOKS[role].colour, "hatch": _HATCHES[role], "edgecolor": INK, "linewidth": 0.6, "alpha": 0.85}
            axes.bar(at, [cell["value"] for _, cell in drawn], width=0.92 * width, label=role, **look)
            for x, (_, cell) in zip(at, drawn, strict=True):
                axes.errorbar(x, cell["value"], yerr=whiskers(cell), fmt="none", ecolor=INK, capsize=3, linewidth=1)
        axes.set_xticks(range(len(bars)), list(bars))
        axes.tick_params(bottom=False)
        axes.set_ylim(0, 1.02)
        axes.set_ylabel(_TOLD)
        axes.yaxis.grid(color=INK, alpha=0.12, linewidth=0.6)
        axes.set_axisbelow(True)
        figure.legend(loc="outside upper center", ncols=3, frameon=False)
        return svg(figure, "What each model tells before and after quantisation")


def _line(axes: Axes, model: str, points: Mapping[int, Interval]) -> None:
    """A model's values with a 95 % band."""
    look, cells = LOOKS[model], list(points.values())
    ends = np.array([cell["ci95"] or (cell["value"], cell["value"]) for cell in cells])
    axes.fill_between(list(points), *ends.T, color=look.colour, alpha=0.15, linewidth=0)
    line = [cell["value"] for cell in cells]
    axes.plot(list(points), line, color=look.colour, marker=look.marker, markersize=5, clip_on=False, label=model)
