import pytest
import torch

from expunge.data.prompts import PromptBuilder
from expunge.data.records import Turn
from expunge.models.generation import generate
from expunge.models.loading import load
from expunge.reveal_release.reveal.candidates import (
    Pool,
    clean_instruction,
    generate_from_candidates,
    pool_features,
    soft_prompts,
    write_instructions,
)


@pytest.fixture(scope="module")
def tiny(make_tiny_model):
    model, tokenizer = load(make_tiny_model("llama"))
    return model, PromptBuilder(tokenizer)


def pool_of(model, count=6, scale=3.0, topics=("Ask about the sea.",), instructions=()):
    return Pool(soft_prompts(model, count, 3, 4, scale, seed=1), topics, instructions)


def test_soft_prompts_depend_on_the_seed(tiny):
    model, _ = tiny
    one, again = (soft_prompts(model, 5, 3, 4, 1.0, seed=1) for _ in range(2))
    assert torch.equal(one, again)
    assert not torch.equal(one, soft_prompts(model, 5, 3, 4, 1.0, seed=2))
    assert soft_prompts(model, 9, 3, 4, 1.0, seed=1).shape == (9, 3, 32)


def test_soft_tokens_have_the_requested_norm(tiny):
    model, _ = tiny
    length = model.get_input_embeddings().weight.norm(dim=-1).mean().item()
    assert soft_prompts(model, 8, 3, 4, 2.5, seed=1).norm(dim=-1).mean().item() == pytest.approx(2.5 * length, rel=1e-5)


def test_a_soft_prompt_of_token_embeddings_equals_those_tokens(tiny):
    model, builder = tiny
    ids = [20, 31, 42]
    soft = model.get_input_embeddings().weight[ids].detach()[None]
    pool = Pool(soft, ("Ask about the sea.",), ())
    prompt = (*ids, *builder.prompt((Turn("user", "Ask about the sea."),)))
    assert generate_from_candidates(model, builder, pool, [0], 8) == generate(model, builder, [prompt], 8)


def test_features_do_not_depend_on_other_candidates(tiny):
    model, builder = tiny
    pool = pool_of(model, 5, topics=("Ask about the sea.", "Ask about a person who lives by it."), instructions=("Where is Paris?",))
    every = pool_features(model, builder, pool, lambda rows: None)
    assert every.shape == (6, 32)
    alone = pool_features(model, builder, Pool(pool.soft[:1], pool.topics[:1], ()), lambda rows: None)
    assert torch.allclose(every[0], alone[0], atol=1e-5)


def test_handwritten_instructions_stay_unchanged_and_topics_take_turns(tiny):
    model, builder = tiny
    pool = pool_of(model, 3, topics=("one", "two"), instructions=("Where is Paris?",))
    assert [pool.text(i) for i in range(4)] == ["one", "two", "one", "Where is Paris?"]
    assert write_instructions(model, builder, pool, [3, 0])[0] == "Where is Paris?"


def test_generated_texts_come_in_the_order_of_the_candidates(tiny):
    model, builder = tiny
    pool = pool_of(model, 4, topics=("one", "a much longer wish about something else"), instructions=("Where is Paris?",))
    candidates = [4, 1, 0, 1, 3]
    together = generate_from_candidates(model, builder, pool, candidates, 6)
    assert together == [generate_from_candidates(model, builder, pool, [i], 6)[0] for i in candidates]


def test_a_prefix_starts_the_generated_text(tiny):
    model, builder = tiny
    pool = Pool(pool_of(model, 8).soft, ("one", "two"), ("Where is Paris?",), ("What is", "Where does"))
    # Each prefix is combined with every topic.
    assert [pool.prefix(i) for i in range(9)] == ["What is"] * 2 + ["Where does"] * 2 + ["What is"] * 2 + ["Where does"] * 2 + [""]
    texts = generate_from_candidates(model, builder, pool, [2, 8], 6)
    assert texts[0].startswith("Where does")
    assert texts[0] != "Where does"
    alone = Pool(pool.soft, pool.topics, pool.instructions)
    assert texts[0] != generate_from_candidates(model, builder, alone, [2], 6)[0]
    assert texts[1] == generate_from_candidates(model, builder, alone, [8], 6)[0]
    # The features show the prefix.
    features, others = (pool_features(model, builder, one, lambda rows: None) for one in (pool, alone))
    assert not torch.allclose(features[2], others[2], atol=1e-3)
    assert torch.allclose(features[8], others[8], atol=1e-5)


def test_an_instruction_is_the_first_paragraph_without_quotes_and_labels():
    assert clean_instruction('\n1. "Where does she live?"\n2. "And he?"') == "Where does she live?"
    assert clean_instruction("Instruction: - Name a river.") == "Name a river."
    assert clean_instruction("  \n") == ""
