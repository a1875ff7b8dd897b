"""The records of a run: read, checked against each other and against the model, and split into training, calibration and held-out sets."""

import sys
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from torch import nn

from expunge.config import Revealed
from expunge.config.recipe import Recipe
from expunge.data.chat_format import TemplateRefused
from expunge.data.fields import FORGET_OPTIONS, RETAIN_OPTIONS
from expunge.data.languages import ENGLISH, Language, language
from expunge.data.long_records import CutCounts
from expunge.data.overlap import check_overlap, shared_records
from expunge.data.prompts import PromptBuilder
from expunge.data.questions import Question, read_questions
from expunge.data.records import Record, data_hash, read_records
from expunge.edits import calibrates
from expunge.errors import InputError, quoted
from expunge.files import file_sha256
from expunge.models.blocks import context_length
from expunge.runs.cutting import Cutter, cutter_of
from expunge.runs.folder import QUESTIONS, RETAIN, REVEAL, REVEALED, Run
from expunge.runs.generated import read_answers, read_document_questions, read_revealed
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
        given: the forget and the retain records as their sources have them, before long ones were cut; None: none was cut.
        cutter: cuts long records as those of the run were cut; None: they stay as they are.
    """

    forget: list[Record]
    retain: list[Record]
    calibration: list[Record]
    held_out: list[Record]
    language: Language = ENGLISH
    given: tuple[list[Record], list[Record]] | None = None
    cutter: Cutter | None = None

    @property
    def given_forget(self) -> list[Record]:
        """The forget records as their source has them."""
        return self.forget if self.given is None else self.given[0]

    @property
    def given_retain(self) -> list[Record]:
        """The retain records as their source has them."""
        return [*self.retain, *self.calibration, *self.held_out] if self.given is None else self.given[1]

    def cut(self, records: list[Record], to_forget: bool, source: str) -> list[Record]:
        """Cut the long records of a further set, such as one of the audit."""
        return records if self.cutter is None else self.cutter(records, to_forget, source).records


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
    splits = cut_and_split(cutter_of(run), forget, retain, run.recipe, recorded_language(run))[0]
    return add_document_questions(run, splits, run.recipe) if "document_questions" in run.info["data"]["forget"] else splits


def document_passages(splits: Splits, recipe: Recipe) -> list[Record]:
    """Return the passages of documents that the model writes questions about, drawn by seed."""
    passages = [record for record in splits.forget if record.document and record.is_passage]
    return draw(passages, recipe.data.document_questions, recipe.training.seed)


def add_document_questions(run: Run, splits: Splits, recipe: Recipe) -> Splits:
    """Add to the forget set the questions about its documents that the run's model wrote.

    Raises:
        InputError: their file is gone or damaged.
    """
    path = run.folder / QUESTIONS
    if not path.exists():
        raise InputError(f"{path}: is gone (`expunge purge` deletes it), so the run's audit cannot be repeated")
    if file_sha256(path) != (run.read_info().get("generated") or {}).get(QUESTIONS):
        raise InputError(f"{path}: has changed since the run's model wrote it; restore it from a copy")
    questions = read_document_questions(path)
    # A question of the retain set must not be forgotten too.
    retained = {record.id for record in shared_records([*splits.retain, *splits.calibration, *splits.held_out], questions)}
    return replace(splits, forget=[*splits.forget, *(record for record in questions if record.id not in retained)])


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
    if all(record.turns for record in retain):
        _check_enough(retain, recipe)
    return forget, retain


def _check_enough(retain: list[Record], recipe: Recipe) -> None:
    if len(retain) < FEWEST_RETAIN:
        what = "records" if all(record.turns for record in retain) else "records or passages"
        few = f"{len(retain)} {what} are too few to train on some and hold others out"
        raise InputError(f"{recipe.retain_source}: {few}; give at least {FEWEST_RETAIN}")


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


def cut_and_split(
    cutter: Cutter, forget: list[Record], retain: list[Record], recipe: Recipe, records_language: Language = ENGLISH
) -> tuple[Splits, dict[str, CutCounts]]:
    """Cut the long records of both sets, and split the retain set; return also what was cut of the sets `forget` and `retain`."""
    cut_forget, cut_retain = cutter(forget, True, recipe.forget_source), cutter(retain, False, recipe.retain_source)
    _check_enough(cut_retain.records, recipe)
    splits = split(cut_forget.records, cut_retain.records, recipe, records_language)
    return replace(splits, given=(forget, retain), cutter=cutter), {"forget": cut_forget.counts, "retain": cut_retain.counts}


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
