"""`CastWeights`: cast the frozen weights of linear layers once, where autocast would cast them at every use."""

from collections import Counter

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from expunge.models.blocks import decoder_blocks
from expunge.models.placement import available_memory


class CastWeights:
    """The frozen weights of linear layers that are cast to the dtype of autocast at the moment.

    Autocast casts them at every use, and rounds in the same way, so that no number changes.
    """

    def __init__(self):
        self._originals: list[dict[Tensor, Tensor]] = []

    def cast(self, model: nn.Module, dtype: torch.dtype) -> None:
        """Cast the weights in a model's blocks that are in main memory, if there is room for twice the copies; adapters stay as they are.

        Args:
            model: with or without PEFT edits.
            dtype: of autocast.
        """
        blocks = [block.get_base_layer() if isinstance(block, BaseTunerLayer) else block for block in decoder_blocks(model)[1]]
        uses = Counter(id(parameter) for _, parameter in model.named_parameters(remove_duplicate=False))
        weights = [[weight for weight in _linear_weights(block) if uses[id(weight)] == 1 and weight.dtype != dtype] for block in blocks]
        if 2 * dtype.itemsize * sum(weight.numel() for some in weights for weight in some) > available_memory():
            return
        for some in weights:
            self._originals.append({})
            for weight in some:
                self._originals[-1][weight] = weight.data
                weight.data = weight.data.to(dtype)

    def undo(self, blocks: int | None = None) -> None:
        """Put the weights back: of the first blocks, or of all."""
        for originals in self._originals[:blocks]:
            while originals:
                weight, data = originals.popitem()
                weight.data = data


def _linear_weights(block: nn.Module) -> list[Tensor]:
    """Return the frozen weights of the plain linear layers in a block, if they are in main memory."""
    layers = [layer for layer in block.modules() if type(layer) is nn.Linear]
    return [layer.weight for layer in layers if not layer.weight.requires_grad and layer.weight.device.type == "cpu"]
