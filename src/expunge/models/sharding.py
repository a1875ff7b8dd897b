"""Gather tensors that FSDP2 has sharded over the ranks, and shard tensors in the same way; other tensors pass through."""

from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, distribute_tensor


def gather_shards(tensor: Tensor) -> Tensor:
    """Return the full tensor; every rank has to call this."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def shard_like(value: Tensor, tensor: Tensor) -> Tensor:
    """Return a full tensor sharded like another one."""
    return distribute_tensor(value, tensor.device_mesh, tensor.placements) if isinstance(tensor, DTensor) else value


def reshard(model: nn.Module) -> None:
    """Free the weights that a forward pass has gathered: without a backward pass those of the whole model stay gathered."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()
