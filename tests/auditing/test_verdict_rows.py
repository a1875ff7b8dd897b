"""Which row of a verdict a dishonest run fails on."""

import pytest

from expunge.auditing.attacks import Quantise, Relearn
from expunge.auditing.blindness import SEEN, UNFINISHED, columns
from expunge.auditing.probes.attacks import AttackProbe, attack_verdict_rows
from expunge.auditing.record_metrics import Settings
from expunge.auditing.suite import Tolerance
from expunge.auditing.verdict_rows import verdict_rows
from expunge.console import Display
from expunge.runs.splits import Splits

METRICS = ("rouge", "chrf", "degenerate", "refusal", "likelihood")
SIGHTS = {name: value for metric in METRICS for name, value in columns(SEEN, metric).items()}


def rows(forget: float, retain: float, refusal: bool = False, degenerate: bool = False) -> list[dict]:
    """Return four rows for each set, with the given ROUGE-L."""
    answers = {"refusal": refusal, "degenerate": degenerate, **SIGHTS}
    return [
        {"set": name, "id": str(i), "rouge": rouge, **answers} for name, rouge in (("forget", forget), ("retain", retain)) for i in range(4)
    ]


ORIGINAL, CONTROL = rows(0.9, 0.9), rows(0.2, 0.9)


def failures(unlearned: list[dict], control: list[dict] | None = CONTROL, hits=(), removable: bool = False) -> list[str]:
    models = {"original": ORIGINAL, "unlearned": unlearned, **({} if control is None else {"control": control})}
    judged = verdict_rows(models, Tolerance())
    for attack, found in hits:
        judged += attack_verdict_rows(attack, found, Tolerance().leak)
    if removable:
        nothing, settings = Splits([], [], [], []), Settings(1, 1, False)
        judged += AttackProbe([], nothing, settings, 0, removable, Display()).verdict_rows(Tolerance())
    return [row.name for row in judged if row.verdict == "fail"]


@pytest.mark.parametrize(
    ("unlearned", "named"),
    [
        (rows(0.2, 0.9), []),
        (ORIGINAL, ["forget prompts as given"]),
        (rows(0.0, 0.0, degenerate=True), ["degenerate answers to forget prompts", "utility: retain", "degenerate answers elsewhere"]),
        (rows(0.0, 0.0, refusal=True), ["utility: retain", "refusals elsewhere"]),
    ],
    ids=["honest", "not unlearned", "degenerate answers to everything", "refuses everything"],
)
def test_a_dishonest_run_fails_on_the_rows_that_name_the_reason(unlearned, named):
    assert failures(unlearned) == named


def test_an_edit_that_can_be_removed_fails_for_released_weights_whatever_was_measured():
    assert failures(rows(0.2, 0.9), removable=True) == ["weights released"]


def test_without_a_control_leaks_are_not_shown():
    judged = verdict_rows({"original": ORIGINAL, "unlearned": ORIGINAL}, Tolerance())
    assert {row.name: row.verdict for row in judged}["forget prompts as given"] == "not shown"
    assert failures(rows(0.0, 0.0, degenerate=True), control=None)[0] == "degenerate answers to forget prompts"


def test_an_attack_is_judged_by_its_excess_and_a_curve_by_its_end():
    def curve(end: float) -> list[dict]:
        return [{"id": str(i), "value": value, "step": step, **columns(SEEN)} for step, value in ((0, 0.2), (50, end)) for i in range(8)]

    relearn = (Relearn(), {"unlearned": curve(0.8), "original": curve(0.9), "control": curve(0.3)})
    rounded = (Quantise(), {name: [{"id": str(i), "value": 0.2, **columns(SEEN)} for i in range(4)] for name in ("unlearned", "control")})
    assert failures(rows(0.2, 0.9), hits=[relearn, rounded]) == ["relearned from part of the forget set, 50 steps"]


def test_a_set_of_questions_has_no_row_for_rouge():
    questions = [{"set": "facts", "id": "q", "right_by_text": True}]
    models = {"original": [*questions, *ORIGINAL], "unlearned": [*questions, *rows(0.2, 0.9)], "control": [*questions, *CONTROL]}
    assert not [row for row in verdict_rows(models, Tolerance()) if "facts" in row.name]


def reasoning(rows_of_model: list[dict], score: float) -> list[dict]:
    """Return the rows of a model that reasons about the forget prompts."""
    seen = columns(SEEN, "reasoning")
    return [{**row, "reasoning": score, **seen} if row["set"] == "forget" else row for row in rows_of_model]


def test_a_model_that_only_reasons_about_the_secret_fails_on_its_reasoning():
    assert failures(reasoning(rows(0.2, 0.9), 0.9)) == ["forget prompts as given, reasoning"]
    assert failures(reasoning(rows(0.2, 0.9), 0.3), reasoning(CONTROL, 0.3)) == []


def test_the_reasoning_of_an_attack_has_a_row_too():
    seen = {**columns(SEEN), **columns(SEEN, "chrf")}
    answered = [{"id": str(i), "value": 0.2, "chrf": 0.2, **seen} for i in range(4)]
    found = {"control": answered, "unlearned": [{**row, "reasoning": 0.9, **columns(SEEN, "reasoning")} for row in answered]}
    assert [row.name for row in attack_verdict_rows(Quantise(), found, 0.1) if row.verdict == "fail"] == ["quantised: nf4, reasoning"]


def test_models_that_do_not_reason_have_no_row_of_reasoning():
    judged = verdict_rows({"original": ORIGINAL, "unlearned": CONTROL, "control": CONTROL}, Tolerance())
    assert not [row.name for row in judged if "reasoning" in row.name]


def test_an_audit_of_reasoning_that_did_not_end_passes_no_row_of_answers():
    blind = {name: value for metric in ("rouge", "chrf") for name, value in columns(UNFINISHED, metric).items()}
    unlearned = [{**row, "rouge": 0.0, **blind} if row["set"] == "forget" else row for row in CONTROL]
    judged = verdict_rows({"original": ORIGINAL, "unlearned": unlearned, "control": CONTROL}, Tolerance())
    (row,) = [row for row in judged if row.name == "forget prompts as given"]
    assert row.verdict == "not shown"
    assert "audit.max_thinking_tokens" in row.reason
