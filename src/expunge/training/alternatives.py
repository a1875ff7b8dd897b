"""Other answers to give instead of the true one, made by the model itself: what it says of people it never heard of."""

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from torch import nn

from expunge.data.other_names import with_original_names, with_other_names
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record
from expunge.data.texts import refusals
from expunge.metrics.text import rouge_l_recall
from expunge.models.blocks import context_length
from expunge.models.generation import generate, nucleus_sampler

DRAWS = 4
TEMPERATURE, TOP_P = 1.0, 0.95
MAX_NEW_TOKENS, BATCH_SIZE = 64, 40
WHOLE = re.compile(r".*[.!?][\"”'’)]*(?=\s|$)", re.DOTALL)


def own_alternatives(
    model: nn.Module, builder: PromptBuilder, records: Sequence[Record], seed: int, advance: Callable[[int], None]
) -> list[Record]:
    """Records with alternatives: theirs where they have some, else the model's answers to the same question about strangers.

    Every question is asked about several strangers, in its own and in other words; of the sampled answers the one that has least in
    common with the true one is kept, the stranger's names swapped back. A question that names nobody is asked as it is. The idea of
    alternatives that the model makes itself is that of AltPO (Mekala et al., 2024, arXiv 2409.13474).

    Args:
        model: before any edit.
        builder: of its tokenizer.
        records: to forget.
        seed: of strangers and answers.
        advance: called with the number of questions answered.
    """
    longest = context_length(model) or sys.maxsize

    def fits(record: Record, text: str) -> bool:
        return builder.max_tokens(replace(record, alternatives=(text,))) <= longest

    wanted = [record for record in records if not record.alternatives]
    asked = [other or record for draw in range(DRAWS) for record, other in zip(wanted, _strangers(wanted, draw, seed), strict=True)]
    prompts = [builder.record(r, prompt=r.paraphrased_prompt if i // len(wanted) % 2 else None).prompt for i, r in enumerate(asked)]
    said = generate(model, builder, prompts, MAX_NEW_TOKENS, BATCH_SIZE, advance, nucleus_sampler(seed, TEMPERATURE, TOP_P))
    made = {}
    for i, record in enumerate(wanted):
        answers = [with_original_names(whole_sentences(said[j]), record, asked[j]) for j in range(i, len(said), len(wanted))]
        # One a record: of many, greedy decoding would give what they have most in common, which is the true answer once more.
        found = least_alike([text for text in answers if fits(record, text)], record.answer)
        # Where the model has nothing to say, a refusal is the next best.
        made[record.id] = replace(record, alternatives=tuple(refusals()) if found is None else (found,))
    return [made.get(record.id, record) for record in records]


def least_alike(answers: Sequence[str], truth: str) -> str | None:
    """Of some answers the one that has least in common with the true one (ROUGE-L recall); none if all are empty or it."""
    overlap = {answer: rouge_l_recall(answer, truth) for answer in answers if answer and answer != truth}
    return min(overlap, key=lambda answer: (overlap[answer], answer)) if overlap else None


def whole_sentences(text: str) -> str:
    """A text that was cut off within a sentence, without that sentence; as it is where there is no other."""
    found = WHOLE.match(text)
    return found[0] if found else text


def _strangers(records: list[Record], draw: int, seed: int) -> list[Record | None]:
    return with_other_names(records, np.random.default_rng([seed, 8, draw]))
