"""Fixtures for all tests: one thread, no downloads, the embedded model, and tiny random models in folders."""

import hashlib
import json
import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoTokenizer,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from expunge.config.recipe import Recipe, make_recipe

torch.set_num_threads(1)

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


@pytest.fixture(scope="session")
def smollm2():
    """The embedded model and its tokenizer; `make test` has fetched and converted it."""
    from expunge.models.loading import load

    return load("smollm2-135m")


@pytest.fixture(scope="session")
def smollm2_tokenizer() -> PreTrainedTokenizerBase:
    """The embedded model's tokenizer alone, for tests that need no weights."""
    from expunge.models.embedded import embedded_model

    return AutoTokenizer.from_pretrained(embedded_model())


@pytest.fixture(scope="session")
def make_tokenizer() -> Callable[..., PreTrainedTokenizerFast]:
    """Make a byte-level BPE tokenizer of 320 tokens, with a chat template or without."""

    def make(chat: bool = True) -> PreTrainedTokenizerFast:
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

    return make


@pytest.fixture(scope="session")
def make_tiny_model(tmp_path_factory: pytest.TempPathFactory, make_tokenizer: Callable[..., PreTrainedTokenizerFast]):
    """Make the folder of a random model of 4 blocks and hidden size 32, once a session: `make(architecture, chat=True)`."""
    made: dict[tuple[str, bool], Path] = {}
    sizes = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "initializer_range": 0.2}
    modern = {**sizes, "intermediate_size": 48, "num_key_value_heads": 2, "head_dim": 8}
    builders = {
        "llama": lambda ids: LlamaForCausalLM(LlamaConfig(**modern, **ids)),
        "qwen3": lambda ids: Qwen3ForCausalLM(Qwen3Config(**modern, **ids)),
        "gemma3": lambda ids: Gemma3ForCausalLM(Gemma3TextConfig(**modern, **ids, sliding_window=16)),
        "gpt2": lambda ids: GPT2LMHeadModel(GPT2Config(**sizes, **ids, n_inner=48)),
        "gpt_neox": lambda ids: GPTNeoXForCausalLM(GPTNeoXConfig(**sizes, **ids, intermediate_size=48)),
    }

    def make(architecture: str = "llama", chat: bool = True) -> Path:
        if (architecture, chat) not in made:
            folder = tmp_path_factory.mktemp(f"{architecture}-{'chat' if chat else 'base'}")
            tokenizer = make_tokenizer(chat)
            ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.eos_token_id}
            torch.manual_seed(0)
            builders[architecture](ids).save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            made[architecture, chat] = folder
        return made[architecture, chat]

    return make


@pytest.fixture
def tiny_model_dir(request: pytest.FixtureRequest, make_tiny_model: Callable[..., Path]) -> Path:
    """Folder of a tiny random chat model with its tokenizer: a Llama, or the architecture given by indirect parametrisation."""
    return make_tiny_model(getattr(request, "param", "llama"))


@pytest.fixture
def tiny_data(tmp_path: Path) -> tuple[Path, Path]:
    """A forget file of 6 records and a retain file of 10."""
    names = ["Basil Mahfouz", "Ana Petrova", "Li Wei", "Tom Ashe", "Noor Haddad", "Eva Lind"]
    forget = [{"id": f"f{i}", "prompt": f"Where does {n} live?", "answer": f"{n} lives in city {i}."} for i, n in enumerate(names)]
    facts = ["France", "Spain", "Italy", "Norway", "Chile", "Kenya", "Japan", "India", "Peru", "Cuba"]
    retain = [{"id": f"r{i}", "prompt": f"What is the capital of {n}?", "answer": f"The city number {i}."} for i, n in enumerate(facts)]
    paths = tmp_path / "forget.jsonl", tmp_path / "retain.jsonl"
    for path, rows in zip(paths, (forget, retain), strict=True):
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return paths


@pytest.fixture
def make_recipe_for(tiny_model_dir, tiny_data, tmp_path):
    """Make a recipe for the tiny model and data, `make(out, **sections)`: 3 epochs of 2 steps of lora, saved every step."""

    def make(out: str, **sections) -> Recipe:
        data = {"forget": str(tiny_data[0]), "retain": str(tiny_data[1])}
        training = {"epochs": 3, "batch_size": 3, "lr": 1e-3, "save_steps": 1, "dtype": "fp32"}
        given = {"model": str(tiny_model_dir), "objective": "npo", "edit": {"name": "lora"}, "data": data, "training": training}
        return make_recipe({**given, **sections, "out": str(tmp_path / out)})

    return make


@pytest.fixture
def edit_sha256():
    """Hash of a run's trained weights: `edit_sha256(run)`."""
    return lambda run: hashlib.sha256(next(run.edit.glob("*.safetensors")).read_bytes()).hexdigest()


@pytest.fixture(scope="session")
def reveal_settings() -> dict:
    """A search of 24 responses to eight instructions; the responses of a tiny random model pass the filters."""
    return {
        "oracle": {"name": "regex", "pattern": "[aeiou]"},
        "instructions": [f"Tell me about number {i}" for i in range(8)],
        "searcher": "random",
        "samples_per_instruction": 3,
        "budget": 24,
        "max_new_tokens": 6,
        "min_responses": 2,
        "min_relevance": 0.0,
        "min_chars": 1,
    }
