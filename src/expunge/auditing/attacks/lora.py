"""An attacker's own LoRA (Hu et al., 2021, arXiv 2106.09685), hooked onto a model that may carry adapters of any kind already."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from expunge.auditing.attacks.layers import linear_layers
from expunge.models.parameters import frozen_parameters

SCALE = 2.0
"""alpha / rank, as the project's own LoRA edits have it."""


@contextmanager
def low_rank(model: nn.Module, rank: int, seed: int) -> Iterator[list[nn.Parameter]]:
    """Within this context every linear layer gives W x + 2 B A x, and only A and B, which are given, can be trained.

    PEFT would have to mix its methods or to switch adapters, and parametrisations would move the weights: hooks leave no trace.

    Args:
        model: a causal LM, with adapters or without; these stay as they are, on or off.
        rank: of A, (rank, in), and B, (out, rank), fp32.
        seed: of A; B is zero, so that nothing has changed yet.
    """
    generator = torch.Generator().manual_seed(seed)
    factors = []
    with frozen_parameters(model), ExitStack() as hooks:
        for layer in linear_layers(model):
            into, out = layer.weight.shape[::-1] if isinstance(layer, nn.Linear) else layer.weight.shape
            a = nn.Parameter((torch.randn(rank, into, generator=generator) / into**0.5).to(layer.weight.device))
            b = nn.Parameter(torch.zeros(out, rank, device=layer.weight.device))
            factors += [a, b]
            hooks.callback(layer.register_forward_hook(partial(_changed, a, b)).remove)
        yield factors


def _changed(a: Tensor, b: Tensor, _layer: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return output + (SCALE * linear(linear(args[0].float(), a), b)).to(output.dtype)
