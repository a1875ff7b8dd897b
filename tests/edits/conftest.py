"""Tiny random models of five families, and batches for them."""

from collections.abc import Callable

import pytest
import torch
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from expunge.data.prompts import Batch, Encoded, collate

SIZES = {
    "vocab_size": 100,
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "initializer_range": 0.3,
    "bos_token_id": 1,
    "eos_token_id": None,
    "pad_token_id": 0,
}
MODERN = {**SIZES, "intermediate_size": 48, "num_key_value_heads": 2, "head_dim": 8}
FAMILIES = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**MODERN)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**MODERN)),
    "gemma3": lambda: Gemma3ForCausalLM(Gemma3TextConfig(**MODERN, sliding_window=4)),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(**SIZES, n_inner=48, attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0)),
    "neox": lambda: GPTNeoXForCausalLM(GPTNeoXConfig(**SIZES, intermediate_size=48, hidden_dropout=0.0, attention_dropout=0.0)),
}


@pytest.fixture(autouse=True)
def _same_numbers_every_time() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture(params=list(FAMILIES))
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    """A model of each family: 4 blocks, hidden size 32, 100 tokens."""
    return FAMILIES[request.param]().eval()


@pytest.fixture
def llama() -> PreTrainedModel:
    return FAMILIES["llama"]().eval()


@pytest.fixture
def make_llama() -> Callable[[], PreTrainedModel]:
    """Makes the same tiny Llama at every call."""

    def make() -> PreTrainedModel:
        torch.manual_seed(0)
        return FAMILIES["llama"]().eval()

    return make


@pytest.fixture
def batch() -> Batch:
    """Prompts of 3 and 5 tokens, padded to 5; answers of 2 and 4 tokens."""
    return collate([Encoded((11, 12, 13), (21, 22)), Encoded((31, 32, 33, 34, 35), (41, 42, 43, 44))], pad=0)
