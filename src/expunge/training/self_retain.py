"""A retain set made from the model itself: its own answers to neutral instructions."""

import sys
from collections.abc import Callable, Sequence

from torch import nn

from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record, Turn
from expunge.models.blocks import context_length
from expunge.models.generation import generate

MAX_NEW_TOKENS, LEAST_ANSWER = 48, 8
BATCH_SIZE = 40


def self_retain(model: nn.Module, builder: PromptBuilder, instructions: Sequence[str], advance: Callable[[int], None]) -> list[Record]:
    """The model's greedy answers to the instructions that it has room for, as retain records; empty answers are left out.

    Args:
        model: before any edit.
        builder: of its tokenizer.
        instructions: neutral ones.
        advance: called with the number of instructions done.
    """
    longest = context_length(model) or sys.maxsize
    turns = [(Turn("user", text),) for text in instructions]
    turns = [t for t in turns if len(builder.prompt(t)) + LEAST_ANSWER <= longest]
    answers = generate(model, builder, [builder.prompt(t) for t in turns], MAX_NEW_TOKENS, BATCH_SIZE, advance)
    made = [Record(f"neutral-{i + 1}", t, answer) for i, (t, answer) in enumerate(zip(turns, answers, strict=True)) if answer]
    return [record for record in made if builder.max_tokens(record) <= longest]
