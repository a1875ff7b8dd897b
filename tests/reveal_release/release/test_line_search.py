from math import exp

import pytest

from expunge.config import ReleaseSection
from expunge.data.prompts import PromptBuilder
from expunge.data.records import question_record
from expunge.metrics.token_nll import record_nll
from expunge.models.loading import load
from expunge.reveal_release.release.line_search import (
    LambdaEvaluation,
    ValidationMetrics,
    best_lambda,
    search_lambda,
    validation_metrics,
)

ORIGINAL = ValidationMetrics(forget_nll=0.5, retain_perplexity=4.0, neutral_perplexity=10.0)


def metrics_at(lambda_f: float) -> ValidationMetrics:
    """Return metrics whose forget NLL rises by 1 nat and whose retain perplexity by a tenth per unit of lambda."""
    return ValidationMetrics(0.5 + lambda_f, 4.0 * (1 + 0.1 * lambda_f), 10.0)


def evaluations_with(**settings) -> list[LambdaEvaluation]:
    return search_lambda(metrics_at, ORIGINAL, 0.12, ReleaseSection.model_validate(settings))


def test_the_utility_drop_is_the_larger_rise_of_the_two_perplexities():
    # 4.2 / 4 = 1.05, 11 / 10 = 1.1
    assert ValidationMetrics(1.0, 4.2, 11.0).utility_drop(ORIGINAL) == pytest.approx(0.1)
    assert ValidationMetrics(1.0, 4.0, 9.0).utility_drop(ORIGINAL) == pytest.approx(0.0)
    assert ValidationMetrics(1.0, 3.0, 9.0).utility_drop(ORIGINAL) == pytest.approx(-0.1)


def test_each_metric_is_measured_on_its_records(tiny_model_dir):
    model, tokenizer = load(tiny_model_dir)
    builder = PromptBuilder(tokenizer)
    kinds = [[question_record(name, f"What is a {name}?", f"A {name} is a thing.")] for name in ("lamp", "fig", "boat")]
    forget, retain, neutral = (record_nll(model.eval(), builder, records, 4, lambda _: None).value for records in kinds)
    metrics = validation_metrics(model, builder, *kinds)
    # The function measures in bf16 on machines that are fast in it.
    assert metrics.forget_nll == pytest.approx(forget, rel=0.02)
    assert metrics.retain_perplexity == pytest.approx(exp(retain), rel=0.05)
    assert metrics.neutral_perplexity == pytest.approx(exp(neutral), rel=0.05)


def test_lambda_is_doubled_then_bisected():
    # The budget allows up to 1.2: 1 fits, 2 does not, 1.5 and 1.25 do not, 1.125 does, 1.1875 does.
    assert [one.lambda_f for one in evaluations_with(lambda_evaluations=6)] == [1.0, 2.0, 1.5, 1.25, 1.125, 1.1875]


def test_the_best_lambda_fits_the_budget_and_forgets_most():
    evaluations = evaluations_with(lambda_evaluations=6)
    chosen = best_lambda(evaluations, 0.12, 0.5)
    assert chosen is not None
    assert chosen.lambda_f == 1.1875
    assert chosen.utility_drop == pytest.approx(0.11875)


def test_no_lambda_is_chosen_if_none_fits():
    evaluations = search_lambda(metrics_at, ORIGINAL, -0.01, ReleaseSection(lambda_evaluations=3))
    assert [one.lambda_f for one in evaluations] == [1.0, 0.5, 0.25]
    assert best_lambda(evaluations, -0.01, 0.5) is None


def test_the_search_ends_at_lambda_max():
    assert [one.lambda_f for one in evaluations_with(lambda_max=1.1)] == [1.0, 1.1]


def test_the_search_ends_at_the_target_forget_nll():
    assert [one.lambda_f for one in evaluations_with(target_forget_nll=1.4)] == [1.0]


def test_a_lambda_that_lowers_the_forget_nll_is_not_chosen():
    evaluations = [
        LambdaEvaluation(1.0, ValidationMetrics(0.4, 4.0, 10.0), 0.0),
        LambdaEvaluation(0.5, ValidationMetrics(0.45, 4.0, 10.0), 0.0),
    ]
    assert best_lambda(evaluations, 0.1, start_nll=0.5) is None
    assert best_lambda(evaluations, 0.1, start_nll=0.42) == evaluations[1]
