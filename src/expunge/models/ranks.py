"""Share work between the processes of a launcher: each does a part of it, and every one gets the whole result."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import NamedTuple, TypeVar

from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object

from expunge.errors import InputError
from expunge.models.placement import Placement, is_sharded_by_launcher

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Ranks(NamedTuple):
    index: int
    count: int


_ALONE = _Ranks(0, 1)
_ranks: ContextVar[_Ranks] = ContextVar("ranks", default=_ALONE)
LONGEST_WAIT = timedelta(days=1)
"""A process may wait this long for the others: one attack can be hours of work that is not divided."""


@contextmanager
def shared_work(placement: Placement) -> Iterator[None]:
    """Within this context the processes of a launcher share the work of `dealt`. Each of them must enter it and do the same in it.

    Args:
        placement: of the models that work.

    Raises:
        InputError: the launcher is to shard models.
    """
    if is_sharded_by_launcher():
        raise InputError("an audit loads the whole model in each process; start it with launch/ddp.yaml, or without a launcher")
    state = PartialState(cpu=placement.device.type == "cpu", timeout=LONGEST_WAIT)
    token = _ranks.set(_Ranks(state.process_index, state.num_processes))
    try:
        yield
    finally:
        _ranks.reset(token)


def is_first() -> bool:
    """Return whether this process writes files and prints: the only one, or the first of those that share work."""
    return _ranks.get().index == 0


def wait() -> None:
    """Wait until every process that shares the work is here."""
    agreed(lambda: None)


def agreed(read: Callable[[], Result]) -> Result:
    """Return what `read` returns in the first process, in every process: a file may change between two reads."""
    ranks = _ranks.get()
    if ranks.count == 1:
        return read()
    return broadcast_object_list([read() if ranks.index == 0 else None])[0]


def dealt(items: Sequence[Item], work: Callable[[Item], Result]) -> list[Result]:
    """Return the results of all items, in their order; each process works on its share of them.

    What a result is does not depend on the number of processes, because each item is one process's work from beginning to end.
    """
    ranks = _ranks.get()
    if ranks.count == 1:
        return [work(item) for item in items]
    token = _ranks.set(_ALONE)
    try:
        done = {place: work(items[place]) for place in range(ranks.index, len(items), ranks.count)}
    finally:
        _ranks.reset(token)
    results = {place: result for of_rank in gather_object([done]) for place, result in of_rank.items()}
    return [results[place] for place in range(len(items))]
