"""The linear layers and fused experts of a causal LM, which attacks on the weights change."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from torch.nn.modules.conv import _ConvNd
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from expunge.models.blocks import decoder_blocks
from expunge.models.quantised import elements

LEAST_SHARE = 0.95
"""An attack that changes a smaller share of the blocks' weights says so in its verdict row."""


@dataclass(frozen=True)
class LinearWeight:
    """A weight that multiplies hidden states.

    Attributes:
        parameter: (out, in), or (in, out) if transposed; of fused experts with the number of experts before.
        transposed: whether it is stored so, as GPT-2 and gpt-oss do.
    """

    parameter: nn.Parameter
    transposed: bool


@dataclass(frozen=True)
class FusedExperts:
    """A module that holds the weights of all experts of a layer in tensors of three dimensions.

    Attributes:
        name: of the module in the model.
        weights: by parameter name.
    """

    name: str
    weights: dict[str, LinearWeight]


def linear_layers(model: nn.Module) -> list[nn.Linear | Conv1D]:
    """Return the linear layers of the base model, in the order of its modules, without the output head and without adapters.

    Quantisation for serving (bitsandbytes) and adapters leave the head out too; many models tie it to the embeddings.
    """
    adapters, head = _adapter_parts(model), cast(PreTrainedModel, model).get_output_embeddings()
    return [
        module for module in model.modules() if isinstance(module, nn.Linear | Conv1D) and module is not head and module not in adapters
    ]


def fused_experts(model: nn.Module) -> list[FusedExperts]:
    """Return the modules of the decoder blocks that hold fused experts, in the order of the model's modules."""
    path, blocks = decoder_blocks(model)
    adapters, found = _adapter_parts(model), []
    for name, module in blocks.named_modules():
        # `is_transposed` is what transformers sets on experts; a convolution has three dimensions too.
        if module not in adapters and not isinstance(module, _ConvNd):
            weights = {
                weight: LinearWeight(parameter, bool(vars(module).get("is_transposed", False)))
                for weight, parameter in module.named_parameters(recurse=False)
                if parameter.ndim == 3
            }
            if weights:
                found.append(FusedExperts(f"{path}.{name}", weights))
    return found


def linear_weights(model: nn.Module) -> Iterator[LinearWeight]:
    """Yield the weights of all linear layers and fused experts."""
    for layer in linear_layers(model):
        yield LinearWeight(cast(nn.Parameter, layer.weight), isinstance(layer, Conv1D))
    for experts in fused_experts(model):
        yield from experts.weights.values()


def reached_share(model: nn.Module) -> float:
    """Return the share of the decoder blocks' matrices, by elements, that are weights of linear layers or of fused experts."""
    _, blocks = decoder_blocks(model)
    adapters = {parameter for part in _adapter_parts(model) for parameter in part.parameters()}
    matrices = {parameter for parameter in blocks.parameters() if parameter.ndim > 1 and parameter not in adapters}
    reached = {weight.parameter for weight in linear_weights(model)} & matrices
    total = sum(map(elements, matrices))
    # Some methods of quantisation store no parameters.
    return sum(map(elements, reached)) / total if total else 0.0


def _adapter_parts(model: nn.Module) -> set[nn.Module]:
    """Return the modules inside adapters, which contain linear layers too; an attack must not change these."""
    return {
        part
        for layer in model.modules()
        if isinstance(layer, BaseTunerLayer)
        for name in layer.adapter_layer_names
        for part in cast(nn.Module, getattr(layer, name)).modules()
    }
