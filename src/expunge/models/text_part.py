"""Which modules of a model a text goes through: some models read images or sound too, and some layers are never called themselves."""

from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedConfig

from expunge.models.blocks import text_decoder


def text_names(model: nn.Module, names: Iterable[str]) -> list[str]:
    """Return the names of modules or parameters that a text goes through, in their order.

    Args:
        model: a transformers causal language model.
        names: in the model; all of them, unless the model reads images or sound too: then those in its decoder and its output head.
    """
    if cast(PreTrainedConfig, model.config).get_text_config() is model.config:
        return list(names)
    head = cast(Any, model).get_output_embeddings()
    parts = [text_decoder(model), *(name for name, module in model.named_modules() if module is head)]
    return [name for name in names if any(name == part or name.startswith(f"{part}.") for part in parts)]


@torch.no_grad()
def bypassed_layers(model: nn.Module, names: Iterable[str]) -> set[str]:
    """Return the layers that the module around them does not call, although it runs: it reads their weights (Mamba).

    Args:
        model: in evaluation mode; two tokens run through it.
        names: of the layers.
    """
    names, called, hooks = list(names), set[str](), []
    for name in {*names, *(name.rpartition(".")[0] for name in names)}:
        hooks.append(model.get_submodule(name).register_forward_hook(lambda *_, name=name: called.add(name)))
    try:
        model(input_ids=torch.zeros((1, 2), dtype=torch.long, device=next(model.parameters()).device), use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    return {name for name in names if name not in called and name.rpartition(".")[0] in called}
