"""LoRA edits: low-rank adapters on the linear layers (PEFT)."""

import re
from typing import cast

from peft import LoraConfig, PeftModel
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from expunge.config import ModuleSection
from expunge.errors import InputError


def check_module(model: nn.Module, settings: ModuleSection) -> None:
    """Raise `InputError` for a PEM that does not fit the model, before anything is made for it."""
    if isinstance(model, PeftModel):
        raise InputError("model: carries requests, and a module is trained on and subtracted from weights alone; give the base model")
    _lora(model, settings)


def _lora(model: nn.Module, settings: ModuleSection) -> LoraConfig:
    pattern = re.compile(settings.modules or "")
    # Many models tie the head to the embeddings: a PEM of the one would change the other.
    head = cast(PreTrainedModel, model).get_output_embeddings()
    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear | Conv1D) and module is not head}
    targets = [name for name in linear if pattern.search(name)]
    if not targets:
        raise InputError(f"release.module.modules: {settings.modules!r} matches no linear layer of this model below its head")
    transposed = {isinstance(linear[name], Conv1D) for name in targets}
    if len(transposed) > 1:
        raise InputError(f"release.module.modules: {settings.modules!r} matches layers of two kinds, Linear and Conv1D; take those of one")
    return LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha or 2 * settings.rank,
        use_rslora=settings.rslora,
        target_modules=targets,
        fan_in_fan_out=transposed.pop(),
        task_type="CAUSAL_LM",
    )
