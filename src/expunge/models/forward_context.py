"""Tell edits which tokens of this forward pass belong to the prompt, and pass gate logits from one forward pass to the next.

Edits live inside the model, so they cannot be handed arguments. Scoring and generation set these context variables instead.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType

from torch import Tensor

from expunge.data.prompts import Batch

GateLogits = Mapping[tuple[str, int], Tensor]
"""{(adapter, block): (batch,)}; of a gate that reads on over the answer also {`memory_key(adapter, block)`: (batch, k)}."""

NO_GATE_LOGITS: GateLogits = MappingProxyType({})
_batch: ContextVar[Batch | None] = ContextVar("batch", default=None)
_known: ContextVar[GateLogits] = ContextVar("known", default=NO_GATE_LOGITS)
_continuation: ContextVar[GateLogits | None] = ContextVar("continuation", default=None)
_collected: ContextVar[dict[tuple[str, int], Tensor] | None] = ContextVar("collected", default=None)


def memory_key(adapter: str, block: int) -> tuple[str, int]:
    """Return the key of what an adapter's gate must know of the tokens that it has read at a block."""
    # No adapter is called so: PEFT allows no dot in a name.
    return f"{adapter}.memory", block


def is_memory(key: tuple[str, int]) -> bool:
    """Return whether a key of `GateLogits` is one of `memory_key`."""
    return key[0].endswith(".memory")


def rows_of_gates(gate_logits: GateLogits, rows: Tensor) -> GateLogits:
    """Return the gate logits of chosen rows, given by their indices or by a mask."""
    return {gate: logits[rows.to(logits.device)] for gate, logits in gate_logits.items()}


@contextmanager
def batch_context(batch: Batch, known: GateLogits = NO_GATE_LOGITS) -> Iterator[None]:
    """Declare that the forward passes in this context run over `batch`, whose prompts end at `batch.prompt_length`.

    Without this context, an edited model takes every token of a forward pass without a KV cache for prompt, as in generation.

    Args:
        batch: the rows, each a prompt and its answer.
        known: logits of gates that have read these prompts before; these gates are not computed again.
    """
    tokens = _batch.set(batch), _known.set(known)
    try:
        yield
    finally:
        _batch.reset(tokens[0])
        _known.reset(tokens[1])


def current_batch() -> Batch | None:
    """Return the batch of the enclosing `batch_context`, if there is one."""
    return _batch.get()


def known_gate_logits() -> GateLogits:
    """Return the gate logits that the enclosing `batch_context` was given."""
    return _known.get()


@contextmanager
def continuation_context(gate_logits: GateLogits) -> Iterator[None]:
    """Declare that the forward passes in this context continue prompts that are in the KV cache already.

    Args:
        gate_logits: of the prompt that each row continues.
    """
    token = _continuation.set(gate_logits)
    try:
        yield
    finally:
        _continuation.reset(token)


def continuation_gate_logits() -> GateLogits | None:
    """Return the gate logits of the enclosing `continuation_context`, if there is one."""
    return _continuation.get()


@contextmanager
def collect_gate_logits() -> Iterator[dict[tuple[str, int], Tensor]]:
    """Collect the logits of all gates that are computed in this context, in the dictionary that it yields."""
    collected: dict[tuple[str, int], Tensor] = {}
    token = _collected.set(collected)
    try:
        yield collected
    finally:
        _collected.reset(token)


def publish_gate_logits(adapter: str, block: int, logits: Tensor) -> None:
    """Hand gate logits to an enclosing `collect_gate_logits`."""
    if (collected := _collected.get()) is not None:
        collected[adapter, block] = logits
