"""Decoder blocks are found by shape, and a model without them is refused."""

import pytest
from peft import LoraConfig, get_peft_model
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, T5Config, T5ForConditionalGeneration

from expunge.errors import ExpungeError
from expunge.models.blocks import decoder_blocks

LLAMA = LlamaConfig(vocab_size=20, hidden_size=8, intermediate_size=8, num_hidden_layers=3, num_attention_heads=2)


def test_blocks_are_found_by_name_in_plain_and_wrapped_models():
    llama = LlamaForCausalLM(LLAMA)
    assert decoder_blocks(llama) == ("model.layers", llama.model.layers)
    wrapped = get_peft_model(llama, LoraConfig(target_modules=["q_proj"]))
    assert decoder_blocks(wrapped) == ("base_model.model.model.layers", llama.model.layers)
    gpt2 = GPT2LMHeadModel(GPT2Config(vocab_size=20, n_embd=8, n_layer=2, n_head=2))
    assert decoder_blocks(gpt2) == ("transformer.h", gpt2.transformer.h)


def test_a_model_with_two_stacks_is_refused():
    t5 = T5ForConditionalGeneration(T5Config(vocab_size=20, d_model=8, d_ff=8, d_kv=4, num_layers=2, num_heads=2))
    with pytest.raises(ExpungeError, match=r"one list of 2 decoder blocks, found encoder\.block, decoder\.block"):
        decoder_blocks(t5)
