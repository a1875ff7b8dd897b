"""The linear layers that attacks on the weights change."""

from typing import cast

from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D


def linear_layers(model: nn.Module) -> list[nn.Linear | Conv1D]:
    """A causal LM's own linear layers, in the model's order: not the head, and none of an adapter's.

    The head stays out as it does where models are quantised for serving (bitsandbytes) or adapted; many tie it to the embeddings.
    """
    # An adapter's parts are linear layers too; those of the base model below it are not among its own.
    added = {
        part
        for layer in model.modules()
        if isinstance(layer, BaseTunerLayer)
        for name in layer.adapter_layer_names
        for part in cast(nn.Module, getattr(layer, name)).modules()
    }
    head = cast(PreTrainedModel, model).get_output_embeddings()
    return [module for module in model.modules() if isinstance(module, nn.Linear | Conv1D) and module is not head and module not in added]
