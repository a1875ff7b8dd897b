"""Relearning attack: fine-tune with LoRA on what an attacker has, then ask for the rest (Hu et al., 2024, arXiv 2406.13356)."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count, islice
from typing import ClassVar, Literal

import numpy as np
import torch

from expunge.auditing.attacks.base import Attack, AttackFigure, Count, Row, Share, Target
from expunge.auditing.attacks.lora import lora_factors
from expunge.auditing.attacks.queries import plain_queries, recall_rows
from expunge.data.prompts import collate
from expunge.data.records import Record
from expunge.data.texts import general
from expunge.data.threats import Threat
from expunge.metrics.text import ROUGE
from expunge.models.quantised import is_by_bitsandbytes, quantisation_of
from expunge.models.scoring import score
from expunge.objectives import Learn
from expunge.objectives.base import Positive

SOURCES = {"part": "part of the forget set", "related": "the retain set", "unrelated": "general knowledge"}


@dataclass(frozen=True, kw_only=True)
class Relearn(Attack):
    """Fine-tune the model and query it on the way: a learning curve, one row for each record and `step`, from 0 (before training) on.

    Attributes:
        source: the training data: `part` of the forget records (the others are queried), `related` records (the retain set), or
            `unrelated` ones (shipped questions of general knowledge).
        share: of the forget records that are trained on, for `part`.
        rank: of the LoRA update of every linear layer, and of each fused expert.
        lr: learning rate of AdamW.
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
    description: ClassVar[str] = "relearning"
    measures: ClassVar[str] = ROUGE
    changes_weights: ClassVar[bool] = True
    independent_records: ClassVar[bool] = False
    figure: ClassVar[AttackFigure] = AttackFigure(
        heading="What relearning recovers",
        caption="A few steps of fine-tuning on what an attacker may have, then questions about what was not trained on. Bands: 95 % "
        "intervals. The control is trained in the same way: it can only learn the answers or guess them. What lies above the control was "
        "still in the model.",
        alt="What each model reveals with every step of relearning",
        y_label="ROUGE-L recall of\nthe greedy answer",
        x_label="training steps",
        x_column="step",
    )

    def left_out(self, target: Target) -> Mapping[str, str]:
        """Return the row if the layers of the model are in a quantised form that LoRA cannot be trained on here."""
        form = quantisation_of(target.model)
        if form is None or is_by_bitsandbytes(target.model):
            return {}
        return {self._verdict_row: f"the base model is in {form}, on which this attack cannot train"}

    @property
    def label(self) -> str:
        """Return the name and the source."""
        return f"{self.name} {self.source}"

    @property
    def series(self) -> str:
        """Return the title of the source's panel."""
        return f"from {SOURCES[self.source]}"

    def verdict_row(self, row: Row) -> str | None:
        """Return a name only for the last step: the rest of the curve is not judged."""
        return self._verdict_row if row["step"] == self.max_steps else None

    def steps(self, target: Target) -> int:
        """Return the number of training steps plus that of all queries; 0 without records to train on or to query, or if left out."""
        if self.left_out(target):
            return 0
        trained, queried = self.split_records(target)
        return self.max_steps + len(queried) * len(self._measured) if trained and queried else 0

    def run(self, target: Target, advance: Callable[[int], None]) -> Iterator[Row]:
        """Yield `id`, `value` and `step`."""
        trained, queried = self.split_records(target)
        if not trained or not queried or self.left_out(target):
            return
        queries = plain_queries(target.builder, queried)
        curve = [{**row, "step": 0} for row in recall_rows(target, queries, advance)]
        with lora_factors(target.model, self.rank, target.seed) as factors:
            optimiser = torch.optim.AdamW(factors, lr=self.lr, weight_decay=0.0)
            for step, records in enumerate(islice(self._batches(trained, target.seed), self.max_steps), 1):
                self._learn(target, records, optimiser)
                advance(1)
                if step in self._measured:
                    curve += [{**row, "step": step} for row in recall_rows(target, queries, advance)]
        yield from curve

    def split_records(self, target: Target) -> tuple[list[Record], list[Record]]:
        """Return the records to train on and the records to query."""
        if self.source == "related":
            return target.retain, target.forget
        if self.source == "unrelated":
            return general(), target.forget
        order = np.random.default_rng([target.seed, 7]).permutation(len(target.forget))
        trained = set(order[: max(1, min(len(order) - 1, round(self.share * len(order))))].tolist())
        parts = [[record for i, record in enumerate(target.forget) if (i in trained) is chosen] for chosen in (True, False)]
        return parts[0], parts[1]

    @property
    def _verdict_row(self) -> str:
        return f"relearned from {SOURCES[self.source]}, {self.max_steps} steps"

    @property
    def _measured(self) -> set[int]:
        return {*range(0, self.max_steps, self.measure_every), self.max_steps}

    def _batches(self, records: list[Record], seed: int) -> Iterator[list[Record]]:
        """Yield batches without end; an epoch has every record once, except those that do not fill a batch."""
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
