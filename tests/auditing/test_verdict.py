"""Verdicts worked out by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expunge.auditing.blindness import SEEN
from expunge.auditing.verdict import always, verdict_row

SAME = {"a": [0.2], "b": [0.4], "c": [0.6], "d": [0.8]}


def judged(name, value, models, *others, **settings):
    """Judge a metric that sees every record."""
    return verdict_row(name, value, models, *others, {id_: SEEN for values in models.values() for id_ in values}, **settings)


def leaks(*values: float) -> dict[str, list[float]]:
    return {name: [value] for name, value in zip("abcd", values, strict=False)}


def test_no_more_than_the_control_passes():
    row = judged("as given", "ROUGE-L", {"unlearned": leaks(0.2, 0.5, 0.5, 0.8), "control": SAME}, "control", 0.1)
    # 0, +0.1, -0.1, 0
    assert (row.verdict, row.excess.value, row.excess.n) == ("pass", pytest.approx(0.0), 4)
    assert row.unlearned.value == pytest.approx(0.5)


def test_three_records_pass_nothing_and_fail_as_more_would():
    less = judged("as given", "ROUGE-L", {"unlearned": leaks(0.1, 0.2, 0.5), "control": SAME}, "control", 0.1)
    assert (less.verdict, less.reason.rpartition(": ")[2]) == ("not shown", "n = 3 is too few to pass")
    assert judged("as given", "ROUGE-L", {"unlearned": leaks(0.9, 0.9, 1.0), "control": SAME}, "control", 0.1).verdict == "fail"


@pytest.mark.parametrize(("n", "verdict"), [(3, "not shown"), (28, "not shown"), (29, "pass")])
def test_records_that_are_all_alike_leave_room_for_others(n, verdict):
    # 0.05^(1/28) = 0.8985, 0.05^(1/29) = 0.9019: of 29 records that show nothing at most 9.8 % would show something
    same = {str(i): [0.0] for i in range(n)}
    assert judged("sampled", "leaks", {"unlearned": same, "control": same}, "control", 0.1).verdict == verdict


def test_never_seen_records_are_others_so_means_are_compared():
    models = {"unlearned": leaks(0.9, 0.8, 0.7), "control": {"x": [0.1], "y": [0.3]}}
    row = judged("as given", "ROUGE-L", models, "control", 0.1)
    assert (row.excess.value, row.excess.n) == (pytest.approx(0.6), 5)
    # at least 0.7 - 0.3, at most 0.9 - 0.1
    assert 0.4 - 1e-9 <= row.excess.ci95[0] < 0.6 < row.excess.ci95[1] <= 0.8 + 1e-9
    assert row.verdict == "fail"


def test_three_records_beside_three_never_seen_ones_pass_nothing():
    row = judged(
        "as given", "ROUGE-L", {"unlearned": leaks(0.1, 0.2, 0.3), "control": {"x": [0.4], "y": [0.5], "z": [0.6]}}, "control", 0.1
    )
    assert (row.verdict, row.excess.n, row.reason.rpartition(": ")[2]) == ("not shown", 6, "n = 3 is too few to pass")


def test_all_of_the_interval_above_what_is_allowed_fails():
    # 0.9 - 0.2, 0.9 - 0.4, 0.9 - 0.6: the smallest difference is 0.3, so is the smallest mean of any resample
    row = judged("as given", "ROUGE-L", {"unlearned": leaks(0.9, 0.9, 0.9), "control": SAME}, "control", 0.1)
    assert row.excess.value == pytest.approx(0.5)
    assert row.verdict == "fail"


def test_an_interval_that_holds_both_shows_nothing():
    row = judged("as given", "ROUGE-L", {"unlearned": leaks(0.9, 0.4, 0.6), "control": SAME}, "control", 0.1)
    assert row.verdict == "not shown"
    assert "the interval holds both" in row.reason


def test_records_are_compared_with_themselves_and_with_no_others():
    row = judged("as given", "ROUGE-L", {"unlearned": {"a": [0.2, 0.6], "x": [1.0]}, "control": {"a": [0.4], "y": [0.0]}}, "control", 0.1)
    # (0.2 + 0.6) / 2 - 0.4
    assert (row.excess.value, row.excess.n) == (0.0, 1)
    assert row.verdict == "not shown"


def test_without_a_control_there_is_no_verdict():
    row = judged("as given", "ROUGE-L", {"unlearned": SAME, "original": SAME}, "control", 0.1)
    assert (row.verdict, row.reason, row.excess) == ("not shown", "there is no control to compare with", None)


def test_lower_utility_is_worse():
    models = {"unlearned": leaks(0.1, 0.1, 0.1, 0.1), "original": SAME}
    assert judged("utility", "ROUGE-L", models, "original", 0.05, lower_is_worse=True).verdict == "fail"
    assert judged("utility", "ROUGE-L", models, "original", 0.05).verdict == "pass"


def test_some_rows_fail_whatever_is_measured():
    row = always("weights released", "weights released", "whoever has the weights leaves the adapter out")
    assert (row.verdict, row.excess) == ("fail", None)


def test_a_model_that_was_not_measured_is_not_judged():
    with pytest.raises(ValueError, match="as given: the unlearned model has no values"):
        judged("as given", "ROUGE-L", {"unlearned": {}, "control": SAME}, "control", 0.1)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=6), st.floats(0, 0.3), st.floats(0, 1))
def test_telling_more_never_helps(values, allowed, more):
    order = ["pass", "not shown", "fail"]
    control = {str(i): [0.5] for i in range(len(values))}
    less, worse = ({str(i): [value + extra] for i, value in enumerate(values)} for extra in (0.0, more))
    first, second = (judged("x", "v", {"unlearned": one, "control": control}, "control", allowed).verdict for one in (less, worse))
    assert order.index(second) >= order.index(first)
