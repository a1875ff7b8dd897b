"""Measure one model on the audit's sets: one row a record, every metric of it, nothing averaged yet."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from expunge.audit.metrics.choices import by_letters, by_text, is_right, option_nll
from expunge.audit.metrics.likelihood import (
    AnswerScore,
    each_answer,
    exact_memorization,
    extraction_strength,
    probability,
    probability_with_options,
    truth_ratio,
)
from expunge.audit.metrics.text import is_degenerate, is_refusal, rouge_l_recall
from expunge.audit.names import PARAPHRASE
from expunge.data.prompts import PromptBuilder, by_length
from expunge.data.questions import Question
from expunge.data.records import Record
from expunge.edits import REQUEST
from expunge.models.asked import ask
from expunge.models.candidates import score_candidates
from expunge.models.generation import answer_greedily

Row = dict[str, Any]
Item = TypeVar("Item", Record, Question)


@dataclass(frozen=True)
class Settings:
    """How much is measured: see `expunge.recipe.AuditSection`."""

    max_new_tokens: int
    batch_size: int
    show_text: bool


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


def draw(records: list[Item], at_most: int | None, seed: int) -> list[Item]:
    """The records, or a seeded sample of them in their own order."""
    if at_most is None or len(records) <= at_most:
        return records
    chosen = np.random.default_rng([seed, 3]).choice(len(records), at_most, replace=False)
    return [records[i] for i in sorted(chosen)]


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
    rows: list[Row] = []
    for name, questions in sets.questions.items():
        forms = {"right_by_letters": by_letters, "right_by_text": by_text}
        arguments = builder.tokenizer, questions
        nll = {column: option_nll(model, *arguments, form, builder.pad, settings.batch_size, advance) for column, form in forms.items()}
        for i, question in enumerate(questions):
            right = {column: is_right(question, form, nll[column][i]) for column, form in forms.items()}
            rows.append({"set": name, "id": question.id, **right})
    for name, records in sets.records.items():
        found = measure_records(model, builder, records, name.endswith(PARAPHRASE), settings, advance)
        rows += [{"set": name, "id": record.id, **row} for record, row in zip(records, found, strict=True)]
    return rows


def measure_records(
    model: nn.Module, builder: PromptBuilder, records: list[Record], answer_only: bool, settings: Settings, advance: Callable[[int], None]
) -> list[Row]:
    """The metrics of one set's records, in their order.

    A prompt is read once: its answer, its paraphrased answer, its wrong answers and the model's own go on from there.

    Args:
        model: in evaluation mode.
        builder: of its tokenizer.
        records: of one set.
        answer_only: leave the truth ratio out, and what it needs.
        settings: lengths and batch size; with no new tokens nothing is generated.
        advance: called with the number of records done, twice a record (scored, answered).
    """
    rows: list[Row] = [{} for _ in records]
    encoded = [builder.record(record) for record in records]
    answers = [
        [row.answer] if answer_only else candidates(builder, record, row.answer) for record, row in zip(records, encoded, strict=True)
    ]
    for chosen in by_length([row.prompt for row in encoded], settings.batch_size):
        asked = ask(model, [encoded[i].prompt for i in chosen], builder.pad)
        scored = iter(each_answer(score_candidates(model, asked, [answers[i] for i in chosen], builder.pad)))
        gates = [logits for (adapter, _), logits in asked.gates.items() if adapter == REQUEST]
        for place, i in enumerate(chosen):
            rows[i] = _row([next(scored) for _ in answers[i]])
            if gates:
                rows[i]["gate"] = torch.stack(gates).amax(0)[place].item()
        advance(len(chosen))
        if settings.max_new_tokens:
            for i, answer in zip(chosen, answer_greedily(model, builder, asked, settings.max_new_tokens), strict=True):
                rows[i] |= _said(answer, records[i], settings)
        advance(len(chosen))
    return rows


def _said(answer: str, record: Record, settings: Settings) -> Row:
    said: Row = {"rouge": rouge_l_recall(answer, record.answer), "refusal": is_refusal(answer), "degenerate": is_degenerate(answer)}
    return {**said, "answer": answer} if settings.show_text else said


def candidates(builder: PromptBuilder, record: Record, answer: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Token ids of the answer, then where there are wrong ones for a truth ratio its paraphrase (else itself) and the wrong answers."""
    if not record.wrong_answers:
        return [answer]
    paraphrase = builder.answer(record.paraphrased_answer) if record.paraphrased_answer else answer
    return [answer, paraphrase, *(builder.answer(wrong) for wrong in record.wrong_answers)]


def _row(scores: list[AnswerScore]) -> Row:
    answer, *others = scores
    p = probability(answer.nll, answer.tokens)
    row: Row = {
        "nll": answer.nll,
        "tokens": answer.tokens,
        "probability": p,
        "exact_memorization": exact_memorization(answer.greedy_match),
        "extraction_strength": extraction_strength(answer.greedy_match),
    }
    if others:
        paraphrase, *wrong = others
        row["truth_ratio"] = truth_ratio([w.loss for w in wrong], paraphrase.loss)
        row["probability_options"] = probability_with_options(p, [probability(w.nll, w.tokens) for w in wrong])
    return row
