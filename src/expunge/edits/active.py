"""Switch the edits of a model off, read the logits of their gates, and find the first block that they change."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TypeVar, cast

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from torch import Tensor, nn

from expunge.edits.grun.config import GrunConfig, ReftConfig
from expunge.edits.grun.gate import GateParts
from expunge.edits.grun.layer import GrunLayer
from expunge.edits.grun.model import GrunModel, ReftModel
from expunge.errors import ExpungeError
from expunge.models.blocks import decoder_blocks
from expunge.models.forward_context import GateLogits, memory_key
from expunge.models.parameters import restored_requires_grad
from expunge.models.prefix import PrefixUnsupported

Kind = TypeVar("Kind", bound=nn.Module)


@contextmanager
def edits_off(model: nn.Module, request: str | None = None) -> Iterator[None]:
    """Switch one adapter, or all of them, off within this context. The model is then the reference model.

    The reference model of a second request is the base model with the first request's edit: give the name of the second. The context
    does not change which parameters are trainable.

    Args:
        model: a PEFT model, also wrapped for distributed training.
        request: the adapter to switch off; None means all.

    Raises:
        ExpungeError: if the model has no PEFT edit, or the named one is not active.
    """
    peft_model, tuner = _find(model, PeftModel), _find(model, BaseTuner)
    if peft_model is None or tuner is None:
        raise ExpungeError("this model has no edit that can be switched off; as the reference, load a second copy of the model")
    active = list(tuner.active_adapters)
    if request is not None and request not in active:
        raise ExpungeError(f'adapter "{request}" is not active; active are: {", ".join(active)}')
    others = [] if request is None else [adapter for adapter in active if adapter != request]
    with restored_requires_grad(peft_model) as restore:
        try:
            with peft_model.disable_adapter() if not others else nullcontext():
                if others:
                    tuner.set_adapter(others)
                restore()
                yield
        finally:
            if others:
                tuner.set_adapter(active)


def gate_logits(model: nn.Module, request: str | None = None) -> Tensor | None:
    """Return the gate logits of the last prompts.

    Args:
        model: with or without edits, also wrapped for distributed training.
        request: only this adapter's gates; None means those of every active adapter, one after the other.

    Returns:
        (gates, batch), fp32, before the sigmoid, with gradient; lower blocks first. None if no gate was run. The next forward pass,
        also one of the reference model, replaces them.
    """
    tuner = _find(model, ReftModel)
    if tuner is None:
        return None
    adapters = tuner.active_adapters if request is None else [request]
    keys = sorted((adapters.index(adapter), block) for adapter, block in tuner.state.logits if adapter in adapters)
    return torch.stack([tuner.state.logits[adapters[i], block] for i, block in keys]) if keys else None


def entry_block(model: nn.Module) -> int:
    """Return the first block that an active ReFT or GRUN edit changes, if it changes no prompt token except the last.

    Raises:
        PrefixUnsupported: an edit changes earlier prompt tokens or the model's weights, so that no prefix is unchanged.
    """
    tuner = _find(model, ReftModel)
    if tuner is None or any(p.requires_grad and GrunModel.prefix not in name for name, p in model.named_parameters()):
        raise PrefixUnsupported("the weights of the base model are trained")
    configs = [cast(ReftConfig, tuner.peft_config[adapter]) for adapter in tuner.active_adapters]
    if any(config.positions not in ("last_prompt", "onward") for config in configs):
        raise PrefixUnsupported("an edit acts on prompt tokens before the last one")
    entry = min(block for config in configs for block in config.blocks or ())
    for adapter, layers in _pooled(tuner):
        if layers[-1].block > entry:
            raise PrefixUnsupported(f"the pooled gate at block {layers[-1].block} reads what an edit at block {entry} changes")
        parts = [part for layer in layers for part in layer.gate(adapter).values()]
        if any(parameter.requires_grad for part in parts for parameter in part.parameters()):
            raise PrefixUnsupported("its pooled gate is trained along with the edit, and reads the whole prompt")
    return entry


def frozen_blocks(model: nn.Module) -> int:
    """Return how many of the first decoder blocks have no trained weight and no adapter; 0 if a weight outside the blocks is trained."""
    list_name, blocks = decoder_blocks(model)
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    if not all(name.startswith(f"{list_name}.") for name in trained):
        return 0
    numbers = {int(name.removeprefix(f"{list_name}.").partition(".")[0]) for name in trained}
    numbers |= {number for number, block in enumerate(blocks) if any(isinstance(module, BaseTunerLayer) for module in block.modules())}
    return min(numbers, default=0)


def gate_config(model: nn.Module, request: str) -> GrunConfig:
    """Return the configuration of a gated adapter.

    Raises:
        ExpungeError: the model has no such adapter, or the adapter has no gate.
    """
    config = model.peft_config.get(request) if isinstance(model, PeftModel) else None
    if not isinstance(config, GrunConfig):
        raise ExpungeError(f'this model has no gated adapter "{request}"')
    return config


def pooled_gate_logits(model: nn.Module) -> GateLogits:
    """Return the logits of the active adapters' pooled gates for the last prompts, and what gates that read on know of them."""
    tuner = _find(model, ReftModel)
    if tuner is None:
        return {}
    pooled = list(_pooled(tuner))
    keys = {(adapter, layers[-1].block) for adapter, layers in pooled}
    keys |= {memory_key(adapter, layer.block) for adapter, layers in pooled for layer in layers}
    return {key: logits for key, logits in tuner.state.logits.items() if key in keys}


def pooled_gate_layers(model: nn.Module, request: str) -> list[GrunLayer]:
    """Return the layers that an active adapter's pooled gate reads, the lowest first.

    Raises:
        ExpungeError: the adapter has no pooled gate, or is not active.
    """
    tuner = _find(model, ReftModel)
    gates = dict(_pooled(tuner)) if tuner else {}
    if request not in gates:
        raise ExpungeError(f'adapter "{request}" has no pooled gate, or is not active')
    return gates[request]


def pooled_gate(model: nn.Module, request: str) -> dict[int, GateParts]:
    """Return the parts of an active adapter's pooled gate, by the block that they read; errors as for `pooled_gate_layers`."""
    return {layer.block: layer.gate(request) for layer in pooled_gate_layers(model, request)}


def _pooled(tuner: ReftModel) -> Iterator[tuple[str, list[GrunLayer]]]:
    """Yield the active adapters with a pooled gate, each with the layers that the gate reads, the lowest first."""
    layers = [layer for layer in tuner.modules() if isinstance(layer, GrunLayer) and not layer.disable_adapters]
    for adapter in tuner.active_adapters:
        config = tuner.peft_config[adapter]
        read = [layer for layer in layers if isinstance(config, GrunConfig) and config.pooled and config.gate_reads(layer.block)]
        if read:
            yield adapter, read


def _find(model: nn.Module, kind: type[Kind]) -> Kind | None:
    return next((module for module in model.modules() if isinstance(module, kind)), None)
