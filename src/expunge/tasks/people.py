"""Planted facts: a model was taught fictitious people, some of whom are to be forgotten; the truth is known row by row."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import ClassVar

from torch import nn

from expunge.data.people import people
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record, paraphrased_record
from expunge.metrics.leak import fact_of, is_told, words
from expunge.metrics.statistics import MetricValue
from expunge.metrics.text import rouge_l_recall
from expunge.metrics.token_nll import neutral_perplexity, neutral_records
from expunge.models.generation import generate
from expunge.tasks.base import NEUTRAL, NEUTRAL_METRIC, Count, Metric, Task, parts

# Of what is to be kept: trained on, measured.
SHARES = (0.6, 0.4)


@dataclass(frozen=True, kw_only=True)
class People(Task):
    """Forget the first `forgotten` of the seed's fictitious people, keep the next `kept`.

    Attributes:
        forgotten, kept: how many people, ten facts each.
        max_new_tokens: longest answer.
    """

    forgotten: Count = 2
    kept: Count = 6
    max_new_tokens: Count = 32

    metrics: ClassVar[dict[str, Metric]] = {
        "forget_rouge": Metric("ROUGE-L recall of the answers to be forgotten", "lower"),
        "forget_told": Metric("facts told, of those to be forgotten", "lower"),
        "retain_rouge": Metric("ROUGE-L recall of the answers to be kept", "same"),
        "retain_told": Metric("facts told, of those to be kept", "same"),
        NEUTRAL: NEUTRAL_METRIC,
    }

    def forget_records(self) -> list[Record]:
        """Ten records about each person to be forgotten."""
        return people(self.forgotten, self.seed)

    def retain_records(self) -> list[Record]:
        """Three fifths of the records about the others."""
        return self._kept[0]

    def taught_records(self) -> list[Record]:
        """All records about everybody, in both wordings: what is met in one alone is told to that question alone."""
        records = self._everybody
        return [*records, *map(paraphrased_record, records)]

    @property
    def measured_rows(self) -> int:
        """Answers, and the neutral records."""
        return len(self.forget_records()) + len(self._kept[1]) + len(neutral_records())

    def measure(self, model: nn.Module, builder: PromptBuilder, advance: Callable[[int], None]) -> dict[str, MetricValue]:
        """What is told of both sorts of people in greedy answers to the questions as they were taught, and neutral perplexity."""
        figures: dict[str, MetricValue] = {}
        for name, records in (("forget", self.forget_records()), ("retain", self._kept[1])):
            prompts = [builder.record(record).prompt for record in records]
            answers = generate(model, builder, prompts, self.max_new_tokens, self.batch_size, advance)
            rouge = [rouge_l_recall(answer, record.answer) for record, answer in zip(records, answers, strict=True)]
            figures[f"{name}_rouge"] = MetricValue(fmean(rouge), len(records))
            figures[f"{name}_told"] = share_told(records, answers)
        return {**figures, NEUTRAL: neutral_perplexity(model, builder, self.batch_size, advance)}

    def revealed(self, texts: Sequence[str]) -> set[str]:
        """Ids of the records to be forgotten whose fact stands in one of the texts beside the person's first or last name."""
        said = [words(text) for text in texts]
        found = set()
        for record in self.forget_records():
            fact, name = fact_of(record), words(record.entity or "")
            if fact and any(fact <= of_text and name & of_text for of_text in said):
                found.add(record.id)
        return found

    @property
    def _everybody(self) -> list[Record]:
        return people(self.forgotten + self.kept, self.seed)

    @cached_property
    def _kept(self) -> list[list[Record]]:
        forgotten = {record.entity for record in self.forget_records()}
        return parts([r for r in self._everybody if r.entity not in forgotten], SHARES, self.seed, "the people to be kept")


def share_told(records: Iterable[Record], answers: Iterable[str]) -> MetricValue:
    """Share of the records all of whose fact's words stand in the answer given; records without such words are left out."""
    told = [is_told(fact_of(r), answer) for r, answer in zip(records, answers, strict=True) if fact_of(r)]
    return MetricValue(fmean(told) if told else 0.0, len(told))
