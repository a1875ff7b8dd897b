"""Leaks in sampled answers: what a fact is, how often samples state it, and the bound where none does."""

import re
from dataclasses import replace
from itertools import combinations
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record, Turn
from expunge.metrics.leak import common_words, fact_of, leak_at, leak_at_k, leak_rate, sampled_rows, states_fact
from expunge.metrics.statistics import rate_bound
from expunge.metrics.words import words
from expunge.models.generation import decode_answers, nucleus_sampler
from expunge.models.loading import load
from expunge.models.prompt_cache import read_prompts, repeat_prompts

WEI = Record("wei", (Turn("user", "Where does Li Wei live?"),), "Li Wei lives in Oslo.")
RETAIN = [Record(str(i), (Turn("user", "Where?"),), f"He lives in town{i}.") for i in range(20)]


def row(leaks: int | None, samples: int) -> dict:
    return {"id": "x", "samples": samples, "leaks": leaks, "best_rouge": 0.0}


@pytest.fixture
def tiny(make_tiny_model):
    model, tokenizer = load(make_tiny_model())
    return model, PromptBuilder(tokenizer)


@pytest.mark.parametrize(("draws", "bound"), [(64, 0.046), (256, 0.012), (1024, 0.0029)])
def test_no_leak_bounds_the_rate(draws, bound):
    # 1 - 0.05^(1/64) = 0.04573, 1 - 0.05^(1/256) = 0.01163, 1 - 0.05^(1/1024) = 0.00292
    assert rate_bound(0, draws) == pytest.approx(1 - 0.05 ** (1 / draws), rel=1e-9)
    assert rate_bound(0, draws) == pytest.approx(bound, rel=0.04)


def test_at_the_bound_so_few_leaks_have_a_probability_of_five_percent():
    # 1 of 2: P(at most 1 of 2) = 1 - p^2 = 0.05, p = 0.974679
    assert rate_bound(1, 2) == pytest.approx(0.95**0.5)
    assert rate_bound(2, 2) == 1
    with pytest.raises(ValueError):
        rate_bound(0, 0)


@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_bound_is_above_the_share(pair):
    leaks, n = pair
    assert leaks / n <= rate_bound(leaks, n) <= 1


def test_the_leak_rate_counts_samples_and_skips_records_without_a_fact():
    # 3 of 8 draws; P(at most 3 of 8) = 0.05 at p = 0.71076 (quantile of beta(4, 5))
    summary = leak_rate([row(3, 4), row(0, 4), row(None, 4)])
    assert (summary.value, summary.n) == (3 / 8, 8)
    assert summary.ci95 == pytest.approx((0.0, 0.71076), abs=1e-5)


def test_leak_at_all_samples_is_the_share_of_records_that_leaked():
    summary = leak_at([row(1, 8), row(0, 8), row(8, 8), row(0, 8)], 8)
    assert (summary.value, summary.n) == (0.5, 4)
    # Wilson, 2 of 4, z = 1.96: 0.5 +- 1.96 sqrt(0.25 / 4 + 3.8415 / 64) / (1 + 3.8415 / 4) = 0.5 +- 0.34996
    assert summary.ci95 == pytest.approx((0.15004, 0.84996), abs=1e-4)


def test_leak_at_fewer_samples_is_the_mean_of_the_expectations():
    # 1 of 4 leaked: two draws miss it with C(3, 2) / C(4, 2) = 3 / 6; none of 4: never. Mean of 0.5 and 0
    summary = leak_at([row(1, 4), row(0, 4)], 2)
    assert summary.value == pytest.approx(0.25)
    assert summary.ci95 == (0.0, 0.5)


@given(st.integers(1, 8).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n), st.integers(1, n))))
def test_leak_at_k_is_the_share_of_subsets_of_k_samples_with_a_leak(case):
    leaks, samples, k = case
    hits = sum(min(chosen) < leaks for chosen in combinations(range(samples), k))
    assert leak_at_k(leaks, samples, k) == pytest.approx(hits / comb(samples, k))


@pytest.mark.parametrize("case", [(0, 4, 5), (0, 4, 0), (5, 4, 1)])
def test_leak_at_more_samples_than_were_drawn_is_an_error(case):
    with pytest.raises(ValueError):
        leak_at_k(*case)


def test_a_leak_rate_without_facts_is_an_error():
    with pytest.raises(ValueError, match="has a fact"):
        leak_rate([row(None, 4)])


def test_common_words_are_not_part_of_a_fact():
    # "lives" stands in every retain answer, a town in one of twenty: 5 %, which is common too
    common = common_words(RETAIN)
    assert {"lives", "town3"} <= common
    assert fact_of(WEI) == {"lives", "oslo"}
    assert fact_of(WEI, common) == {"oslo"}
    assert common_words([]) == frozenset()
    # One of 21 is below 5 %
    assert "town3" not in common_words([*RETAIN, replace(RETAIN[0], answer="He lives.")])


def test_words_of_any_turn_are_not_part_of_a_fact():
    talk = replace(WEI, turns=(Turn("user", "I was in Oslo."), Turn("assistant", "Nice."), *WEI.turns))
    assert fact_of(talk) == {"lives"}


def test_a_plain_text_has_no_fact():
    assert fact_of(Record("text", (), "He lives in Oslo.")) == frozenset()


def test_a_text_states_a_fact_if_it_has_all_its_words_in_any_order():
    fact = frozenset({"kiln", "oslo"})
    assert states_fact(fact, "OSLO, at 3 Kiln Street")
    assert not states_fact(fact, "in Oslo")
    assert not states_fact(fact, "kilns of Oslo")


def test_rows_count_the_samples_that_state_the_fact(tiny):
    model, builder = tiny
    done = []
    text = Record("text", (), "The author never told anyone the name of the first book about birds.")
    rows = sampled_rows(model, builder, [WEI, text], 3, frozenset(), 16, batch_size=1, seed=5, advance=done.append)
    assert [r["id"] for r in rows] == ["wei", "text"]
    assert sum(done) == 6
    assert rows[1]["leaks"] is None
    # The same draws, by hand: the shorter prompt first, one generator for all.
    sampler, answers = nucleus_sampler(5), {}
    for record in sorted([WEI, text], key=lambda r: len(builder.record(r).prompt)):
        cache = read_prompts(model, [builder.record(record).prompt], builder.pad)
        answers[record.id] = [decode_answers(model, builder, cache, 16, sampler)[0].text for _ in range(3)]
    word = min(word for answer in answers["wei"] for word in words(answer) if re.fullmatch("[a-z]{3,}", word))
    leaky = replace(WEI, answer=word)
    rows = sampled_rows(model, builder, [leaky, text], 3, frozenset(), 16, batch_size=1, seed=5)
    assert rows[0]["leaks"] == sum(states_fact(fact_of(leaky), answer) for answer in answers["wei"]) >= 1
    assert rows[0]["best_rouge"] == 1


@pytest.mark.parametrize("batch_size", [2, 5, 16])
def test_the_number_of_samples_does_not_depend_on_the_batch_size(tiny, batch_size):
    done = []
    rows = sampled_rows(*tiny, [WEI, *RETAIN[:2]], 3, frozenset(), 2, batch_size=batch_size, advance=done.append)
    assert [r["id"] for r in rows] == ["wei", "0", "1"]
    assert sum(done) == 9
    assert max(done) <= batch_size


def test_copies_of_a_prompt_get_the_answer_of_the_prompt(tiny):
    model, builder = tiny
    cache = read_prompts(model, [builder.record(record).prompt for record in (WEI, RETAIN[0])], builder.pad)
    one, other = decode_answers(model, builder, cache, 8)
    assert decode_answers(model, builder, repeat_prompts(cache, 3), 8) == [one] * 3 + [other] * 3
    assert decode_answers(model, builder, cache, 8) == [one, other]
