"""Measure one model on the audit's sets: one row a record, every metric of it, nothing averaged yet."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from expunge.audit.metrics.likelihood import (
    AnswerScore,
    answer_scores,
    exact_memorization,
    extraction_strength,
    probability,
    probability_with_options,
    truth_ratio,
)
from expunge.audit.metrics.text import is_degenerate, is_refusal, rouge_l_recall
from expunge.data.prompts import Encoded, PromptBuilder, collate
from expunge.data.records import Record
from expunge.edits import gate_logits
from expunge.models.generation import generate
from expunge.models.scoring import score

PARAPHRASE = "_paraphrase"
"""Suffix of a set whose questions are put in other words: generation, probability and gate only."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """How much is measured: see `expunge.recipe.AuditSection`."""

    max_new_tokens: int
    batch_size: int


def with_paraphrases(sets: dict[str, list[Record]]) -> dict[str, list[Record]]:
    """The sets, each followed by its paraphrased questions where its records have some."""
    every: dict[str, list[Record]] = {}
    for name, records in sets.items():
        every[name] = records
        reworded = [
            replace(r, turns=(*r.turns[:-1], replace(r.turns[-1], content=r.paraphrased_prompt))) for r in records if r.paraphrased_prompt
        ]
        if reworded:
            every[name + PARAPHRASE] = reworded
    return every


def draw(records: list[Record], at_most: int | None, seed: int) -> list[Record]:
    """The records, or a seeded sample of them in their own order."""
    if at_most is None or len(records) <= at_most:
        return records
    chosen = np.random.default_rng([seed, 3]).choice(len(records), at_most, replace=False)
    return [records[i] for i in sorted(chosen)]


def measure(
    model: nn.Module, builder: PromptBuilder, sets: dict[str, list[Record]], settings: Settings, advance: Callable[[int], None]
) -> list[Row]:
    """Measure a model on every set.

    Args:
        model: in evaluation mode, with its edit on or off.
        builder: of its tokenizer.
        sets: as `with_paraphrases` gives them.
        settings: lengths and batch size.
        advance: called with the number of records done, twice a record (scored, answered).

    Returns:
        A row a record: `set`, `id`, `probability`, `nll`, `tokens`, `exact_memorization`, `extraction_strength`, `rouge`,
        `refusal`, `degenerate`, `answer`, and where there is what they need `truth_ratio`, `probability_options`, `gate`.
    """
    rows: list[Row] = []
    for name, records in sets.items():
        scored = _score(model, builder, records, name.endswith(PARAPHRASE), settings, advance)
        prompts = [builder.record(record).prompt for record in records]
        answers = generate(model, builder, prompts, settings.max_new_tokens, settings.batch_size, advance)
        for record, part, answer in zip(records, scored, answers, strict=True):
            said = {
                "rouge": rouge_l_recall(answer, record.answer),
                "refusal": is_refusal(answer),
                "degenerate": is_degenerate(answer),
                "answer": answer,
            }
            rows.append({"set": name, "id": record.id, **part, **said})
    return rows


def _score(
    model: nn.Module, builder: PromptBuilder, records: list[Record], answer_only: bool, settings: Settings, advance: Callable
) -> list[Row]:
    """Likelihood metrics of every record: its answer, its paraphrased answer and its wrong answers are scored in one stream."""
    wanted = []
    for i, record in enumerate(records):
        wanted.append((i, "answer", builder.record(record)))
        if answer_only or not record.wrong_answers:
            continue
        wanted.append((i, "paraphrase", builder.record(record, answer=record.paraphrased_answer)))
        wanted += [(i, "wrong", builder.record(record, answer=wrong)) for wrong in record.wrong_answers]
    order = sorted(range(len(wanted)), key=lambda j: _length(wanted[j][2]))
    found: list[dict[str, list[tuple[AnswerScore, float | None]]]] = [{} for _ in records]
    device = next(model.parameters()).device
    for start in range(0, len(order), settings.batch_size):
        chosen = [wanted[j] for j in order[start : start + settings.batch_size]]
        with torch.no_grad():
            scores = score(model, collate([row for _, _, row in chosen], builder.pad).to(device), logits=True)
        said = gate_logits(model)
        gates = [None] * len(chosen) if said is None else said.amax(0).tolist()
        for (i, kind, _), answer, gate in zip(chosen, answer_scores(scores), gates, strict=True):
            found[i].setdefault(kind, []).append((answer, gate))
            if kind == "answer":
                advance(1)
    return [_row(parts) for parts in found]


def _row(parts: dict[str, list[tuple[AnswerScore, float | None]]]) -> Row:
    answer, gate = parts["answer"][0]
    p = probability(answer.nll, answer.tokens)
    row: Row = {
        "nll": answer.nll,
        "tokens": answer.tokens,
        "probability": p,
        "exact_memorization": exact_memorization(answer.greedy_match),
        "extraction_strength": extraction_strength(answer.greedy_match),
    }
    if "wrong" in parts:
        wrong = [score for score, _ in parts["wrong"]]
        row["truth_ratio"] = truth_ratio([w.loss for w in wrong], parts["paraphrase"][0][0].loss)
        row["probability_options"] = probability_with_options(p, [probability(w.nll, w.tokens) for w in wrong])
    if gate is not None:
        row["gate"] = gate
    return row


def _length(row: Encoded) -> int:
    return len(row.prompt) + len(row.answer)
