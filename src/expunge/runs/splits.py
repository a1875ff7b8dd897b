"""The records of a run: read, checked against each other and against the model, and split into training, calibration and held-out sets."""

import sys
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from torch import nn

from expunge.config import Revealed
from expunge.config.recipe import Recipe
from expunge.data.chat_format import TemplateRefused
from expunge.data.fields import FORGET_OPTIONS, RETAIN_OPTIONS
from expunge.data.languages import ENGLISH, Language, language
from expunge.data.overlap import check_overlap
from expunge.data.prompts import PromptBuilder
from expunge.data.questions import Question, read_questions
from expunge.data.records import Record, data_hash, read_records
from expunge.edits import calibrates
from expunge.errors import InputError, quoted
from expunge.models.blocks import context_length
from expunge.runs.folder import RETAIN, REVEAL, REVEALED
from expunge.runs.generated import read_answers, read_revealed
from expunge.runs.loaded import OpenedRun

FEWEST_RETAIN = 4
SELF_GENERATED_HELD_OUT = 0.6

Item = TypeVar("Item", Record, Question)


@dataclass(frozen=True)
class Splits:
    """The records of a run, by use.

    Attributes:
        forget: records to unlearn.
        retain: retain records to train and fit the gate on.
        calibration: retain records to choose the gate's threshold, or a release's lambda, on; empty without one.
        held_out: retain records for the audit alone.
        language: of most forget records.
    """

    forget: list[Record]
    retain: list[Record]
    calibration: list[Record]
    held_out: list[Record]
    language: Language = ENGLISH


def read_splits(run: OpenedRun) -> Splits:
    """Read the records of an existing run, as it was trained on them.

    Raises:
        InputError: a file is gone or has changed, or the revealed records were purged.
    """
    forget, retain = read_sources(run.recipe)
    if forget is None:
        if not (run.folder / REVEAL / REVEALED).exists():
            raise InputError(f"{run.folder}: its revealed data is gone (`expunge purge` deletes it), so its audit cannot be repeated")
        forget = read_revealed(run.folder / REVEAL)
    if retain is None:
        retain = read_answers(run.folder / RETAIN)
    check_unchanged(run, forget, retain)
    return split(forget, retain, run.recipe, recorded_language(run))


def recorded_language(run: OpenedRun) -> Language:
    """Return the language that a run was trained with; English for runs of versions that recorded none."""
    recorded = run.info["data"].get("language")
    return ENGLISH if recorded is None else language(recorded["code"])


def check_unchanged(run: OpenedRun, forget: list[Record], retain: list[Record]) -> None:
    """Raise `InputError` if records differ from those that a run was trained on."""
    data = run.info["data"]
    for name, records in (("forget", forget), ("retain", retain)):
        if data_hash(records) != data[name]["sha256"]:
            raise InputError(f"{data[name]['source']}: has changed since {run.folder} was trained on it")


def read_sources(recipe: Recipe) -> tuple[list[Record] | None, list[Record] | None]:
    """Read the forget and the retain records of a recipe and check them against each other; None for a set that the model generates.

    Raises:
        InputError: a file is faulty, or the two overlap.
    """
    data = recipe.data
    # With one file the shorter option is as good.
    of_forget, of_retain = (None, None) if data.retain is None else (FORGET_OPTIONS, RETAIN_OPTIONS)
    forget = None if isinstance(data.forget, Revealed) else read_records(data.forget, *data.forget_reading, of_forget)
    if data.retain is not None:
        retain = read_records(data.retain, *data.retain_reading, of_retain)
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
    """Read the recipe's further audit sets, of records and of multiple-choice questions.

    Raises:
        InputError: a file is gone or faulty.
    """
    records = {name: read_records(source, {}, recipe.data.split) for name, source in recipe.audit.sets.items()}
    return records, {name: read_questions(source) for name, source in recipe.audit.questions.items()}


def check_fits(model: nn.Module, builder: PromptBuilder, source: str | None, records: list[Record]) -> None:
    """Raise `InputError` for the first record of a source that the chat template refuses, or that is longer than the model's context."""
    longest = context_length(model) or sys.maxsize
    for record in records:
        where = f"{source}:{record.line}: record {quoted(record.id)}"
        try:
            tokens = builder.max_tokens(record)
        except TemplateRefused as error:
            raise InputError(
                f"{where} cannot be written in the model's chat template: {error}; change its messages, or leave it out"
            ) from error
        if tokens > longest:
            length = f"{tokens} tokens with the longest of its answers, and the model takes {longest}"
            raise InputError(f"{where} has {length}; shorten it, or leave it out")


def split(forget: list[Record], retain: list[Record], recipe: Recipe, records_language: Language = ENGLISH) -> Splits:
    """Hold out a seeded share of the retain records; half of it calibrates a gate that is trained first, or a release's lambda."""
    order = np.random.default_rng([recipe.training.seed, 5]).permutation(len(retain))
    # Of the 120 instructions that the model answers itself more are held out: a threshold for 3 % needs 33 to calibrate on.
    self_generated = recipe.data.retain is None and recipe.task is None
    share = SELF_GENERATED_HELD_OUT if self_generated and calibrates(recipe) else recipe.data.held_out
    held = max(2, round(len(retain) * share))
    calibrating = held // 2 if calibrates(recipe) else 0
    parts = (order[:calibrating], order[calibrating:held], order[held:])
    calibration, held_out, trained = ([retain[i] for i in sorted(part)] for part in parts)
    return Splits(forget, retain=trained, calibration=calibration, held_out=held_out, language=records_language)


def draw(records: list[Item], at_most: int | None, seed: int) -> list[Item]:
    """Return the records, or a seeded sample of them in their order; a smaller sample is part of a larger one."""
    if at_most is None or len(records) <= at_most:
        return records
    chosen = np.random.default_rng([seed, 3]).permutation(len(records))[:at_most]
    return [records[i] for i in sorted(chosen)]
