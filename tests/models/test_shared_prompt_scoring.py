"""Shared prompt scoring: several answers to a prompt get the same scores as each of them alone."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from expunge.data.prompts import Encoded, collate
from expunge.models.loading import load
from expunge.models.prompt_cache import read_prompts
from expunge.models.scoring import score
from expunge.models.shared_prompt_scoring import score_answers

ARCHITECTURES = ("llama", "qwen3", "gemma3", "gpt2", "gpt_neox")
PROMPTS = [(11, 12, 13), tuple(range(30, 42)), (9,)]
ANSWERS = [
    # Two shared beginnings, one inside the other; an answer that is the beginning of others; and the same answer twice.
    [(1, 2, 3, 4, 5, 6), (1, 2, 3, 4, 5, 7, 8), (1, 2, 3, 4, 9), (1, 2, 3, 4, 5), (5,)],
    [(21, 22, 23, 24, 25), (21, 22, 23, 24, 25)],
    [(50, 51), (52, 53, 54, 55, 56, 57), (52, 53, 54, 55, 56, 58), (3, 4, 5, 6, 7, 8, 9)],
]


@pytest.fixture
def model(tiny_model_dir) -> nn.Module:
    return load(tiny_model_dir)[0]


@torch.no_grad()
def assert_same_as_alone(model: nn.Module, prompts: list[tuple[int, ...]], answers: list[list[tuple[int, ...]]]) -> None:
    """Compare the scores of answers together with those of each row alone."""
    together = score_answers(model, read_prompts(model, prompts, pad=0), answers, pad=0)
    each = [Encoded(prompt, answer) for prompt, of_prompt in zip(prompts, answers, strict=True) for answer in of_prompt]
    alone = [score(model, collate([row], pad=0)) for row in each]
    torch.testing.assert_close(together.token_nll, torch.cat([one.token_nll for one in alone]), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(together.nll, torch.cat([one.nll for one in alone]), rtol=1e-5, atol=1e-5)
    assert together.tokens.tolist() == [len(row.answer) for row in each]
    assert torch.equal(together.greedy, torch.cat([one.greedy for one in alone]))


@pytest.mark.parametrize("tiny_model_dir", ARCHITECTURES, indirect=True)
def test_each_answer_gets_the_score_it_gets_alone(model):
    assert_same_as_alone(model, PROMPTS, ANSWERS)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.lists(st.integers(1, 2), min_size=1, max_size=9).map(tuple), min_size=1, max_size=6), min_size=1, max_size=3))
def test_answers_with_any_shared_beginnings_get_the_scores_they_get_alone(model, answers):
    assert_same_as_alone(model, PROMPTS[: len(answers)], answers)


def test_a_shared_beginning_is_read_once(model):
    read = []
    handle = model.register_forward_pre_hook(lambda _, args, kwargs: read.append(kwargs["input_ids"].numel()), with_kwargs=True)
    prompts = read_prompts(model, [(9, 10)], pad=0)
    read.clear()
    score_answers(model, prompts, [[(*range(1, 21), 30, 31), (*range(1, 21), 40, 41), (*range(1, 21), 50, 51)]], pad=0)
    handle.remove()
    # The beginning of 20 tokens, and all but the last token of each end.
    assert sum(read) == 20 + 3


@pytest.mark.parametrize("tiny_model_dir", ["gemma3"], indirect=True)
def test_a_sliding_window_counts_no_padding(model):
    prompts = [tuple(range(1, 40)), (5, 6)]
    answers = [[(1, 2, 3, 4, 5, 6), (1, 2, 3, 4, 7, 8)], [(1, 2, 3, 4, 5, 6, 7, 8, 9, 9), (1, 2, 3, 4, 5, 6, 7, 8, 2)]]
    assert_same_as_alone(model, prompts, answers)
