"""Which rows a forward pass is over: scoring says it, edits that act on the prompt read it."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from expunge.data.prompts import Batch

_batch: ContextVar[Batch | None] = ContextVar("batch", default=None)


@contextmanager
def prompt_span(batch: Batch) -> Iterator[None]:
    """Within this context forwards are over the batch's [prompt | answer] rows, and prompts end at `batch.prompt_length`.

    Without it an edited model takes all tokens of a forward without a past for prompt, as in generation.
    """
    token = _batch.set(batch)
    try:
        yield
    finally:
        _batch.reset(token)


def spanned_batch() -> Batch | None:
    """The batch of the context, if there is one."""
    return _batch.get()
