"""Where the change lives: `full`, `lora`, `reft`, `grun`; one way to put an edit on a model, save it and load it again."""

import re
from typing import Any, cast

from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model
from torch import nn
from transformers import PreTrainedConfig
from transformers.pytorch_utils import Conv1D

from expunge.config import EditSection
from expunge.edits.grun import GrunConfig, ReftConfig
from expunge.edits.requests import REQUEST, requests, switch_on
from expunge.errors import InputError
from expunge.models.blocks import decoder_blocks

EDITS: dict[str, str] = {
    "full": "the weights themselves, all or those whose names match `modules`",
    "lora": "low-rank adapters on the linear layers (PEFT)",
    "reft": "a low-rank intervention on hidden states, always on (LoReFT)",
    "grun": "the same behind a gate that opens for forget prompts only (GRUN)",
    "grun-paper": "grun as published: rank 4, a gate at the last prompt token of every edited block, trained along with the edit",
}


def apply_edit(model: nn.Module, edit: EditSection, base_sha256: str) -> nn.Module:
    """Put a fresh edit on a model and freeze everything else.

    Args:
        model: a causal LM, or one that carries earlier requests: these stay on, frozen.
        edit: the recipe's section.
        base_sha256: hash of the weights of the model without requests, stored with a gated edit.

    Raises:
        InputError: `modules` matches nothing, the model has no such blocks, or the edit does not go with the requests there.
    """
    if edit.name == "full":
        trained = _matching(model, edit)
        model.requires_grad_(False)
        for parameter in trained:
            parameter.requires_grad_(True)
        return model
    if isinstance(model, PeftModel) and edit.name not in ("reft", "grun"):
        raise InputError(f"edit.name: {edit.name} cannot go on top of earlier requests; take reft or grun, as they did")
    try:
        config = _peft_config(model, edit, base_sha256)
        if not isinstance(model, PeftModel):
            return get_peft_model(model, config)
        model.add_adapter(REQUEST, config)
    except ValueError as error:
        raise InputError(f"edit: {error}") from error
    switch_on(model, requests(model), trained=REQUEST)
    return model


def check_edit(model: nn.Module, edit: EditSection) -> None:
    """Raise `InputError` for an edit that does not fit the model, before anything is made for it."""
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    if edit.name == "full":
        _matching(base, edit)
        return
    try:
        resolved_config(base, edit)
    except ValueError as error:
        raise InputError(f"edit: {error}") from error


def resolved_config(model: nn.Module, edit: EditSection) -> PeftConfig:
    """The PEFT configuration of an edit, with what depends on the model filled in where it is one of ours.

    Raises:
        ValueError: the model has no such blocks, or the hidden size is below the rank.
    """
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    config = _peft_config(base, edit, "")
    if isinstance(config, ReftConfig):
        config.resolve(len(decoder_blocks(base)[1]), cast(PreTrainedConfig, base.config).get_text_config().hidden_size)
    return config


def _matching(model: nn.Module, edit: EditSection) -> list[nn.Parameter]:
    pattern = re.compile(edit.modules or "")
    found = [parameter for name, parameter in model.named_parameters() if pattern.search(name)]
    if not found:
        raise InputError(f"edit.modules: {edit.modules!r} matches no parameter of this model")
    return found


def _peft_config(model: nn.Module, edit: EditSection, base_sha256: str) -> PeftConfig:
    if edit.name == "lora":
        rank, targets = edit.chosen_rank, _linear_modules(model, edit.modules) if edit.modules else "all-linear"
        return LoraConfig(r=rank, lora_alpha=edit.alpha or 2 * rank, target_modules=targets, task_type="CAUSAL_LM")
    where: dict[str, Any] = {"blocks": edit.blocks, "positions": edit.chosen_positions}
    shared: dict[str, Any] = {"rank": edit.chosen_rank, "base_sha256": base_sha256, **where}
    if edit.name == "reft":
        return ReftConfig(**shared)
    return GrunConfig(
        **shared, gate=edit.gate, gate_pool=edit.gate_pool, gate_blocks=edit.gate_blocks, gate_layer_norm=edit.gate_layer_norm
    )


def _linear_modules(model: nn.Module, modules: str) -> list[str]:
    pattern = re.compile(modules)
    found = [name for name, module in model.named_modules() if isinstance(module, nn.Linear | Conv1D) and pattern.search(name)]
    if not found:
        raise InputError(f"edit.modules: {modules!r} matches no linear layer of this model")
    return found


def edited_blocks(model: nn.Module) -> tuple[int, ...]:
    """Blocks that the active edit acts on; the middle one for edits without blocks of their own."""
    if isinstance(model, PeftModel):
        config = model.peft_config[REQUEST]
        if isinstance(config, ReftConfig):
            return tuple(config.blocks or ())
    _, blocks = decoder_blocks(model)
    return (len(blocks) // 2,)


def freeze_above(model: nn.Module, block: int) -> None:
    """Freeze what the output of a block does not depend on: all that comes after it in the order of the model's modules.

    For objectives that read hidden states: those parameters would get no gradient.
    """
    name, _ = decoder_blocks(model)
    names = [path for path, _ in model.named_parameters()]
    last = max(i for i, path in enumerate(names) if path.startswith(f"{name}.{block}."))
    for _, parameter in list(model.named_parameters())[last + 1 :]:
        parameter.requires_grad_(False)
