"""The records of a run: read, checked against each other and against the model, split into what is trained on and what is not."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from torch import nn

from expunge.config import Revealed
from expunge.config.recipe import Recipe
from expunge.data.fields import quoted
from expunge.data.prompts import PromptBuilder
from expunge.data.questions import Question, read_questions
from expunge.data.records import Record, check_overlap, read_records
from expunge.edits import calibrates
from expunge.errors import InputError
from expunge.models.blocks import context_length

FEWEST_RETAIN = 4
SELF_MADE_HELD_OUT = 0.6

Item = TypeVar("Item", Record, Question)


@dataclass(frozen=True)
class Sets:
    """The records of a run.

    Attributes:
        forget: to unlearn.
        retain: to train and fit the gate on.
        calibration: retain records kept to choose the gate's threshold, or a release's lambda (empty without one).
        exam: retain records kept for the audit.
    """

    forget: list[Record]
    retain: list[Record]
    calibration: list[Record]
    exam: list[Record]


def read_sets(recipe: Recipe) -> tuple[list[Record] | None, list[Record] | None]:
    """The forget and the retain records of a recipe, checked against each other; none where the model is to make them.

    Raises:
        InputError: a file is faulty, or the two overlap.
    """
    data = recipe.data
    forget = None if isinstance(data.forget, Revealed) else read_records(data.forget, data.map, data.split)
    if data.retain is not None:
        retain = read_records(data.retain, data.map, data.split)
    elif recipe.task is not None:
        retain = recipe.task.retain_records()
    else:
        return forget, None
    check_overlap(forget or [], retain, recipe.forget_source, recipe.retain_source, data.allow_overlap)
    if len(retain) < FEWEST_RETAIN:
        few = f"{len(retain)} records are too few to train on some and hold others out"
        raise InputError(f"{recipe.retain_source}: {few}; give at least {FEWEST_RETAIN}")
    return forget, retain


def read_audit_sets(recipe: Recipe) -> tuple[dict[str, list[Record]], dict[str, list[Question]]]:
    """The recipe's further sets of records and of questions.

    Raises:
        InputError: a file is gone or faulty.
    """
    records = {name: read_records(source, {}, recipe.data.split) for name, source in recipe.audit.sets.items()}
    return records, {name: read_questions(source) for name, source in recipe.audit.questions.items()}


def check_fits(model: nn.Module, builder: PromptBuilder, source: str | None, records: list[Record]) -> None:
    """Raise `InputError` for the first record of a source that is longer than the model's context."""
    longest = context_length(model)
    for record in records:
        if longest is not None and (tokens := builder.max_tokens(record)) > longest:
            said = f"{tokens} tokens with the longest of its answers, and the model takes {longest}"
            raise InputError(f"{source}:{record.line}: record {quoted(record.id)} has {said}; shorten it, or leave it out")


def split(forget: list[Record], retain: list[Record], recipe: Recipe) -> Sets:
    """Hold a seeded share of the retain records out; half of it calibrates a gate that is trained first, or a release's lambda."""
    order = np.random.default_rng([recipe.training.seed, 5]).permutation(len(retain))
    # Of the 120 instructions that the model answers itself, more are held out: a threshold for 3 % needs 33 to calibrate on.
    self_made = recipe.data.retain is None and recipe.task is None
    share = SELF_MADE_HELD_OUT if self_made and calibrates(recipe) else recipe.data.held_out
    held = max(2, round(len(retain) * share))
    calibrating = held // 2 if calibrates(recipe) else 0
    chosen = [[retain[i] for i in sorted(part)] for part in (order[:calibrating], order[calibrating:held], order[held:])]
    return Sets(forget, retain=chosen[2], calibration=chosen[0], exam=chosen[1])


def draw(records: list[Item], at_most: int | None, seed: int) -> list[Item]:
    """The records, or a seeded sample of them in their own order; a smaller sample is part of a larger one."""
    if at_most is None or len(records) <= at_most:
        return records
    chosen = np.random.default_rng([seed, 3]).permutation(len(records))[:at_most]
    return [records[i] for i in sorted(chosen)]
