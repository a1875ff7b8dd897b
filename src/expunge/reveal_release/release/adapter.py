"""Put a LoRA adapter on a model for the time of its training; subtract it there; read its factors as a module."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import nn
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from expunge.edits.adapter import put_on, read_adapter
from expunge.edits.requests import REQUEST, switch_on
from expunge.models.parameters import restored_requires_grad
from expunge.reveal_release.release.lora_delta import PREFIX, LoraModule

RETAIN = "retain"
_SUFFIX = f".lora_A.{REQUEST}.weight"


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter in training.

    Attributes:
        model: the model with the adapter.
        weights: names, in the base model, of the weights that the adapter changes.
    """

    model: PeftModel
    weights: list[str]

    def factor(self, weight: str, half: Literal["A", "B"]) -> nn.Parameter:
        """Return the factor A, (rank, in), or B, (out, rank), of a weight."""
        return self.model.get_parameter(f"{PREFIX}{weight.removesuffix('.weight')}.lora_{half}.{REQUEST}.weight")

    def as_module(self) -> LoraModule:
        """Return the adapter's factors as a module."""
        config = cast(LoraConfig, self.model.peft_config[REQUEST])
        scale = config.lora_alpha / (math.sqrt(config.r) if config.use_rslora else config.r)
        factors = {name: (self.factor(name, "A").detach(), self.factor(name, "B").detach()) for name in self.weights}
        return LoraModule(factors, dict.fromkeys(self.weights, scale), config.fan_in_fan_out)

    @contextmanager
    def subtracted(self, times: float) -> Iterator[None]:
        """Subtract the adapter `times` times within this context, instead of adding it once."""
        layers = [layer for layer in self.model.modules() if isinstance(layer, LoraLayer) and REQUEST in layer.scaling]
        scales = [layer.scaling[REQUEST] for layer in layers]
        try:
            for layer, scale in zip(layers, scales, strict=True):
                layer.scaling[REQUEST] = -times * scale
            yield
        finally:
            for layer, scale in zip(layers, scales, strict=True):
                layer.scaling[REQUEST] = scale


@contextmanager
def temporary_adapter(model: nn.Module, config: LoraConfig, active_module: Path | None) -> Iterator[Adapter]:
    """Put a fresh adapter on a model within this context.

    Afterwards the model has no adapter, and its parameters require gradients as before.

    Args:
        model: without adapters.
        config: of the adapter.
        active_module: folder of another LoRA module that is active and frozen meanwhile; none: no other.
    """
    training = model.training
    with restored_requires_grad(model):
        adapted = get_peft_model(model, config, adapter_name=REQUEST)
        try:
            if active_module is not None:
                put_on(adapted, read_adapter(active_module), RETAIN)
                switch_on(adapted, [REQUEST, RETAIN], trained=REQUEST)
            names = [name for name, _ in adapted.named_parameters() if name.endswith(_SUFFIX)]
            yield Adapter(adapted, [f"{name.removeprefix(PREFIX).removesuffix(_SUFFIX)}.weight" for name in names])
        finally:
            adapted.unload()
            model.train(training)


@contextmanager
def divided_logits(model: nn.Module, temperature: float) -> Iterator[None]:
    """Divide the model's logits by a temperature within this context."""

    def divide(_module: nn.Module, _args: tuple, output: ModelOutput) -> ModelOutput:
        # Dividing the last hidden state divides the logits: scoring calls the head by itself, where a hook would not run.
        output["last_hidden_state"] = output["last_hidden_state"] / temperature
        return output

    handle = cast(PreTrainedModel, model).base_model.register_forward_hook(divide)
    try:
        yield
    finally:
        handle.remove()
