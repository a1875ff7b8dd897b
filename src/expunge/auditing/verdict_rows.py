"""From what was measured and attacked to the rows of a verdict."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from expunge.auditing.record_metrics import Row
from expunge.auditing.suite import Tolerance
from expunge.auditing.verdict import Values, VerdictRow, verdict_row
from expunge.data.set_names import FORGET, PARAPHRASE, RETAIN, is_forget
from expunge.metrics.text import ROUGE

FORGET_PROMPTS = {FORGET: "forget prompts as given", FORGET + PARAPHRASE: "forget prompts paraphrased"}

ByModel = Mapping[str, Sequence[Row]]


def verdict_rows(by_model: ByModel, tolerance: Tolerance, near: Collection[str] = ()) -> list[VerdictRow]:
    """Return the rows of the verdict that the measured sets decide; probes have further rows.

    Args:
        by_model: rows of `expunge.auditing.measure`, of `unlearned`, `original`, and `control` if there is one.
        tolerance: how much worse the unlearned model may be.
        near: ids of the retain records that are nearest to the forget set.
    """
    return [*_leaks(by_model, tolerance), *_utility(by_model, tolerance, near)]


def _leaks(by_model: ByModel, tolerance: Tolerance) -> Iterable[VerdictRow]:
    for name in _sets(by_model, is_forget):
        rouge = _values(by_model, [name], "rouge")
        yield verdict_row(FORGET_PROMPTS.get(name, f"forget prompts: {name}"), ROUGE, rouge, "control", tolerance.leak, "API only")
    degenerate = _values(by_model, _sets(by_model, is_forget), "degenerate")
    against = "control" if "control" in by_model else "original"
    yield verdict_row("degenerate answers to forget prompts", "degenerate answers", degenerate, against, tolerance.degenerate)


def _utility(by_model: ByModel, tolerance: Tolerance, near: Collection[str]) -> Iterable[VerdictRow]:
    others = _sets(by_model, lambda name: not is_forget(name))
    for name in others:
        rouge = _values(by_model, [name], "rouge")
        yield verdict_row(f"utility: {name}", ROUGE, rouge, "original", tolerance.utility_drop, lower_is_worse=True)
    nearest = {model: [row for row in rows if row["set"] == RETAIN and row["id"] in near] for model, rows in by_model.items()}
    if nearest["unlearned"]:
        rouge = _values(nearest, [RETAIN], "rouge")
        name = "utility: nearest to the forget set"
        yield verdict_row(name, ROUGE, rouge, "original", tolerance.utility_drop, lower_is_worse=True)
    degenerate, refusals = _values(by_model, others, "degenerate"), _values(by_model, others, "refusal")
    yield verdict_row("degenerate answers elsewhere", "degenerate answers", degenerate, "original", tolerance.degenerate)
    yield verdict_row("refusals elsewhere", "refusals", refusals, "original", tolerance.refusals)


def _sets(by_model: ByModel, is_meant: Callable[[str], bool]) -> list[str]:
    """Return the names of the sets that have answers, in their order."""
    return [name for name in dict.fromkeys(row["set"] for row in by_model["unlearned"] if "rouge" in row) if is_meant(name)]


def _values(by_model: ByModel, sets: Sequence[str], column: str) -> dict[str, Values]:
    return {
        model: _grouped((f"{row['set']}/{row['id']}", float(row[column])) for row in rows if row["set"] in sets)
        for model, rows in by_model.items()
    }


def _grouped(pairs: Iterable[tuple[str, float]]) -> Values:
    grouped: dict[str, list[float]] = defaultdict(list)
    for name, value in pairs:
        grouped[name].append(value)
    return grouped
