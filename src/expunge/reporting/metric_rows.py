"""Rows of the metrics table: one row for each set and metric, one cell for each model."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypedDict

from expunge.data.set_names import RETAIN, is_forget
from expunge.metrics import METRICS, Better, Metric

ROLES = ("original", "unlearned", "control")
GROUPS = ("forget", "retain", "others")
_HEADLINE_METRICS = ("rouge", "probability")


class Interval(TypedDict):
    """A number with its n and 95 % interval, as `Summary.as_dict` returns it."""

    value: float
    n: int
    ci95: list[float] | None


Summaries = Mapping[str, Mapping[str, Mapping[str, Interval]]]
"""{model: {evaluation set: {metric: number}}}. The models of a report are `ROLES`; those of a comparison are named by run folder."""


@dataclass(frozen=True)
class Row:
    """A row of the table: a metric on a set.

    Attributes:
        group: one of `GROUPS`.
        set: the evaluation set's name.
        metric: the metric's key.
        label: the metric's name in the report.
        better: the better direction on this set, if there is one.
        cells: {model: number}, for the models that have one.
    """

    group: str
    set: str
    metric: str
    label: str
    better: Better | None
    cells: dict[str, Interval]

    @property
    def counts(self) -> str:
        """Return n as text, once if it is the same for all models."""
        counts = [str(cell["n"]) for cell in self.cells.values()]
        return counts[0] if len(set(counts)) == 1 else " / ".join(counts)


def group_of(set_name: str) -> str:
    """Return the group of an evaluation set."""
    if is_forget(set_name):
        return "forget"
    return "retain" if set_name.startswith(RETAIN) else "others"


def rows(summary: Summaries) -> list[Row]:
    """Return the rows by group, then set, then metric in the order of `METRICS`; unknown metrics come last."""
    names = {(set_name, metric): None for sets in summary.values() for set_name, metrics in sets.items() for metric in metrics}
    set_order = list(dict.fromkeys(set_name for set_name, _ in names))
    table = []
    for set_name, metric in names:
        group = group_of(set_name)
        known = METRICS.get(metric, Metric(metric, None, None))
        better = known.on_forget if group == "forget" else known.elsewhere
        cells = {model: sets[set_name][metric] for model, sets in summary.items() if metric in sets.get(set_name, {})}
        table.append(Row(group, set_name, metric, known.label, better, cells))
    position = {metric: i for i, metric in enumerate(METRICS)}
    return sorted(table, key=lambda row: (GROUPS.index(row.group), set_order.index(row.set), position.get(row.metric, len(position))))


def headline(summary: Summaries) -> str:
    """Return the result in one sentence: first forget set and first retain set, original → unlearned (control)."""
    parts = []
    table = rows(summary)
    for group in GROUPS[:2]:
        by_metric = {row.metric: row for row in reversed(table) if row.group == group and "unlearned" in row.cells}
        row = next((by_metric[metric] for metric in _HEADLINE_METRICS if metric in by_metric), None)
        if row is not None:
            parts.append(f"{group} {row.label} {_change(row)}")
    sentence = ", ".join(parts) or "neither ROUGE nor probability was measured on the unlearned model"
    return sentence[0].upper() + sentence[1:] + "."


def number(value: float) -> str:
    """Format with three decimals, or with two significant digits if three decimals would round it to zero."""
    return f"{value:.3f}" if value == 0 or abs(value) >= 0.0005 else f"{value:.1e}"


def _change(row: Row) -> str:
    values = {role: f"{cell['value']:.2f}" for role, cell in row.cells.items()}
    before = f"{values['original']} \u2192 " if "original" in values else ""
    control = f" (control {values['control']})" if "control" in values else ""
    return before + values["unlearned"] + control
