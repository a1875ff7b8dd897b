"""Intervals of means, shares and AUROC."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from expunge.metrics import statistics
from expunge.metrics.statistics import Summary, auroc_ci, mean_ci, proportion_ci


def test_a_mean_carries_its_n_and_interval():
    summary = mean_ci([0.0, 1.0] * 50)
    # standard error sqrt(0.25 / 100) = 0.05, so about 0.5 +- 1.96 * 0.05
    assert summary.value == pytest.approx(0.5)
    assert summary.n == 100
    assert summary.ci95 == pytest.approx((0.402, 0.598), abs=0.012)


def test_the_same_values_give_the_same_interval():
    values = np.linspace(0, 1, 37).tolist()
    assert mean_ci(values) == mean_ci(values)


def test_the_block_size_does_not_change_the_resamples(monkeypatch):
    values = np.linspace(0, 1, 30).tolist()
    whole = mean_ci(values).ci95
    monkeypatch.setattr(statistics, "_BLOCK", 300)
    assert mean_ci(values).ci95 == pytest.approx(whole, abs=1e-12)


def test_one_value_has_no_interval():
    assert mean_ci([0.3]).ci95 is None


@pytest.mark.parametrize(("successes", "end"), [(0, 0), (7, 1)])
def test_the_interval_of_no_or_only_successes_ends_exactly_at_zero_or_one(successes, end):
    assert proportion_ci(successes, 7).ci95[end] == end


@pytest.mark.parametrize("values", [[], [float("nan")], [1.0, float("inf")]])
def test_a_mean_of_no_values_or_of_infinite_values_is_an_error(values):
    with pytest.raises(ValueError):
        mean_ci(values)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=40))
def test_the_interval_of_a_mean_lies_within_the_values(values):
    low, high = mean_ci(values).ci95
    assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9


def test_the_bootstrap_interval_covers_the_true_mean_about_as_often_as_stated():
    generator = np.random.default_rng(1)
    intervals = [mean_ci(generator.normal(size=60).tolist()).ci95 for _ in range(200)]
    covered = sum(low <= 0 <= high for low, high in intervals)
    # binomial(200, 0.95) has mean 190 and standard deviation 3.1; the percentile bootstrap is slightly too narrow at n = 60
    assert 178 <= covered <= 198


def test_wilson_by_hand():
    # 8 of 10, z = 1.96: centre (0.8 + 3.8415/20) / 1.38415 = 0.71674
    # half = 1.96 sqrt(0.8 * 0.2 / 10 + 3.8415 / 400) / 1.38415 = 0.22658
    summary = proportion_ci(8, 10)
    assert summary.value == pytest.approx(0.8)
    assert summary.ci95 == pytest.approx((0.49016, 0.94332), abs=1e-4)


def test_wilsons_interval_has_a_width_at_zero_and_one():
    # 0 of n: upper end z^2 / (n + z^2) = 3.8415 / 67.8415 = 0.05662
    assert proportion_ci(0, 64).ci95 == pytest.approx((0.0, 0.05662), abs=1e-4)
    assert proportion_ci(64, 64).ci95 == pytest.approx((1 - 0.05662, 1.0), abs=1e-4)


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (3, 2), (-1, 4)])
def test_impossible_counts_are_an_error(successes, n):
    with pytest.raises(ValueError):
        proportion_ci(successes, n)


def test_auroc_interval_surrounds_the_value_and_n_counts_both_sets():
    generator = np.random.default_rng(0)
    positives, negatives = generator.normal(1, 1, 80).tolist(), generator.normal(0, 1, 120).tolist()
    summary = auroc_ci(positives, negatives)
    low, high = summary.ci95
    assert summary.n == 200
    assert low < summary.value < high
    # Hanley and McNeil's standard error at A = 0.76, 80 and 120: about 0.034, so a width of about 0.134
    assert high - low == pytest.approx(0.134, abs=0.03)
    assert auroc_ci(positives, negatives) == summary


def test_auroc_of_separated_scores_is_certain():
    assert auroc_ci([2.0, 3.0], [0.0, 1.0]) == Summary(1.0, 4, (1.0, 1.0))


def test_a_summary_becomes_json():
    assert Summary(0.5, 4, (0.25, 0.75)).as_dict() == {"value": 0.5, "n": 4, "ci95": [0.25, 0.75]}
    assert Summary(0.04, 40).as_dict() == {"value": 0.04, "n": 40, "ci95": None}
