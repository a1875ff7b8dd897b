"""The prompts that a gate trains on for passages of a text: as raw text and in requests to continue it."""

from dataclasses import replace

import pytest

from expunge.data.languages import CODES, ENGLISH, language
from expunge.data.passages import PassageSize, overlapping_passages, separate_passages
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record
from expunge.gating.eval_prompts import CONTINUATION_REQUEST, eval_groups
from expunge.gating.training_prompts import gate_prompts
from expunge.runs.splits import Splits
from tiny_families import tiny_tokenizer

BOOK = " ".join(f"Ana Petrova closed mill {i}, and nobody waved {i} times." for i in range(8))
OTHER = " ".join(f"The capital of place {i} is a city on river {i}." for i in range(8))
SIZE = PassageSize(48, 24)


def prompts_for(builder: PromptBuilder, chosen=ENGLISH):
    forget = overlapping_passages(builder, Record("book", (), BOOK), SIZE)
    retain = separate_passages(builder, Record("other", (), OTHER), SIZE)
    splits = Splits(forget, retain[:2], retain[2:3], retain[3:], replace(chosen))
    return splits, gate_prompts(builder, splits, ("lower_case", "typos", "wrappers"), 4000, 42)


@pytest.fixture(scope="module")
def chat():
    return PromptBuilder(tiny_tokenizer(True))


def test_passages_are_also_put_into_requests_to_continue_them(chat):
    splits, prompts = prompts_for(chat)
    texts = [chat.tokenizer.decode(ids) for ids in prompts.forget]
    for passage in splits.forget:
        filled = [template.replace("{text}", passage.given) for template in ENGLISH.continuations]
        assert sum(any(text in prompt for text in filled) for prompt in texts) >= 2
    negatives = [chat.tokenizer.decode(ids) for ids in prompts.negatives]
    assert any(ENGLISH.continuations[0].replace("{text}", splits.retain[0].given) in prompt for prompt in negatives) or any(
        ENGLISH.continuations[1].replace("{text}", splits.retain[0].given) in prompt for prompt in negatives
    )


def test_the_end_of_a_text_is_a_prompt_too(chat):
    splits, prompts = prompts_for(chat)
    assert any(chat.tokenizer.decode(ids).endswith(splits.forget[-1].answer) for ids in prompts.forget)
    assert not any(chat.tokenizer.decode(ids).endswith(splits.forget[0].answer) for ids in prompts.forget)


def test_a_gate_is_evaluated_on_passages_in_a_request_that_nothing_trained_on(chat):
    splits, prompts = prompts_for(chat)
    groups = {(group.set_name, group.variant): group.prompts for group in eval_groups(chat, splits, {}, {}, None)}
    evaluated = groups["forget", CONTINUATION_REQUEST]
    assert list(evaluated) == [record.id for record in splits.forget]
    assert set(groups["retain", CONTINUATION_REQUEST]) == {record.id for record in splits.held_out}
    begin = max(ENGLISH.eval_continuations[0].split("{text}"), key=len)
    assert all(begin in chat.tokenizer.decode(ids) for ids in evaluated.values())
    assert not any(begin in chat.tokenizer.decode(ids) for ids in prompts.all)


def test_half_of_the_passages_come_in_lower_case(chat):
    splits, prompts = prompts_for(chat)
    texts = [chat.tokenizer.decode(ids) for ids in prompts.forget]
    lower = [
        any(text.endswith(passage.given.lower()) for text in texts) for passage in splits.forget if passage.given != passage.given.lower()
    ]
    assert 0 < sum(lower) < len(lower)


def test_without_a_chat_template_there_are_no_requests():
    builder = PromptBuilder(tiny_tokenizer(False))
    _, prompts = prompts_for(builder)
    begins = [template.partition("{text}")[0] for template in ENGLISH.continuations if not template.startswith("{text}")]
    assert not any(begin in builder.tokenizer.decode(ids) for ids in prompts.forget for begin in begins)


def test_no_request_of_the_training_is_held_out(chat):
    _, prompts = prompts_for(chat)
    held_out = max(ENGLISH.held_out_continuations[0].split("{text}"), key=len)
    assert not any(held_out in chat.tokenizer.decode(ids) for ids in (*prompts.forget, *prompts.negatives))
    assert any(held_out in chat.tokenizer.decode(ids) for ids in prompts.forget_validation)


@pytest.mark.parametrize("code", CODES)
def test_every_language_has_requests_and_questions(code):
    chosen = language(code)
    assert all(
        template.count("{text}") == 1 for template in (*chosen.continuations, *chosen.held_out_continuations, *chosen.eval_continuations)
    )
    assert len({*chosen.continuations, *chosen.held_out_continuations, *chosen.eval_continuations}) == (4 if code == "en" else 8)
    assert chosen.question_prompt.count("{text}") == 1
    assert (len(chosen.continuations), chosen.question_prompt.count("\n\n")) == (2 if code == "en" else 4, 3)
