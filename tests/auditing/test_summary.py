"""From rows to numbers, worked out by hand on made-up rows."""

from typing import Any

import pytest

from expunge.auditing.record_metrics import Row
from expunge.auditing.summary import summarise
from expunge.data.set_names import is_forget

PLAIN = {"probability": 0.5, "rouge": 0.5, "exact_memorization": 0.5, "extraction_strength": 0.5, "refusal": False, "degenerate": False}


def rows(name: str, **columns: list[Any]) -> list[Row]:
    """Rows of one set with the given columns, the rest at one half."""
    count = len(next(iter(columns.values())))
    return [{**PLAIN, "set": name, "id": str(i), **{column: values[i] for column, values in columns.items()}} for i in range(count)]


def test_a_metric_is_the_mean_over_the_records_of_a_set():
    # (0.9 + 0.6 + 0.3) / 3 = 0.6
    found = summarise(rows("forget", rouge=[0.9, 0.6, 0.3]))["forget"]["rouge"]
    assert (found.value, found.n) == (pytest.approx(0.6), 3)
    assert found.ci95[0] < 0.6 < found.ci95[1]


def test_refusals_and_degenerate_answers_are_shares():
    found = summarise(rows("forget", refusal=[True, False, False, False], degenerate=[True, True, False, False]))["forget"]
    assert (found["refusal"].value, found["degeneracy"].value) == (0.25, 0.5)
    assert found["refusal"].n == 4


def test_truth_ratios_of_forget_records_are_folded_at_one():
    # min(r, 1/r): 0.5, 1/2, 1 -> mean 2/3
    found = summarise(rows("forget", truth_ratio=[0.5, 2.0, 1.0]))["forget"]["truth_ratio"]
    assert found.value == pytest.approx(2 / 3)


def test_truth_ratios_of_retain_records_count_from_one_down():
    # max(0, 1 - r): 0.75, 0 -> mean 0.375
    found = summarise(rows("forget", rouge=[0.0]) + rows("retain", truth_ratio=[0.25, 2.0]))["retain"]["truth_ratio"]
    assert found.value == pytest.approx(0.375)


def test_utility_is_the_harmonic_mean_over_all_sets_but_forget_sets():
    measured = rows("forget", probability=[0.01], rouge=[0.01])
    measured += rows("retain", probability=[0.4, 0.6], rouge=[0.2, 0.3], truth_ratio=[0.25, 2.0])
    # means 0.5, 0.25 and 0.375: 3 / (1/0.5 + 1/0.25 + 1/0.375) = 3 / 8.6667 = 0.346154
    found = summarise(measured)["utility"]["model_utility"]
    assert (found.value, found.n) == (pytest.approx(0.346154, abs=1e-6), 2)


def test_a_further_sets_probability_is_the_answers_share_among_the_options():
    measured = rows("forget", rouge=[0.0]) + rows("retain", probability=[0.5], rouge=[0.5], probability_options=[0.9])
    measured += rows("world_facts", probability=[0.01], rouge=[1.0], probability_options=[0.8])
    found = summarise(measured)
    assert (found["retain"]["probability"].value, found["world_facts"]["probability"].value) == (0.5, 0.8)
    # 4 / (1/0.5 + 1/0.5 + 1/0.8 + 1/1) = 4 / 6.25 = 0.64
    assert found["utility"]["model_utility"].value == pytest.approx(0.64)


def test_rephrased_questions_do_not_count_twice_in_the_utility():
    without_paraphrases = rows("forget", rouge=[0.0]) + rows("retain", rouge=[0.5])
    assert summarise(without_paraphrases + rows("retain_paraphrase", rouge=[0.1]))["utility"] == summarise(without_paraphrases)["utility"]


def test_there_is_no_utility_without_a_set_to_keep():
    assert list(summarise(rows("forget", rouge=[0.5]))) == ["forget"]


def test_forget_quality_is_one_when_the_control_has_the_same_ratios():
    measured = rows("forget", truth_ratio=[0.1, 0.5, 0.9])
    assert summarise(measured, control=measured)["forget"]["forget_quality"].value == 1.0


def test_forget_quality_is_the_chance_of_ratios_this_far_apart():
    # Four ratios below four others: of C(8, 4) = 70 ways to divide eight values, 2 are that extreme; p = 2/70 = 0.028571.
    measured = rows("forget", truth_ratio=[0.1, 0.2, 0.3, 0.4])
    control = rows("forget", truth_ratio=[0.6, 0.7, 0.8, 0.9])
    found = summarise(measured, control)["forget"]["forget_quality"]
    assert (found.value, found.n, found.ci95) == (pytest.approx(0.028571, abs=1e-6), 4, None)


def test_forget_quality_needs_a_control_and_truth_ratios():
    ratios, none = rows("forget", truth_ratio=[0.1]), rows("forget", rouge=[0.1])
    assert "forget_quality" not in summarise(ratios)["forget"]
    assert "forget_quality" not in summarise(none, control=none)["forget"]


def gated() -> list[Row]:
    measured = rows("forget", gate=[2.0, 1.0]) + rows("forget_paraphrase", gate=[3.0, 2.0])
    return measured + rows("retain", gate=[5.0]) + rows("retain_paraphrase", gate=[1.5, -1.0])


def test_the_gate_is_compared_with_paraphrased_retain_questions():
    found = summarise(gated())
    # Against 1.5 and -1: 2 beats both, 1 beats one: 3 of 4 pairs. The 5 of the trained wording would beat all.
    assert found["forget"]["gate_auroc"].value == 0.75
    assert found["forget_paraphrase"]["gate_auroc"].value == 1.0
    # At the threshold 1.0 that keeps both, one of two retain prompts passes; at 2.0 none does.
    assert found["forget"]["gate_fpr95"].value == 0.5
    assert found["forget_paraphrase"]["gate_fpr95"].value == 0.0
    assert "gate_auroc" not in found["retain"]


def test_without_rephrased_questions_the_gate_is_judged_against_the_others():
    measured = [row for row in gated() if row["set"] != "retain_paraphrase"]
    assert summarise(measured)["forget"]["gate_auroc"].value == 0.0


@pytest.mark.parametrize(("threshold", "shares"), [(None, (1.0, 1.0, 0.5)), (1.5, (0.5, 1.0, 0.5)), (1.6, (0.5, 1.0, 0.0))])
def test_the_gate_is_open_from_the_threshold_on_and_from_zero_without_one(threshold, shares):
    found = summarise(gated(), threshold=threshold)
    assert tuple(found[name]["gate_open"].value for name in ("forget", "retain", "retain_paraphrase")) == shares


def test_a_model_without_a_gate_has_no_gate_metrics():
    found = summarise(rows("forget", rouge=[0.5]) + rows("retain", rouge=[0.5]))
    assert not [metric for of_set in found.values() for metric in of_set if metric.startswith("gate")]


def test_rephrased_forget_questions_are_forget_questions_too():
    assert is_forget("forget")
    assert is_forget("forget_paraphrase")
    assert not is_forget("forgetful")
