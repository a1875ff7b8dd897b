"""The Trainer's arguments, held to the one device that the model is on."""

from dataclasses import dataclass, field
from functools import cached_property

import torch
from accelerate import DistributedType, PartialState
from torch import nn
from transformers import TrainingArguments

from expunge.models.placement import is_sharded_by_launcher


@dataclass
class OneDevice(TrainingArguments):
    """Training arguments for one process and one device; a launcher gives each process another device.

    Without this class the Trainer uses cuda:0 wherever the model is, and with more than one visible GPU it copies the model to all of
    them by `DataParallel`, which the edits and the paired batches do not support.
    """

    model_device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @cached_property
    def _setup_devices(self) -> torch.device:
        device = super()._setup_devices
        if PartialState().distributed_type != DistributedType.NO:
            return device
        self._n_gpu = int(self.model_device.type == "cuda")
        if self._n_gpu:
            torch.cuda.set_device(self.model_device)
        return self.model_device


def training_device(model: nn.Module) -> torch.device:
    """Return the device that a model is trained on; one that FSDP will shard is still in main memory."""
    device = next(model.parameters()).device
    return torch.device("cuda") if is_sharded_by_launcher() and torch.cuda.is_available() else device
