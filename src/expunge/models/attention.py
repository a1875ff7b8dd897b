"""`attention_in_fp32`: compute attention in fp32 where its bf16 kernel is slow."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS


@contextmanager
def attention_in_fp32() -> Iterator[None]:
    """Compute scaled dot-product attention that would be in bf16 on a CPU in fp32, in this context.

    The backward pass of the bf16 kernel takes about three times as long as that of the fp32 kernel there.
    """
    # This entry is of the one object that all models use, and hides the class's entry until it is deleted.
    ALL_ATTENTION_FUNCTIONS["sdpa"] = _sdpa
    try:
        yield
    finally:
        del ALL_ATTENTION_FUNCTIONS["sdpa"]


def _sdpa(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    # Autocast makes the operands bf16 inside the kernel: rotated queries and keys of an fp32 model are still fp32 here.
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else query.dtype
    if query.device.type != "cpu" or dtype != torch.bfloat16:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    mask = attention_mask if attention_mask is None or attention_mask.dtype == torch.bool else attention_mask.float()
    with torch.autocast("cpu", enabled=False):
        output, weights = sdpa_attention_forward(module, query.float(), key.float(), value.float(), mask, **options)
    return output.to(dtype), weights
