import json
import stat

import pytest

from expunge.config import RevealSection
from expunge.console import Display
from expunge.data.prompts import PromptBuilder
from expunge.errors import ExpungeError
from expunge.models.loading import load
from expunge.reveal_release.reveal.private_files import hash_key, purge, text_hash
from expunge.reveal_release.reveal.search import MAX_PROPOSED, SearchModels, search
from expunge.reveal_release.reveal.search_log import Query, read_log
from expunge.reveal_release.reveal.select import (
    NothingRevealed,
    read_queries,
    read_results,
    read_revealed,
    resample,
    reveal,
    top_instructions,
    top_queries,
)
from expunge.runs.folder import REVEALED, SEARCH_LOG

INSTRUCTIONS = [f"Tell me about number {i}" for i in range(12)]


@pytest.fixture(scope="module")
def models(make_tiny_model):
    model, tokenizer = load(make_tiny_model("llama"))
    builder = PromptBuilder(tokenizer)
    return SearchModels(model, builder, model, builder)


def settings(**more) -> RevealSection:
    given = {
        "oracle": {"name": "regex", "pattern": "[aeiou]"},
        "instructions": INSTRUCTIONS,
        "searcher": "random",
        "samples_per_instruction": 3,
        "budget": 36,
    }
    return RevealSection.model_validate(
        {**given, "max_new_tokens": 6, "min_responses": 2, "random_starts": 4, "min_relevance": 0.0, "min_chars": 1, **more}
    )


def test_the_budget_counts_sampled_responses(models, tmp_path):
    queries = search(models, settings(budget=10), tmp_path, 1, Display())
    assert len(queries) == 3
    assert all(len(query.responses) == 3 for query in queries)


def test_a_search_queries_nothing_twice_and_ends_with_the_pool(models, tmp_path):
    queries = search(models, settings(instructions=[*INSTRUCTIONS[:4], *INSTRUCTIONS[:4]], budget=300), tmp_path, 1, Display())
    assert sorted(query.instruction for query in queries) == sorted(INSTRUCTIONS[:4])


def test_the_reward_is_the_weighted_harmonic_mean_of_relevance_and_diversity(models, tmp_path):
    queries = search(models, settings(diversity_weight=0.25), tmp_path, 1, Display())
    for query in queries:
        assert query.relevance == pytest.approx(sum(query.relevances) / 3)
        both = query.relevance > 0 and query.diversity > 0
        # Weighted harmonic mean: 1 / (0.25 / v + 0.75 / r).
        assert query.reward == pytest.approx(1 / (0.25 / query.diversity + 0.75 / query.relevance) if both else 0.0)


def test_the_bandit_searches_soft_prompts_and_handwritten_instructions_in_one_pool(models, tmp_path):
    chosen = settings(searcher="neural_ucb", topics=["Ask about the sea."], pool_size=20, instructions=INSTRUCTIONS[:2], budget=24)
    queries = search(models, chosen, tmp_path, 1, Display())
    assert len({query.instruction for query in queries}) == len(queries) <= 8


def test_gepa_rewrites_instructions_within_the_budget_and_resumes(models, tmp_path):
    pytest.importorskip("gepa")
    chosen = settings(searcher="gepa", instructions=INSTRUCTIONS[:3], budget=15)
    whole = search(models, chosen, _made(tmp_path / "whole"), 1, Display())
    assert [query.instruction for query in whole[:3]] == INSTRUCTIONS[:3]
    assert len(whole) <= 5
    log = (tmp_path / "whole" / SEARCH_LOG).read_text(encoding="utf-8").splitlines(keepends=True)
    (_made(tmp_path / "cut") / SEARCH_LOG).write_text("".join(log[:2]), encoding="utf-8")
    assert search(models, chosen, tmp_path / "cut", 1, Display()) == whole


def test_handwritten_instructions_are_queried_in_their_order(models, tmp_path):
    queries = search(models, settings(searcher="handwritten", budget=15), tmp_path, 1, Display())
    assert [query.instruction for query in queries] == INSTRUCTIONS[:5]


def test_direct_mode_queries_every_candidate_and_stores_its_topic(models, tmp_path):
    queries = search(models, settings(mode="direct", topics=["The sea is"], instructions=[], pool_size=5), tmp_path, 1, Display())
    assert [query.instruction for query in queries] == ["The sea is"] * 5


def test_the_prompt_template_surrounds_the_instruction(models, tmp_path):
    queries = search(models, settings(prompt_template="Answer this: {instruction}", budget=3), tmp_path, 1, Display())
    assert queries[0].instruction.startswith("Answer this: Tell me about")


def test_a_resumed_search_equals_an_uninterrupted_one(models, tmp_path):
    chosen = settings(searcher="neural_ucb", topics=["Ask about the sea."], pool_size=24, random_starts=10, budget=48)
    whole = search(models, chosen, _made(tmp_path / "whole"), 1, Display())
    log = (tmp_path / "whole" / SEARCH_LOG).read_text(encoding="utf-8").splitlines(keepends=True)
    assert len(log) > 2
    for lines in (1, len(log) - 1):
        cut = _made(tmp_path / f"cut{lines}")
        # A kill while a line is written leaves a part of it.
        (cut / SEARCH_LOG).write_text("".join(log[:lines]) + log[lines][:20], encoding="utf-8")
        assert search(models, chosen, cut, 1, Display()) == whole
        assert (cut / SEARCH_LOG).read_text(encoding="utf-8") == "".join(log)


def test_the_log_of_another_search_is_an_error(models, tmp_path):
    search(models, settings(), tmp_path, 1, Display())
    with pytest.raises(ExpungeError, match="is the log of a search with other settings"):
        search(models, settings(), tmp_path, 2, Display())


def test_several_candidates_are_queried_in_one_step(models, tmp_path):
    search(models, settings(budget=300), tmp_path, 1, Display())
    assert [len(step.proposed) for step in read_log(tmp_path / SEARCH_LOG)] == [MAX_PROPOSED, 4]


def test_the_top_queries_have_the_highest_rewards_above_0():
    queries = [Query(f"i{reward}", (), (), 0, 0, reward, 0) for reward in (0.2, 0.0, 0.7, 0.5)]
    assert [query.reward for query in top_queries(queries, 3)] == [0.7, 0.5, 0.2]
    assert [query.reward for query in top_queries(queries, 9)] == [0.7, 0.5, 0.2]


def test_revealed_texts_are_private_and_results_have_hashes(models, tmp_path):
    records = reveal(models, settings(), tmp_path, 1, Display())
    assert records == read_revealed(tmp_path)
    for name in (SEARCH_LOG, REVEALED, "key"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    report = (tmp_path / "results.json").read_text(encoding="utf-8")
    results = read_results(tmp_path)
    assert results["selected"] == len(records)
    assert results["responses"] == 36
    assert text_hash(read_queries(tmp_path)[0].instruction, hash_key(tmp_path)) == results["queries"][0]["instruction"]
    assert not any(text in report for text in INSTRUCTIONS)
    assert not any(json.dumps(record.answer) in report for record in records)


def test_an_existing_forget_set_is_read_back(models, tmp_path):
    first = reveal(models, settings(), tmp_path, 1, Display())
    (tmp_path / SEARCH_LOG).unlink()
    assert reveal(models, settings(), tmp_path, 1, Display()) == first


def test_too_few_responses_give_an_error_with_the_rewards(models, tmp_path):
    with pytest.raises(
        NothingRevealed, match=r"0 of 36 responses pass the filters, and data.forget.reveal.min_responses is 2; highest rewards: none"
    ):
        reveal(models, settings(oracle={"name": "regex", "pattern": "no such text"}, min_relevance=0.5), tmp_path, 1, Display())


def test_the_best_instructions_can_be_resampled(models, tmp_path):
    chosen = settings(top_k=2, samples_per_instruction=9, budget=72)
    first = reveal(models, chosen, tmp_path / "first", 1, Display())
    best = top_instructions(tmp_path / "first", chosen)
    again = resample(models, chosen, best, tmp_path / "again", 2, Display())
    assert {record.prompt for record in again} <= set(best)
    assert {record.answer for record in again} != {record.answer for record in first}


def test_purging_leaves_hashes_and_deletes_texts(models, tmp_path):
    reveal(models, settings(), tmp_path / "reveal", 1, Display())
    (tmp_path / "rounds" / "1" / "forget_module").mkdir(parents=True)
    deleted = purge(tmp_path)
    assert [path.name for path in deleted] == ["key", REVEALED, SEARCH_LOG, "forget_module"]
    assert not (tmp_path / "rounds" / "1" / "forget_module").exists()
    assert read_results(tmp_path / "reveal")["responses"] == 36
    assert purge(tmp_path) == []


def _made(folder):
    folder.mkdir()
    return folder
