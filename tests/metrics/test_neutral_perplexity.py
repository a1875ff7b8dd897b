"""Neutral perplexity with its interval, equal to the number that tasks measure."""

from math import exp, log

import numpy as np
import pytest

from expunge.data.prompts import PromptBuilder
from expunge.metrics.perplexity import perplexity, perplexity_rise, perplexity_rows
from expunge.metrics.statistics import combined_means_ci
from expunge.metrics.token_nll import neutral_perplexity
from expunge.models.loading import load


def test_it_equals_the_perplexity_that_tasks_measure(make_tiny_model):
    model, tokenizer = load(make_tiny_model())
    builder = PromptBuilder(tokenizer)
    summary = perplexity(perplexity_rows(model, builder))
    figure = neutral_perplexity(model, builder, 16, lambda rows: None)
    assert (summary.value, summary.n) == (pytest.approx(figure.value, rel=1e-5), figure.n)
    low, high = summary.ci95
    assert low < summary.value < high


def test_a_function_of_means_is_resampled_by_records():
    # Two records, of 1 token with log 4 nats and of 3 with log 8: exp(log 32 / 4); alone 4 and 8^(1/3) = 2
    summary = combined_means_ci([[log(4), log(8)], [1.0, 3.0]], lambda means: np.exp(means[0] / means[1]))
    assert summary.value == pytest.approx(exp(log(32) / 4))
    assert summary.ci95 == pytest.approx((2, 4))


def test_a_rise_is_relative_to_the_perplexity_before():
    # 2 and 6 nats over 4 tokens each: exp(1); before 1 and 3: exp(0.5); a rise to exp(0.5) times it
    after, before = [{"nll": 2.0, "tokens": 4}, {"nll": 6.0, "tokens": 4}], [{"nll": 1.0, "tokens": 4}, {"nll": 3.0, "tokens": 4}]
    assert perplexity(after).value == pytest.approx(exp(1))
    summary = perplexity_rise(after, before)
    assert summary.value == pytest.approx(exp(0.5) - 1)
    # the first record alone exp(0.25), the second exp(0.75)
    assert summary.ci95 == pytest.approx((exp(0.25) - 1, exp(0.75) - 1))
