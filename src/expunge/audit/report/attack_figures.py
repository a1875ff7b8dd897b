"""What attacks found as inline SVG: curves of relearning, bars of quantisation."""

import numpy as np
from matplotlib.figure import Figure

from expunge.audit.report.drawing import INK, LOOKS, light_grid, styled, svg, whiskers
from expunge.audit.report.found import Bars, Curves
from expunge.audit.report.rows import ROLES

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
                steps, cells = list(models[model]), list(models[model].values())
                ends = np.array([cell["ci95"] or (cell["value"], cell["value"]) for cell in cells])
                axes.fill_between(steps, *ends.T, color=LOOKS[model].colour, alpha=0.15, linewidth=0)
                line = [cell["value"] for cell in cells]
                axes.plot(steps, line, color=LOOKS[model].colour, marker=LOOKS[model].marker, markersize=5, clip_on=False, label=model)
            n = max(cell["n"] for curve in models.values() for cell in curve.values())
            axes.set_title(f"from {source} (n = {n})", fontsize=10)
            axes.set_xlabel("steps of training")
            axes.set_ylim(0, 1)
            axes.xaxis.get_major_locator().set_params(integer=True)
            light_grid(axes)
        panels[0].set_ylabel(_TOLD)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
        return svg(figure, "What each model tells with every step of relearning")


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
