"""Prompts that an attack sends, and how much of the expected answer is in the model's greedy answer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

from expunge.auditing.attacks.base import Row, Target
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record
from expunge.metrics.text import rouge_l_recall
from expunge.models.generation import generate


@dataclass(frozen=True)
class Query:
    """A prompt and the answer that would be a leak.

    Attributes:
        id: of the record.
        prompt: token ids.
        answer: the expected answer.
    """

    id: str
    prompt: tuple[int, ...]
    answer: str


def plain_queries(builder: PromptBuilder, records: Sequence[Record]) -> list[Query]:
    """Return each record's prompt and answer unchanged; of a plain text, its beginning and the rest."""
    queries = []
    for record in records:
        row = builder.record(record)
        queries.append(Query(record.id, row.prompt, record.answer if record.turns else as_text(builder, row.answer)))
    return queries


def recall_rows(target: Target, queries: Sequence[Query], advance: Callable[[int], None]) -> list[Row]:
    """Send queries to a model; return `id` and `value`, the ROUGE-L recall of its greedy answer, of each.

    Args:
        target: the model, and how it generates.
        queries: to send.
        advance: called with the number of queries done since the last call.
    """
    prompts = [query.prompt for query in queries]
    answers = generate(target.model, target.builder, prompts, target.max_new_tokens, target.batch_size, advance)
    return [{"id": query.id, "value": rouge_l_recall(answer, query.answer)} for query, answer in zip(queries, answers, strict=True)]


def as_text(builder: PromptBuilder, ids: Sequence[int]) -> str:
    """Decode token ids as `expunge.models.generation` decodes answers."""
    return cast(str, builder.tokenizer.decode(list(ids), skip_special_tokens=True)).strip()
