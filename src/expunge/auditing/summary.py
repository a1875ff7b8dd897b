"""Summarise measured rows: the mean of each metric over a set with its interval, and the metrics that compare sets or models."""

from collections.abc import Callable, Collection
from math import isfinite

from expunge.auditing.record_metrics import Row
from expunge.data.set_names import FORGET, PARAPHRASE, RETAIN, UTILITY, is_forget
from expunge.metrics import METRICS
from expunge.metrics.gate import fpr_at_tpr
from expunge.metrics.likelihood import forget_truth_ratio, utility_truth_ratio
from expunge.metrics.neighbours import neighbour_utility
from expunge.metrics.statistics import Summary, auroc_ci, mean_ci, proportion_ci
from expunge.metrics.utility import forget_quality, model_utility

SetSummary = dict[str, Summary]


def summarise(
    rows: list[Row], control: list[Row] | None = None, threshold: float | None = None, near: Collection[str] = ()
) -> dict[str, SetSummary]:
    """Summarise one model's rows by set and metric.

    Args:
        rows: as `measure` gives them.
        control: the control's rows on the same sets, for forget quality.
        threshold: logit at which the gate opens, for `gate_open`; None: 0, a gate of one half.
        near: ids of the retain records that are nearest to the forget set.

    Returns:
        {set: {metric: Summary}}; the set `utility` holds the model utility over all sets except forget sets.
    """
    sets: dict[str, list[Row]] = {}
    for row in rows:
        sets.setdefault(row["set"], []).append(row)
    summary = {name: _of_set(name, members) for name, members in sets.items()}
    parts = _utility_parts(summary)
    if parts:
        value = model_utility({name: part.value for name, part in parts.items()})
        summary[UTILITY] = {"model_utility": Summary(value, min(part.n for part in parts.values()))}
    if nearest := [row for row in sets.get(RETAIN, []) if row["id"] in near]:
        summary[RETAIN]["neighbour_utility"] = neighbour_utility(nearest, near)
    if control is not None and (ratios := _column(sets[FORGET], "truth_ratio")):
        of_control = _column([row for row in control if row["set"] == FORGET], "truth_ratio")
        summary[FORGET]["forget_quality"] = Summary(forget_quality(ratios, of_control), len(ratios))
    _add_gate(summary, sets, 0.0 if threshold is None else threshold)
    return summary


def _of_set(name: str, rows: list[Row]) -> SetSummary:
    summary: SetSummary = {}
    for metric, description in METRICS.items():
        if description.column and (values := _column(rows, description.column)):
            summary[metric] = proportion_ci(sum(map(bool, values)), len(values)) if description.is_share else mean_ci(values)
    if ratios := _column(rows, "truth_ratio"):
        fold: Callable[[float], float] = forget_truth_ratio if is_forget(name) else utility_truth_ratio
        summary["truth_ratio"] = mean_ci([fold(ratio) for ratio in ratios])
    # As TOFU does for real authors and world facts: the model was not taught their wording, so the answer competes with the options.
    if not is_forget(name) and not name.startswith(RETAIN) and (shares := _column(rows, "probability_options")):
        summary["probability"] = mean_ci(shares)
    return summary


def _utility_parts(summary: dict[str, SetSummary]) -> dict[str, Summary]:
    others = [name for name in summary if not is_forget(name) and not name.endswith(PARAPHRASE)]
    metrics = ("probability", "rouge", "truth_ratio")
    return {f"{name} {metric}": summary[name][metric] for name in others for metric in metrics if metric in summary[name]}


def _add_gate(summary: dict[str, SetSummary], sets: dict[str, list[Row]], threshold: float) -> None:
    negatives = _column(sets.get(RETAIN + PARAPHRASE, sets.get(RETAIN, [])), "gate")
    for name, rows in sets.items():
        if not (logits := _column(rows, "gate")):
            continue
        summary[name]["gate_open"] = proportion_ci(sum(logit >= threshold for logit in logits), len(logits))
        if is_forget(name) and negatives:
            summary[name]["gate_auroc"] = auroc_ci(logits, negatives)
            passed = round(fpr_at_tpr(logits, negatives, 0.95) * len(negatives))
            summary[name]["gate_fpr95"] = proportion_ci(passed, len(negatives))


def _column(rows: list[Row], name: str) -> list[float]:
    values = [row[name] for row in rows if row.get(name) is not None]
    # The mean of the finite values alone would hide that the model is broken.
    return values if all(map(isfinite, values)) else []
