"""Cross-checks: does a second metric of the same records contradict what the text of the answers seems to show?

The likelihood of the true answer contradicts a text that looks forgotten if it is far from the control's and near the original's. Far: the
mean over records of unlearned - control is above the tolerance for leaks. Near: the mean of unlearned - (original + control) / 2 is above
0, so the likelihood is nearer to the original's. Both with the whole 95 % interval. chrF, which compares characters, contradicts ROUGE-L,
which compares words, if it leaks.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from statistics import fmean

from expunge.auditing.measured import ByModel, Measured
from expunge.auditing.verdict import BLIND, MIN_RECORDS, Values, VerdictRow, excess_of, without
from expunge.data.threats import Threat
from expunge.metrics.statistics import Summary

CROSS_CHECK = "cross-check"
"""The names of all rows of cross-checks begin with it."""
LIKELIHOODS = {
    "probability": ("probability", "probability of the true answer"),
    "exact_memorization": ("exact memorisation", "share of the true answer's tokens that greedy decoding gets right"),
}
"""{column: (name, description)}"""
CHRF = "chrF of the greedy answer"
THREAT: Threat = "API only"


def cross_checks(by_model: ByModel, texts: Mapping[str, VerdictRow], tolerance: float) -> Iterator[VerdictRow]:
    """Yield the cross-checks of each forget set, except where the text itself fails: then there is nothing to contradict.

    Args:
        by_model: the measured rows of each model.
        texts: for each forget set, the row that judges the text of its answers.
        tolerance: how much more than the control the unlearned model may leak.
    """
    for name, text in texts.items():
        if text.verdict == "fail":
            continue
        for column, (label, value) in LIKELIHOODS.items():
            measured = Measured.of_sets(by_model, [name], column, "likelihood")
            yield likelihood_check(f"{CROSS_CHECK}: {text.name}, {label}", value, measured, text, tolerance)
        yield characters_check(Measured.of_sets(by_model, [name], "chrf"), text)


def characters_check(measured: Measured, text: VerdictRow) -> VerdictRow:
    """Return the row of chrF, which says in words if it contradicts the row of ROUGE-L, `text`."""
    by_characters = measured.judge(f"{CROSS_CHECK}: {text.name}, chrF", CHRF, text.against, text.tolerance, text.threat)
    if by_characters.verdict != "fail":
        return by_characters
    if text.verdict == "pass":
        return replace(by_characters, reason=f"ROUGE-L and chrF disagree: the answers look forgotten by words only: {by_characters.reason}")
    return replace(by_characters, reason=f"by characters the answers are still there: {by_characters.reason}")


def likelihood_check(name: str, value: str, measured: Measured, text: VerdictRow, tolerance: float) -> VerdictRow:
    """Return the row that compares the likelihood of the true answers with what their text shows.

    Args:
        name: of the row.
        value: name of the likelihood, which is in [0, 1].
        measured: the likelihood on a forget set.
        text: the row that judges the text of the same records.
        tolerance: how much more than the control the unlearned model may leak.
    """
    against_control = measured.judge(name, value, "control", tolerance, THREAT)
    values, blind = measured.values(), {id_ for id_, sensitivity in measured.sensitivities().items() if sensitivity.blind}
    seen = {model: without(of_model, blind) for model, of_model in values.items()}
    if against_control.reason.startswith(BLIND) or not all(seen.get(model) for model in ("unlearned", "original", "control")):
        return replace(against_control, verdict="not shown")
    if against_control.verdict == "pass":
        return against_control
    above_middle = _above_middle(seen["unlearned"], seen)
    if above_middle is None or above_middle.ci95 is None or against_control.excess is None:
        return against_control
    row = replace(against_control, against="original", excess=above_middle, tolerance=0.0)
    low, high = above_middle.ci95
    numbers = f"{above_middle.value:+.3f} from the middle of original and control, 95 % interval {low:+.3f} to {high:+.3f}"
    if _fails(seen["unlearned"], seen, tolerance):
        return replace(row, verdict="fail", reason=_contradiction(value, row, against_control, text, numbers))
    # If the original itself would not fail, no model could, and a pass would say nothing.
    if high <= 0 and len(seen["unlearned"]) >= MIN_RECORDS and _fails(seen["original"], seen, tolerance):
        return replace(row, verdict="pass", reason=f"the likelihood is nearer to the control's: {numbers}")
    return replace(row, verdict="not shown", reason=f"neither near the original's likelihood nor near the control's for certain: {numbers}")


def _contradiction(value: str, row: VerdictRow, against_control: VerdictRow, text: VerdictRow, numbers: str) -> str:
    beginning = "text and likelihood disagree: the answers look forgotten, but"
    if text.verdict != "pass":
        beginning = "the text of the answers shows nothing, but"
    means = [f"{mean.value:.3f}" for mean in (row.unlearned, row.original, row.control) if mean is not None]
    near = f"the {value} ({means[0]}) is near the original's ({means[1]}) and far from the control's ({means[2]})"
    return f"{beginning} {near}: {numbers}; {against_control.reason}"


def _above_middle(likelihood: Values, seen: Mapping[str, Values]) -> Summary | None:
    """Return how far a likelihood is above the middle of the original's and the control's; never-seen records are resampled apart."""
    original = seen["original"]
    shared = {id_: [fmean(of_record) - fmean(original[id_]) / 2] for id_, of_record in likelihood.items() if id_ in original}
    return excess_of(shared, {id_: [fmean(of_record) / 2] for id_, of_record in seen["control"].items()})


def _fails(likelihood: Values, seen: Mapping[str, Values], tolerance: float) -> bool:
    """Return whether a likelihood is far from the control's and near the original's, each with its whole interval."""
    far, near = excess_of(likelihood, seen["control"]), _above_middle(likelihood, seen)
    return _is_above(far, tolerance) and _is_above(near, 0.0)


def _is_above(excess: Summary | None, bound: float) -> bool:
    return excess is not None and excess.ci95 is not None and excess.ci95[0] > bound
