"""LoRA modules as PEFT saves them, for the tests that read and add them."""

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from small_modules import SETTINGS
from torch import nn

from expunge.config import ModuleSection
from expunge.console import Display
from expunge.data.prompts import PromptBuilder, collate
from expunge.data.records import read_records
from expunge.models.loading import load
from expunge.models.scoring import score
from expunge.reveal_release.release.train_module import ModuleTraining, RetainConstraint, train_module

CONFIGS = {
    "llama": ("llama", {"r": 4, "lora_alpha": 6}),
    "gpt2": ("gpt2", {"r": 4, "lora_alpha": 6, "fan_in_fan_out": True}),
    "rslora": ("llama", {"r": 4, "lora_alpha": 6, "use_rslora": True}),
    "patterns": ("llama", {"r": 4, "lora_alpha": 6, "rank_pattern": {"q_proj": 2}, "alpha_pattern": {r"layers\.[02]\.mlp\.up_proj": 3}}),
    "both": ("llama", {"r": 4, "lora_alpha": 6, "use_rslora": True, "rank_pattern": {"q_proj": 2}}),
}


@pytest.fixture
def saved(make_tiny_model, tmp_path):
    """Save a random LoRA module by PEFT: `saved(name in CONFIGS, seed=0)` returns the folders of base model and module."""

    def save(which: str, seed: int = 0) -> tuple[Path, Path]:
        architecture, config = CONFIGS[which]
        base, folder = make_tiny_model(architecture), tmp_path / f"{which}-{seed}"
        torch.manual_seed(seed)
        model = get_peft_model(load(base)[0], LoraConfig(**config, target_modules="all-linear", task_type="CAUSAL_LM"))
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                nn.init.normal_(parameter, std=0.1)
        model.save_pretrained(folder)
        return base, folder

    return save


@pytest.fixture
def train(make_tiny_model, tiny_data, tmp_path):
    """Train a module: `train(name, on="forget", **settings_of_the_retain_constraint)` returns its folder."""

    def run(
        name: str,
        on: str = "forget",
        architecture: str = "llama",
        display: Display | None = None,
        model=None,
        settings: ModuleSection = SETTINGS,
        seed: int = 5,
        **constraint,
    ) -> Path:
        loaded, tokenizer = load(make_tiny_model(architecture))
        records = read_records(tiny_data[0 if on == "forget" else 1])
        training = ModuleTraining(records, tmp_path / name, settings, seed, "Learning")
        builder, constrained = PromptBuilder(tokenizer), RetainConstraint(**constraint)
        train_module(model or loaded, builder, training, display or Display(), constrained)
        return tmp_path / name

    return run


@pytest.fixture
def nll(make_tiny_model, tiny_data):
    """Return the mean NLL of the answers in a data file: `nll(model, "forget")`."""

    def mean(model, on: str) -> float:
        builder = PromptBuilder(load(make_tiny_model())[1])
        rows = [builder.record(record) for record in read_records(tiny_data[0 if on == "forget" else 1])]
        with torch.no_grad():
            return score(model.eval(), collate(rows, builder.pad)).nll.mean().item()

    return mean
