"""Measure models on the sets of an audit: one row for each record, with all its metrics, not averaged yet."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from torch import nn

from expunge.auditing.blindness import columns, refusal_sensitivity
from expunge.auditing.english import in_english
from expunge.auditing.record_metrics import Row, Settings, Subject, alone, off_and_on, question_rows, record_rows
from expunge.data.prompts import PromptBuilder
from expunge.data.questions import Question
from expunge.data.records import Record
from expunge.data.set_names import PARAPHRASE


@dataclass(frozen=True)
class AuditSets:
    """The sets of an audit, by name.

    Attributes:
        records: sets of records to score and to answer.
        questions: sets of multiple-choice questions.
    """

    records: dict[str, list[Record]]
    questions: dict[str, list[Question]] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """The number of all records and questions."""
        return sum(map(len, (*self.records.values(), *self.questions.values())))


def with_paraphrases(sets: dict[str, list[Record]]) -> dict[str, list[Record]]:
    """Return the sets, each followed by the set of its paraphrased questions if its records have some."""
    with_paraphrased: dict[str, list[Record]] = {}
    for name, records in sets.items():
        with_paraphrased[name] = records
        paraphrased = [
            replace(r, turns=(*r.turns[:-1], replace(r.turns[-1], content=r.paraphrased_prompt)))
            for r in records
            if r.turns and r.paraphrased_prompt
        ]
        if paraphrased:
            with_paraphrased[name + PARAPHRASE] = paraphrased
    return with_paraphrased


def measure(model: nn.Module, builder: PromptBuilder, sets: AuditSets, settings: Settings, advance: Callable[[int], None]) -> list[Row]:
    """Measure a model on every set.

    Args:
        model: in evaluation mode, with its edit on or off.
        builder: of its tokenizer.
        sets: records as `with_paraphrases` gives them, and multiple-choice questions.
        settings: lengths and batch size.
        advance: called with the number of records done, twice a record (scored, answered).

    Returns:
        One row for each record: `set`, `id`, `probability`, `nll`, `tokens`, `exact_memorization`, `extraction_strength`, `rouge`,
        `refusal`, `degenerate`, and for metrics of the answer `reach_…` and `blind_…` (see `expunge.auditing.blindness`);
        `truth_ratio`, `probability_options`, `document` and `gate` for records and models that have them; with `show_text` the `answer`,
        which is not stored otherwise because it may contain text to forget. For a question: `right_by_letters`, `right_by_text`.
    """
    return _measure(alone(model, builder), sets, settings, advance)[0]


def measure_both(
    model: nn.Module, builder: PromptBuilder, sets: AuditSets, settings: Settings, advance: Callable[[int], None]
) -> tuple[list[Row], list[Row]]:
    """Measure a model with its edit off and on; everything that an edit at the last prompt token does not change is computed once.

    Args:
        model: in evaluation mode, with an adapter.
        builder: of its tokenizer.
        sets: as for `measure`.
        settings: lengths and batch size.
        advance: called with the number of records done, four times a record.
    """
    off, on = _measure(off_and_on(model, builder), sets, settings, advance)
    return off, on


def _measure(subject: Subject, sets: AuditSets, settings: Settings, advance: Callable[[int], None]) -> list[list[Row]]:
    rows: list[list[Row]] = [[] for _ in subject.views]
    for name, questions in sets.questions.items():
        for of_view, metrics in zip(rows, question_rows(subject, questions, settings.batch_size, advance), strict=True):
            of_view += [{"set": name, "id": question.id, **row} for question, row in zip(questions, metrics, strict=True)]
    # All sets are measured together, because a batch of few rows takes nearly as long as one of many.
    records = [(name, record) for name, of_set in sets.records.items() for record in of_set]
    is_paraphrase = [name.endswith(PARAPHRASE) for name, _ in records]
    results = record_rows(subject, [record for _, record in records], is_paraphrase, settings, advance)
    refusals = [refusal for of_set in sets.records.values() for refusal in _refusal_columns(of_set)]
    for of_view, metrics in zip(rows, results, strict=True):
        of_view += [
            {"set": name, "id": record.id, **_document(record), **row, **refusal}
            for (name, record), row, refusal in zip(records, metrics, refusals, strict=True)
        ]
    return rows


def _document(record: Record) -> Row:
    return {} if record.document is None else {"document": record.document}


def _refusal_columns(records: list[Record]) -> list[Row]:
    """Return for each record of a set how well the metric of refusals sees it."""
    return [
        columns(refusal_sensitivity(record.answer, english), "refusal")
        for record, english in zip(records, in_english(records), strict=True)
    ]
