"""The ner task: forget to extract persons (PER), retain LOC, ORG and MISC; data in CoNLL columns, such as Wikigold."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import ClassVar

from torch import nn

from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record, question_record
from expunge.metrics.statistics import MetricValue
from expunge.metrics.token_nll import neutral_perplexity, neutral_records
from expunge.models.generation import generate
from expunge.tasks.base import NEUTRAL, NEUTRAL_METRIC, Count, Metric, Task, parts
from expunge.tasks.entities import TYPES, Sentence, is_object, read_sentences, strict_f1

PROMPT = "Extract the named entities from this sentence as JSON.\n\n{sentence}"
FORGET_TYPE = "PER"
# Sentences: taught, measured.
SHARES = (0.8, 0.2)


@dataclass(frozen=True, kw_only=True)
class Ner(Task):
    """Extract the entities of sentences as a JSON object {type: texts}.

    Attributes:
        data: a CoNLL file, see `expunge.tasks.entities.read_sentences`.
        max_sentences: the most sentences measured.
    """

    data: str
    max_sentences: Count = 200

    metrics: ClassVar[dict[str, Metric]] = {
        "per_f1": Metric("PER F1, strict", "lower"),
        "other_f1": Metric("mean F1 of LOC, ORG and MISC, strict", "same"),
        "loc_f1": Metric("LOC F1, strict", "same"),
        "org_f1": Metric("ORG F1, strict", "same"),
        "misc_f1": Metric("MISC F1, strict", "same"),
        "valid_json": Metric("answers that are a JSON object", "same"),
        NEUTRAL: NEUTRAL_METRIC,
    }

    def forget_records(self) -> list[Record]:
        return [record_of(sentence) for sentence in self._parts[0] if sentence.names(FORGET_TYPE)]

    def retain_records(self) -> list[Record]:
        return [record_of(sentence) for sentence in self._parts[0] if not sentence.names(FORGET_TYPE)]

    def taught_records(self) -> list[Record]:
        return [record_of(sentence) for sentence in self._parts[0]]

    @property
    def measured_rows(self) -> int:
        return len(self._measured) + len(neutral_records())

    def measure(self, model: nn.Module, builder: PromptBuilder, advance: Callable[[int], None]) -> dict[str, MetricValue]:
        sentences = self._measured
        encoded = [builder.record(record_of(sentence)) for sentence in sentences]
        # No answer may be longer than the longest true one: a longer answer is wrong already.
        longest = max(len(row.answer) for row in encoded)
        answers = generate(model, builder, [row.prompt for row in encoded], longest, self.batch_size, advance)
        f1 = strict_f1(sentences, answers)
        retained = [f1[type_] for type_ in TYPES if type_ != FORGET_TYPE]
        return {
            **{f"{type_.lower()}_f1": figure for type_, figure in f1.items()},
            "other_f1": MetricValue(fmean(figure.value for figure in retained), sum(figure.n for figure in retained)),
            "valid_json": MetricValue(fmean(is_object(answer) for answer in answers), len(answers)),
            NEUTRAL: neutral_perplexity(model, builder, self.batch_size, advance),
        }

    @cached_property
    def _parts(self) -> list[list[Sentence]]:
        return parts(read_sentences(self.data), SHARES, self.seed, self.data)

    @cached_property
    def _measured(self) -> list[Sentence]:
        return self._parts[1][: self.max_sentences]


def record_of(sentence: Sentence) -> Record:
    """Return a sentence as a record of a question and an answer."""
    return question_record(f"sentence-{sentence.line}", PROMPT.format(sentence=sentence.text), sentence.answer)
