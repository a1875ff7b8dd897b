"""Prompts that an attack sends, and how much of the expected answer is in the model's greedy answer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from expunge.auditing.attacks.base import Row, Target
from expunge.auditing.blindness import answer_scores, true_answer
from expunge.data.prompts import PromptBuilder
from expunge.data.reasoning import Answer
from expunge.data.records import Record
from expunge.models.generation import generate_answers


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
        queries.append(Query(record.id, row.prompt, true_answer(builder, record, row.answer)))
    return queries


def recall_rows(target: Target, queries: Sequence[Query], advance: Callable[[int], None]) -> list[Row]:
    """Send queries to a model; return `id`, `value` (the ROUGE-L recall of its greedy answer), `chrf`, and how well both see, of each.

    Where the model reasons before it answers, the row also has `reasoning`, see `expunge.auditing.blindness.answer_scores`.

    Args:
        target: the model, and how it generates.
        queries: to send.
        advance: called with the number of queries done since the last call.
    """
    prompts = [query.prompt for query in queries]
    answers = generate_answers(target.model, target.builder, prompts, target.max_new_tokens, target.batch_size, advance)
    return [_row(target, query, answer) for query, answer in zip(queries, answers, strict=True)]


def _row(target: Target, query: Query, answer: Answer) -> Row:
    scores = answer_scores(target.builder, answer, query.answer, target.max_new_tokens)
    renamed = {"rouge": "value", "reach_rouge": "reach", "blind_rouge": "blind"}
    return {"id": query.id, **{renamed.get(name, name): score for name, score in scores.items()}}
