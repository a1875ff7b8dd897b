"""Named entities in sentences: the CoNLL reader, the JSON answer that lists them, and strict F1 (`nervaluate`)."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nervaluate import Evaluator

from expunge.data.fields import quoted
from expunge.errors import InputError
from expunge.metrics.statistics import MetricValue
from expunge.oracles.json_entities import first_json, read_entities

TYPES = ("PER", "LOC", "ORG", "MISC")
DOCUMENT = "-DOCSTART-"


@dataclass(frozen=True)
class Span:
    """An entity in a sentence: its type, its first token and its last one, counted from 0."""

    type: str
    start: int
    end: int


@dataclass(frozen=True)
class Sentence:
    """Tokens of a sentence and the entities in it, in their order; `line` is that of its first token."""

    tokens: tuple[str, ...]
    spans: tuple[Span, ...]
    line: int

    @property
    def text(self) -> str:
        """The tokens with spaces between them: what stands in an answer stands in it as it is."""
        return " ".join(self.tokens)

    def names(self, type_: str) -> list[str]:
        """The texts of its entities of a type."""
        return [" ".join(self.tokens[span.start : span.end + 1]) for span in self.spans if span.type == type_]

    @property
    def answer(self) -> str:
        """A JSON object of all four types, always in the same order, each with a list of texts."""
        return json.dumps({type_: self.names(type_) for type_ in TYPES}, ensure_ascii=False)


def read_sentences(path: str) -> list[Sentence]:
    """Read a CoNLL file: a token a line, its tag in the last column, a blank line between sentences.

    Tags are `O`, or `B-` or `I-` and one of PER, LOC, ORG, MISC; an entity begins at `B-` and wherever the type changes (IOB1, as
    Wikigold and CoNLL-2003 have it, and BIO are read alike). `-DOCSTART-` lines are no sentences.

    Raises:
        InputError: the file cannot be read, or the first fault as `file:line: what is wrong`.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    sentences: list[Sentence] = []
    rows: list[tuple[str, str]] = []
    columns = 0
    for number, line in enumerate([*lines, ""], 1):
        cells = line.split()
        if not cells or cells[0] == DOCUMENT:
            if rows:
                sentences.append(_sentence(rows, number - len(rows)))
            rows = []
        else:
            columns = columns or len(cells)
            rows.append(_row(f"{path}:{number}", cells, columns))
    if not sentences:
        raise InputError(f"{path}:1: there are no sentences in it")
    return sentences


def is_object(answer: str) -> bool:
    """Whether there is JSON in an answer, and what comes first of it is an object."""
    found = first_json(answer)
    return found is not None and isinstance(found[0], dict)


def found_spans(sentence: Sentence, type_: str, texts: Sequence[str]) -> list[Span]:
    """Where the texts of an answer stand in its sentence.

    A text that is an entity of this type is taken for it; any other for its first occurrence that is still free. What stands nowhere, or
    not so often, gets a place behind the sentence: it was said, and is wrong.
    """
    spans: list[Span] = []
    entities = [span for span in sentence.spans if span.type == type_]
    others = []
    for text in texts:
        tokens = tuple(text.split())
        own = next((span for span in entities if sentence.tokens[span.start : span.end + 1] == tokens), None)
        if own is None:
            others.append(tokens)
        else:
            entities.remove(own)
            spans.append(own)
    taken = {i for span in spans for i in range(span.start, span.end + 1)}
    behind = len(sentence.tokens)
    for tokens in others:
        places = (start for start in range(len(sentence.tokens)) if _stands(sentence, tokens, start, taken))
        start = next(places, behind)
        if start == behind:
            behind += max(1, len(tokens))
        end = start + max(1, len(tokens)) - 1
        taken.update(range(start, end + 1))
        spans.append(Span(type_, start, end))
    return spans


def strict_f1(sentences: Sequence[Sentence], answers: Sequence[str]) -> dict[str, MetricValue]:
    """F1 of each type: an entity counts where both its bounds and its type are right (`nervaluate`, strict).

    Args:
        sentences: with their true entities.
        answers: the model's, one each, read as the `json-entities` oracle reads them.

    Returns:
        {type: F1 and the number of true entities}; 0 where there is nothing to find or nothing was found.
    """
    listed = [read_entities(answer) for answer in answers]
    figures = {}
    for type_ in TYPES:
        true = [[_as_dict(span) for span in sentence.spans if span.type == type_] for sentence in sentences]
        said = [
            [_as_dict(span) for span in found_spans(sentence, type_, texts.get(type_, []))]
            for sentence, texts in zip(sentences, listed, strict=True)
        ]
        strict = Evaluator(true, said, tags=[type_], loader="dict").evaluate()["overall"]["strict"]
        figures[type_] = MetricValue(float(strict.f1), strict.possible)
    return figures


def _stands(sentence: Sentence, tokens: tuple[str, ...], start: int, taken: set[int]) -> bool:
    end = start + len(tokens)
    return bool(tokens) and sentence.tokens[start:end] == tokens and taken.isdisjoint(range(start, end))


def _as_dict(span: Span) -> dict[str, Any]:
    return {"label": span.type, "start": span.start, "end": span.end}


def _row(where: str, cells: list[str], columns: int) -> tuple[str, str]:
    if len(cells) < 2:
        raise InputError(f"{where}: there is no tag after {quoted(cells[0])}; a line is a token and its tag")
    if len(cells) != columns:
        raise InputError(f"{where}: there are {len(cells)} columns, the first line has {columns}")
    tag = cells[-1]
    prefix, _, type_ = tag.partition("-")
    if tag != "O" and not (prefix in ("B", "I") and type_ in TYPES):
        raise InputError(f"{where}: the tag is {quoted(tag)}; it must be O, or B- or I- and one of {', '.join(TYPES)}")
    return cells[0], tag


def _sentence(rows: list[tuple[str, str]], line: int) -> Sentence:
    tags = [tag for _, tag in rows]
    return Sentence(tuple(token for token, _ in rows), tuple(_spans(tags)), line)


def _spans(tags: list[str]) -> Iterator[Span]:
    start = 0
    for i, tag in enumerate(tags):
        if i and (tag.startswith("B-") or tag[2:] != tags[i - 1][2:]):
            start = i
        if tag != "O" and (i + 1 == len(tags) or tags[i + 1].startswith("B-") or tags[i + 1][2:] != tag[2:]):
            yield Span(tag[2:], start, i)
