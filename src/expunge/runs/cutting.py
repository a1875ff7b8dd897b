"""Cut the long records of a run with its model's tokenizer, which is loaded without the model, and only if a record needs it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from expunge.config import DataSection
from expunge.data.long_records import Cut, CutCounts, cut_records, remarks
from expunge.data.passages import PassageSize
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record
from expunge.models.loading import load_tokenizer
from expunge.runs.folder import TEMPLATE
from expunge.runs.loaded import OpenedRun, base_of, chat_template, located_model, prompt_builder

FITTING_SHARE = 0.75
"""Passages are planned for this share of the most tokens, because they may be a quarter longer than planned."""


@dataclass(frozen=True)
class Cutter:
    """Cuts sets of records as a run does.

    Attributes:
        builder: returns the prompt builder of the run's model.
        size: of passages.
        max_tokens: the most tokens of a prompt with its answer.
    """

    builder: Callable[[], PromptBuilder]
    size: PassageSize
    max_tokens: int

    def __call__(self, records: Sequence[Record], to_forget: bool, source: str) -> Cut:
        """Cut a set of records, see `expunge.data.long_records.cut_records`."""
        return cut_records(self.builder, records, self.size, self.max_tokens, to_forget, source)


def make_cutter(builder: Callable[[], PromptBuilder], data: DataSection, longest: int | None) -> Cutter:
    """Return the cutter of a recipe's settings.

    Args:
        builder: returns the prompt builder.
        data: the recipe's section.
        longest: the model's context length; None: it states none.
    """
    most = data.max_tokens if longest is None else min(data.max_tokens, longest)
    passage = min(data.passage_tokens, int(FITTING_SHARE * most))
    return Cutter(builder, PassageSize(passage, data.passage_overlap * passage // data.passage_tokens), most)


def cutter_of(run: OpenedRun) -> Cutter:
    """Return the cutter of a run whose data is recorded in its run.json.

    A run of a version that cut nothing has no record of the most tokens; the recipe's setting takes its place.
    """
    return make_cutter(cache(lambda: _builder(run)), run.recipe.data, run.info["data"].get("max_tokens"))


def recorded_remarks(run: OpenedRun) -> list[str]:
    """Return what a reader of a run's results should know about its cut records, and about those that its model wrote, in sentences."""
    cutter, data = cutter_of(run), run.info["data"]
    cuts = [(name, CutCounts(**data[name]["cut"])) for name in ("forget", "retain") if "cut" in data[name]]
    lines = [remark for name, counts in cuts for remark in remarks(counts, name, cutter.size, cutter.max_tokens)]
    if known := data["forget"].get("document_questions", {}).get("known", 0):
        lines.append(f"Forget records that are questions about the documents, written and answered by the model itself: {known}.")
    return lines


def _builder(run: OpenedRun) -> PromptBuilder:
    name, _ = base_of(located_model(run))
    tokenizer = load_tokenizer(name, chat_template(run), str(run.folder / TEMPLATE))
    return prompt_builder(tokenizer, run.recipe)
