"""The linear layers of a causal LM that attacks on the weights change."""

from typing import cast

from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D


def linear_layers(model: nn.Module) -> list[nn.Linear | Conv1D]:
    """Return the linear layers of the base model, in the order of its modules, without the output head and without adapters.

    Quantisation for serving (bitsandbytes) and adapters leave the head out too; many models tie it to the embeddings.
    """
    # An adapter contains linear layers too, which an attack must not change.
    adapter_parts = {
        part
        for layer in model.modules()
        if isinstance(layer, BaseTunerLayer)
        for name in layer.adapter_layer_names
        for part in cast(nn.Module, getattr(layer, name)).modules()
    }
    head = cast(PreTrainedModel, model).get_output_embeddings()
    return [
        module
        for module in model.modules()
        if isinstance(module, nn.Linear | Conv1D) and module is not head and module not in adapter_parts
    ]
