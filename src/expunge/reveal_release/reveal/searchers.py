"""The protocol of a searcher, which chooses the candidate to query next, and the two searchers that do not learn."""

from collections.abc import Sequence
from itertools import islice
from typing import Protocol

import numpy as np


class Searcher(Protocol):
    """Chooses candidates of a pool by the rewards of those already queried.

    Its proposals depend only on its seed and on the observations in their order. A killed search resumes in a new searcher that gets
    the same observations.
    """

    def propose(self, limit: int) -> list[int]:
        """Return up to `limit` candidates to query before the next observation, none of them observed; none if none are left."""
        ...

    def observe(self, index: int, reward: float) -> None:
        """Record the reward of a candidate."""
        ...


class SequentialSearch:
    """Propose candidates in their order: for handwritten instructions, the most promising first."""

    def __init__(self, count: int):
        self._order: Sequence[int] = range(count)
        self._observed: set[int] = set()

    def propose(self, limit: int) -> list[int]:
        """Return the next candidates in the order."""
        return list(islice((index for index in self._order if index not in self._observed), limit))

    def observe(self, index: int, reward: float) -> None:
        """Record that a candidate was queried."""
        self._observed.add(index)


class RandomSearch(SequentialSearch):
    """Propose candidates in a random order: the baseline that a search must beat at equal budget."""

    def __init__(self, count: int, seed: int):
        super().__init__(count)
        self._order = np.random.default_rng(seed).permutation(count).tolist()
