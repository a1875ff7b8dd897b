"""Which parameters of a model are trainable, and which belong to the base model: `requires_grad` saved, frozen and restored."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from peft.tuners.tuners_utils import BaseTuner
from torch import nn


@contextmanager
def restored_requires_grad(model: nn.Module) -> Iterator[Callable[[], None]]:
    """On exit set every parameter's `requires_grad` back to what it was on entry; yield a function that does so at once."""
    before = {parameter: parameter.requires_grad for parameter in model.parameters()}

    def restore() -> None:
        for parameter, trainable in before.items():
            parameter.requires_grad_(trainable)

    try:
        yield restore
    finally:
        restore()


@contextmanager
def frozen_parameters(model: nn.Module) -> Iterator[None]:
    """Freeze every parameter within this context. Afterwards those are trainable that were trainable before."""
    with restored_requires_grad(model):
        model.requires_grad_(False)
        yield


def base_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Return the parameters of the base model, without those of adapters: two models with different edits have these in common."""
    tuner = next((module for module in model.modules() if isinstance(module, BaseTuner)), None)
    return [parameter for name, parameter in model.named_parameters() if tuner is None or tuner.prefix not in name]
