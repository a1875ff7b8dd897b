"""The output head and its cross-entropy over labelled positions, in chunks: no logits are kept, for the backward pass neither."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn.functional import linear

CHUNK_BYTES = 2**26


def frozen_head(model: nn.Module) -> nn.Linear | None:
    """The output head, where the logits are nothing but its product with the last hidden states and no gradient goes to it.

    Args:
        model: a causal LM, with or without PEFT edits, without a distributed wrapper.

    Returns:
        None where the head is trained, sharded or of another kind, or the model scales or caps its logits.
    """
    head = cast(Any, model).get_output_embeddings()
    trained = torch.is_grad_enabled() and any(parameter.requires_grad for parameter in head.parameters())
    if type(head) is not nn.Linear or isinstance(head.weight, DTensor) or trained:
        return None
    if head not in _is_last:
        _is_last[head] = _gives_the_logits(model, head)
    return head if _is_last[head] else None


_is_last: "WeakKeyDictionary[nn.Module, bool]" = WeakKeyDictionary()


@torch.no_grad()
def _gives_the_logits(model: nn.Module, head: nn.Linear) -> bool:
    """Whether the model hands the head's output on as it is: tried with an output that any scaling or capping would change."""
    given: list[Tensor] = []

    def replace(_module: nn.Module, _args: tuple, output: Tensor) -> Tensor:
        given.append(torch.linspace(-1e3, 1e3, output.shape[-1], device=output.device, dtype=output.dtype).expand_as(output))
        return given[-1]

    handle = head.register_forward_hook(replace)
    try:
        ids = torch.zeros((1, 2), dtype=torch.long, device=head.weight.device)
        logits = model(input_ids=ids, use_cache=False).logits
    finally:
        handle.remove()
    return len(given) == 1 and torch.equal(given[0], logits)


@contextmanager
def head_inputs(model: nn.Module, head: nn.Linear) -> Iterator[list[Tensor]]:
    """Within this context the model's forwards leave out the head; the list gets the hidden states that it would have read."""
    parent, _, child = _place_of(head, model).rpartition(".")
    owner, kept = model.get_submodule(parent), _Keep(head)
    setattr(owner, child, kept)
    try:
        yield kept.inputs
    finally:
        setattr(owner, child, head)


_places: "WeakKeyDictionary[nn.Module, str]" = WeakKeyDictionary()


def _place_of(head: nn.Linear, model: nn.Module) -> str:
    # PromptCache at every step of decoding; adapters make hundreds of modules.
    if model not in _places or model.get_submodule(_places[model]) is not head:
        _places[model] = next(name for name, module in model.named_modules() if module is head)
    return _places[model]


class _Keep(nn.Module):
    """In the head's place: keeps what it is given, and hands it on."""

    def __init__(self, head: nn.Linear):
        super().__init__()
        # Some families (Mamba) cast the states to its dtype.
        self.weight = head.weight
        self.inputs: list[Tensor] = []

    def forward(self, hidden: Tensor) -> Tensor:
        self.inputs.append(hidden)
        return hidden


def token_scores(hidden: Tensor, head: nn.Linear, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Negative log-likelihood of each target under softmax(head(hidden)), and whether it is the most likely token.

    Args:
        hidden: (labels, hidden); gradients flow to it, never to the head.
        head: frozen.
        targets: (labels,), token ids.

    Returns:
        (labels,) nats, in at least fp32, and (labels,) bool.
    """
    dtype = torch.get_autocast_dtype(hidden.device.type) if torch.is_autocast_enabled(hidden.device.type) else head.weight.dtype
    return _TokenScores.apply(hidden, head.weight.to(dtype), None if head.bias is None else head.bias.to(dtype), targets)


class _TokenScores(torch.autograd.Function):
    """The gradient is computed along with the loss, while a chunk's logits are there."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> tuple[Tensor, Tensor]:
        wide = torch.promote_types(weight.dtype, torch.float32)
        nll, greedy = torch.empty(len(hidden), dtype=wide, device=hidden.device), torch.empty_like(targets, dtype=torch.bool)
        gradient = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        size = max(1, CHUNK_BYTES // (len(weight) * wide.itemsize))
        with torch.autocast(hidden.device.type, enabled=False):
            for start in range(0, len(hidden), size):
                chunk, wanted = slice(start, start + size), targets[start : start + size]
                logits = linear(hidden[chunk].to(weight.dtype), weight, bias).to(wide)
                highest, most_likely = logits.max(-1)
                greedy[chunk] = most_likely == wanted
                at_target = logits.gather(-1, wanted[:, None])[:, 0]
                shares = logits.sub_(highest[:, None]).exp_()
                total = shares.sum(-1)
                nll[chunk] = total.log() + highest - at_target
                if gradient is not None:
                    # d nll / d hidden = softmax(logits) W - W[target]
                    pulled = (shares.to(weight.dtype) @ weight).to(wide) / total[:, None]
                    gradient[chunk] = (pulled - weight[wanted]).to(hidden.dtype)
        ctx.save_for_backward(gradient)
        ctx.mark_non_differentiable(greedy)
        return nll, greedy

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return (gradient * upstream[0][:, None]).to(gradient.dtype), None, None, None
