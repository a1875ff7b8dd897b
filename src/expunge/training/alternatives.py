"""Generate alternative answers: the model's own answers to the same questions about people that it does not know."""

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
WHOLE_SENTENCES = re.compile(r".*[.!?][\"”'’)]*(?=\s|$)", re.DOTALL)


def generate_alternatives(
    model: nn.Module, builder: PromptBuilder, records: Sequence[Record], seed: int, advance: Callable[[int], None]
) -> list[Record]:
    """Return the records with alternatives; records that have some do not change.

    Each question is put `DRAWS` times, with other names in it, in its own wording and in its paraphrase by turns. Of the sampled
    answers the one that is least similar to the true answer becomes the alternative, with the original names put back. A question
    without a name stays as it is. The idea of alternatives from the model itself is that of AltPO (Mekala et al., 2024,
    arXiv 2409.13474).

    Args:
        model: before any edit.
        builder: of its tokenizer.
        records: the forget set.
        seed: of names and answers.
        advance: called with the number of questions answered.
    """
    longest = context_length(model) or sys.maxsize

    def fits(record: Record, text: str) -> bool:
        return builder.max_tokens(replace(record, alternatives=(text,))) <= longest

    without = [record for record in records if not record.alternatives]
    # Another name may have more tokens.
    queries = [
        other if other and builder.max_tokens(other) <= longest else record
        for draw in range(DRAWS)
        for record, other in zip(without, _renamed(without, draw, seed), strict=True)
    ]
    prompts = [builder.record(q, prompt=q.paraphrased_prompt if i // len(without) % 2 else None).prompt for i, q in enumerate(queries)]
    answers = generate(model, builder, prompts, MAX_NEW_TOKENS, BATCH_SIZE, advance, nucleus_sampler(seed, TEMPERATURE, TOP_P))
    completed = {}
    for i, record in enumerate(without):
        draws = range(i, len(answers), len(without))
        candidates = [with_original_names(drop_unfinished_sentence(answers[j]), record, queries[j]) for j in draws]
        # Only one, because greedy decoding after training on several would give what they have in common: the true answer again.
        alternative = least_similar([text for text in candidates if fits(record, text)], record.answer)
        # If the model gives no usable answer, the shipped refusals are the alternatives.
        completed[record.id] = replace(record, alternatives=tuple(refusals()) if alternative is None else (alternative,))
    return [completed.get(record.id, record) for record in records]


def least_similar(answers: Sequence[str], truth: str) -> str | None:
    """Return the answer with the lowest ROUGE-L recall of the true answer; None if each answer is empty or the true one."""
    overlap = {answer: rouge_l_recall(answer, truth) for answer in answers if answer and answer != truth}
    return min(overlap, key=lambda answer: (overlap[answer], answer)) if overlap else None


def drop_unfinished_sentence(text: str) -> str:
    """Return a text without a last sentence that was cut off; a text without any whole sentence does not change."""
    match = WHOLE_SENTENCES.match(text)
    return match[0] if match else text


def _renamed(records: list[Record], draw: int, seed: int) -> list[Record | None]:
    return with_other_names(records, np.random.default_rng([seed, 8, draw]))
