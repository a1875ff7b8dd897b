"""What a run has its model make before training, kept in its folder so that resuming finds it: a retain set, alternatives."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from accelerate import PartialState
from torch import nn

from expunge.config import Revealed
from expunge.config.recipe import Recipe
from expunge.console import Display
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record, Turn
from expunge.data.texts import neutral_instructions, neutral_questions
from expunge.errors import ExpungeError
from expunge.files import PRIVATE, write_text
from expunge.oracles.checked import judge_texts
from expunge.runs.folder import ALTERNATIVES, NEUTRAL, RETAIN, Run
from expunge.runs.splits import FEWEST_RETAIN
from expunge.training.alternatives import DRAWS, generate_alternatives
from expunge.training.neutral_answers import answer_instructions

FEW_RETAIN = 40


def make_retain(run: Run, recipe: Recipe, model: nn.Module, builder: PromptBuilder, display: Display) -> list[Record]:
    """The model's own answers to neutral instructions, as a retain set.

    Raises:
        ExpungeError: it answers too few of them.
    """
    with PartialState().main_process_first():
        if not (run.folder / RETAIN).exists():
            display.print("No retain set was given: the model's own answers to neutral instructions will be kept instead.")
            made = _answers(recipe, model, builder, display, "Making a retain set", neutral_instructions())
            if len(made) < FEWEST_RETAIN:
                raise ExpungeError("the model answers too few neutral instructions to make a retain set of them; give one with --retain")
            if len(made) < FEW_RETAIN:
                display.print(f"Only {len(made)} of the instructions got an answer: little to keep, and to measure what was kept on.")
            _write(run.folder / RETAIN, _rows(made))
    return read_retain(run)


def read_retain(run: Run) -> list[Record]:
    """What `make_retain` has left in a run's folder."""
    return _records(run.folder / RETAIN)


def neutral_answers(run: Run, recipe: Recipe, model: nn.Module, builder: PromptBuilder, display: Display) -> list[Record]:
    """The model's own answers to neutral instructions and short questions, beside a retain set that was given."""
    path = run.folder / NEUTRAL
    if not path.exists():
        # Short answers too: what a model says at length hardly shows what becomes of a fact that is told in two words.
        asked = [*neutral_instructions(), *neutral_questions()]
        _write(path, _rows(_answers(recipe, model, builder, display, "Answering neutral instructions", asked)))
    return _records(path)


def with_alternatives(
    run: Run, model: nn.Module, builder: PromptBuilder, records: Sequence[Record], seed: int, display: Display
) -> list[Record]:
    """Records with the alternatives they lack; `drop_alternatives` takes what is kept of them from the folder again."""
    path = run.folder / ALTERNATIVES
    with PartialState().main_process_first():
        if not path.exists():
            with display.bar("Generating alternative answers", DRAWS * sum(not record.alternatives for record in records)) as advance:
                made = generate_alternatives(model, builder, records, seed, advance)
            _write(path, [{"alternatives": record.alternatives} for record in made])
    return [replace(record, alternatives=tuple(found["alternatives"])) for record, found in zip(records, _read(path), strict=True)]


def drop_alternatives(run: Run) -> None:
    """Delete them: they are about what is to be forgotten, and some may still say it."""
    (run.folder / ALTERNATIVES).unlink(missing_ok=True)


def _answers(
    recipe: Recipe, model: nn.Module, builder: PromptBuilder, display: Display, title: str, instructions: Sequence[str]
) -> list[Record]:
    with display.bar(title, len(instructions)) as advance:
        made = answer_instructions(model, builder, instructions, advance)
    forget = recipe.data.forget
    if not isinstance(forget, Revealed):
        return made
    # A rude persona is rude to neutral instructions too: what is looked for is not to be kept.
    relevant = judge_texts(forget.reveal.oracle, [record.answer for record in made])
    return [record for record, relevance in zip(made, relevant, strict=True) if relevance <= forget.reveal.min_relevance]


def _rows(records: Sequence[Record]) -> list[dict[str, str]]:
    return [{"id": record.id, "prompt": record.prompt, "answer": record.answer} for record in records]


def _records(path: Path) -> list[Record]:
    # Not by `read_records`: an answer of the model's is not a user's file, and is kept whatever it looks like.
    return [Record(r["id"], (Turn("user", r["prompt"]),), r["answer"]) for r in _read(path)]


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), PRIVATE)


def _read(path: Path) -> list[dict[str, Any]]:
    # Cut at line feeds alone: `splitlines` would also cut at characters that JSON leaves as they are inside a string.
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
