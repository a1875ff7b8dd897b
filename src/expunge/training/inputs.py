"""Training inputs: the encoded forget and retain set, and the collator that makes paired batches of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from expunge.data.batches import Pair
from expunge.data.languages import ENGLISH, Language
from expunge.data.prompts import Batch, Encoded, PromptBuilder, collate
from expunge.data.records import Record
from expunge.metrics.distinctive_tokens import distinctive_tokens
from expunge.objectives import Objective


@dataclass(frozen=True)
class EncodedRecords:
    """Token ids of the forget and retain set.

    Attributes:
        forget, retain: one entry for each record; retain may be empty.
        alternatives: for each forget record the alternative answers (token ids), its own or the shipped refusals.
        distinctive: for each forget record which tokens of its answer are distinctive (`expunge.metrics.distinctive_tokens`), or empty.
        forget_ids, retain_ids: ids of the records.
    """

    forget: list[Encoded]
    retain: list[Encoded]
    alternatives: list[list[tuple[int, ...]]]
    distinctive: list[tuple[bool, ...]]
    forget_ids: list[str]
    retain_ids: list[str]


def encode_records(
    builder: PromptBuilder,
    forget: list[Record],
    retain: list[Record],
    objective: Objective,
    others: Sequence[Record] = (),
    language: Language = ENGLISH,
) -> EncodedRecords:
    """Encode the forget and retain set.

    Args:
        builder: of the model's tokenizer.
        forget: records to unlearn.
        retain: retain records to train on.
        objective: decides which alternatives are used, and whether distinctive tokens are needed.
        others: retain records, trained on or not; words that are common in their answers are not distinctive.
        language: of the shipped refusals.
    """
    refused = [builder.answer(text) for text in language.refusals]
    uses_own = objective.uses_record_alternatives
    alternatives = [[_alternative(builder, r, text) for text in r.alternatives] if uses_own and r.alternatives else refused for r in forget]
    return EncodedRecords(
        forget=[builder.record(record) for record in forget],
        retain=[builder.record(record) for record in retain],
        alternatives=alternatives,
        distinctive=distinctive_tokens(builder, forget, others) if "distinctive" in objective.forget_fields else [() for _ in forget],
        forget_ids=[record.id for record in forget],
        retain_ids=[record.id for record in retain],
    )


def _alternative(builder: PromptBuilder, record: Record, text: str) -> tuple[int, ...]:
    """Return the token ids of an alternative answer, or of an alternative continuation, which begins with the same white space."""
    if record.prompt_chars is None:
        return builder.answer(text)
    space = record.expected[: len(record.expected) - len(record.expected.lstrip())]
    return builder.record(replace(record, answer=record.given + space + text)).answer


@dataclass(frozen=True)
class PairCollator:
    """Turn pairs of indices into the batches and tensors of one micro-batch, see `__call__`.

    Attributes:
        records: that the indices refer to.
        pad: padding token id.
        resample: draw the alternative of each record anew in every epoch (IDK); otherwise once for the training (DPO).
        seed: of that draw.
    """

    records: EncodedRecords
    pad: int
    resample: bool
    seed: int

    def __call__(self, pairs: list[Pair]) -> dict[str, Batch | Tensor | list[int] | None]:
        """Return a micro-batch: the batches `answer`, `alternative` and `retain`, and for the forget records `index` and `distinctive`."""
        forget = [index for _, index, _ in pairs]
        retain = [index for _, _, index in pairs if index >= 0]
        forget_ids = tuple(self.records.forget_ids[i] for i in forget)
        retain_ids = tuple(self.records.retain_ids[i] for i in retain)
        distinctive = [is_distinctive for i in forget for is_distinctive in self.records.distinctive[i]]
        alternatives = [replace(self.records.forget[i], answer=self.alternative(epoch, i)) for epoch, i, _ in pairs]
        return {
            "answer": collate([self.records.forget[i] for i in forget], self.pad, forget_ids),
            "alternative": collate(alternatives, self.pad, forget_ids),
            "retain": collate([self.records.retain[i] for i in retain], self.pad, retain_ids) if retain else None,
            "index": forget,
            "distinctive": torch.tensor(distinctive, dtype=torch.bool),
        }

    def alternative(self, epoch: int, index: int) -> tuple[int, ...]:
        """Return the alternative answer to a forget record in an epoch."""
        choices = self.records.alternatives[index]
        rng = np.random.default_rng([self.seed, 2, epoch if self.resample else 0, index])
        return choices[rng.integers(len(choices))]
