"""The dresses that a gate's lessons wear: texts in other spellings, questions also wrapped and surrounded, none as in the exam."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from expunge.config import Lesson
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record, Turn
from expunge.data.texts import asides, surroundings, wrappers
from expunge.data.variants import mistyped

Ids = tuple[int, ...]

# Of the eight kinds of wrapper the last two are for validation and calibration.
LEARNT_WRAPPERS = 18
NOTES, NOTE_LENGTH = 3, 200
SPOKEN_ALONE = ("{aside}", "Sum this up.\n{aside}", "Is anything wrong here? {aside}")


def spelt_and_wrapped(
    builder: PromptBuilder,
    records: Sequence[Record],
    spelt: Sequence[Record],
    to_mistype: Sequence[Record],
    wanted: Sequence[Lesson],
    wrapped: int,
    seed: list[int],
) -> list[Ids]:
    """The records' prompts each in some wrappers, those of some of them in lower and upper case, of some with mistakes."""
    said: list[Ids] = []
    if "lower_case" in wanted:
        said += [_spelt(builder, record, _text(record).lower()) for record in spelt]
    if "upper_case" in wanted:
        said += [_spelt(builder, record, _text(record).upper()) for record in spelt]
    if "mistyped" in wanted:
        rng = np.random.default_rng([*seed, 0])
        said += [_spelt(builder, record, mistyped(_text(record), rng)) for record in to_mistype]
    if "wrappers" in wanted:
        rng = np.random.default_rng([*seed, 1])
        for record in records:
            chosen = rng.choice(wrappers()[:LEARNT_WRAPPERS], wrapped, replace=False)
            said += [_ask(builder, record, wrapper.format(prompt=record.prompt)) for wrapper in chosen if record.turns]
    return said


def surrounded(builder: PromptBuilder, record: Record, others: Sequence[Record], kind: str, rng: np.random.Generator) -> list[Ids]:
    """The record's prompt beside something else: what is said beside a question is no cue. None for a plain text.

    Args:
        builder: of the model's tokenizer.
        record: whose question it is.
        others: the retain set, of which notes and examples are made.
        kind: of `surroundings.yaml`.
        rng: of the template and what fills it.
    """
    if not record.turns:
        return []
    fill = {"prompt": record.prompt}
    if kind == "notes":
        fill["notes"] = " ".join(others[i].answer[:NOTE_LENGTH] for i in rng.integers(len(others), size=NOTES))
    elif kind == "examples":
        for place, i in enumerate(rng.integers(len(others), size=2), 1):
            fill |= {f"other{place}": others[i].prompt, f"other{place}_answer": others[i].answer[:NOTE_LENGTH]}
    else:
        fill["aside"] = str(rng.choice(asides()))
    return [_ask(builder, record, str(rng.choice(surroundings()[kind])).format_map(fill))]


def asides_alone(builder: PromptBuilder) -> list[Ids]:
    """The shipped asides with no question beside them, or one about them."""
    return [builder.prompt((Turn("user", form.format(aside=aside)),)) for aside in asides() for form in SPOKEN_ALONE]


def unlearnt(builder: PromptBuilder, record: Record, rng: np.random.Generator) -> list[Ids]:
    """The record's prompt mistyped in a wrapper of a kind that nothing is learnt from. None for a plain text."""
    wrapper = wrappers()[LEARNT_WRAPPERS + int(rng.integers(len(wrappers()) - LEARNT_WRAPPERS))]
    return [_ask(builder, record, wrapper.format(prompt=mistyped(record.prompt, rng)))] if record.turns else []


def _text(record: Record) -> str:
    return record.prompt if record.turns else record.answer


def _spelt(builder: PromptBuilder, record: Record, text: str) -> Ids:
    return builder.record(record, prompt=text).prompt if record.turns else builder.record(replace(record, answer=text)).prompt


def _ask(builder: PromptBuilder, record: Record, text: str) -> Ids:
    return builder.record(record, prompt=text).prompt
