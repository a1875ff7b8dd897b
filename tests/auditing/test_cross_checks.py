"""Text, likelihood and characters of the same answers: contradictions worked out by hand."""

import pytest

from expunge.auditing.attacks import Quantise
from expunge.auditing.blindness import SEEN, Sensitivity, columns
from expunge.auditing.control_check import control_fault, without_control
from expunge.auditing.probes.attacks import attack_verdict_rows
from expunge.auditing.suite import Tolerance
from expunge.auditing.verdict_rows import verdict_rows
from expunge.reporting.verdict_table import short_reason

SEES = {name: value for metric in ("rouge", "chrf", "degenerate", "likelihood") for name, value in columns(SEEN, metric).items()}
N = 8


def rows(rouge: float, probability: float, memorised=0.5, chrf=0.2, prefix="", runs: int = 1, **other) -> list[dict]:
    """Return forget records of which half score 0.02 more: every second, or in runs of so many."""
    values = {"rouge": rouge, "probability": probability, "exact_memorization": memorised, "chrf": chrf}
    return [
        {
            "set": "forget",
            "id": f"{prefix}{i}",
            "degenerate": False,
            **SEES,
            **{k: v + 0.02 * (i // runs % 2) for k, v in values.items()},
            **other,
        }
        for i in range(N)
    ]


ORIGINAL, CONTROL = rows(0.9, 0.9, 0.95, 0.9, runs=2), rows(0.2, 0.1, 0.5, 0.2, runs=4)


def checks(unlearned, control=CONTROL, original=ORIGINAL) -> dict:
    models = {"original": original, "unlearned": unlearned, **({} if control is None else {"control": control})}
    return {row.name.removeprefix("cross-check: "): row for row in verdict_rows(models, Tolerance())}


def test_a_model_that_hides_its_text_and_still_finds_the_answer_likely_fails():
    # Text 0.2 as the control's. Probability 0.8: 0.7 above the control, 0.8 - (0.9 + 0.1) / 2 = 0.3 above the middle.
    found = checks(rows(0.2, 0.8))
    row = found["forget prompts as given, probability"]
    assert found["forget prompts as given"].verdict == "pass"
    assert (row.verdict, row.excess.value, row.excess.n, row.against) == ("fail", pytest.approx(0.3), N, "original")
    assert row.reason.startswith(
        "text and likelihood disagree: the answers look forgotten, but the probability of the true answer (0.810) is near"
    )
    assert "is near the original's (0.910) and far from the control's (0.110)" in row.reason
    assert "+0.700 against the control" in row.reason
    assert short_reason(row.as_dict()) == row.reason
    assert found["forget prompts as given, exact memorisation"].verdict == "pass"


def test_a_model_that_hides_its_text_and_memorises_as_the_original_does_fails():
    # 0.9 - (0.95 + 0.5) / 2 = 0.175 above the middle, 0.4 above the control
    row = checks(rows(0.2, 0.1, 0.9))["forget prompts as given, exact memorisation"]
    assert (row.verdict, row.excess.value) == ("fail", pytest.approx(0.175))


@pytest.mark.parametrize(
    ("probability", "verdict"),
    [(0.1, "pass"), (0.15, "pass"), (0.33, "pass"), (0.45, "pass"), (0.55, "fail"), (0.9, "fail")],
)
def test_the_middle_between_original_and_control_decides(probability, verdict):
    # Middle 0.5. 0.33 and 0.45 are far from the control and nearer to it than to the original: a weak edit, no contradiction.
    assert checks(rows(0.2, probability))["forget prompts as given, probability"].verdict == verdict


def test_a_likelihood_on_both_sides_of_the_middle_shows_nothing():
    mixed = [row | {"probability": 0.1 if i % 2 else 0.9} for i, row in enumerate(rows(0.2, 0.1))]
    assert checks(mixed)["forget prompts as given, probability"].verdict == "not shown"


def test_an_original_that_never_knew_the_answers_cannot_be_near():
    # 0.2 above a control at 0.1; the original is at 0.12 itself, so that no model could fail by being near it.
    row = checks(rows(0.2, 0.3), original=rows(0.2, 0.12, runs=2))["forget prompts as given, probability"]
    assert row.verdict != "pass"


def test_without_a_control_or_with_a_blind_likelihood_nothing_is_shown():
    assert checks(rows(0.2, 0.8), control=None)["forget prompts as given, probability"].verdict == "not shown"
    blind = columns(Sensitivity(0.0, "tokens"), "likelihood")
    row = checks(rows(0.2, 0.1, **blind))["forget prompts as given, probability"]
    assert (row.verdict, "the tokenizer cannot write" in row.reason) == ("not shown", True)


def test_never_seen_records_are_a_control_of_their_own():
    # No id in common, so the means are compared: the same 0.3 above the middle.
    row = checks(rows(0.2, 0.8), control=rows(0.2, 0.1, prefix="never seen/", runs=4))["forget prompts as given, probability"]
    assert (row.verdict, row.excess.value, row.excess.n) == ("fail", pytest.approx(0.3), 2 * N)


def test_a_text_that_fails_has_nothing_to_contradict():
    assert not [name for name in checks(ORIGINAL) if name.startswith("forget prompts as given, ")]


def test_characters_contradict_words():
    # chrF 0.6 - 0.2 = 0.4 above the control's, ROUGE-L as the control's
    row = checks(rows(0.2, 0.1, chrf=0.6))["forget prompts as given, chrF"]
    assert (row.verdict, row.excess.value) == ("fail", pytest.approx(0.4))
    assert row.reason.startswith("ROUGE-L and chrF disagree: the answers look forgotten by words only")
    assert checks(rows(0.2, 0.1))["forget prompts as given, chrF"].verdict == "pass"


def attack_rows(chrf: float, runs: int = 1) -> list[dict]:
    sensitivities = {**columns(SEEN), **columns(SEEN, "chrf")}
    return [{"id": str(i), "value": 0.2 + 0.01 * (i // runs % 2), "chrf": chrf + 0.01 * (i // runs % 2), **sensitivities} for i in range(N)]


def test_characters_contradict_the_words_of_an_attack():
    agree, leak = (
        list(attack_verdict_rows(Quantise(), {"unlearned": attack_rows(chrf), "control": attack_rows(0.2, runs=2)}, 0.1))
        for chrf in (0.2, 0.7)
    )
    assert [(row.name, row.verdict) for row in agree] == [("quantised: nf4", "pass")]
    assert [(row.name, row.verdict) for row in leak] == [("quantised: nf4", "pass"), ("cross-check: quantised: nf4, chrF", "fail")]
    assert leak[1].threat == "weights released"


def with_nll(of: list[dict], nll: float) -> list[dict]:
    return [row | {"nll": nll + i} for i, row in enumerate(of)]


@pytest.mark.parametrize("which", ["original", "unlearned"])
def test_a_control_that_is_one_of_the_other_models_fails_and_lets_nothing_pass(which):
    models = {"original": with_nll(ORIGINAL, 1.0), "unlearned": with_nll(rows(0.2, 0.1), 9.0)}
    models["control"] = models[which]
    fault = control_fault(models)
    assert fault.startswith(f"the control is unfit: it is the {which}")
    first, *others = without_control(verdict_rows(models, Tolerance()), fault)
    assert (first.name, first.verdict, first.reason) == ("the control never saw the forget set", "fail", fault)
    assert {row.verdict for row in others if row.against == "control"} <= {"not shown", "fail"}
    assert not [row for row in others if row.verdict == "pass" and row.name.startswith(("forget", "cross-check"))]


def test_a_control_of_its_own_has_no_fault():
    models = {"original": with_nll(ORIGINAL, 1.0), "unlearned": with_nll(rows(0.2, 0.1), 9.0), "control": with_nll(CONTROL, 8.0)}
    assert control_fault(models) == ""
    # The same weights with another chat template give other likelihoods; the hash tells.
    assert control_fault(models, is_original=True).startswith("the control is unfit: it is the original")
    assert control_fault({**models, "control": [row | {"id": f"never seen/{row['id']}"} for row in models["original"]]}) == ""
    assert control_fault({name: models[name] for name in ("original", "unlearned")}) == ""
