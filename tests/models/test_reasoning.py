"""Reasoning before an answer: stripped from it, measured for itself, and counted apart; and every token that ends an answer."""

import pytest
import torch

from expunge.data.prompts import PromptBuilder
from expunge.data.reasoning import Answer, split
from expunge.data.records import Turn
from expunge.models.generation import answer_ends, generate, generate_answers
from expunge.models.loading import load

OPEN = ("<think>", "</think>")


@pytest.fixture(scope="module")
def tiny(make_tiny_model):
    model, tokenizer = load(make_tiny_model())
    return model, PromptBuilder(tokenizer, max_thinking_tokens=60)


@pytest.fixture
def answer_of(tiny):
    """Let the tiny model write a given text up to its end of turn: `answer_of(text, max_new_tokens, end_of_the_prompt)`."""
    model, builder = tiny

    def answer(text: str, max_new_tokens: int, prompt: tuple[int, ...] = ()) -> Answer:
        ids = iter([*builder.tokenizer(text, add_special_tokens=False).input_ids, builder.end_of_turn])
        prompts = [(*builder.prompt((Turn("user", "Where?"),)), *prompt)]
        return generate_answers(model, builder, prompts, max_new_tokens, sampler=lambda logits: torch.tensor([next(ids)]))[0]

    return answer


@pytest.mark.parametrize(
    ("text", "within", "expected"),
    [
        ("Paris", None, None),
        ("<think>\nHm.\n</think>\n\nParis", None, Answer("Paris", "Hm.")),
        ("Hm.\n</think>\n\nParis", OPEN, Answer("Paris", "Hm.")),
        ("Hm.</think>Paris", None, Answer("Paris", "Hm.")),
        ("<think>Hm.", None, Answer("", "Hm.", unfinished=True)),
        ("Hm.", OPEN, Answer("", "Hm.", unfinished=True)),
        ("[THINK]Hm.[/THINK]Paris", None, Answer("Paris", "Hm.")),
        ("<think>a</think> b <think>c</think> d", None, Answer("b  d", "a\nc")),
        ("<|channel|>final<|message|>Paris", None, Answer("Paris")),
        ("<thinking>Hm.</thinking>Paris", None, Answer("Paris", "Hm.")),
    ],
)
def test_reasoning_is_no_part_of_the_answer(text, within, expected):
    assert split(text, within) == expected


def test_the_length_of_an_answer_counts_after_its_reasoning(answer_of):
    answer = answer_of("<think>" + "he lives" * 3 + "</think>Paris is", max_new_tokens=8)
    assert answer == Answer("Paris is", "he lives" * 3)


def test_an_answer_after_reasoning_is_cut_where_it_would_be_cut_alone(answer_of):
    alone = answer_of("QZQZQZQZQZ", max_new_tokens=6)
    answer = answer_of("<think>he</think>QZQZQZQZQZ", max_new_tokens=6)
    assert alone.text == answer.text == "QZQZQZ"


def test_reasoning_without_an_end_stops_at_its_own_limit(answer_of):
    answer = answer_of("<think>" + "Q" * 300, max_new_tokens=8)
    assert answer.unfinished
    assert answer.text == ""
    # 60 tokens, of which the marker has up to seven.
    assert 53 <= len(answer.reasoning) < 60


def test_a_prompt_that_begins_the_reasoning_has_an_answer_after_its_end(answer_of, tiny):
    begin = tuple(tiny[1].tokenizer("<think>\n", add_special_tokens=False).input_ids)
    assert answer_of("he lives there</think>Paris", 8, begin) == Answer("Paris", "he lives there")


def test_every_token_of_a_list_ends_an_answer(tiny):
    model, builder = tiny
    before = model.generation_config.eos_token_id
    letter = builder.tokenizer("Q", add_special_tokens=False).input_ids[0]
    model.generation_config.eos_token_id = [builder.end_of_turn, letter]
    try:
        assert answer_ends(model, builder) == {builder.end_of_turn, letter, builder.tokenizer.eos_token_id}
        ids = iter([*builder.tokenizer("Paris", add_special_tokens=False).input_ids, letter])
        prompts = [builder.prompt((Turn("user", "Where?"),))]
        assert generate(model, builder, prompts, 20, sampler=lambda logits: torch.tensor([next(ids)])) == ["Paris"]
    finally:
        model.generation_config.eos_token_id = before
