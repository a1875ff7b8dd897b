"""Generation in batches gives the answers of each prompt alone, up to the end of turn."""

import pytest
import torch
from torch import nn

from expunge.data.prompts import PromptBuilder
from expunge.data.records import Turn
from expunge.models.continuation import NOTHING, Avoided, Continuation
from expunge.models.generation import MOST_IN_NUCLEUS, generate, nucleus_sampler
from expunge.models.loading import load

QUESTIONS = ["Where?", "What is the capital of France, and who told you the name of it?", "Who wrote it?", "a", "Tell me more about birds."]


def prompts_of(builder: PromptBuilder) -> list[tuple[int, ...]]:
    return [builder.prompt((Turn("user", question),)) for question in QUESTIONS]


@pytest.mark.parametrize("tiny_model_dir", ["llama", "qwen3", "gemma3", "gpt2", "gpt_neox"], indirect=True)
def test_a_batch_gives_the_answers_of_single_prompts(tiny_model_dir):
    model, tokenizer = load(tiny_model_dir)
    builder = PromptBuilder(tokenizer)
    prompts, done = prompts_of(builder), []
    together = generate(model, builder, prompts, 8, batch_size=3, advance=done.append)
    alone = [generate(model, builder, [prompt], 8)[0] for prompt in prompts]
    assert together == alone
    assert done == [3, 2]


@torch.no_grad()
def test_greedy_decoding_takes_the_most_likely_token_each_time(tiny_model_dir):
    model, tokenizer = load(tiny_model_dir)
    builder = PromptBuilder(tokenizer)
    prompt = list(prompts_of(builder)[0])
    tokens = []
    while len(tokens) < 6:
        tokens.append(model(input_ids=torch.tensor([prompt + tokens])).logits[0, -1].argmax().item())
    assert builder.end_of_turn not in tokens
    assert generate(model, builder, [tuple(prompt)], 6) == [tokenizer.decode(tokens, skip_special_tokens=True).strip()]


def test_an_answer_ends_at_the_end_of_turn(tiny_model_dir):
    model, tokenizer = load(tiny_model_dir)
    builder = PromptBuilder(tokenizer)
    # This head always predicts the end of turn, so every answer is empty.
    model.lm_head = nn.Linear(32, model.config.vocab_size)
    nn.init.zeros_(model.lm_head.weight)
    nn.init.zeros_(model.lm_head.bias)
    with torch.no_grad():
        model.lm_head.bias[builder.end_of_turn] = 1.0
    assert generate(model, builder, prompts_of(builder), 8) == [""] * len(QUESTIONS)


def test_samples_from_the_nucleus_have_the_frequencies_of_their_probabilities():
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log().repeat(4000, 1)
    shares = torch.bincount(nucleus_sampler(0)(logits), minlength=4) / 4000
    assert shares.tolist() == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=0.03)
    # The first two tokens have 0.8 of the probability, so the nucleus of 0.7 is these two.
    shares = torch.bincount(nucleus_sampler(0, top_p=0.7)(logits), minlength=4) / 4000
    assert shares.tolist() == pytest.approx([0.625, 0.375, 0, 0], abs=0.03)
    assert shares[2:].sum() == 0
    # At half the temperature probabilities are squared.
    shares = torch.bincount(nucleus_sampler(0, temperature=0.5)(logits), minlength=4) / 4000
    assert shares.tolist() == pytest.approx([0.685, 0.247, 0.062, 0.007], abs=0.03)


@pytest.mark.parametrize("scale", [0.1, 5.0])
def test_part_of_a_large_vocabulary_gives_the_draws_of_all_of_it(scale):
    # The nucleus of the flat distribution has more tokens than are sorted first, that of the steep one fewer.
    logits = scale * torch.randn(20, 2 * MOST_IN_NUCLEUS, generator=torch.Generator().manual_seed(1))
    probability, tokens = logits.softmax(-1).sort(descending=True)
    probability[probability.cumsum(-1) - probability >= 0.9] = 0.0
    assert ((probability > 0).sum(-1) > MOST_IN_NUCLEUS).all() == (scale == 0.1)
    drawn = tokens.gather(-1, torch.multinomial(probability, 1, generator=torch.Generator().manual_seed(7)))[:, 0]
    assert torch.equal(nucleus_sampler(7, top_p=0.9)(logits), drawn)


def test_samples_depend_on_the_seed(tiny_model_dir):
    model, tokenizer = load(tiny_model_dir)
    builder = PromptBuilder(tokenizer)
    one, again, other = (generate(model, builder, prompts_of(builder), 8, sampler=nucleus_sampler(seed)) for seed in (3, 3, 4))
    assert one == again != other


def three_in_a_row(ids: list[int]) -> set[tuple[int, ...]]:
    return {tuple(ids[start : start + 3]) for start in range(len(ids) - 2)}


@pytest.mark.parametrize("tiny_model_dir", ["llama", "gpt2"], indirect=True)
def test_an_answer_has_neither_the_tokens_nor_three_in_a_row_of_the_text_to_avoid(tiny_model_dir):
    model, tokenizer = load(tiny_model_dir)
    builder = PromptBuilder(tokenizer)
    first, second, *_ = prompts = prompts_of(builder)

    def written(*avoid: Avoided) -> list[list[int]]:
        ids = list[list[int]]()
        for prompt, of_row in zip(prompts, avoid or [NOTHING] * len(prompts), strict=False):
            row = Continuation(builder, list(prompt), 8, of_row)
            with torch.no_grad():
                while len(row.ids) < 8:
                    logits = model(input_ids=torch.tensor([[*prompt, *row.ids]])).logits[0, -1]
                    logits[row.to_avoid()] = -torch.inf
                    row.ids.append(logits.argmax().item())
            ids.append(row.ids)
        return ids

    known = tuple(written()[0])
    avoid = [Avoided(text=known), Avoided(tokens=frozenset(written()[1]))]
    expected = written(*avoid)
    assert not three_in_a_row([*first[-2:], *expected[0]]) & three_in_a_row([*first[-2:], *known])
    texts = [tokenizer.decode(ids, skip_special_tokens=True).strip() for ids in expected]
    assert generate(model, builder, [first, second], 8, avoid=avoid) == texts
    assert not {*expected[1]} & avoid[1].tokens
    assert texts[0] != tokenizer.decode(known, skip_special_tokens=True).strip()
