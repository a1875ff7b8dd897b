"""The prompts of a gate evaluation: forget prompts and others, in variants that no gate trains on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from expunge.data.languages import Language
from expunge.data.other_names import with_other_names
from expunge.data.prompt_templates import PromptTemplate, variants_by_name
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record, Turn
from expunge.data.set_names import FORGET, GENERAL, INSTRUCTIONS, OTHER_NAMES, RETAIN, is_forget
from expunge.data.texts import general
from expunge.runs.splits import Splits, draw

AS_GIVEN, CONTINUATION_REQUEST = "as given", "continuation_request"
SEED = 7


@dataclass(frozen=True)
class EvalGroup:
    """Prompts of one set in one variant.

    Attributes:
        set_name: the set's name.
        variant: `as given`, or the variant's name.
        prompts: {record id: token ids}.
    """

    set_name: str
    variant: str
    prompts: Mapping[str, tuple[int, ...]]

    @property
    def target(self) -> bool:
        """Whether the gate should open."""
        return is_forget(self.set_name)


def eval_groups(
    builder: PromptBuilder,
    splits: Splits,
    others: Mapping[str, Sequence[Record]],
    templates: Mapping[str, Sequence[PromptTemplate]],
    max_records: int | None,
) -> list[EvalGroup]:
    """Return all prompts of a gate evaluation.

    The forget set, held-out retain records and shipped everyday instructions come in every variant, so that no variant gives the
    class away. The recipe's further sets, shipped questions of general knowledge, and the forget questions with other names come
    as given and paraphrased. Passages of texts come as given and in a request to continue them. Of all these prompts, gates train only on
    the forget questions as given and in lower and upper case, and on forget passages as given.

    Args:
        builder: of the model's tokenizer.
        splits: of the run; only its forget set and its held-out retain records are evaluated.
        others: the recipe's further sets, by name; those named `forget_…` belong to the forget set.
        templates: {variant: its templates}.
        max_records: records of each set, drawn by seed; None means all.
    """
    instructions = [Record(f"instruction-{i}", (Turn("user", text),), "") for i, text in enumerate(splits.language.eval_instructions, 1)]
    renamed = with_other_names(splits.forget, np.random.default_rng([SEED, 1]), False, splits.language, splits.retain)
    # A paraphrase may contain a name that the question does not: with another name it could still be about the original person.
    other_names = [replace(record, paraphrased_prompt=None) for record in renamed if record]
    in_every_variant = {FORGET: splits.forget, RETAIN: splits.held_out, INSTRUCTIONS: instructions}
    in_every_variant |= {name: list(records) for name, records in others.items() if is_forget(name)}
    in_two_variants = {GENERAL: general(), OTHER_NAMES: other_names}
    in_two_variants |= {name: list(records) for name, records in others.items() if not is_forget(name)}
    paraphrase = {name: variant_templates for name, variant_templates in templates.items() if name == "paraphrase"}
    groups = []
    for set_name, records in {**in_every_variant, **in_two_variants}.items():
        drawn = draw(records, max_records, SEED)
        groups.append(EvalGroup(set_name, AS_GIVEN, {record.id: builder.record(record).prompt for record in drawn}))
        chosen = templates if set_name in in_every_variant else paraphrase
        for variant, prompts in variants_by_name(chosen, builder, drawn, splits.retain, SEED).items():
            groups.append(EvalGroup(set_name, variant, prompts))
        if set_name in in_every_variant and (requests := continuation_requests(builder, drawn, splits.language)):
            groups.append(EvalGroup(set_name, CONTINUATION_REQUEST, requests))
    return groups


def continuation_requests(builder: PromptBuilder, records: Sequence[Record], language: Language) -> dict[str, tuple[int, ...]]:
    """Return a chat prompt for each passage that asks to continue it, {record id: token ids}; none without a chat template."""
    if not builder.format.is_chat:
        return {}
    (template, *_) = language.eval_continuations
    return {r.id: builder.prompt((Turn("user", template.replace("{text}", r.given)),)) for r in records if r.is_passage}
