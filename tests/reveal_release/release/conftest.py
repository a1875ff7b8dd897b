"""LoRA modules as PEFT saves them, for the tests that read and add them."""

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from expunge.models.loading import load

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
