"""What chooses the candidate to ask next, behind one protocol; here the two that learn nothing."""

from collections.abc import Sequence
from itertools import islice
from typing import Protocol

import numpy as np


class Searcher(Protocol):
    """Chooses among the candidates of a pool, by what those already asked were worth.

    What it proposes depends on its seed and on the observations, in their order, and on nothing else: a search that was killed goes
    on in a new searcher once that has observed the same again.
    """

    def propose(self, most: int) -> list[int]:
        """Candidates to ask next, none of them observed: those, up to `most`, that it asks before it hears of any of them.

        None are left where there are none.
        """
        ...

    def observe(self, index: int, score: float) -> None:
        """Take note of what a candidate was worth."""
        ...


class InOrder:
    """Candidates in the order given: texts written by hand, the best guess first."""

    def __init__(self, count: int):
        self._order: Sequence[int] = range(count)
        self._asked: set[int] = set()

    def propose(self, most: int) -> list[int]:
        """The first candidates in the order that have not been observed."""
        return list(islice((index for index in self._order if index not in self._asked), most))

    def observe(self, index: int, score: float) -> None:
        """Take note that a candidate was asked."""
        self._asked.add(index)


class RandomSearch(InOrder):
    """Candidates in a random order: what any search has to beat at the same budget."""

    def __init__(self, count: int, seed: int):
        super().__init__(count)
        self._order = np.random.default_rng(seed).permutation(count).tolist()
