"""The LoRA of an attacker (Hu et al., 2021, arXiv 2106.09685), added to a model with forward hooks, whatever adapters it has."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from expunge.auditing.attacks.layers import linear_layers
from expunge.models.parameters import frozen_parameters

SCALE = 2.0
"""alpha / rank, the same as for the project's LoRA edits."""


@contextmanager
def lora_factors(model: nn.Module, rank: int, seed: int) -> Iterator[list[nn.Parameter]]:
    """Add 2 B A x to the output of every linear layer inside the context, and yield all A and B, the only trainable parameters.

    Forward hooks can be removed without a trace. PEFT would have to mix adapter types or switch adapters, and PyTorch's parametrisations
    would rename the weights.

    Args:
        model: a causal LM, with or without adapters; adapters stay on or off as they are.
        rank: of A, (rank, in), and B, (out, rank), in fp32.
        seed: of A. B is zero at first, so that nothing changes before training.
    """
    generator = torch.Generator().manual_seed(seed)
    factors = []
    with frozen_parameters(model), ExitStack() as hooks:
        for layer in linear_layers(model):
            into, out = layer.weight.shape[::-1] if isinstance(layer, nn.Linear) else layer.weight.shape
            a = nn.Parameter((torch.randn(rank, into, generator=generator) / into**0.5).to(layer.weight.device))
            b = nn.Parameter(torch.zeros(out, rank, device=layer.weight.device))
            factors += [a, b]
            hooks.callback(layer.register_forward_hook(partial(_add_update, a, b)).remove)
        yield factors


def _add_update(a: Tensor, b: Tensor, _layer: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return output + (SCALE * linear(linear(args[0].float(), a), b)).to(output.dtype)
