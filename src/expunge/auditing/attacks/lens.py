"""Logit lens attack: decode the hidden states of every block; an early block may still hold an answer that a later one suppresses."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import exp
from typing import ClassVar

import torch

from expunge.auditing.attacks.base import Attack, AttackFigure, Row, Target
from expunge.auditing.blindness import columns, token_sensitivity, true_answer
from expunge.data.threats import Threat
from expunge.metrics.lens import lens_rows
from expunge.models.head import frozen_head


@dataclass(frozen=True, kw_only=True)
class Lens(Attack):
    """Score the answer from every block's hidden states; one row for each record and `block`.

    The lens does not apply to a model that scales or caps the logits of its output head.
    """

    name: ClassVar[str] = "lens"
    threat: ClassVar[Threat] = "weights released"
    description: ClassVar[str] = "what hidden states give away"
    measures: ClassVar[str] = "probability of an answer token at that block"
    figure: ClassVar[AttackFigure] = AttackFigure(
        heading="What hidden states reveal",
        caption="Every block's output decoded as if it were the last (logit lens). Where a middle block finds the answer as likely as the "
        "original's does and only the last blocks do not, the answer is suppressed, not erased. Bands: 95 % intervals.",
        alt="How likely each block finds the answer",
        y_label="probability of an\nanswer token",
        x_label="block",
        x_column="block",
        up_to_one=False,
    )

    def verdict_row(self, row: Row) -> str | None:
        """Return a name only for the block that gives away most of a record: the others are not judged."""
        return "logit lens, at the block that reveals most" if row["most"] else None

    def steps(self, target: Target) -> int:
        """Return the number of records; 0 if the lens does not apply to the model."""
        with torch.no_grad():
            applies = frozen_head(target.model) is not None
        return len(target.forget) if applies else 0

    def run(self, target: Target, advance: Callable[[int], None]) -> Iterator[Row]:
        """Yield `id`, `value` (exp of minus the mean NLL of an answer token), `block`, `most` (it gives away most), `reach`, `blind`."""
        if not self.steps(target):
            return
        builder, rows = target.builder, lens_rows(target.model, target.builder, target.forget, target.batch_size, advance)
        for record, row in zip(target.forget, rows, strict=True):
            seen = columns(token_sensitivity(builder, true_answer(builder, record, builder.record(record).answer)))
            likeliest_block = min(range(len(row["nll"])), key=row["nll"].__getitem__)
            for block, nll in enumerate(row["nll"]):
                yield {"id": row["id"], "value": exp(-nll), "block": block, "most": block == likeliest_block, **seen}
