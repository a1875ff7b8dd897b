"""Compute the metrics of records: of one model, or of a model with its edit off and on, which share what they can."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from expunge.auditing.blindness import UNFINISHED, answer_scores, columns, other_columns, true_answer
from expunge.data.prompts import PromptBuilder, decoding_batches
from expunge.data.questions import Question
from expunge.data.reasoning import Answer
from expunge.data.records import Record
from expunge.edits.active import edits_off, entry_block, pooled_gate_logits
from expunge.edits.requests import REQUEST
from expunge.metrics.choices import by_letters, by_text, is_right, option_nll
from expunge.metrics.likelihood import (
    AnswerScore,
    each_answer,
    exact_memorization,
    extraction_strength,
    probability,
    probability_with_options,
    truth_ratio,
)
from expunge.metrics.text import is_degenerate, is_refusal
from expunge.models.generation import decode_answers
from expunge.models.prefix import PrefixUnsupported
from expunge.models.prompt_cache import PromptCache, read_prompts, read_prompts_off_and_on
from expunge.models.ranks import dealt
from expunge.models.shared_prompt_scoring import score_answers

Row = dict[str, Any]
Prompts = Sequence[tuple[int, ...]]


@dataclass(frozen=True)
class Settings:
    """Lengths and batch size of an audit, see `expunge.config.recipe.AuditSection`."""

    max_new_tokens: int
    batch_size: int
    show_text: bool


@dataclass(frozen=True)
class Subject:
    """A model to measure, seen in one or more ways (with its edit off or on).

    Attributes:
        model: in evaluation mode.
        builder: of its tokenizer.
        views: contexts; within each the model is in one of the ways.
        read: returns the KV cache of prompts for each view.
    """

    model: nn.Module
    builder: PromptBuilder
    views: Sequence[Callable[[], AbstractContextManager]]
    read: Callable[[Prompts], tuple[PromptCache, ...]]


def alone(model: nn.Module, builder: PromptBuilder) -> Subject:
    """Return a model with a single view."""
    return Subject(model, builder, (nullcontext,), lambda prompts: (read_prompts(model, prompts, builder.pad),))


def off_and_on(model: nn.Module, builder: PromptBuilder) -> Subject:
    """Return a model with two views: adapter off, adapter on."""
    off, late = partial(edits_off, model, REQUEST), _starts_late(model)

    def read(prompts: Prompts) -> tuple[PromptCache, ...]:
        if late:
            return read_prompts_off_and_on(model, prompts, builder.pad, off, partial(pooled_gate_logits, model))
        with off():
            without = read_prompts(model, prompts, builder.pad)
        return without, read_prompts(model, prompts, builder.pad)

    return Subject(model, builder, (off, nullcontext), read)


def _starts_late(model: nn.Module) -> bool:
    """Return whether the edits change nothing before the last prompt token."""
    try:
        entry_block(model)
    except PrefixUnsupported:
        return False
    return True


def question_rows(subject: Subject, questions: list[Question], batch_size: int, advance: Callable[[int], None]) -> list[list[Row]]:
    """Return for each view whether each question is answered correctly, by letters and by text.

    `advance` is called with the number of questions done, twice a view.
    """
    forms = {"right_by_letters": by_letters, "right_by_text": by_text}
    rows: list[list[Row]] = [[{} for _ in questions] for _ in subject.views]
    for view, of_view in zip(subject.views, rows, strict=True):
        for column, form in forms.items():
            with view():
                nll = option_nll(subject.model, subject.builder.tokenizer, questions, form, subject.builder.pad, batch_size, advance)
            for row, question, of_options in zip(of_view, questions, nll, strict=True):
                row[column] = is_right(question, form, of_options)
    return rows


def record_rows(
    subject: Subject, records: Sequence[Record], answer_only: Sequence[bool], settings: Settings, advance: Callable[[int], None]
) -> list[list[Row]]:
    """Return the metrics of records, in their order, for each view.

    A prompt is read once: its answer, its paraphrased answer, its wrong answers and the generated answer all continue its KV cache.

    Args:
        subject: the model to measure.
        records: of any sets.
        answer_only: for each record, whether to leave out the truth ratio and the answers that it needs.
        settings: lengths and batch size; with no new tokens nothing is generated.
        advance: called with the number of records done, twice a record and view (scored, answered).
    """
    model, builder = subject.model, subject.builder
    rows: list[list[Row]] = [[{} for _ in records] for _ in subject.views]
    encoded = [builder.record(record) for record in records]
    truths = [true_answer(builder, record, row.answer) for record, row in zip(records, encoded, strict=True)]
    answers = [
        [row.answer] if only else candidates(builder, record, row.answer)
        for record, row, only in zip(records, encoded, answer_only, strict=True)
    ]

    def measured(chosen: Sequence[int]) -> list[list[Row]]:
        """Return the rows of a batch, for each view."""
        by_view: list[list[Row]] = []
        for view, cached in zip(subject.views, subject.read([encoded[i].prompt for i in chosen]), strict=True):
            with view():
                scored = iter(each_answer(score_answers(model, cached, [answers[i] for i in chosen], builder.pad)))
                of_batch = [_row([next(scored).after(encoded[i].unscored) for _ in answers[i]]) for i in chosen]
                if gates := [logits for (adapter, _), logits in cached.gate_logits.items() if adapter == REQUEST]:
                    for row, gate in zip(of_batch, torch.stack(gates).amax(0), strict=True):
                        row["gate"] = gate.item()
                advance(len(chosen))
                if settings.max_new_tokens:
                    decoded = decode_answers(model, builder, cached, settings.max_new_tokens)
                    for row, i, answer in zip(of_batch, chosen, decoded, strict=True):
                        row |= _answer_metrics(builder, answer, truths[i], settings)
                advance(len(chosen))
            by_view.append(of_batch)
        return by_view

    batches = list(decoding_batches([row.prompt for row in encoded], settings.batch_size, settings.max_new_tokens))
    for chosen, by_view in zip(batches, dealt(batches, measured), strict=True):
        for of_view, of_batch in zip(rows, by_view, strict=True):
            for i, row in zip(chosen, of_batch, strict=True):
                of_view[i] = row
    return rows


def _answer_metrics(builder: PromptBuilder, answer: Answer, truth: str, settings: Settings) -> Row:
    metrics = answer_scores(builder, answer, truth, settings.max_new_tokens) | other_columns(builder, truth)
    metrics |= {"refusal": is_refusal(answer.text), "degenerate": is_degenerate(answer.text)}
    if answer.unfinished:
        metrics |= columns(UNFINISHED, "degenerate")
    return {**metrics, "answer": answer.text} if settings.show_text else metrics


def candidates(builder: PromptBuilder, record: Record, answer: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return token ids of the answer; for a truth ratio also of its paraphrase (or itself again) and of the wrong answers."""
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
