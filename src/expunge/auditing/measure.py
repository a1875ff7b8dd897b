"""Measure models on the audit's sets: one row a record, every metric of it, nothing averaged yet."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from torch import nn

from expunge.auditing.record_metrics import Row, Settings, Subject, alone, off_and_on, question_rows, record_rows
from expunge.data.prompts import PromptBuilder
from expunge.data.questions import Question
from expunge.data.records import Record
from expunge.data.set_names import PARAPHRASE


@dataclass(frozen=True)
class AuditSets:
    """What is measured, by name.

    Attributes:
        records: to answer and to score.
        questions: of multiple choice.
    """

    records: dict[str, list[Record]]
    questions: dict[str, list[Question]] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """How many there are in all."""
        return sum(map(len, (*self.records.values(), *self.questions.values())))


def with_paraphrases(sets: dict[str, list[Record]]) -> dict[str, list[Record]]:
    """The sets, each followed by its paraphrased questions where its records have some."""
    every: dict[str, list[Record]] = {}
    for name, records in sets.items():
        every[name] = records
        reworded = [
            replace(r, turns=(*r.turns[:-1], replace(r.turns[-1], content=r.paraphrased_prompt)))
            for r in records
            if r.turns and r.paraphrased_prompt
        ]
        if reworded:
            every[name + PARAPHRASE] = reworded
    return every


def measure(model: nn.Module, builder: PromptBuilder, sets: AuditSets, settings: Settings, advance: Callable[[int], None]) -> list[Row]:
    """Measure a model on every set.

    Args:
        model: in evaluation mode, with its edit on or off.
        builder: of its tokenizer.
        sets: records as `with_paraphrases` gives them, and multiple-choice questions.
        settings: lengths and batch size.
        advance: called with the number of records done, twice a record (scored, answered).

    Returns:
        A row a record: `set`, `id`, `probability`, `nll`, `tokens`, `exact_memorization`, `extraction_strength`, `rouge`,
        `refusal`, `degenerate`; where there is what they need `truth_ratio`, `probability_options`, `gate`; with `show_text` the
        `answer` given: what a model says of what is to be forgotten is not kept otherwise. Of a question: `right_by_letters`,
        `right_by_text`.
    """
    return _measure(alone(model, builder), sets, settings, advance)[0]


def measure_both(
    model: nn.Module, builder: PromptBuilder, sets: AuditSets, settings: Settings, advance: Callable[[int], None]
) -> tuple[list[Row], list[Row]]:
    """What `measure` gives with the edit off and with it on; what an edit at the last prompt token leaves as it is is computed once.

    Args:
        model: in evaluation mode, with an adapter.
        builder: of its tokenizer.
        sets: as for `measure`.
        settings: lengths and batch size.
        advance: called with the number of records done, four times a record.
    """
    without, with_it = _measure(off_and_on(model, builder), sets, settings, advance)
    return without, with_it


def _measure(subject: Subject, sets: AuditSets, settings: Settings, advance: Callable[[int], None]) -> list[list[Row]]:
    rows: list[list[Row]] = [[] for _ in subject.views]
    for name, questions in sets.questions.items():
        for of_view, found in zip(rows, question_rows(subject, questions, settings.batch_size, advance), strict=True):
            of_view += [{"set": name, "id": question.id, **row} for question, row in zip(questions, found, strict=True)]
    # All sets together: a batch of few rows takes nearly as long as one of many.
    asked = [(name, record) for name, records in sets.records.items() for record in records]
    found = record_rows(subject, [record for _, record in asked], [name.endswith(PARAPHRASE) for name, _ in asked], settings, advance)
    for of_view, own in zip(rows, found, strict=True):
        of_view += [{"set": name, "id": record.id, **row} for (name, record), row in zip(asked, own, strict=True)]
    return rows
