"""Which rows a forward pass is over: what scores says it, edits that act on the prompt read it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType

from torch import Tensor

from expunge.data.prompts import Batch

GateLogits = Mapping[tuple[str, int], Tensor]
"""{(adapter, block): (batch,)}, logits of gates."""

_NONE: GateLogits = MappingProxyType({})
_batch: ContextVar[Batch | None] = ContextVar("batch", default=None)
_decided: ContextVar[GateLogits] = ContextVar("decided", default=_NONE)
_continued: ContextVar[GateLogits | None] = ContextVar("continued", default=None)
_heard: ContextVar[dict[tuple[str, int], Tensor] | None] = ContextVar("heard", default=None)


@contextmanager
def batch_context(batch: Batch, decided: GateLogits = _NONE) -> Iterator[None]:
    """Within this context forwards are over the batch's [prompt | answer] rows, and prompts end at `batch.prompt_length`.

    Without it an edited model takes all tokens of a forward without a past for prompt, as in generation.

    Args:
        batch: the rows.
        decided: what gates have said of these prompts already; they are not asked again.
    """
    tokens = _batch.set(batch), _decided.set(decided)
    try:
        yield
    finally:
        _batch.reset(tokens[0])
        _decided.reset(tokens[1])


def current_batch() -> Batch | None:
    """The batch of the context, if there is one."""
    return _batch.get()


def known_gate_logits() -> GateLogits:
    """What gates have said of the context's batch already."""
    return _decided.get()


@contextmanager
def continuation_context(gates: GateLogits) -> Iterator[None]:
    """Within this context a forward with a past goes on with prompts that were read before.

    Args:
        gates: what gates said of each row's prompt.
    """
    token = _continued.set(gates)
    try:
        yield
    finally:
        _continued.reset(token)


def continuation_gate_logits() -> GateLogits | None:
    """What gates said of the prompts that the rows go on with, within `continuation_context`."""
    return _continued.get()


@contextmanager
def collect_gate_logits() -> Iterator[dict[tuple[str, int], Tensor]]:
    """GateLogits that are asked within this context also say it here."""
    heard: dict[tuple[str, int], Tensor] = {}
    token = _heard.set(heard)
    try:
        yield heard
    finally:
        _heard.reset(token)


def publish_gate_logits(adapter: str, block: int, logits: Tensor) -> None:
    """Say what a gate said to whom it may concern."""
    if (heard := _heard.get()) is not None:
        heard[adapter, block] = logits
