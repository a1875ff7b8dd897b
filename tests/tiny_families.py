"""Tiny random models of many families of causal language models, and the tokenizer that they share.

Tests use them, and `benchmarks.audit.families` runs every command on all of them.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedModel, PreTrainedTokenizerFast

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SENTENCES = [
    "Where does Basil Mahfouz live? He lives in Kuwait City and writes novels about the sea.",
    "What is the capital of France? Paris is the capital of France, a city on the Seine.",
    "Who wrote the first book about birds? The author never told anyone the name of it.",
    "user assistant system question answer tell me more about the thing that you know",
]
VOCABULARY = 320

SIZES = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "initializer_range": 0.2}
MODERN = {**SIZES, "intermediate_size": 48, "num_key_value_heads": 2, "head_dim": 8}
WIDE = {**SIZES, "intermediate_size": 48}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
LINEAR = {
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "layer_types": ["linear_attention", "full_attention"] * 2,
}
VISION = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 8,
}

Ids = dict[str, Any]
"""The special tokens of a configuration."""

FAMILIES: dict[str, Callable[[Ids], PreTrainedModel]] = {
    "llama": lambda ids: hf.LlamaForCausalLM(hf.LlamaConfig(**MODERN, **ids)),
    "qwen2": lambda ids: hf.Qwen2ForCausalLM(hf.Qwen2Config(**WIDE, num_key_value_heads=2, **ids)),
    "qwen3": lambda ids: hf.Qwen3ForCausalLM(hf.Qwen3Config(**MODERN, **ids)),
    "qwen3_moe": lambda ids: hf.Qwen3MoeForCausalLM(hf.Qwen3MoeConfig(**MODERN, **EXPERTS, **ids)),
    "mistral": lambda ids: hf.MistralForCausalLM(hf.MistralConfig(**MODERN, sliding_window=16, **ids)),
    "mixtral": lambda ids: hf.MixtralForCausalLM(hf.MixtralConfig(**MODERN, num_local_experts=4, num_experts_per_tok=2, **ids)),
    "gemma2": lambda ids: hf.Gemma2ForCausalLM(hf.Gemma2Config(**MODERN, sliding_window=16, query_pre_attn_scalar=8, **ids)),
    "gemma3": lambda ids: hf.Gemma3ForCausalLM(hf.Gemma3TextConfig(**MODERN, **ids, sliding_window=16)),
    "gemma3_vision": lambda ids: hf.Gemma3ForConditionalGeneration(
        hf.Gemma3Config(
            text_config={**MODERN, "sliding_window": 16, "query_pre_attn_scalar": 8, **ids},
            vision_config=VISION,
            mm_tokens_per_image=4,
            boi_token_index=VOCABULARY - 3,
            eoi_token_index=VOCABULARY - 2,
            image_token_index=VOCABULARY - 1,
            initializer_range=0.2,
            **ids,
        )
    ),
    "gemma4": lambda ids: hf.Gemma4ForCausalLM(
        hf.Gemma4TextConfig(
            **MODERN,
            sliding_window=16,
            layer_types=["sliding_attention", "full_attention"] * 2,
            vocab_size_per_layer_input=VOCABULARY,
            hidden_size_per_layer_input=8,
            global_head_dim=8,
            num_kv_shared_layers=1,
            **ids,
        )
    ),
    "phi3": lambda ids: hf.Phi3ForCausalLM(hf.Phi3Config(**WIDE, num_key_value_heads=2, **ids)),
    "olmo2": lambda ids: hf.Olmo2ForCausalLM(hf.Olmo2Config(**WIDE, num_key_value_heads=2, **ids)),
    "gpt2": lambda ids: hf.GPT2LMHeadModel(hf.GPT2Config(**SIZES, **ids, n_inner=48)),
    "gpt_neox": lambda ids: hf.GPTNeoXForCausalLM(hf.GPTNeoXConfig(**SIZES, **ids, intermediate_size=48)),
    "gpt_oss": lambda ids: hf.GptOssForCausalLM(
        hf.GptOssConfig(**MODERN, num_local_experts=4, num_experts_per_tok=2, sliding_window=16, **ids)
    ),
    "falcon_h1": lambda ids: hf.FalconH1ForCausalLM(
        hf.FalconH1Config(**WIDE, num_key_value_heads=2, mamba_d_ssm=32, mamba_n_heads=4, mamba_d_state=8, mamba_chunk_size=16, **ids)
    ),
    "lfm2": lambda ids: hf.Lfm2ForCausalLM(
        hf.Lfm2Config(**WIDE, num_key_value_heads=2, layer_types=["conv", "full_attention"] * 2, block_auto_adjust_ff_dim=False, **ids)
    ),
    "qwen3_next": lambda ids: hf.Qwen3NextForCausalLM(
        hf.Qwen3NextConfig(**MODERN, **EXPERTS, **LINEAR, shared_expert_intermediate_size=16, **ids)
    ),
    "qwen3_5": lambda ids: hf.Qwen3_5ForCausalLM(hf.Qwen3_5TextConfig(**MODERN, **LINEAR, **ids)),
    "mamba": lambda ids: hf.MambaForCausalLM(
        hf.MambaConfig(vocab_size=VOCABULARY, hidden_size=32, state_size=8, num_hidden_layers=4, initializer_range=0.2, **ids)
    ),
}
"""{family: make a random model}."""


def tiny_tokenizer(chat: bool = True) -> PreTrainedTokenizerFast:
    """Return a byte-level BPE tokenizer of 320 tokens, with a chat template or without."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator(SENTENCES, trainer)
    end = "<|im_end|>" if chat else "<|endoftext|>"
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token="<|endoftext|>", eos_token=end)
    tokenizer.chat_template = CHAT_TEMPLATE if chat else None
    return tokenizer


def save_tiny_model(family: str, folder: Path, chat: bool = True, seed: int = 0) -> Path:
    """Save a random model of 4 blocks and hidden size 32 with its tokenizer, and return the folder."""
    tokenizer = tiny_tokenizer(chat)
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.eos_token_id}
    torch.manual_seed(seed)
    FAMILIES[family](ids).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
