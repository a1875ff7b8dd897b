"""The LoRA of an attacker (Hu et al., 2021, arXiv 2106.09685), added to a model with forward hooks, whatever adapters it has."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import cast

import torch
from peft.tuners.lora import ParamWrapper
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import linear
from torch.utils.checkpoint import checkpoint

from expunge.auditing.attacks.layers import FusedExperts, LinearWeight, fused_experts, linear_layers
from expunge.models.parameters import frozen_parameters

SCALE = 2.0
"""alpha / rank, the same as for the project's LoRA edits."""

Factors = tuple[nn.Parameter, nn.Parameter]
"""A and B."""


@contextmanager
def lora_factors(model: nn.Module, rank: int, seed: int) -> Iterator[list[nn.Parameter]]:
    """Add 2 B A x to the output of every linear layer inside the context, and yield all A and B, the only trainable parameters.

    Fused experts have no layers whose outputs could be changed: their module runs with 2 B A added to the weights of each expert.
    Forward hooks can be removed without a trace. PEFT would have to mix adapter types or switch adapters, and PyTorch's parametrisations
    would rename the weights.

    Args:
        model: a causal LM, with or without adapters; adapters stay on or off as they are.
        rank: of A, (rank, in), and B, (out, rank), in fp32; of fused experts with the number of experts before.
        seed: of A. B is zero at first, so that nothing changes before training.
    """
    generator = torch.Generator().manual_seed(seed)
    factors = []
    with frozen_parameters(model), ExitStack() as hooks:
        for layer in linear_layers(model):
            # The weight of a quantised layer has another shape.
            into, out = (layer.in_features, layer.out_features) if isinstance(layer, nn.Linear) else layer.weight.shape
            a = nn.Parameter((torch.randn(rank, into, generator=generator) / into**0.5).to(layer.weight.device))
            b = nn.Parameter(torch.zeros(out, rank, device=layer.weight.device))
            factors += [a, b]
            hooks.callback(layer.register_forward_hook(partial(_add_update, a, b)).remove)
        for experts in fused_experts(model):
            by_name = {name: _expert_factors(weight, rank, generator) for name, weight in experts.weights.items()}
            factors += [factor for pair in by_name.values() for factor in pair]
            hooks.enter_context(_updated_experts(model, experts, by_name))
        yield factors


def _add_update(a: Tensor, b: Tensor, _layer: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return output + (SCALE * linear(linear(args[0].float(), a), b)).to(output.dtype)


def _expert_factors(weight: LinearWeight, rank: int, generator: torch.Generator) -> Factors:
    count, out, into = (weight.parameter.mT if weight.transposed else weight.parameter).shape
    device = weight.parameter.device
    a = nn.Parameter((torch.randn(count, rank, into, generator=generator) / into**0.5).to(device))
    return a, nn.Parameter(torch.zeros(count, out, rank, device=device))


@contextmanager
def _updated_experts(model: nn.Module, experts: FusedExperts, factors: dict[str, Factors]) -> Iterator[None]:
    # An adapter on the weights of experts wraps their module, once for each weight.
    name, wrappers = experts.name, list[ParamWrapper]()
    while isinstance(around := model.get_submodule(name.rpartition(".")[0]), ParamWrapper):
        name = name.rpartition(".")[0]
        wrappers.append(around)
    parent, _, child = name.rpartition(".")
    owner, outermost = model.get_submodule(parent), model.get_submodule(name)
    setattr(owner, child, _UpdatedExperts(model.get_submodule(experts.name), experts, factors, wrappers))
    try:
        yield
    finally:
        setattr(owner, child, outermost)


class _UpdatedExperts(nn.Module):
    """Runs experts with an update added to their weights, in fp32: an update may be smaller than half a step of bf16."""

    def __init__(self, module: nn.Module, experts: FusedExperts, factors: dict[str, Factors], wrappers: list[ParamWrapper]):
        super().__init__()
        self.module, self.experts, self.factors = module, experts, factors
        # Not registered: the wrappers contain the module.
        self.wrappers = (*wrappers,)

    def __getattr__(self, name: str):
        # The module around the experts may read their attributes.
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "module":
                raise
            return getattr(self.module, name)

    def forward(self, *args: object, **kwargs: object) -> Tensor:
        # The sums are made again in the backward pass: stored, they would take as much memory as all experts.
        return cast(Tensor, checkpoint(partial(self._run, *args, **kwargs), use_reentrant=False))

    def _run(self, *args: object, **kwargs: object) -> Tensor:
        weights = {name: parameter.float() for name, parameter in self.module.named_parameters()}
        for wrapper in self.wrappers:
            active = () if wrapper.disable_adapters or wrapper.merged else wrapper.active_adapters
            for adapter in (adapter for adapter in active if adapter in wrapper.lora_A):
                weights[wrapper.parameter_name] = weights[wrapper.parameter_name] + wrapper.get_delta_weight(adapter).float()
        for name, (a, b) in self.factors.items():
            update = SCALE * (b @ a)
            weights[name] = weights[name] + (update.mT if self.experts.weights[name].transposed else update)
        dtype = next(self.module.parameters()).dtype
        output = functional_call(self.module, weights, tuple(map(_wide, args)), {name: _wide(value) for name, value in kwargs.items()})
        return output.to(dtype)


def _wide(value: object) -> object:
    return value.float() if isinstance(value, Tensor) and value.is_floating_point() else value
