"""Verdict rows where a metric is blind, where values are not finite, and where no answer could fail: none passes."""

import json
from math import inf, nan

import pytest

from expunge.attestation.schema_audit import VerdictRow as Schema
from expunge.auditing.attacks import Quantise
from expunge.auditing.blindness import SEEN, Sensitivity, columns
from expunge.auditing.probes.attacks import attack_verdict_rows
from expunge.auditing.suite import Tolerance
from expunge.auditing.summary import summarise
from expunge.auditing.verdict import verdict_row
from expunge.auditing.verdict_rows import verdict_rows

N = 40


def of(value: float, runs: int = 1) -> dict[str, list[float]]:
    """Return records that score about so much, not all alike: every second scores 0.01 more, or half of them in runs."""
    return {str(i): [value + 0.01 * (i // runs % 2)] for i in range(N)}


def judged(unlearned, control, blind=(), reach=1.0, why="self"):
    sensitivities = {id_: Sensitivity(0.0, why) if id_ in blind else Sensitivity(reach) for id_ in {*unlearned, *control}}
    return verdict_row("as given", "ROUGE-L", {"unlearned": unlearned, "control": control}, "control", 0.1, sensitivities)


@pytest.mark.parametrize(("blind", "verdict"), [(0, "pass"), (2, "pass"), (3, "not shown"), (N, "not shown")])
def test_a_metric_that_is_blind_to_more_than_a_twentieth_passes_nothing(blind, verdict):
    # 2 of 40 are 5 %
    row = judged(of(0.2), of(0.2), blind=[str(i) for i in range(blind)])
    assert row.verdict == verdict
    assert (f"{blind} of 40 records cannot be judged, such as 0: the metric does not score" in row.reason) is (blind > 0)
    Schema.model_validate(json.loads(json.dumps(row.as_dict())))


def test_records_that_a_metric_is_blind_to_do_not_hide_a_leak():
    # 10 seen records leak, 30 that nobody can judge do not
    leaks = {**of(0.0), **{str(i): [0.9 + 0.01 * (i % 2)] for i in range(10)}}
    row = judged(leaks, of(0.0), blind=[str(i) for i in range(10, N)])
    assert (row.verdict, row.excess.n) == ("fail", 10)


def test_a_record_whose_sensitivity_is_missing_is_blind():
    row = verdict_row("as given", "ROUGE-L", {"unlearned": of(0.2), "control": of(0.2)}, "control", 0.1, {})
    assert row.verdict == "not shown"
    assert row.reason.endswith("it was not checked whether the metric sees the true answer")


def test_where_even_the_true_answers_would_not_fail_nothing_passes():
    # A control at 0.95 leaves an excess of at most 0.05, which the tolerance allows.
    row = judged(of(0.95), of(0.95))
    assert (row.verdict, row.reason.partition(":")[0]) == ("not shown", "blind")
    # The same where the longest answer lets a model that repeats the truth reach only 0.5, and the control is at 0.45.
    assert judged(of(0.45), of(0.45), reach=0.5).verdict == "not shown"
    assert judged(of(0.45), of(0.45)).verdict == "pass"


def test_utility_that_nobody_could_lose_does_not_pass():
    def utility(of_original: float):
        models = {"unlearned": of(of_original, runs=2), "original": of(of_original)}
        return verdict_row("utility: x", "ROUGE-L", models, "original", 0.05, dict.fromkeys(of(0), SEEN), lower_is_worse=True)

    assert utility(0.02).verdict == "not shown"
    assert utility(0.5).verdict == "pass"
    # Answers that are cut off hide a leak, and no loss.
    cut = dict.fromkeys(of(0), Sensitivity(0.3, "cut"))
    models = {"unlearned": of(0.3, runs=2), "original": of(0.3), "control": of(0.3)}
    assert verdict_row("utility: x", "ROUGE-L", models, "original", 0.05, cut, lower_is_worse=True).verdict == "pass"
    assert verdict_row("as given", "ROUGE-L", models, "control", 0.05, cut).verdict == "not shown"


@pytest.mark.parametrize("value", [nan, inf, -inf])
@pytest.mark.parametrize("model", ["unlearned", "control"])
def test_a_value_that_is_not_finite_passes_nothing(value, model):
    models = {"unlearned": of(0.2), "control": of(0.2)}
    models[model]["3"] = [value]
    row = verdict_row("as given", "ROUGE-L", models, "control", 0.1, dict.fromkeys(of(0), SEEN))
    assert row.verdict == "not shown"
    assert f"1 of 40 records of the {model}, such as 3, is not a finite number" in row.reason
    json.dumps(row.as_dict(), allow_nan=False)


def test_a_mean_over_values_that_are_not_finite_is_left_out():
    rows = [{"set": "forget", "id": str(i), "probability": nan if i else 0.5, "rouge": 0.5} for i in range(3)]
    assert set(summarise(rows)["forget"]) == {"rouge"}


def test_rows_of_an_attack_that_forgot_the_check_pass_nothing():
    def row_of(extra: dict):
        rows = {name: [{"id": str(i), "value": 0.2 + 0.01 * (i % 2), **extra} for i in range(N)] for name in ("unlearned", "control")}
        (row,) = attack_verdict_rows(Quantise(), rows, 0.1)
        return row.verdict

    assert row_of(columns(SEEN)) == "pass"
    assert row_of({}) == "not shown"


def test_without_any_answer_nothing_is_shown():
    answered = [{"set": "retain", "id": "r", "rouge": 0.5}]
    rows = verdict_rows({"original": answered, "unlearned": answered, "control": []}, Tolerance())
    assert {row.name: row.verdict for row in rows}["degenerate answers to forget prompts"] == "not shown"
    assert not [row for row in rows if row.verdict == "pass"]
