from math import exp

import pytest

from expunge.config import ReleaseSection
from expunge.data.prompts import PromptBuilder
from expunge.data.records import question_record
from expunge.metrics.token_nll import record_nll
from expunge.models.loading import load
from expunge.reveal_release.release.line_search import Levels, Tried, best, levels, search_lambda

BEFORE = Levels(forget_nll=0.5, retain_perplexity=4.0, neutral_perplexity=10.0)


def levels_at(value: float) -> Levels:
    """Forgetting grows by 1 nat and the retain perplexity by a tenth for each unit of lambda."""
    return Levels(0.5 + value, 4.0 * (1 + 0.1 * value), 10.0)


def tried_with(**settings) -> list[Tried]:
    return search_lambda(levels_at, BEFORE, 0.12, ReleaseSection.model_validate(settings))


def test_the_drop_is_the_rise_of_the_worse_perplexity():
    # 4.2 / 4 = 1.05, 11 / 10 = 1.1
    assert Levels(1.0, 4.2, 11.0).drop(BEFORE) == pytest.approx(0.1)
    assert Levels(1.0, 4.0, 9.0).drop(BEFORE) == pytest.approx(0.0)
    assert Levels(1.0, 3.0, 9.0).drop(BEFORE) == pytest.approx(-0.1)


def test_each_level_is_of_its_own_records(tiny_model_dir):
    model, tokenizer = load(tiny_model_dir)
    builder = PromptBuilder(tokenizer)
    sorts = [[question_record(name, f"What is a {name}?", f"A {name} is a thing.")] for name in ("lamp", "fig", "boat")]
    forget, retain, neutral = (record_nll(model.eval(), builder, records, 4, lambda _: None).value for records in sorts)
    found = levels(model, builder, *sorts)
    # In bf16 where the machine is fast at it.
    assert found.forget_nll == pytest.approx(forget, rel=0.02)
    assert found.retain_perplexity == pytest.approx(exp(retain), rel=0.05)
    assert found.neutral_perplexity == pytest.approx(exp(neutral), rel=0.05)


def test_lambda_is_doubled_then_halved_into_the_gap():
    # Allowed is 1.2: 1 fits, 2 does not, 1.5 and 1.25 do not, 1.125 does, 1.1875 does.
    assert [one.value for one in tried_with(lambda_evaluations=6)] == [1.0, 2.0, 1.5, 1.25, 1.125, 1.1875]


def test_the_best_of_those_that_fit_forgets_most():
    tried = tried_with(lambda_evaluations=6)
    chosen = best(tried, 0.12, 0.5)
    assert chosen is not None
    assert chosen.value == 1.1875
    assert chosen.drop == pytest.approx(0.11875)


def test_nothing_is_chosen_where_nothing_fits():
    tried = search_lambda(levels_at, BEFORE, -0.01, ReleaseSection(lambda_evaluations=3))
    assert [one.value for one in tried] == [1.0, 0.5, 0.25]
    assert best(tried, -0.01, 0.5) is None


def test_the_search_ends_at_the_largest_lambda_that_is_allowed():
    assert [one.value for one in tried_with(lambda_max=1.1)] == [1.0, 1.1]


def test_the_search_ends_where_enough_is_forgotten():
    assert [one.value for one in tried_with(target_forget_nll=1.4)] == [1.0]


def test_what_makes_the_forget_data_likelier_is_not_chosen():
    tried = [Tried(1.0, Levels(0.4, 4.0, 10.0), 0.0), Tried(0.5, Levels(0.45, 4.0, 10.0), 0.0)]
    assert best(tried, 0.1, start=0.5) is None
    assert best(tried, 0.1, start=0.42) == tried[1]
