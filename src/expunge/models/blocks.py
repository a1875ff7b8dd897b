"""Find the decoder blocks, the final norm and the context length of a causal language model."""

from typing import Any, cast

from torch import nn
from transformers import PreTrainedConfig

from expunge.errors import ExpungeError, InputError


def context_length(model: nn.Module) -> int | None:
    """Return the maximum number of tokens of prompt and answer together, or None if the model's configuration does not state it."""
    # Families with another name for it map that name to this one, except MPT; families with relative positions (BLOOM) have none.
    config = cast(PreTrainedConfig, model.config).get_text_config()
    return getattr(config, "max_position_embeddings", None) or getattr(config, "max_seq_len", None)


def check_length(model: nn.Module, tokens: int, what: str = "a prompt with its answer") -> None:
    """Raise `InputError` for a sequence beyond the model's context: there are no positions there, or none that the model was trained on.

    Args:
        model: the model that would read it.
        tokens: the length of the sequence, template and system message included.
        what: the sequence, for the message.
    """
    longest = context_length(model)
    if longest is not None and tokens > longest:
        raise InputError(f"{what} has {tokens} tokens, and the model takes {longest}; shorten it")


def check_room(model: nn.Module, tokens: int, what: str) -> None:
    """Raise `InputError` for a prompt that leaves no room for an answer; arguments as for `check_length`."""
    longest = context_length(model)
    if longest is not None and tokens >= longest:
        raise InputError(f"{what} has {tokens} tokens with its template, and the model takes {longest} with the answer; shorten it")


def decoder_blocks(model: nn.Module) -> tuple[str, nn.ModuleList]:
    """Find the list of decoder blocks, in a plain model or in one that PEFT wraps.

    Args:
        model: a transformers causal language model (it has a `config`) or a `PeftModel` around one.

    Returns:
        The dotted name of the list inside `model` (for example "model.layers") and the list itself.

    Raises:
        ExpungeError: there is not exactly one outermost `ModuleList` of the model's depth.
    """
    depth = cast(PreTrainedConfig, model.config).get_text_config().num_hidden_layers
    candidates: dict[str, nn.ModuleList] = {}
    # A tower for images may be as deep as the decoder.
    root = text_decoder(model) if cast(PreTrainedConfig, model.config).get_text_config() is not model.config else ""
    for name, module in model.get_submodule(root).named_modules(prefix=root):
        inside_another = any(name.startswith(outer + ".") for outer in candidates)
        if isinstance(module, nn.ModuleList) and len(module) == depth and not inside_another:
            candidates[name] = module
    if len(candidates) != 1:
        lists = ", ".join(candidates) or "none"
        raise ExpungeError(
            f"{type(model).__name__}: expected one list of {depth} decoder blocks, found {lists}; this model family is unsupported"
        )
    return candidates.popitem()


def text_decoder(model: nn.Module) -> str:
    """Return the dotted name of the decoder of a model that may read images or sound too."""
    decoder = cast(Any, model).get_decoder()
    return next(name for name, module in model.named_modules() if module is decoder)


def final_norm(model: nn.Module) -> nn.Module:
    """Return the norm between the last decoder block and the output head: the last norm that is a sibling of the list of blocks.

    Raises:
        ExpungeError: there is none, or the blocks are not found.
    """
    name, _ = decoder_blocks(model)
    siblings = model.get_submodule(name.rpartition(".")[0]).children()
    width = cast(PreTrainedConfig, model.config).get_text_config().hidden_size
    # By type, because its name differs between families: norm, ln_f, final_layer_norm. Gemma 4 also norms inputs of another width.
    norms = [
        module
        for module in siblings
        if "norm" in type(module).__name__.lower() and all(parameter.shape == (width,) for parameter in module.parameters())
    ]
    if not norms:
        raise ExpungeError(f"{type(model).__name__}: there is no norm next to {name}; this model family is unsupported")
    return norms[-1]
