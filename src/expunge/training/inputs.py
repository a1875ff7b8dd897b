"""What a training sees: encoded forget and retain rows, and the collator that makes paired batches of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from expunge.data.batches import Pair
from expunge.data.prompts import Batch, Encoded, PromptBuilder, collate
from expunge.data.records import Record
from expunge.data.texts import refusals
from expunge.metrics.distinctive_tokens import distinctive_tokens
from expunge.objectives import Objective


@dataclass(frozen=True)
class Rows:
    """Token ids of every row, made once.

    Attributes:
        forget, retain: a row each; retain may be empty.
        alternatives: for each forget row, the answers (token ids) that could be given instead: its own or shipped refusals.
        distinctive: for each forget row, which tokens of its answer nothing else says (`expunge.metrics.distinctive_tokens`), or empty.
    """

    forget: list[Encoded]
    retain: list[Encoded]
    alternatives: list[list[tuple[int, ...]]]
    distinctive: list[tuple[bool, ...]]
    forget_ids: list[str]
    retain_ids: list[str]


def encode_rows(
    builder: PromptBuilder, forget: list[Record], retain: list[Record], objective: Objective, others: Sequence[Record] = ()
) -> Rows:
    """Encode records.

    Args:
        builder: of the model's tokenizer.
        forget: to unlearn.
        retain: to train on beside them.
        objective: says which alternatives and what else of the forget rows it wants.
        others: records to be kept, trained on or not: what they say too gives nothing away.
    """
    said = [builder.answer(text) for text in refusals()]
    alternatives = [
        [builder.answer(text) for text in r.alternatives] if objective.uses_record_alternatives and r.alternatives else said for r in forget
    ]
    return Rows(
        forget=[builder.record(record) for record in forget],
        retain=[builder.record(record) for record in retain],
        alternatives=alternatives,
        distinctive=distinctive_tokens(builder, forget, others) if "distinctive" in objective.forget_fields else [() for _ in forget],
        forget_ids=[record.id for record in forget],
        retain_ids=[record.id for record in retain],
    )


@dataclass(frozen=True)
class PairCollator:
    """Turn pairs of indices into the batches and tensors of one micro-batch, see `__call__`.

    Attributes:
        rows: what the indices mean.
        pad: padding token id.
        resample: draw each row's alternative anew every epoch (IDK); otherwise one for the whole training (DPO).
        seed: of that draw.
    """

    rows: Rows
    pad: int
    resample: bool
    seed: int

    def __call__(self, pairs: list[Pair]) -> dict[str, Batch | Tensor | list[int] | None]:
        """Return a micro-batch: the batches `answer`, `alternative` and `retain`, and for the forget records `index` and `distinctive`."""
        forget = [index for _, index, _ in pairs]
        retain = [index for _, _, index in pairs if index >= 0]
        ids = tuple(self.rows.forget_ids[i] for i in forget)
        instead = [Encoded(self.rows.forget[i].prompt, self.alternative(epoch, i)) for epoch, i, _ in pairs]
        return {
            "answer": collate([self.rows.forget[i] for i in forget], self.pad, ids),
            "alternative": collate(instead, self.pad, ids),
            "retain": collate([self.rows.retain[i] for i in retain], self.pad, tuple(self.rows.retain_ids[i] for i in retain))
            if retain
            else None,
            "index": forget,
            "distinctive": torch.tensor([is_distinctive for i in forget for is_distinctive in self.rows.distinctive[i]], dtype=torch.bool),
        }

    def alternative(self, epoch: int, row: int) -> tuple[int, ...]:
        """The answer given instead of this row's in this epoch."""
        choices = self.rows.alternatives[row]
        rng = np.random.default_rng([self.seed, 2, epoch if self.resample else 0, row])
        return choices[rng.integers(len(choices))]
