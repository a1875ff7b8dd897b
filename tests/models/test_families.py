"""Every family: scores and answers do not depend on the cache or on padding, and every edit reaches what it trains."""

import pytest
import torch
from test_shared_prompt_scoring import assert_same_as_alone
from transformers import LlamaConfig, LlamaForCausalLM

from expunge.config import EditSection
from expunge.data.prompts import Encoded, PromptBuilder, collate
from expunge.data.records import Turn
from expunge.edits.apply import apply_edit
from expunge.errors import InputError
from expunge.models.cache_check import CacheUse, cache_use
from expunge.models.generation import generate
from expunge.models.loading import load
from expunge.models.scoring import score
from tiny_families import FAMILIES
from uncached_answers import uncached_answer

RECURRENT = {"falcon_h1", "lfm2", "qwen3_next", "qwen3_5", "mamba"}
PROMPTS = [tuple(range(30, 50)), (11, 12, 13), (9,)]
# With a shared beginning; one of one token; and longer ones than the convolutions of recurrent layers reach.
ANSWERS = [[(1, 2, 3, 4, 5, 6), (1, 2, 3, 4, 5, 7, 8)], [(21,)], [(50, 51, 52, 53, 54, 55), (56, 57)]]


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def loaded(family, make_tiny_model):
    return load(make_tiny_model(family))


def test_scores_with_the_cache_of_prompts_are_those_of_each_row_alone(family, loaded):
    model, _ = loaded
    assert cache_use(model) == (CacheUse.STEPS if family in RECURRENT else CacheUse.SHARED)
    assert_same_as_alone(model, PROMPTS, ANSWERS)


def test_answers_of_a_batch_are_those_of_one_prompt_without_cache(loaded):
    model, tokenizer = loaded
    builder = PromptBuilder(tokenizer)
    prompts = [builder.prompt((Turn("user", question),)) for question in ("Who?", "Where does Basil Mahfouz live, by the sea?")]
    assert generate(model, builder, prompts, 5) == [uncached_answer(model, builder, prompt, 5) for prompt in prompts]


@pytest.mark.parametrize("edit", ["lora", "grun"])
def test_every_trained_parameter_gets_a_gradient(family, make_tiny_model, edit):
    model = apply_edit(load(make_tiny_model(family))[0], EditSection(name=edit, gate_first=False if edit == "grun" else None), "")
    with torch.no_grad():
        # LoRA's B is zero at first, which stops the gradient of A.
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.1)
    score(model, collate([Encoded(prompt, (1, 2, 3)) for prompt in PROMPTS], 0)).nll.sum().backward()
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained
    assert [name for name, parameter in trained.items() if parameter.grad is None] == []


@pytest.mark.parametrize("edit", ["full", "lora"])
def test_the_text_model_alone_is_edited_in_a_model_that_reads_images(make_tiny_model, edit):
    model = load(make_tiny_model("gemma3_vision"))[0]
    assert any("vision_tower" in name for name, _ in model.named_parameters())
    model = apply_edit(model, EditSection(name=edit), "")
    score(model, collate([Encoded((9,), (1, 2, 3))], 0)).nll.sum().backward()
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert all("language_model" in name or "lm_head" in name for name in trained)
    assert [name for name, parameter in trained.items() if parameter.grad is None] == []
    with pytest.raises(InputError, match="'vision' matches no"):
        apply_edit(load(make_tiny_model("gemma3_vision"))[0], EditSection(name=edit, modules="vision"), "")


class Uncached(LlamaForCausalLM):
    """A model that returns no cache, as some families do."""

    def forward(self, *args, **kwargs):
        output = super().forward(*args, **{**kwargs, "use_cache": False})
        output.past_key_values = None
        return output


class Forgetful(LlamaForCausalLM):
    """A model that ignores what is in its cache, so that scores from it would be wrong."""

    def forward(self, *args, past_key_values=None, attention_mask=None, **kwargs):
        ids = kwargs["input_ids"]
        mask = attention_mask if attention_mask is None else attention_mask[:, -ids.shape[1] :]
        return super().forward(*args, attention_mask=mask, **kwargs)


class Unmasked(LlamaForCausalLM):
    """A model that reads padding as if it were text."""

    def forward(self, *args, **kwargs):
        return super().forward(*args, **{**kwargs, "attention_mask": None, "position_ids": None})


SIZES = {"vocab_size": 320, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "initializer_range": 0.2}


def small(kind: type[LlamaForCausalLM]) -> LlamaForCausalLM:
    torch.manual_seed(0)
    return kind(LlamaConfig(**SIZES, intermediate_size=48)).eval()


@pytest.mark.parametrize("kind", [Uncached, Forgetful])
def test_a_cache_that_is_missing_or_wrong_is_not_used(kind, make_tokenizer):
    model, builder = small(kind), PromptBuilder(make_tokenizer())
    assert cache_use(model) == CacheUse.NONE
    assert_same_as_alone(model, PROMPTS, ANSWERS)
    prompts = [builder.prompt((Turn("user", question),)) for question in ("Who?", "Where does Basil Mahfouz live?")]
    assert generate(model, builder, prompts, 4) == generate(small(LlamaForCausalLM), builder, prompts, 4)


def test_a_model_that_reads_padding_is_refused():
    with pytest.raises(InputError, match="padding changes what this model computes"):
        cache_use(small(Unmasked))
