"""Where a causal language model keeps its decoder blocks, and how long a text it takes."""

from typing import cast

from torch import nn
from transformers import PreTrainedConfig

from expunge.errors import ExpungeError


def context_length(model: nn.Module) -> int | None:
    """How many tokens, prompt and answer together, a model was made for; none where its configuration does not say."""
    # Some families call it otherwise and map the name; those with relative positions (BLOOM) have none.
    return getattr(cast(PreTrainedConfig, model.config).get_text_config(), "max_position_embeddings", None)


def decoder_blocks(model: nn.Module) -> tuple[str, nn.ModuleList]:
    """Find the list of decoder blocks, in a plain model or one that PEFT already wraps.

    Args:
        model: a transformers causal language model (it has a `config`) or a `PeftModel` around one.

    Returns:
        The list's dotted name inside `model` ("model.layers", say) and the list itself.

    Raises:
        ExpungeError: if not exactly one outermost `ModuleList` is as long as the model is deep.
    """
    depth = cast(PreTrainedConfig, model.config).get_text_config().num_hidden_layers
    found: dict[str, nn.ModuleList] = {}
    for name, module in model.named_modules():
        inside_another = any(name.startswith(outer + ".") for outer in found)
        if isinstance(module, nn.ModuleList) and len(module) == depth and not inside_another:
            found[name] = module
    if len(found) != 1:
        lists = ", ".join(found) or "none"
        raise ExpungeError(
            f"{type(model).__name__}: expected one list of {depth} decoder blocks, found {lists}; this model family is unsupported"
        )
    return found.popitem()


def final_norm(model: nn.Module) -> nn.Module:
    """The norm between the last decoder block and the output head: the last one that stands beside the list of blocks.

    Raises:
        ExpungeError: there is none, or the blocks are not found.
    """
    name, _ = decoder_blocks(model)
    beside = model.get_submodule(name.rpartition(".")[0]).children()
    # By type: families call it norm, ln_f or final_layer_norm.
    norms = [module for module in beside if "norm" in type(module).__name__.lower()]
    if not norms:
        raise ExpungeError(f"{type(model).__name__}: there is no norm beside {name}; this model family is unsupported")
    return norms[-1]
