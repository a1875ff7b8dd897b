"""Score of a set of responses: the Vendi score and the weighted harmonic mean."""

from math import exp, log

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import tensor

from expunge.metrics.diversity import diversity, set_reward, vendi_score

SHARE = st.floats(0, 1)


def test_equal_rows_count_as_one_and_orthogonal_rows_as_many():
    assert vendi_score(tensor([[1.0, 2.0]] * 5)) == pytest.approx(1)
    assert vendi_score(3 * torch.eye(4)) == pytest.approx(4)
    assert diversity(tensor([[1.0, 2.0]] * 5)) == pytest.approx(0)
    assert diversity(3 * torch.eye(4)) == pytest.approx(1)


def test_the_vendi_score_of_three_by_hand():
    # Two alike and one orthogonal: K/3 has the eigenvalues 2/3, 1/3, 0, so VS = exp(2/3 ln 3/2 + 1/3 ln 3) = 1.889882
    rows = tensor([[1.0, 0.0], [5.0, 0.0], [0.0, 2.0]])
    assert vendi_score(rows) == pytest.approx(exp(2 / 3 * log(3 / 2) + 1 / 3 * log(3)))
    # (1.889882 - 1) / (3 - 1)
    assert diversity(rows) == pytest.approx(0.444941, abs=1e-6)


def test_the_vendi_score_of_two_at_an_angle_by_hand():
    # Cosine 0.6: K/2 has the eigenvalues 0.8 and 0.2, so VS = exp(0.8 ln 1.25 + 0.2 ln 5) = exp(0.500402)
    assert vendi_score(tensor([[1.0, 0.0], [0.6, 0.8]])) == pytest.approx(exp(0.500402), abs=1e-5)


def test_one_response_has_no_diversity():
    assert vendi_score(tensor([[0.0, 3.0]])) == 1.0
    assert diversity(tensor([[0.0, 3.0]])) == diversity(torch.empty(0, 2)) == 0.0


@pytest.mark.parametrize("rows", [[[1.0, 0.0], [0.0, 0.0]], [[1.0, 0.0], [float("nan"), 1.0]], [[1.0, 0.0], [float("inf"), 1.0]]])
def test_a_zero_row_is_an_error(rows):
    with pytest.raises(ValueError, match="with a length"):
        vendi_score(tensor(rows))


def test_no_rows_are_an_error():
    with pytest.raises(ValueError, match="at least one"):
        vendi_score(torch.empty(0, 2))


@given(st.integers(2, 30), st.integers(1, 40), st.integers(0, 99))
def test_a_vendi_score_is_between_one_and_the_number_of_rows_whatever_their_order_and_scale(n, dim, seed):
    generator = torch.Generator().manual_seed(seed)
    rows, scales = torch.randn(n, dim, generator=generator), torch.rand(n, 1, generator=generator) + 0.1
    score = vendi_score(rows)
    assert 1 - 1e-9 <= score <= min(n, dim) + 1e-9
    assert vendi_score((rows * scales).flip(0)) == pytest.approx(score, rel=1e-5)
    assert 0 <= diversity(rows) <= 1


@given(st.integers(1, 6), st.integers(2, 4))
def test_copies_do_not_change_the_vendi_score(n, copies):
    rows = torch.randn(n, 8, generator=torch.Generator().manual_seed(n))
    assert vendi_score(rows.repeat(copies, 1)) == pytest.approx(vendi_score(rows), rel=1e-6)


def test_the_score_of_a_set_by_hand():
    # 1 / (0.25 / 0.5 + 0.75 / 0.9) = 1 / (0.5 + 0.833333) = 0.75
    assert set_reward(relevance=0.9, diversity=0.5, alpha=0.25) == pytest.approx(0.75)


def test_a_set_without_relevance_or_diversity_scores_zero():
    assert set_reward(0.0, 0.7, 0.5) == set_reward(0.7, 0.0, 0.5) == 0.0


def test_a_part_without_weight_does_not_count():
    assert set_reward(relevance=0.4, diversity=0.0, alpha=0.0) == pytest.approx(0.4)
    assert set_reward(relevance=0.0, diversity=0.3, alpha=1.0) == pytest.approx(0.3)


@given(SHARE, SHARE, SHARE)
def test_a_score_lies_between_its_parts(relevance, diversity, alpha):
    parts = [part for part, weight in ((diversity, alpha), (relevance, 1 - alpha)) if weight > 0]
    assert min(parts) - 1e-9 <= set_reward(relevance, diversity, alpha) <= max(parts) + 1e-9


@pytest.mark.parametrize(
    ("given", "name"), [((1.1, 0.5, 0.5), "relevance"), ((0.5, -0.1, 0.5), "diversity"), ((0.5, 0.5, float("nan")), "alpha")]
)
def test_a_part_outside_zero_to_one_is_an_error(given, name):
    with pytest.raises(ValueError, match=name):
        set_reward(*given)
