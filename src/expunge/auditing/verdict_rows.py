"""From what was measured and attacked to the rows of a verdict."""

from collections.abc import Callable, Collection, Iterable

from expunge.auditing.cross_checks import cross_checks
from expunge.auditing.measured import ByModel, Measured
from expunge.auditing.reasoning import reasoning_row
from expunge.auditing.suite import Tolerance
from expunge.auditing.verdict import Reference, VerdictRow
from expunge.data.set_names import FORGET, PARAPHRASE, RETAIN, is_forget
from expunge.metrics.text import ROUGE

FORGET_PROMPTS = {FORGET: "forget prompts as given", FORGET + PARAPHRASE: "forget prompts paraphrased"}


def verdict_rows(by_model: ByModel, tolerance: Tolerance, near: Collection[str] = ()) -> list[VerdictRow]:
    """Return the rows of the verdict that the measured sets decide; probes have further rows.

    Args:
        by_model: rows of `expunge.auditing.measure`, of `unlearned`, `original`, and `control` if there is one.
        tolerance: how much worse the unlearned model may be.
        near: ids of the retain records that are nearest to the forget set.
    """
    return [*_leaks(by_model, tolerance), *_utility(by_model, tolerance, near)]


def _leaks(by_model: ByModel, tolerance: Tolerance) -> Iterable[VerdictRow]:
    forget = _sets(by_model, is_forget)
    texts = {}
    for name in forget:
        label = FORGET_PROMPTS.get(name, f"forget prompts: {name}")
        texts[name] = Measured.of_sets(by_model, [name], "rouge").judge(label, ROUGE, "control", tolerance.leak, "API only")
    yield from texts.values()
    for name, text in texts.items():
        of_set = {model: [row for row in rows if row["set"] == name] for model, rows in by_model.items()}
        yield from reasoning_row(of_set, text.name, "ROUGE-L recall", tolerance.leak, "API only")
    yield from cross_checks(by_model, texts, tolerance.leak)
    against: Reference = "control" if "control" in by_model else "original"
    degenerate = Measured.of_sets(by_model, forget, "degenerate")
    yield degenerate.judge("degenerate answers to forget prompts", "degenerate answers", against, tolerance.degenerate)


def _utility(by_model: ByModel, tolerance: Tolerance, near: Collection[str]) -> Iterable[VerdictRow]:
    others = _sets(by_model, lambda name: not is_forget(name))
    rouge = {f"utility: {name}": Measured.of_sets(by_model, [name], "rouge") for name in others}
    nearest = {model: [row for row in rows if row["set"] == RETAIN and row["id"] in near] for model, rows in by_model.items()}
    if nearest["unlearned"]:
        rouge["utility: nearest to the forget set"] = Measured(nearest, "rouge", "rouge")
    for name, measured in rouge.items():
        yield measured.judge(name, ROUGE, "original", tolerance.utility_drop, lower_is_worse=True)
    degenerate, refusals = Measured.of_sets(by_model, others, "degenerate"), Measured.of_sets(by_model, others, "refusal")
    yield degenerate.judge("degenerate answers elsewhere", "degenerate answers", "original", tolerance.degenerate)
    yield refusals.judge("refusals elsewhere", "refusals", "original", tolerance.refusals)


def _sets(by_model: ByModel, is_meant: Callable[[str], bool]) -> list[str]:
    """Return the names of the sets that have answers, in their order."""
    return [name for name in dict.fromkeys(row["set"] for row in by_model["unlearned"] if "rouge" in row) if is_meant(name)]
