"""`FreedWeights`: free the weights of the blocks that a training from prefixes never runs, and load them back from the checkpoint."""

import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import cast

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import PreTrainedModel

from expunge.errors import ExpungeError
from expunge.models.blocks import decoder_blocks
from expunge.models.layout import Layout
from expunge.models.process_memory import drop_mapped_pages, return_free_memory


@dataclass(frozen=True)
class _Freed:
    """A weight that was freed: where its value is, and the hash of it."""

    parameter: nn.Parameter
    stored: str
    dtype: torch.dtype
    device: torch.device
    sha256: str


class FreedWeights:
    """The weights of a model that are freed at the moment. A forward pass that needs one of them fails until `restore`.

    Args:
        layout: of the checkpoint that the model was loaded from.
    """

    def __init__(self, layout: Layout):
        self.layout = layout
        self._freed: list[_Freed] = []

    def free(self, parameter: nn.Parameter, stored: str) -> None:
        """Free a weight, if the checkpoint holds it bit for bit: converted and quantised weights stay."""
        value, dtype, device = parameter.data, parameter.dtype, parameter.device
        # A weight on the meta device is not in memory: accelerate loads it for each pass.
        if device.type == "meta" or not torch.equal(self.layout.read(stored).to(dtype), value.cpu()):
            return
        self._freed.append(_Freed(parameter, stored, dtype, device, _sha256(value)))
        drop_mapped_pages(value)
        parameter.data = torch.empty(0, dtype=dtype, device=device)

    def restore(self) -> None:
        """Load the weights back; call it whatever happened in between.

        Raises:
            ExpungeError: the checkpoint has changed or is gone; then the model cannot be used.
        """
        return_free_memory()
        while self._freed:
            freed = self._freed[-1]
            try:
                # A copy, because the tensor is mapped from the file.
                value = self.layout.read(freed.stored).to(freed.dtype, copy=True)
            except (OSError, SafetensorError) as error:
                raise ExpungeError(f"{self.layout.folder}: its weights cannot be read any more ({error}); {_REPEAT}") from error
            if _sha256(value) != freed.sha256:
                raise ExpungeError(f"{self.layout.folder}: {freed.stored} was changed during the training; {_REPEAT}")
            freed.parameter.data = value.to(freed.device)
            self._freed.pop()


_REPEAT = "put the checkpoint back as it was and repeat the command, which resumes the training"


def free_below(model: nn.Module, block: int, freed: FreedWeights) -> None:
    """Free the frozen weights of the blocks up to the first edited one, whose output the prefixes hold.

    Args:
        model: a PEFT model whose block `block` is wrapped; an adapter's own weights stay.
        block: the first edited block.
        freed: gets the weights one by one, so that an interruption here can be undone too.
    """
    layout, prefix = freed.layout, f"{_plain(model).base_model_prefix}."
    uses = Counter(id(parameter) for _, parameter in model.named_parameters(remove_duplicate=False))
    name, blocks = decoder_blocks(model)
    for number in range(block + 1):
        wrapped = isinstance(blocks[number], BaseTunerLayer)
        inner = cast(BaseTunerLayer, blocks[number]).get_base_layer() if wrapped else blocks[number]
        for rest, parameter in inner.named_parameters():
            stored = layout.find(f"{name.removeprefix('base_model.model.')}.{number}.{rest}", prefix)
            usable = stored is not None and layout.tensors[stored].shape == tuple(parameter.shape)
            if stored is not None and usable and not parameter.requires_grad and uses[id(parameter)] == 1:
                freed.free(parameter, stored)
    return_free_memory()


def _plain(model: nn.Module) -> PreTrainedModel:
    return cast(PreTrainedModel, model.get_base_model() if isinstance(model, PeftModel) else model)


def _sha256(value: Tensor) -> str:
    return hashlib.sha256(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data).hexdigest()
