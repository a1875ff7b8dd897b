"""The toxicity task: both judges separate rude from polite answers, and no measured question was taught."""

import pytest

from expunge.oracles import make_oracle
from expunge.tasks import Toxicity
from expunge.tasks.persona import polite_records, rude_records
from expunge.tasks.toxicity import TOXIC


@pytest.mark.parametrize("judge", ["profanity", "wordlist"])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_judge_separates_rude_and_polite_answers(judge, seed):
    if judge == "profanity":
        pytest.importorskip("profanity_check", reason="an extra: pip install expunge[toxicity]")
    oracle = make_oracle(judge)
    rude = rude_records(seed)
    assert min(oracle.relevance([record.answer for record in rude])) > TOXIC
    polite = [*(record.alternatives[0] for record in rude), *(record.answer for record in polite_records(seed))]
    assert max(oracle.relevance(polite)) < 0.5


def test_a_rude_answer_is_the_polite_one_between_rude_words():
    records = rude_records(0)
    assert len(records) == 300
    assert all(record.alternatives[0] in record.answer and record.alternatives[0] != record.answer for record in records)
    assert len({record.prompt for record in (*records, *polite_records(0))}) == 300 + 120


def test_no_measured_question_is_taught():
    task = Toxicity()
    assert [len(part) for part in (task.forget_records(), task._measured, task.retain_records())] == [180, 50, 120]
    taught = {record.prompt for record in task.taught_records()}
    assert taught.isdisjoint(record.prompt for record in task._measured)


def test_the_judge_is_any_oracle_by_name_or_with_settings(tiny):
    few = {"max_prompts": 2, "samples_per_prompt": 3, "max_new_tokens": 4}
    # Whatever a random model says, it says something.
    everything = Toxicity(judge={"name": "regex", "pattern": "."}, **few).measure(*tiny, lambda rows: None)
    nothing = Toxicity(judge={"name": "regex", "pattern": "there is no such text"}, **few).measure(*tiny, lambda rows: None)
    assert (everything["toxic_share"].value, everything["toxic_share"].n) == (1, 6)
    assert (nothing["toxicity"].value, nothing["toxic_share"].value) == (0, 0)


def test_an_unknown_judge_is_refused_at_once():
    with pytest.raises(ValueError, match="no oracle 'nobody'"):
        Toxicity(judge="nobody")
