"""The threshold of a gate: calibrated by hand, and its false-positive rate by property."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, tensor

from expunge.gating.calibrate import CalibrationLogits, calibrate, choose_threshold, lower_threshold

BELOW = tensor([-9.0])
LOGITS = st.integers(-2000, 2000).map(lambda n: n / 100)
WHOLE = st.integers(-9, 9).map(float)


def opens(logits: Tensor, threshold: float) -> Tensor:
    return logits >= threshold


def test_calibrate_by_hand():
    # n 9, alpha 0.2: rank ceil(10 * 0.8) = 8, the eighth smallest logit is 8; the gate stays closed at 8 itself
    retain = tensor([3.0, 1.0, 9.0, 2.0, 8.0, 4.0, 7.0, 5.0, 6.0])
    threshold = calibrate(retain, BELOW, 0.2)
    assert threshold.logit == pytest.approx(8.0)
    assert opens(tensor([8.0, 8.1]), threshold.logit).tolist() == [False, True]
    assert (threshold.n, threshold.alpha, threshold.guaranteed) == (9, 0.2, True)


def test_too_few_prompts_give_no_guarantee_and_the_largest_logit():
    # n 3, alpha 0.2: rank ceil(4 * 0.8) = 4 > 3; four prompts are enough: 1 / 0.2 - 1
    few = calibrate(tensor([1.0, 3.0, 2.0]), BELOW, 0.2)
    assert opens(tensor([3.0, 3.1]), few.logit).tolist() == [False, True]
    assert not few.guaranteed
    assert calibrate(tensor([1.0, 3.0, 2.0, 4.0]), BELOW, 0.2).guaranteed


def test_the_false_positive_rate_is_within_its_bound_in_95_of_100_calibrations():
    # The pool is so large that its share above a threshold is the true rate
    generator = torch.Generator().manual_seed(0)
    pool, within, rates = torch.randn(200_000, generator=generator), 0, []
    for _ in range(200):
        chosen = torch.randperm(len(pool), generator=generator)[:99]
        threshold = calibrate(pool[chosen], BELOW, 0.05)
        rates.append(opens(pool, threshold.logit).float().mean().item())
        within += rates[-1] <= threshold.rate_bound
    assert sum(rates) / len(rates) <= 0.05
    assert within >= 190
    # n 99, alpha 0.05: the 95th of 99, so Beta(5, 95), whose 95 % quantile is 9.0 %
    assert threshold.rate_bound == pytest.approx(0.0899, abs=1e-3)


def test_the_threshold_is_raised_by_a_tenth_of_a_wide_gap():
    # Of retain prompts from 0 to 39 rank ceil(41 * 0.9) = 37 is 36, the lower twentieth of forget is 100: the gate opens from 42.4
    threshold = calibrate(torch.arange(40.0), torch.full((20,), 100.0), 0.1)
    assert threshold.logit == pytest.approx(42.4)


def test_one_retain_prompt_with_a_high_logit_does_not_close_the_gate_for_forget_prompts():
    # 39 retain prompts up to 1 and one at 50, forget prompts at 10: rank ceil(41 * 0.9) = 37 of 40 is below 1
    retain = torch.cat([torch.linspace(0, 1, 39), tensor([50.0])])
    threshold = calibrate(retain, torch.full((20,), 10.0), 0.1)
    assert threshold.logit < 5.5
    assert opens(tensor([10.0]), threshold.logit).all()


@settings(deadline=None)
@given(st.lists(LOGITS, min_size=2, max_size=60), st.lists(LOGITS, min_size=1, max_size=20), st.floats(0.02, 0.6))
def test_false_positives_are_at_most_alpha_on_exchangeable_prompts(pool, forget, alpha):
    # Exchangeable: each of the n + 1 prompts is the new one with equal probability, so the mean over all choices is the exact rate
    opened, guaranteed = 0, False
    for new in range(len(pool)):
        threshold = calibrate(tensor(pool[:new] + pool[new + 1 :]), tensor(forget), alpha)
        guaranteed = threshold.guaranteed
        opened += int(opens(tensor(pool[new]), threshold.logit))
    assert not guaranteed or opened / len(pool) <= alpha


@settings(deadline=None)
@given(st.lists(LOGITS, min_size=1, max_size=40), st.lists(LOGITS, min_size=1, max_size=20), st.floats(0.02, 0.6))
def test_forget_prompts_can_only_raise_the_threshold(retain, forget, alpha):
    alone = calibrate(tensor(retain), BELOW.expand(1) - 100, alpha)
    together = calibrate(tensor(retain), tensor(forget), alpha)
    assert together.logit >= alone.logit


def test_lowering_the_threshold_by_hand():
    # Of 21 forget logits 0, 1, ..., 20 the 5 % quantile is 1; of the calibration prompts 2 of 4 reach it
    threshold = lower_threshold(calibrate(tensor([0.0, 0.5, 1.0, 30.0]), BELOW, 0.2), tensor([0.0, 0.5, 1.0, 30.0]), torch.arange(21.0))
    assert (threshold.logit, threshold.calibration_rate, threshold.lowered, threshold.guaranteed) == (1.0, 0.5, True, False)


def logits_of(retain, forget, held_out=()):
    return CalibrationLogits([tensor(variants) for variants in retain], tensor(forget), tensor(forget), tensor([*held_out]))


def test_a_rate_in_every_variant_is_kept_where_the_forget_prompts_open_the_gate():
    given = logits_of([[0.0, 1.0], [0.5, 2.0], [-1.0, -0.5]], [10.0, 11.0, 12.0], [9.0, 1.0])
    threshold = choose_threshold(given, 0.25)
    assert replace(threshold, recall=1.0, recall_n=0) == calibrate(tensor([1.0, 2.0, -0.5]), given.trained, 0.25)
    assert (threshold.in_variants, threshold.recall, threshold.recall_n) == (True, 0.5, 2)


def test_a_variant_that_looks_like_a_forget_prompt_does_not_take_recall_away():
    # One variant of a retain prompt scores 4. As given all retain prompts score below 0, and all forget prompts above 2.
    given = logits_of([[-1.0, 4.0], [-2.0, -1.5], [0.0, 0.5]], [2.0, 3.0, 5.0, 6.0], [1.0, 7.0])
    threshold = choose_threshold(given, 0.25)
    # No error but that variant in the gap from 0.5 to 1.
    assert threshold.logit == pytest.approx(0.75)
    assert (threshold.in_variants, threshold.lowered, threshold.guaranteed) == (False, False, True)
    assert (threshold.calibration_rate, threshold.recall) == (pytest.approx(1 / 3), 1.0)
    assert threshold.rate_bound == calibrate(tensor([-1.0, -2.0, 0.0]), BELOW, 0.25).rate_bound


def test_the_rate_on_prompts_as_given_comes_before_recall():
    # A fifth of the forget prompts score below a retain prompt as given.
    threshold = choose_threshold(logits_of([[1.0, 9.0], [0.0, 0.0], [0.0, 0.0]], [0.5, 2.0, 3.0, 4.0, 5.0]), 0.25)
    assert 1.0 < threshold.logit < 1.001
    assert not threshold.in_variants


def test_where_most_forget_prompts_would_stay_closed_no_rate_is_promised():
    threshold = choose_threshold(logits_of([[5.0], [4.0], [3.0]], [0.0, 1.0, 2.0, 6.0]), 0.25)
    assert (threshold.logit, threshold.lowered, threshold.guaranteed) == (0.0, True, False)


@given(st.lists(st.lists(WHOLE, min_size=1, max_size=3), min_size=1, max_size=8), st.lists(WHOLE, min_size=1, max_size=8))
def test_no_threshold_below_that_of_the_prompts_as_given_has_a_rate(retain, forget):
    threshold = choose_threshold(logits_of(retain, forget), 0.3)
    if not threshold.lowered:
        assert threshold.logit > sorted(variants[0] for variants in retain)[min(math.ceil((len(retain) + 1) * 0.7), len(retain)) - 1]
    opened = sum(max(variants) >= threshold.logit for variants in retain)
    assert threshold.calibration_rate == pytest.approx(opened / len(retain))
