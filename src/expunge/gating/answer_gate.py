"""Train the part of a gate that reads the answer: it opens when a fact to forget begins to come out, whatever the question was."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from expunge.config import EditSection
from expunge.data.other_names import with_other_names
from expunge.data.prompts import Encoded, PromptBuilder
from expunge.data.records import Turn
from expunge.edits.grun.gate import new_gate
from expunge.gating.calibrate import Threshold, calibrate
from expunge.gating.train import prompt_logits, stored_input, train_gate
from expunge.metrics.distinctive_tokens import distinctive_tokens
from expunge.models.blocks import context_length
from expunge.models.generation import generate
from expunge.models.hidden_states import prompt_states
from expunge.runs.splits import Splits

READ_AFTER_FACT = 4
"""Tokens that the gate may read after the first distinctive one of a forget answer, before it must have opened."""
RATE_SHARE = 1 / 3
"""Of the false-positive rate of the part that reads prompts, the rate of the part that reads answers."""
MOST_STRANGERS = 200
MAX_NEW_TOKENS, GENERATE_AT_ONCE = 48, 40


@dataclass(frozen=True)
class AnswerRows:
    """Prompts with answers that the part of a gate that reads answers is fitted on.

    Attributes:
        forget: at which it should open. Each answer ends a few tokens after the first that would leak the fact.
        negatives: at which it should stay closed.
        calibration: further rows at which it should stay closed, to choose the threshold on.
    """

    forget: list[Encoded]
    negatives: list[Encoded]
    calibration: list[Encoded]

    @property
    def all(self) -> list[Encoded]:
        """Every row, in the order of the attributes."""
        return [*self.forget, *self.negatives, *self.calibration]

    def split(self, items: list[Any]) -> tuple[list[Any], list[Any], list[Any]]:
        """Cut a list that is parallel to `all` into one part for each attribute."""
        first, second = len(self.forget), len(self.forget) + len(self.negatives)
        return items[:first], items[first:second], items[second:]

    def that_fit(self, longest: int) -> "AnswerRows":
        """Return the rows of at most `longest` tokens."""
        parts = (self.forget, self.negatives, self.calibration)
        return AnswerRows(*([row for row in part if len(row.prompt) + len(row.answer) <= longest] for part in parts))


def answer_rows(
    model: nn.Module, builder: PromptBuilder, splits: Splits, seed: int, advance: Callable[[int], None] = lambda prompts: None
) -> AnswerRows:
    """Collect the rows to fit the part of a gate that reads answers.

    Every answer comes after its own question and after an everyday instruction, so that the gate learns to recognise the fact and not
    its question. The model itself answers the forget questions about other people, and everyday instructions.

    Args:
        model: before the edit.
        builder: of its tokenizer.
        splits: of the run; the part that is held out for the audit is not used.
        seed: of everything that is drawn.
        advance: called with the number of prompts answered.
    """
    rng, language = np.random.default_rng([seed, 6]), splits.language
    longest = context_length(model) or sys.maxsize
    instructions = [builder.prompt((Turn("user", text),)) for text in language.instructions]
    to_train, to_calibrate = instructions[::2], instructions[1::2]

    def twice(row: Encoded) -> list[Encoded]:
        return [row, Encoded(to_train[int(rng.integers(len(to_train)))], row.answer)]

    cut = [
        up_to_fact(builder.record(record), distinctive)
        for record, distinctive in zip(splits.forget, distinctive_tokens(builder, splits.forget, splits.retain), strict=True)
    ]
    strangers = [
        record
        for similar in (False, True)
        for record in with_other_names(splits.forget, rng, similar, language, splits.retain)[:MOST_STRANGERS]
        if record
    ]
    prompts = [*(builder.record(record).prompt for record in strangers), *instructions]
    prompts = [prompt for prompt in prompts if len(prompt) + MAX_NEW_TOKENS < longest]
    answers = generate(model, builder, prompts, MAX_NEW_TOKENS, GENERATE_AT_ONCE, advance)
    answered = [Encoded(prompt, builder.unfinished_answer(answer)) for prompt, answer in zip(prompts, answers, strict=True) if answer]
    held = set(to_calibrate)
    return AnswerRows(
        [row for one in cut for row in twice(one)],
        [row for record in splits.retain for row in twice(builder.record(record))] + [row for row in answered if row.prompt not in held],
        [row for record in splits.calibration for row in twice(builder.record(record))] + [row for row in answered if row.prompt in held],
    ).that_fit(longest)


def up_to_fact(row: Encoded, distinctive: Sequence[bool]) -> Encoded:
    """Cut an answer a few tokens after its first distinctive one; an answer without any stays whole."""
    first = next((i for i, leaks in enumerate(distinctive) if leaks), len(row.answer))
    return Encoded(row.prompt, row.answer[: row.unscored + first + 1 + READ_AFTER_FACT])


@dataclass(frozen=True)
class FittedAnswerGate:
    """The trained part of a gate that reads answers.

    Attributes:
        part: its linear map, whose scores are comparable with the threshold of the prompts.
        threshold: its own, from before the scores were shifted to that of the prompts.
        coverage: share of the forget answers that it opens for, within a few tokens after the first distinctive one.
    """

    part: nn.Linear
    threshold: Threshold
    coverage: float


def fit_answer_gate(
    model: nn.Module,
    builder: PromptBuilder,
    rows: AnswerRows,
    settings: EditSection,
    block: int,
    threshold: float,
    seed: int,
    advance: Callable[[int], None] = lambda prompts: None,
) -> FittedAnswerGate:
    """Train the part of a gate that reads answers, and calibrate it.

    It is a linear map of the states of one block, trained on the largest score of each answer.

    Args:
        model: before the edit.
        builder: of its tokenizer.
        rows: to train and calibrate on.
        settings: of the edit.
        block: that it reads.
        threshold: of the part that reads prompts.
        seed: of initialisation and batches.
        advance: called with the number of rows read.
    """
    states = prompt_states(
        model,
        [(*row.prompt, *row.answer) for row in rows.all],
        [block],
        builder.pad,
        advance=advance,
        transform=partial(stored_input, settings=settings),
        starts=[len(row.prompt) - 1 for row in rows.all],
    )[block]
    forget, negatives, calibration = rows.split(states)
    torch.manual_seed(seed)
    parts = new_gate("linear", "max", forget[0].shape[-1])
    train_gate(parts, settings.model_copy(update={"gate_pool": "max"}), forget, negatives, seed)
    part = parts["grun_gate"].requires_grad_(False)
    on_forget, on_others = (prompt_logits(parts, "max", rows_of) for rows_of in (forget, calibration))
    chosen = calibrate(on_others, on_forget, settings.false_positive_rate * RATE_SHARE)
    part.bias.add_(threshold - chosen.logit)
    return FittedAnswerGate(part, chosen, (on_forget >= chosen.logit).float().mean().item())
