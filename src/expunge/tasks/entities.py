"""Named entities in sentences: the CoNLL reader, the JSON answer that lists them, and strict F1 (`nervaluate`)."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from nervaluate import Evaluator

from expunge.documents import read_text
from expunge.errors import InputError, quoted
from expunge.metrics.statistics import MetricValue
from expunge.oracles.json_entities import first_json, read_entities

TYPES = ("PER", "LOC", "ORG", "MISC")
DOCUMENT = "-DOCSTART-"


@dataclass(frozen=True)
class Span:
    """An entity in a sentence: its type and the 0-based numbers of its first and last token."""

    type: str
    start: int
    end: int


@dataclass(frozen=True)
class Sentence:
    """The tokens of a sentence and its entities in order; `line` is the line of its first token."""

    tokens: tuple[str, ...]
    spans: tuple[Span, ...]
    line: int

    @property
    def text(self) -> str:
        """Return the tokens joined by spaces."""
        return " ".join(self.tokens)

    def names(self, type_: str) -> list[str]:
        """Return the texts of its entities of a type."""
        return [" ".join(self.tokens[span.start : span.end + 1]) for span in self.spans if span.type == type_]

    @property
    def answer(self) -> str:
        """Return a JSON object {type: texts} with all four types in a fixed order."""
        return json.dumps({type_: self.names(type_) for type_ in TYPES}, ensure_ascii=False)


def read_sentences(path: str) -> list[Sentence]:
    """Read a CoNLL file: one token a line with its tag in the last column; blank lines separate sentences.

    Tags are `O`, or `B-` or `I-` followed by PER, LOC, ORG or MISC. An entity starts at `B-` and wherever the type changes, which reads
    both IOB1 (Wikigold, CoNLL-2003) and BIO. Lines with `-DOCSTART-` are skipped.

    Raises:
        InputError: the file cannot be read, or the first fault as `file:line: what is wrong`.
    """
    lines = read_text(path).split("\n")
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
        raise InputError(f"{path}:1: the file has no sentences")
    return sentences


def is_object(answer: str) -> bool:
    """Return whether the first JSON value in an answer is an object."""
    first = first_json(answer)
    return first is not None and isinstance(first[0], dict)


def answer_spans(sentence: Sentence, type_: str, texts: Sequence[str]) -> list[Span]:
    """Return the spans of an answer's texts in its sentence.

    A text that equals an entity of this type gets the entity's span; any other text gets its first free occurrence. A text that does
    not occur, or not often enough, gets a span after the end of the sentence, so that it counts as a false positive.
    """
    spans: list[Span] = []
    entities = [span for span in sentence.spans if span.type == type_]
    others = []
    for text in texts:
        tokens = tuple(text.split())
        match = next((span for span in entities if sentence.tokens[span.start : span.end + 1] == tokens), None)
        if match is None:
            others.append(tokens)
        else:
            entities.remove(match)
            spans.append(match)
    taken = {i for span in spans for i in range(span.start, span.end + 1)}
    after_end = len(sentence.tokens)
    for tokens in others:
        places = (start for start in range(len(sentence.tokens)) if _is_free_match(sentence, tokens, start, taken))
        start = next(places, after_end)
        if start == after_end:
            after_end += max(1, len(tokens))
        end = start + max(1, len(tokens)) - 1
        taken.update(range(start, end + 1))
        spans.append(Span(type_, start, end))
    return spans


def strict_f1(sentences: Sequence[Sentence], answers: Sequence[str]) -> dict[str, MetricValue]:
    """Return the F1 of each type; an entity is correct if its bounds and its type are (`nervaluate`, strict).

    Args:
        sentences: with their true entities.
        answers: the model's, one for each sentence, read as the `json-entities` oracle reads them.

    Returns:
        {type: F1 and the number of true entities}; 0 if there are no entities or the answers contain none.
    """
    listed = [read_entities(answer) for answer in answers]
    figures = {}
    for type_ in TYPES:
        true = [[_as_dict(span) for span in sentence.spans if span.type == type_] for sentence in sentences]
        predicted = [
            [_as_dict(span) for span in answer_spans(sentence, type_, texts.get(type_, []))]
            for sentence, texts in zip(sentences, listed, strict=True)
        ]
        strict = Evaluator(true, predicted, tags=[type_], loader="dict").evaluate()["overall"]["strict"]
        figures[type_] = MetricValue(float(strict.f1), strict.possible)
    return figures


def _is_free_match(sentence: Sentence, tokens: tuple[str, ...], start: int, taken: set[int]) -> bool:
    end = start + len(tokens)
    return bool(tokens) and sentence.tokens[start:end] == tokens and taken.isdisjoint(range(start, end))


def _as_dict(span: Span) -> dict[str, Any]:
    return {"label": span.type, "start": span.start, "end": span.end}


def _row(where: str, cells: list[str], columns: int) -> tuple[str, str]:
    if len(cells) < 2:
        raise InputError(f"{where}: there is no tag after {quoted(cells[0])}; write a token and its tag in each line")
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
