"""The people task: a model was taught facts about invented people; forget some of the people, retain the others."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import ClassVar

from torch import nn

from expunge.data.people import people
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record, paraphrased_record
from expunge.metrics.leak import fact_of, pieces, states_fact
from expunge.metrics.statistics import MetricValue
from expunge.metrics.text import rouge_l_recall
from expunge.metrics.token_nll import neutral_perplexity, neutral_records
from expunge.models.generation import generate
from expunge.tasks.base import NEUTRAL, NEUTRAL_METRIC, Count, Metric, Task, parts

# Shares of the retain records to train on and to measure.
SHARES = (0.6, 0.4)


@dataclass(frozen=True, kw_only=True)
class People(Task):
    """Generate people from the seed; forget facts about the first `forget_people`, and retain those about the next `retain_people`.

    Attributes:
        forget_people, retain_people: numbers of people, with ten facts each.
        max_new_tokens: maximum length of an answer.
    """

    forget_people: Count = 2
    retain_people: Count = 6
    max_new_tokens: Count = 32

    metrics: ClassVar[dict[str, Metric]] = {
        "forget_rouge": Metric("ROUGE-L recall of forget answers", "lower"),
        "forget_leaked": Metric("forget facts in the answers", "lower"),
        "retain_rouge": Metric("ROUGE-L recall of retain answers", "same"),
        "retain_leaked": Metric("retain facts in the answers", "same"),
        NEUTRAL: NEUTRAL_METRIC,
    }

    def forget_records(self) -> list[Record]:
        return people(self.forget_people, self.seed)

    def retain_records(self) -> list[Record]:
        return self._retain[0]

    def taught_records(self) -> list[Record]:
        # A model that learns a fact in one wording only answers it in that wording only.
        records = self._all_records
        return [*records, *map(paraphrased_record, records)]

    @property
    def measured_rows(self) -> int:
        return len(self.forget_records()) + len(self._retain[1]) + len(neutral_records())

    def measure(self, model: nn.Module, builder: PromptBuilder, advance: Callable[[int], None]) -> dict[str, MetricValue]:
        figures: dict[str, MetricValue] = {}
        for name, records in (("forget", self.forget_records()), ("retain", self._retain[1])):
            prompts = [builder.record(record).prompt for record in records]
            answers = generate(model, builder, prompts, self.max_new_tokens, self.batch_size, advance)
            rouge = [rouge_l_recall(answer, record.answer) for record, answer in zip(records, answers, strict=True)]
            figures[f"{name}_rouge"] = MetricValue(fmean(rouge), len(records))
            figures[f"{name}_leaked"] = share_leaked(records, answers)
        return {**figures, NEUTRAL: neutral_perplexity(model, builder, self.batch_size, advance)}

    def revealed(self, texts: Sequence[str]) -> set[str]:
        """Return the ids of forget records whose fact is in one of the texts, beside the person's first or last name."""
        pieces_of_texts = [pieces(text) for text in texts]
        ids = set()
        for record in self.forget_records():
            fact, name = fact_of(record), pieces(record.entity or "")
            if fact and any(fact <= found and name & found for found in pieces_of_texts):
                ids.add(record.id)
        return ids

    @property
    def _all_records(self) -> list[Record]:
        return people(self.forget_people + self.retain_people, self.seed)

    @cached_property
    def _retain(self) -> list[list[Record]]:
        forget_names = {record.entity for record in self.forget_records()}
        return parts([r for r in self._all_records if r.entity not in forget_names], SHARES, self.seed, "the retain people")


def share_leaked(records: Iterable[Record], answers: Iterable[str]) -> MetricValue:
    """Return the share of records whose answer contains all words of the fact; records without such words are skipped."""
    leaked = [states_fact(fact_of(r), answer) for r, answer in zip(records, answers, strict=True) if fact_of(r)]
    return MetricValue(fmean(leaked) if leaked else 0.0, len(leaked))
