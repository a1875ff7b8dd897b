"""Cross-entropy at the output head in chunks, so that the logits of a batch are never stored, not even for the backward pass."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

CHUNK_BYTES = 2**26
"""Size of the logits that one product computes."""
CACHE_BYTES = 2**21
"""Size of the logits that are worked on at a time."""


def frozen_head(model: nn.Module) -> nn.Linear | None:
    """Return the output head if the logits are just its output and it is frozen.

    Args:
        model: a causal LM, with or without PEFT edits, without a distributed wrapper.

    Returns:
        None if the head is trained, sharded or no linear layer, or if the model scales or caps its logits.
    """
    head = cast(Any, model).get_output_embeddings()
    trained = torch.is_grad_enabled() and any(parameter.requires_grad for parameter in head.parameters())
    if type(head) is not nn.Linear or isinstance(head.weight, DTensor) or trained:
        return None
    if head not in _is_last:
        _is_last[head] = _returns_head_output(model, head)
    return head if _is_last[head] else None


_is_last: "WeakKeyDictionary[nn.Module, bool]" = WeakKeyDictionary()


@torch.no_grad()
def _returns_head_output(model: nn.Module, head: nn.Linear) -> bool:
    """Test whether the model's logits are the head's output, with an output that any scaling or capping would change."""
    outputs: list[Tensor] = []

    def replace(_module: nn.Module, _args: tuple, output: Tensor) -> Tensor:
        outputs.append(torch.linspace(-1e3, 1e3, output.shape[-1], device=output.device, dtype=output.dtype).expand_as(output))
        return outputs[-1]

    handle = head.register_forward_hook(replace)
    try:
        ids = torch.zeros((1, 2), dtype=torch.long, device=head.weight.device)
        logits = model(input_ids=ids, use_cache=False).logits
    finally:
        handle.remove()
    return len(outputs) == 1 and torch.equal(outputs[0], logits)


@contextmanager
def head_inputs(model: nn.Module, head: nn.Linear) -> Iterator[list[Tensor]]:
    """Leave out the head in forward passes of this context, and yield a list that collects the head's inputs."""
    parent, _, child = _name_of(head, model).rpartition(".")
    owner, recorder = model.get_submodule(parent), _Recorder(head)
    setattr(owner, child, recorder)
    try:
        yield recorder.inputs
    finally:
        setattr(owner, child, head)


_names: "WeakKeyDictionary[nn.Module, str]" = WeakKeyDictionary()


def _name_of(head: nn.Linear, model: nn.Module) -> str:
    # Cached, because every decoding step needs the name and adapters add hundreds of modules.
    if model not in _names or model.get_submodule(_names[model]) is not head:
        _names[model] = next(name for name, module in model.named_modules() if module is head)
    return _names[model]


class _Recorder(nn.Module):
    """Takes the place of the head; stores its inputs and returns them."""

    def __init__(self, head: nn.Linear):
        super().__init__()
        # Some families (Mamba) cast the hidden states to the dtype of this weight.
        self.weight = head.weight
        self.inputs: list[Tensor] = []

    def forward(self, hidden: Tensor) -> Tensor:
        self.inputs.append(hidden)
        return hidden


def token_scores(hidden: Tensor, head: nn.Linear, targets: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return the negative log-likelihood of each target under softmax(head(hidden)), and whether it is the most likely token.

    Args:
        hidden: (labels, hidden); gradients flow to it, never to the head.
        head: frozen.
        targets: (labels,), token ids.

    Returns:
        NLL, (labels,), nats in at least fp32, and whether each target is the most likely token, (labels,) bool: None where gradients
        flow, because no loss reads it.
    """
    dtype = torch.get_autocast_dtype(hidden.device.type) if torch.is_autocast_enabled(hidden.device.type) else head.weight.dtype
    return _TokenScores.apply(hidden, _weight(head, dtype), None if head.bias is None else head.bias.to(dtype), targets)


@contextmanager
def cast_heads_once() -> Iterator[None]:
    """Cast the weight of a frozen head once in this context, not at every call; no weight of a head may change meanwhile."""
    _casts.append({})
    try:
        yield
    finally:
        _casts.pop()


_casts: list[dict[tuple[int, torch.dtype], Tensor]] = []


def _weight(head: nn.Linear, dtype: torch.dtype) -> Tensor:
    if head.weight.dtype == dtype or not _casts:
        return head.weight.to(dtype)
    key = id(head.weight), dtype
    if key not in _casts[-1]:
        _casts[-1][key] = head.weight.detach().to(dtype)
    return _casts[-1][key]


class _TokenScores(torch.autograd.Function):
    """Computes the gradient together with the loss, while the logits of a chunk are in memory."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> tuple[Tensor, Tensor | None]:
        wide = torch.promote_types(weight.dtype, torch.float32)
        nll, gradient = torch.empty(len(hidden), dtype=wide, device=hidden.device), None
        if ctx.needs_input_grad[0]:
            gradient, greedy = torch.empty_like(hidden), None
        else:
            greedy = torch.empty_like(targets, dtype=torch.bool)
        row_bytes = len(weight) * wide.itemsize
        size = min(max(1, CHUNK_BYTES // row_bytes), len(hidden))
        few = max(1, CACHE_BYTES // row_bytes) if hidden.device.type == "cpu" else size
        # All chunks share one piece of memory: to get a fresh one from the system takes a third of the time of the product.
        buffer = torch.empty((size, len(weight)), dtype=weight.dtype, device=hidden.device)
        with torch.autocast(hidden.device.type, enabled=False):
            for start in range(0, len(hidden), size):
                chunk = slice(start, start + size)
                inputs, target, score = hidden[chunk].to(weight.dtype), targets[chunk], nll[chunk]
                product, total = buffer[: len(target)], torch.empty_like(score)
                _ = torch.mm(inputs, weight.T, out=product) if bias is None else torch.addmm(bias, inputs, weight.T, out=product)
                # A few rows at a time stay in the processor's cache from one operation to the next.
                for first in range(0, len(target), few):
                    rows = slice(first, first + few)
                    logits = product[rows].to(wide)
                    at_target = logits.gather(-1, target[rows, None])[:, 0]
                    if greedy is None:
                        highest = logits.amax(-1)
                    else:
                        highest, most_likely = logits.max(-1)
                        greedy[chunk][rows] = most_likely == target[rows]
                    exponentials = logits.sub_(highest[:, None]).exp_()
                    total[rows] = exponentials.sum(-1)
                    score[rows] = total[rows].log() + highest - at_target
                    if logits.dtype != product.dtype:
                        product[rows] = exponentials
                if gradient is not None:
                    # d nll / d hidden = softmax(logits) W - W[target]; the product holds the exponentials by now.
                    expected = (product @ weight).to(wide) / total[:, None]
                    gradient[chunk] = (expected - weight[target]).to(hidden.dtype)
        ctx.save_for_backward(gradient)
        if greedy is not None:
            ctx.mark_non_differentiable(greedy)
        return nll, greedy

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return (gradient * upstream[0][:, None]).to(gradient.dtype), None, None, None
