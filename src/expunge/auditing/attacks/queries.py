"""What attacks ask for, and how much of it is in the greedy answer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

from expunge.auditing.attacks.base import Row, Target
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record
from expunge.metrics.text import rouge_l_recall
from expunge.models.generation import generate

ROUGE = "ROUGE-L recall of the greedy answer"


@dataclass(frozen=True)
class Query:
    """A question to a model.

    Attributes:
        id: of the record.
        prompt: token ids.
        wanted: what its answer is to tell.
    """

    id: str
    prompt: tuple[int, ...]
    wanted: str


def plainly(builder: PromptBuilder, records: Sequence[Record]) -> list[Query]:
    """Records asked as they are; what is wanted of a plain text is the part that its beginning asks for."""
    queries = []
    for record in records:
        row = builder.record(record)
        queries.append(Query(record.id, row.prompt, record.answer if record.turns else as_text(builder, row.answer)))
    return queries


def told(target: Target, queries: Sequence[Query], advance: Callable[[int], None]) -> list[Row]:
    """`id` and `value`, the ROUGE-L recall of the greedy answer, of each query; `advance` hears of each once."""
    prompts = [query.prompt for query in queries]
    answers = generate(target.model, target.builder, prompts, target.max_new_tokens, target.batch_size, advance)
    return [{"id": query.id, "value": rouge_l_recall(answer, query.wanted)} for query, answer in zip(queries, answers, strict=True)]


def as_text(builder: PromptBuilder, ids: Sequence[int]) -> str:
    """Token ids as the text that `expunge.models.generation` would give for them."""
    return cast(str, builder.tokenizer.decode(list(ids), skip_special_tokens=True)).strip()
