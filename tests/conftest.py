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
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from expunge.config.recipe import Recipe, make_recipe
from tiny_families import save_tiny_model, tiny_tokenizer

torch.set_num_threads(1)


SLOW_FILES = (
    *(
        "test_processes.py",
        "test_real_model.py",
        "test_rounds.py",
        "test_paraphrase.py",
        "test_cli_demo.py",
        "test_bandit.py",
        "test_fit.py",
    ),
    *("test_reference.py", "test_gpu_check.py", "test_runs_on_other_device.py", "test_kills.py", "test_export.py", "test_interrupted.py"),
    *("test_shared_audit.py", "test_lm_eval.py", "test_no_false_pass.py", "test_damage.py", "test_identity.py", "test_quantised_runs.py"),
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run the slowest files first, and leave out the long tests unless `-m` names them, as `make faults` does.

    If the slowest files came last, one of two workers would have to wait for the other.
    """
    items.sort(key=lambda item: SLOW_FILES.index(item.path.name) if item.path.name in SLOW_FILES else len(SLOW_FILES))
    if "long" in config.option.markexpr:
        return
    if long := [item for item in items if item.get_closest_marker("long")]:
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]


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
    return tiny_tokenizer


@pytest.fixture(scope="session")
def make_tiny_model(tmp_path_factory: pytest.TempPathFactory):
    """Make the folder of a random model of 4 blocks and hidden size 32, once a session: `make(family, chat=True)`."""
    made: dict[tuple[str, bool], Path] = {}

    def make(family: str = "llama", chat: bool = True) -> Path:
        if (family, chat) not in made:
            folder = tmp_path_factory.mktemp(f"{family}-{'chat' if chat else 'base'}")
            made[family, chat] = save_tiny_model(family, folder, chat)
        return made[family, chat]

    return make


@pytest.fixture(scope="session")
def wide_model_dir(tmp_path_factory: pytest.TempPathFactory, make_tokenizer: Callable[..., PreTrainedTokenizerFast]) -> Path:
    """Folder of a random Llama in bf16 whose layers can be quantised: widths of 64 and 128."""
    folder, tokenizer = tmp_path_factory.mktemp("wide"), make_tokenizer(True)
    ids = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    sizes = {"vocab_size": len(tokenizer), "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 4, "head_dim": 16}
    config = LlamaConfig(**sizes, num_attention_heads=4, num_key_value_heads=2, initializer_range=0.2, **ids)
    torch.manual_seed(0)
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


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
