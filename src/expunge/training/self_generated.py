"""Generate a run's missing records with its own model: a retain set, alternative answers. They are stored in the run folder."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from accelerate import PartialState
from torch import nn

from expunge.config import Revealed
from expunge.config.recipe import Recipe
from expunge.console import Display
from expunge.data.languages import ENGLISH, Language
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record
from expunge.data.texts import neutral_instructions, neutral_questions
from expunge.errors import ExpungeError
from expunge.oracles.checked import judge_texts
from expunge.runs.folder import ALTERNATIVES, NEUTRAL, QUESTIONS, RETAIN, Run
from expunge.runs.generated import answer_rows, answers, document_question_rows, drop_generated, generated_once
from expunge.runs.splits import FEWEST_RETAIN, Splits, add_document_questions, document_passages
from expunge.training.alternatives import draws_of, generate_alternatives
from expunge.training.document_questions import generate_document_questions
from expunge.training.neutral_answers import answer_instructions

FEW_RETAIN = 40
TEXTS_WITHOUT_RETAIN = (
    "The forget set has texts. With such a retain set the edit may also change answers about other things in their field: give texts "
    "about some of these with --retain."
)


def make_retain(
    run: Run,
    recipe: Recipe,
    model: nn.Module,
    builder: PromptBuilder,
    display: Display,
    language: Language = ENGLISH,
    forget: Sequence[Record] = (),
) -> list[Record]:
    """Return the model's own answers to neutral instructions as a retain set, generated at the first call.

    If the forget set has texts, it also shows a remark: neutral instructions do not teach a gate where the subject of a text ends.

    Raises:
        ExpungeError: the model answers too few of them.
    """

    def generate() -> list[dict[str, Any]]:
        display.print("No retain set was given: the model's own answers to neutral instructions take its place.")
        if not all(record.turns for record in forget):
            display.print(TEXTS_WITHOUT_RETAIN)
        made = _answers(recipe, model, builder, display, "Generating a retain set", language.instructions)
        if len(made) < FEWEST_RETAIN:
            raise ExpungeError("the model answers too few neutral instructions for a retain set; give one with --retain")
        if len(made) < FEW_RETAIN:
            display.print(f"Only {len(made)} of the instructions got an answer: few records to train on and to measure utility on.")
        return answer_rows(made)

    with PartialState().main_process_first():
        return answers(generated_once(run, RETAIN, generate))


def neutral_answers(run: Run, recipe: Recipe, model: nn.Module, builder: PromptBuilder, display: Display) -> list[Record]:
    """Return the model's own answers to neutral instructions and short questions, to be used beside a given retain set."""
    # Short answers too: long ones hardly show what becomes of a fact that takes two words.
    instructions = [*neutral_instructions(), *neutral_questions()]
    title = "Answering neutral instructions"
    return answers(generated_once(run, NEUTRAL, lambda: answer_rows(_answers(recipe, model, builder, display, title, instructions))))


def with_alternatives(run: Run, model: nn.Module, builder: PromptBuilder, splits: Splits, seed: int, display: Display) -> list[Record]:
    """Return forget records with the alternative answers that they lack, generated at the first call; see `drop_alternatives`."""
    records = splits.forget

    def generate() -> list[dict[str, Any]]:
        with display.bar(
            "Generating alternative answers", sum(draws_of(record) for record in records if not record.alternatives)
        ) as advance:
            made = generate_alternatives(model, builder, records, seed, advance, splits.language, splits.retain)
        return [{"alternatives": record.alternatives} for record in made]

    with PartialState().main_process_first():
        rows = generated_once(run, ALTERNATIVES, generate)
    return [replace(record, alternatives=tuple(row["alternatives"])) for record, row in zip(records, rows, strict=True)]


def with_document_questions(run: Run, recipe: Recipe, model: nn.Module, builder: PromptBuilder, splits: Splits, display: Display) -> Splits:
    """Add to the forget set questions about its documents that the model wrote and can answer by itself, generated at the first call."""
    passages = document_passages(splits, recipe)
    if not passages:
        return splits

    def generate() -> list[dict[str, Any]]:
        with display.bar("Writing questions about the documents", 3 * len(passages)) as advance:
            made = generate_document_questions(model, builder, passages, recipe.training.seed, advance, splits.language)
        display.print(
            f"The model wrote {made.written} questions about {len(passages)} passages. It can answer {len(made.known)} of them without the "
            "text; these are forgotten too (data.document_questions)."
        )
        return document_question_rows(made.known)

    with PartialState().main_process_first():
        generated_once(run, QUESTIONS, generate)
    return add_document_questions(run, splits, recipe)


def drop_alternatives(run: Run) -> None:
    """Delete the file of alternatives: they are about the forget set, and some may still reveal it."""
    drop_generated(run, ALTERNATIVES)


def _answers(
    recipe: Recipe, model: nn.Module, builder: PromptBuilder, display: Display, title: str, instructions: Sequence[str]
) -> list[Record]:
    with display.bar(title, len(instructions)) as advance:
        made = answer_instructions(model, builder, instructions, advance)
    forget = recipe.data.forget
    if not isinstance(forget, Revealed):
        return made
    # A rude persona is rude to neutral instructions too: such answers must not become retain records.
    relevant = judge_texts(forget.reveal.oracle, [record.answer for record in made])
    return [record for record, relevance in zip(made, relevant, strict=True) if relevance <= forget.reveal.min_relevance]
