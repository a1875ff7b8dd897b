"""Which edits of a model are on, and what their gates said."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TypeVar

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTuner
from torch import Tensor, nn

from expunge.edits.grun.model import ReftModel
from expunge.errors import ExpungeError

Kind = TypeVar("Kind", bound=nn.Module)


@contextmanager
def edits_off(model: nn.Module, request: str | None = None) -> Iterator[None]:
    """The reference model: within this context one adapter is off, or all are.

    The reference of a second request is the base with the first request's edit: name the second. What is trainable stays
    trainable, and frozen frozen, within the context and after it.

    Args:
        model: a PEFT model, also wrapped for distributed training.
        request: the adapter to turn off; none means all.

    Raises:
        ExpungeError: if the model has no PEFT edit, or the named one is not active.
    """
    peft_model, tuner = _find(model, PeftModel), _find(model, BaseTuner)
    if peft_model is None or tuner is None:
        raise ExpungeError("this model carries no edit that could be turned off; a reference needs one, or a second copy of the model")
    active = list(tuner.active_adapters)
    if request is not None and request not in active:
        raise ExpungeError(f'adapter "{request}" is not active; active are: {", ".join(active)}')
    others = [] if request is None else [adapter for adapter in active if adapter != request]
    trainable = {parameter: parameter.requires_grad for parameter in peft_model.parameters()}
    try:
        with peft_model.disable_adapter() if not others else nullcontext():
            if others:
                tuner.set_adapter(others)
            _restore(trainable)
            yield
    finally:
        if others:
            tuner.set_adapter(active)
        _restore(trainable)


def gate_logits(model: nn.Module, request: str | None = None) -> Tensor | None:
    """What the gates said of the last prompts.

    Args:
        model: with or without edits, also wrapped for distributed training.
        request: only this adapter's gates; none means those of every active adapter, one after the other.

    Returns:
        (gates, batch), fp32, before the sigmoid, on the graph; lower blocks first. None if no gate was asked. The next
        forward, the reference's too, replaces them.
    """
    tuner = _find(model, ReftModel)
    if tuner is None:
        return None
    adapters = tuner.active_adapters if request is None else [request]
    said = sorted((adapters.index(adapter), block) for adapter, block in tuner.state.logits if adapter in adapters)
    return torch.stack([tuner.state.logits[adapters[i], block] for i, block in said]) if said else None


def _find(model: nn.Module, kind: type[Kind]) -> Kind | None:
    return next((module for module in model.modules() if isinstance(module, kind)), None)


def _restore(trainable: dict[nn.Parameter, bool]) -> None:
    for parameter, flag in trainable.items():
        parameter.requires_grad_(flag)
