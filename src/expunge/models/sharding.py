"""Tensors that FSDP2 has spread over the ranks, whole and spread again; other tensors as they are."""

from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor


def gather_shards(tensor: Tensor) -> Tensor:
    """The tensor with all its shards; every rank has to ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def shard_like(value: Tensor, tensor: Tensor) -> Tensor:
    """A whole tensor, spread as another one is."""
    return distribute_tensor(value, tensor.device_mesh, tensor.placements) if isinstance(tensor, DTensor) else value
