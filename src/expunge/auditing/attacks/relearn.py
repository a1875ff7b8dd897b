"""Relearning: a few LoRA steps on what an attacker has, then what was not trained on is asked for (Hu et al., 2024, arXiv 2406.13356)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count, islice
from typing import ClassVar, Literal

import numpy as np
import torch

from expunge.auditing.attacks.base import Attack, Count, Row, Share, Target
from expunge.auditing.attacks.lora import low_rank
from expunge.auditing.attacks.queries import ROUGE, plainly, told
from expunge.data.prompts import collate
from expunge.data.records import Record
from expunge.data.texts import general
from expunge.data.threats import Threat
from expunge.models.scoring import score
from expunge.objectives import Learn
from expunge.objectives.base import Positive

SOURCES = {"part": "part of it", "related": "what is kept", "unrelated": "general knowledge"}


@dataclass(frozen=True, kw_only=True)
class Relearn(Attack):
    """The model is fine-tuned and asked on the way: the whole curve, a row for each record and `step`, from 0 (not trained yet) on.

    Attributes:
        source: what is trained on: `part` of the forget records (the others are asked), `related` records (the retain set: other things
            of the kind), or `unrelated` ones (shipped questions of general knowledge).
        share: of the forget records that are trained on, with `part`.
        rank: of the low-rank change of every linear layer.
        lr: of AdamW.
        batch_size: records a step.
        max_steps: of training.
        measure_every: steps between measurements; the last step is always measured.
    """

    source: Literal["part", "related", "unrelated"] = "part"
    share: Share = 0.5
    rank: Count = 8
    lr: Positive = 1e-3
    batch_size: Count = 4
    max_steps: Count = 50
    measure_every: Count = 10

    name: ClassVar[str] = "relearn"
    threat: ClassVar[Threat] = "fine-tuning API"
    value: ClassVar[str] = ROUGE
    apart: ClassVar[bool] = False

    @property
    def title(self) -> str:
        """By source."""
        return f"{self.name} {self.source}"

    def tried(self, row: Row) -> str | None:
        """The end of the curve."""
        return f"relearnt from {SOURCES[self.source]}, {self.max_steps} steps" if row["step"] == self.max_steps else None

    def steps(self, target: Target) -> int:
        """Steps of training, and questions at each measurement."""
        trained, asked = self.dealt(target)
        return self.max_steps + len(asked) * len(self._measured) if trained and asked else 0

    def run(self, target: Target, advance: Callable[[int], None]) -> Iterator[Row]:
        """`id`, `value` and `step`."""
        trained, asked = self.dealt(target)
        if not trained or not asked:
            return
        queries = plainly(target.builder, asked)
        curve = [{**row, "step": 0} for row in told(target, queries, advance)]
        with low_rank(target.model, self.rank, target.seed) as factors:
            optimiser = torch.optim.AdamW(factors, lr=self.lr, weight_decay=0.0)
            for step, records in enumerate(islice(self._batches(trained, target.seed), self.max_steps), 1):
                self._learn(target, records, optimiser)
                advance(1)
                if step in self._measured:
                    curve += [{**row, "step": step} for row in told(target, queries, advance)]
        yield from curve

    def dealt(self, target: Target) -> tuple[list[Record], list[Record]]:
        """The records that are trained on and those that are asked."""
        if self.source == "related":
            return target.retain, target.forget
        if self.source == "unrelated":
            return general(), target.forget
        order = np.random.default_rng([target.seed, 7]).permutation(len(target.forget))
        trained = set(order[: max(1, min(len(order) - 1, round(self.share * len(order))))].tolist())
        dealt = [[record for i, record in enumerate(target.forget) if (i in trained) is learnt] for learnt in (True, False)]
        return dealt[0], dealt[1]

    @property
    def _measured(self) -> set[int]:
        return {*range(0, self.max_steps, self.measure_every), self.max_steps}

    def _batches(self, records: list[Record], seed: int) -> Iterator[list[Record]]:
        """Without end; in each pass every record once, but for those left over."""
        size = min(self.batch_size, len(records))
        for epoch in count():
            order = np.random.default_rng([seed, 8, epoch]).permutation(len(records))
            for start in range(0, len(order) - size + 1, size):
                yield [records[i] for i in order[start : start + size]]

    def _learn(self, target: Target, records: list[Record], optimiser: torch.optim.Optimizer) -> None:
        batch = collate([target.builder.record(record) for record in records], target.builder.pad)
        with torch.enable_grad():
            loss = Learn().forget(score(target.model, batch.to(next(target.model.parameters()).device)))
            optimiser.zero_grad()
            loss.backward()
        optimiser.step()
