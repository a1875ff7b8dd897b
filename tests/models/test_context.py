"""No model reads beyond its context, in any family: GPT-2 has no positions there, and the others were never trained on them."""

import pytest
import torch
from transformers import BloomConfig, BloomForCausalLM

from expunge.data.prompts import Encoded, PromptBuilder, collate
from expunge.errors import InputError
from expunge.models.blocks import check_length, check_room, context_length
from expunge.models.generation import generate
from expunge.models.hidden_states import prompt_states
from expunge.models.loading import load
from expunge.models.prompt_cache import read_prompts
from expunge.models.scoring import score
from expunge.models.shared_prompt_scoring import score_answers

FAMILIES = ["llama", "qwen3", "gemma3", "gpt2", "gpt_neox"]
LENGTH = 24
TOO_LONG = "has 25 tokens, and the model takes 24; shorten it"


@pytest.fixture(params=FAMILIES)
def short(request, make_tiny_model):
    """A model whose configuration states a context of 24 tokens, and its prompt builder."""
    model, tokenizer = load(make_tiny_model(request.param))
    model.config.max_position_embeddings = LENGTH
    assert context_length(model) == LENGTH
    return model, PromptBuilder(tokenizer)


def ids(length: int) -> tuple[int, ...]:
    return tuple(range(10, 10 + length))


def test_a_prompt_of_the_whole_context_is_read_and_a_longer_one_is_refused(short):
    model, builder = short
    read_prompts(model, [ids(3), ids(LENGTH)], builder.pad)
    prompt_states(model, [ids(LENGTH)], [0], builder.pad)
    assert len(generate(model, builder, [ids(LENGTH)], 5)) == 1
    for read in (
        lambda: read_prompts(model, [ids(3), ids(LENGTH + 1)], builder.pad),
        lambda: prompt_states(model, [ids(LENGTH + 1)], [0], builder.pad),
        lambda: generate(model, builder, [ids(LENGTH + 1)], 5),
    ):
        with pytest.raises(InputError, match=f"^a prompt {TOO_LONG}$"):
            read()


def test_an_answer_counts_and_padding_does_not(short):
    model, builder = short
    # The rows are padded to 20 + 20 tokens, and neither is longer than 24.
    rows = [Encoded(ids(20), ids(4)), Encoded(ids(4), ids(20))]
    with torch.no_grad():
        assert score(model, collate(rows, builder.pad)).nll.isfinite().all()
        with pytest.raises(InputError, match=f"^a prompt with its answer {TOO_LONG}$"):
            score(model, collate([*rows, Encoded(ids(5), ids(20))], builder.pad))


def test_answers_to_cached_prompts_count_too(short):
    model, builder = short
    cached = read_prompts(model, [ids(10)], builder.pad)
    # The last token of an answer is not read, so 10 + 15 tokens fit.
    assert score_answers(model, cached, [[ids(15)]], builder.pad).nll.isfinite().all()
    with pytest.raises(InputError, match=r"^a prompt with its answer has 25 tokens"):
        score_answers(model, cached, [[ids(16)]], builder.pad)


def test_positions_of_gpt2_that_do_not_exist_are_refused_and_not_looked_up(make_tiny_model):
    model, tokenizer = load(make_tiny_model("gpt2"))
    with pytest.raises(InputError, match="a prompt has 1025 tokens, and the model takes 1024"):
        generate(model, PromptBuilder(tokenizer), [(5,) * 1025], 1)


def test_a_model_of_relative_positions_has_no_limit():
    model = BloomForCausalLM(BloomConfig(vocab_size=32, hidden_size=8, n_layer=1, n_head=1))
    assert context_length(model) is None
    check_length(model, 10**9)
    check_room(model, 10**9, "the question")


def test_the_template_and_the_system_message_count(short):
    model, builder = short
    plain, system = builder, PromptBuilder(builder.tokenizer, "You are a terse clerk.")
    lengths = [len(one.prompt((_user("Who?"),))) for one in (plain, system)]
    assert lengths[0] < LENGTH < lengths[1]
    check_room(model, lengths[0], "the question")
    with pytest.raises(
        InputError, match=f"^the question has {lengths[1]} tokens with its template, and the model takes 24 with the answer"
    ):
        check_room(model, lengths[1], "the question")


def _user(text: str):
    from expunge.data.records import Turn

    return Turn("user", text)
