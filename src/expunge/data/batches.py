"""Pair forget and retain records into training batches: seeded, bucketed by length, the same for any number of ranks and workers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from torch.utils.data import DataLoader, Sampler

BUCKET_BATCHES = 32

Length = tuple[int, int]
"""Number of tokens of a record's prompt and of its answer, which are padded separately."""

Pair = tuple[int, int, int]
"""Epoch, index of the forget record, index of the retain record (-1: there is no retain set)."""


@dataclass(frozen=True)
class Plan:
    """How an epoch is split into batches.

    Attributes:
        forget_lengths, retain_lengths: of each record; empty retain lengths mean no retain set.
        batch_size: records of each set in an optimiser step, over all ranks and accumulation steps.
        world_size: number of ranks.
        accumulation: micro-batches that each rank accumulates before a step.
        seed: of the training.
    """

    forget_lengths: Sequence[Length]
    retain_lengths: Sequence[Length]
    batch_size: int
    world_size: int = 1
    accumulation: int = 1
    seed: int = 42

    def __post_init__(self) -> None:
        """Check that every rank and accumulation step gets the same number of records."""
        parts = self.world_size * self.accumulation
        if self.batch_size % parts:
            raise ValueError(
                f"batch_size {self.batch_size} is not a multiple of {self.world_size} ranks x {self.accumulation} micro-batches"
            )

    @property
    def rows_per_step(self) -> int:
        """Records of each set in a step: `batch_size`, or less for a smaller forget set, rounded up to fill every micro-batch equally."""
        parts = self.world_size * self.accumulation
        return min(self.batch_size, -(-len(self.forget_lengths) // parts) * parts)

    @property
    def steps(self) -> int:
        """Number of optimiser steps in an epoch."""
        return -(-len(self.forget_lengths) // self.rows_per_step)


def epoch_batches(plan: Plan, epoch: int) -> list[list[Pair]]:
    """Return the global batches of an epoch. They do not depend on ranks and micro-batches (but see `Plan.rows_per_step`).

    Every forget record occurs once, and the last batch is filled up from the start. Retain records are taken from an endless chain of
    seeded permutations that continues from epoch to epoch, so that all occur equally often.
    """
    rng = np.random.default_rng([plan.seed, epoch])
    rows, count = plan.rows_per_step, len(plan.forget_lengths)
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
    """Reorder records so that consecutive batches of `size` need little padding.

    Split them by prompt length or by answer length, where it saves most padding, then split both parts in the same way.
    """
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
    """Yields the micro-batches of one rank: its share of every global batch of an epoch."""

    def __init__(self, plan: Plan, rank: int = 0):
        self.plan = plan
        self.rank = rank
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch; the trainer calls this before every epoch, and on resume after it has skipped batches."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.plan.steps * self.plan.accumulation

    def __iter__(self) -> Iterator[list[Pair]]:
        parts = self.plan.world_size * self.plan.accumulation
        for batch in epoch_batches(self.plan, self.epoch):
            for micro in range(self.plan.accumulation):
                # The stride gives every rank records of every length, because a batch is ordered by length.
                yield batch[micro * self.plan.world_size + self.rank :: parts]


class PairLoader(DataLoader):
    """Data loader that passes the epoch on to its sampler."""

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the sampler."""
        cast(PairSampler, self.batch_sampler).set_epoch(epoch)
