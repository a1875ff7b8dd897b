"""Linear layers with weights in 8 bits, whose outputs do not depend on the other rows of a batch. Imports bitsandbytes."""

from typing import Any, cast

import torch
from bitsandbytes.nn import Linear8bitLt
from torch import Tensor, nn
from torch.nn.functional import linear


class Int8Linear(Linear8bitLt):
    """A layer of bitsandbytes that rounds weights and not activations.

    Its own way rounds activations too, all but the columns that are large somewhere in the batch: an answer then depends on the prompts
    beside it, and on their padding.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return x W^T + b with W as its 8-bit codes give it."""
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        output = _Product.apply(x, self.weight.data, cast(Any, self.weight).SCB)
        return output if self.bias is None else output + self.bias.to(output.dtype)


class _Product(torch.autograd.Function):
    """Multiplies by a weight that is made from its codes anew in the backward pass: stored, it would take as much as an unquantised one."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, codes: Tensor, scales: Tensor) -> Tensor:
        ctx.save_for_backward(codes, scales)
        return linear(x, _weight(codes, scales, x.dtype))

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None]:
        codes, scales = ctx.saved_tensors
        return upstream[0] @ _weight(codes, scales, upstream[0].dtype), None, None


def _weight(codes: Tensor, scales: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the weight of codes, (out, in) from -127 to 127, and the largest absolute weight of each row, (out,)."""
    return (codes * (scales[:, None] / 127)).to(dtype)


def without_rounded_activations(model: nn.Module) -> None:
    """Make all layers of a model that bitsandbytes has in 8 bits `Int8Linear`."""
    for module in model.modules():
        if isinstance(module, Linear8bitLt):
            module.__class__ = Int8Linear
            # A second name of the codes, which would keep them in memory after they are freed.
            cast(Any, module.weight).CB = None
