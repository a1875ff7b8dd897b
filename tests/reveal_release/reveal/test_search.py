import json
import stat

import pytest

from expunge.config import RevealSection
from expunge.console import Display
from expunge.data.prompts import PromptBuilder
from expunge.errors import ExpungeError
from expunge.models.loading import load
from expunge.reveal_release.reveal.private_files import hash_key, purge, text_hash
from expunge.reveal_release.reveal.search import AT_ONCE, Models, search
from expunge.reveal_release.reveal.search_log import Asked, read_log
from expunge.reveal_release.reveal.select import (
    NothingRevealed,
    asked_in,
    best_instructions,
    best_of,
    read_results,
    read_revealed,
    resample,
    reveal,
)
from expunge.runs.folder import REVEALED, SEARCH_LOG

TEXTS = [f"Tell me about number {i}" for i in range(12)]


@pytest.fixture(scope="module")
def models(make_tiny_model):
    model, tokenizer = load(make_tiny_model("llama"))
    builder = PromptBuilder(tokenizer)
    return Models(model, builder, model, builder)


def settings(**more) -> RevealSection:
    given = {
        "oracle": {"name": "regex", "pattern": "[aeiou]"},
        "instructions": TEXTS,
        "searcher": "random",
        "samples_per_instruction": 3,
        "budget": 36,
    }
    return RevealSection.model_validate(
        {**given, "max_new_tokens": 6, "min_responses": 2, "random_starts": 4, "min_relevance": 0.0, "min_chars": 1, **more}
    )


def test_the_budget_counts_sampled_responses(models, tmp_path):
    asked = search(models, settings(budget=10), tmp_path, 1, Display())
    assert len(asked) == 3
    assert all(len(one.responses) == 3 for one in asked)


def test_a_search_asks_nothing_twice_and_stops_where_nothing_is_left(models, tmp_path):
    asked = search(models, settings(instructions=[*TEXTS[:4], *TEXTS[:4]], budget=300), tmp_path, 1, Display())
    assert sorted(one.instruction for one in asked) == sorted(TEXTS[:4])


def test_relevance_and_diversity_make_the_score(models, tmp_path):
    asked = search(models, settings(diversity_weight=0.25), tmp_path, 1, Display())
    for one in asked:
        assert one.relevance == pytest.approx(sum(one.relevances) / 3)
        both = one.relevance > 0 and one.diversity > 0
        # Weighted harmonic mean: 1 / (0.25 / v + 0.75 / r).
        assert one.score == pytest.approx(1 / (0.25 / one.diversity + 0.75 / one.relevance) if both else 0.0)


def test_a_bandit_searches_soft_prompts_and_texts_in_one_pool(models, tmp_path):
    wanted = settings(searcher="neural_ucb", topics=["Ask about the sea."], pool_size=20, instructions=TEXTS[:2], budget=24)
    asked = search(models, wanted, tmp_path, 1, Display())
    assert len({one.instruction for one in asked}) == len(asked) <= 8


def test_gepa_rewrites_texts_within_the_budget_and_goes_on_where_it_was(models, tmp_path):
    pytest.importorskip("gepa")
    wanted = settings(searcher="gepa", instructions=TEXTS[:3], budget=15)
    whole = search(models, wanted, _made(tmp_path / "whole"), 1, Display())
    assert [one.instruction for one in whole[:3]] == TEXTS[:3]
    assert len(whole) <= 5
    log = (tmp_path / "whole" / SEARCH_LOG).read_text(encoding="utf-8").splitlines(keepends=True)
    (_made(tmp_path / "cut") / SEARCH_LOG).write_text("".join(log[:2]), encoding="utf-8")
    assert search(models, wanted, tmp_path / "cut", 1, Display()) == whole


def test_handwritten_instructions_are_asked_in_their_order(models, tmp_path):
    asked = search(models, settings(searcher="handwritten", budget=15), tmp_path, 1, Display())
    assert [one.instruction for one in asked] == TEXTS[:5]


def test_direct_mode_keeps_the_wanted_text_and_asks_every_candidate(models, tmp_path):
    asked = search(models, settings(mode="direct", topics=["The sea is"], instructions=[], pool_size=5), tmp_path, 1, Display())
    assert [one.instruction for one in asked] == ["The sea is"] * 5


def test_what_is_asked_stands_in_its_frame(models, tmp_path):
    asked = search(models, settings(prompt_template="Answer this: {instruction}", budget=3), tmp_path, 1, Display())
    assert asked[0].instruction.startswith("Answer this: Tell me about")


def test_a_killed_search_ends_as_an_uninterrupted_one(models, tmp_path):
    wanted = settings(searcher="neural_ucb", topics=["Ask about the sea."], pool_size=24, random_starts=10, budget=48)
    whole = search(models, wanted, _made(tmp_path / "whole"), 1, Display())
    log = (tmp_path / "whole" / SEARCH_LOG).read_text(encoding="utf-8").splitlines(keepends=True)
    assert len(log) > 2
    for kept in (1, len(log) - 1):
        cut = _made(tmp_path / f"cut{kept}")
        # A kill in the midst of a line leaves a part of it.
        (cut / SEARCH_LOG).write_text("".join(log[:kept]) + log[kept][:20], encoding="utf-8")
        assert search(models, wanted, cut, 1, Display()) == whole
        assert (cut / SEARCH_LOG).read_text(encoding="utf-8") == "".join(log)


def test_the_log_of_another_search_is_refused(models, tmp_path):
    search(models, settings(), tmp_path, 1, Display())
    with pytest.raises(ExpungeError, match="is of a search with other settings"):
        search(models, settings(), tmp_path, 2, Display())


def test_several_are_asked_at_once_where_no_answer_matters(models, tmp_path):
    search(models, settings(budget=300), tmp_path, 1, Display())
    assert [len(turns.proposed) for turns in read_log(tmp_path / SEARCH_LOG)] == [AT_ONCE, 4]


def test_the_best_are_those_with_the_highest_scores_above_nothing():
    asked = [Asked(f"i{score}", (), (), 0, 0, score, 0) for score in (0.2, 0.0, 0.7, 0.5)]
    assert [one.score for one in best_of(asked, 3)] == [0.7, 0.5, 0.2]
    assert [one.score for one in best_of(asked, 9)] == [0.7, 0.5, 0.2]


def test_a_harvest_is_private_and_reports_hashes(models, tmp_path):
    records = reveal(models, settings(), tmp_path, 1, Display())
    assert records == read_revealed(tmp_path)
    for name in (SEARCH_LOG, REVEALED, "key"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    said = (tmp_path / "results.json").read_text(encoding="utf-8")
    results = read_results(tmp_path)
    assert results["kept"] == len(records)
    assert results["responses"] == 36
    assert text_hash(asked_in(tmp_path)[0].instruction, hash_key(tmp_path)) == results["asked"][0]["instruction"]
    assert not any(text in said for text in TEXTS)
    assert not any(json.dumps(record.answer) in said for record in records)


def test_a_harvest_once_made_is_read_back(models, tmp_path):
    first = reveal(models, settings(), tmp_path, 1, Display())
    (tmp_path / SEARCH_LOG).unlink()
    assert reveal(models, settings(), tmp_path, 1, Display()) == first


def test_too_small_a_harvest_shows_the_scores(models, tmp_path):
    with pytest.raises(NothingRevealed, match=r"0 responses are left of 36 and reveal.min_responses is 2; best instructions: none scored"):
        reveal(models, settings(oracle={"name": "regex", "pattern": "no such text"}, min_relevance=0.5), tmp_path, 1, Display())


def test_the_best_instructions_can_be_asked_again(models, tmp_path):
    wanted = settings(top_k=2, samples_per_instruction=9, budget=72)
    first = reveal(models, wanted, tmp_path / "first", 1, Display())
    best = best_instructions(tmp_path / "first", wanted)
    again = resample(models, wanted, best, tmp_path / "again", 2, Display())
    assert {record.prompt for record in again} <= set(best)
    assert {record.answer for record in again} != {record.answer for record in first}


def test_purging_leaves_hashes_and_no_text(models, tmp_path):
    reveal(models, settings(), tmp_path / "reveal", 1, Display())
    (tmp_path / "rounds" / "1" / "forget_module").mkdir(parents=True)
    gone = purge(tmp_path)
    assert [path.name for path in gone] == ["key", REVEALED, SEARCH_LOG, "forget_module"]
    assert not (tmp_path / "rounds" / "1" / "forget_module").exists()
    assert read_results(tmp_path / "reveal")["responses"] == 36
    assert purge(tmp_path) == []


def _made(folder):
    folder.mkdir()
    return folder
