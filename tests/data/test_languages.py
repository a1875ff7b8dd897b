"""The shipped texts of each language."""

from typing import get_args

import pytest

from expunge.config import DataSection
from expunge.data.languages import AUTO, CODES, ENGLISH, language
from expunge.data.texts import eval_instructions, neutral_instructions, refusals, wrappers
from expunge.metrics.text import is_refusal
from expunge.runs.facts import RunJson

OTHERS = [code for code in CODES if code != "en"]


def test_english_has_the_texts_that_it_always_had():
    assert list(ENGLISH.instructions) == neutral_instructions()
    assert list(ENGLISH.eval_instructions) == eval_instructions()
    assert list(ENGLISH.refusals) == refusals()
    assert (*ENGLISH.wrappers, *ENGLISH.held_out_wrappers) == tuple(wrappers())
    assert len(ENGLISH.wrappers) == 18


def test_the_setting_and_the_record_of_a_run_know_the_same_languages():
    assert get_args(DataSection.model_fields["language"].annotation) == (AUTO, *CODES)
    for code in CODES:
        recorded = {"status": "trained", "data": {**_data(), "language": {"code": code, "rule": "data.language"}}}
        assert RunJson.model_validate(recorded).data.language.code == code


def _data() -> dict:
    rows = {"trained": 1, "calibration": 0, "held_out": 1}
    return {
        "forget": {"source": "f", "sha256": "0" * 64, "rows": 1},
        "retain": {"source": "r", "sha256": "0" * 64, "rows": rows},
    }


@pytest.mark.parametrize("code", OTHERS)
def test_every_refusal_is_recognised_as_one(code):
    assert len(set(language(code).refusals)) == 10
    assert [text for text in language(code).refusals if not is_refusal(text)] == []


@pytest.mark.parametrize("code", OTHERS)
def test_instructions_take_turns_with_english_ones(code):
    instructions = language(code).instructions
    assert len(set(instructions)) == 40 + 120
    assert list(instructions[1:80:2]) == neutral_instructions()[:40]
    assert list(instructions[80:]) == neutral_instructions()[40:]


@pytest.mark.parametrize("code", OTHERS)
def test_nothing_is_evaluated_that_was_trained_on(code):
    chosen = language(code)
    assert len(set(chosen.eval_instructions)) == 20
    assert not set(chosen.eval_instructions) & set(chosen.instructions)
    assert not set(chosen.wrappers) & set(chosen.held_out_wrappers)


@pytest.mark.parametrize("code", OTHERS)
def test_wrappers_and_contexts_have_the_slots_of_the_english_ones(code):
    chosen = language(code)
    assert (len(chosen.wrappers), len(chosen.held_out_wrappers)) == (12 + 18, 4 + 6)
    for wrapper in (*chosen.wrappers, *chosen.held_out_wrappers):
        assert wrapper.count("{prompt}") == 1
        assert wrapper.format(prompt="Who?").count("Who?") == 1
    slots = {name: name.upper() for name in ("prompt", "notes", "unrelated", "other1", "other1_answer", "other2", "other2_answer")}
    assert chosen.contexts.keys() == ENGLISH.contexts.keys()
    for kind, needed in (("retain_notes", "NOTES"), ("few_shot", "OTHER1_ANSWER"), ("unrelated_text", "UNRELATED")):
        own = chosen.contexts[kind][: -len(ENGLISH.contexts[kind])]
        assert len(own) >= 2
        assert all("PROMPT" in text.format_map(slots) and needed in text.format_map(slots) for text in own)


@pytest.mark.parametrize("code", OTHERS)
def test_unrelated_texts_come_alone_and_in_two_requests(code):
    chosen = language(code)
    assert len(chosen.unrelated_texts) == 6 + 16
    assert len(chosen.unrelated_prompts) == 3 * (6 + 16)
    assert chosen.unrelated_prompts[0] == chosen.unrelated_texts[0]


@pytest.mark.parametrize("code", CODES)
def test_the_paraphrase_prompt_ends_where_the_model_paraphrases_the_question(code):
    prompt = language(code).paraphrase_prompt
    assert prompt.count("{prompt}") == 1
    assert prompt.endswith(":")
    assert len(prompt.split("\n\n")) == 4
