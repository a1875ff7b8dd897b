"""Generate retain records: the model's own answers to neutral instructions."""

import sys
from collections.abc import Callable, Sequence

from torch import nn

from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record, Turn
from expunge.models.blocks import context_length
from expunge.models.generation import generate

MAX_NEW_TOKENS, MIN_ROOM = 48, 8
BATCH_SIZE = 40


def answer_instructions(
    model: nn.Module, builder: PromptBuilder, instructions: Sequence[str], advance: Callable[[int], None]
) -> list[Record]:
    """Return the model's greedy answers to instructions as records, without empty answers and instructions that are too long.

    Args:
        model: before any edit.
        builder: of its tokenizer.
        instructions: neutral instructions.
        advance: called with the number of instructions done.
    """
    longest = context_length(model) or sys.maxsize
    turns = [(Turn("user", text),) for text in instructions]
    turns = [t for t in turns if len(builder.prompt(t)) + MIN_ROOM <= longest]
    answers = generate(model, builder, [builder.prompt(t) for t in turns], MAX_NEW_TOKENS, BATCH_SIZE, advance)
    records = [Record(f"neutral-{i + 1}", t, answer) for i, (t, answer) in enumerate(zip(turns, answers, strict=True)) if answer]
    return [record for record in records if builder.max_tokens(record) <= longest]
