"""Seeded pairing of forget and retain rows into length-bucketed batches, the same on every rank and worker count."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from torch.utils.data import DataLoader, Sampler

BUCKET_BATCHES = 32

Length = tuple[int, int]
"""Tokens of a row's prompt and of its answer: they are padded apart."""

Pair = tuple[int, int, int]
"""Epoch, index of the forget row, index of the retain row (-1: there is no retain set)."""


@dataclass(frozen=True)
class Plan:
    """How an epoch is cut into batches.

    Attributes:
        forget_lengths, retain_lengths: of each row; no retain lengths, no retain set.
        batch_size: rows an optimiser step sees, over all ranks and accumulation steps.
        world_size: number of ranks; accumulation: micro-batches that each of them adds up before a step.
        seed: of the whole training.
    """

    forget_lengths: Sequence[Length]
    retain_lengths: Sequence[Length]
    batch_size: int
    world_size: int = 1
    accumulation: int = 1
    seed: int = 42

    def __post_init__(self) -> None:
        """Every rank and accumulation step needs at least a row, and the same number of them."""
        parts = self.world_size * self.accumulation
        if self.batch_size % parts:
            raise ValueError(
                f"batch_size {self.batch_size} is not a multiple of {self.world_size} ranks x {self.accumulation} micro-batches"
            )

    @property
    def rows_a_step(self) -> int:
        """`batch_size`, or where the forget set is smaller the least that gives every rank and micro-batch as many rows."""
        parts = self.world_size * self.accumulation
        return min(self.batch_size, -(-len(self.forget_lengths) // parts) * parts)

    @property
    def steps(self) -> int:
        """Optimiser steps in an epoch."""
        return -(-len(self.forget_lengths) // self.rows_a_step)


def epoch_batches(plan: Plan, epoch: int) -> list[list[Pair]]:
    """The epoch's global batches, in order; ranks and micro-batches do not change them (but see `Plan.rows_a_step`).

    Every forget row comes once (the last batch is filled up from the start); retain rows are drawn from an endless chain
    of seeded permutations that goes on from epoch to epoch, so each is seen equally often.
    """
    rng = np.random.default_rng([plan.seed, epoch])
    rows, count = plan.rows_a_step, len(plan.forget_lengths)
    forget = rng.permutation(count)
    forget = np.resize(forget, plan.steps * rows)
    retain = _retain_chain(plan, epoch * len(forget), len(forget))
    batches = []
    for start in range(0, len(forget), BUCKET_BATCHES * rows):
        bucket = slice(start, start + BUCKET_BATCHES * rows)
        forget_rows = _by_length(forget[bucket], np.asarray(plan.forget_lengths), rows)
        retain_rows = _by_length(retain[bucket], np.asarray(plan.retain_lengths), rows)
        pairs = [(epoch, int(f), int(r)) for f, r in zip(forget_rows, retain_rows, strict=True)]
        batches += [pairs[i : i + rows] for i in range(0, len(pairs), rows)]
    return [batches[i] for i in rng.permutation(len(batches))]


def _retain_chain(plan: Plan, start: int, count: int) -> np.ndarray:
    size = len(plan.retain_lengths)
    if not size:
        return np.full(count, -1)
    cycles = range(start // size, (start + count - 1) // size + 1)
    chain = np.concatenate([np.random.default_rng([plan.seed, 1, cycle]).permutation(size) for cycle in cycles])
    return chain[start - cycles[0] * size :][:count]


def _by_length(rows: np.ndarray, lengths: np.ndarray, size: int) -> np.ndarray:
    """Reorder rows so that each `size` in turn pad well: cut by prompt or by answer, where it saves most, and each part again."""
    if not len(lengths) or len(rows) <= size:
        return rows
    least, best, cut = np.inf, rows, size
    for side in (0, 1):
        ordered = rows[np.argsort(lengths[rows, side], kind="stable")]
        longest = lengths[ordered]
        up_to, onward = np.maximum.accumulate(longest).sum(1), np.maximum.accumulate(longest[::-1])[::-1].sum(1)
        for at in range(size, len(rows), size):
            padded = at * up_to[at - 1] + (len(rows) - at) * onward[at]
            if padded < least:
                least, best, cut = padded, ordered, at
    return np.concatenate([_by_length(best[:cut], lengths, size), _by_length(best[cut:], lengths, size)])


class PairSampler(Sampler[list[Pair]]):
    """One rank's micro-batches of an epoch: its share of every global batch."""

    def __init__(self, plan: Plan, rank: int = 0):
        self.plan = plan
        self.rank = rank
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer before every epoch, and after it skips batches on resume."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.plan.steps * self.plan.accumulation

    def __iter__(self) -> Iterator[list[Pair]]:
        parts = self.plan.world_size * self.plan.accumulation
        for batch in epoch_batches(self.plan, self.epoch):
            for micro in range(self.plan.accumulation):
                # Strided, so that a batch ordered by length gives every rank rows of every length.
                yield batch[micro * self.plan.world_size + self.rank :: parts]


class PairLoader(DataLoader):
    """A loader that hands the epoch to its sampler."""

    def set_epoch(self, epoch: int) -> None:
        """See `PairSampler.set_epoch`."""
        cast(PairSampler, self.batch_sampler).set_epoch(epoch)
