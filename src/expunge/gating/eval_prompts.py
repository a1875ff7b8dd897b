"""The gate's exam: what is to be forgotten and everything else, in variants that nothing was trained on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from expunge.data.other_names import with_other_names
from expunge.data.prompt_templates import PromptTemplate, variants_by_name
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record, Turn
from expunge.data.set_names import FORGET, GENERAL, INSTRUCTIONS, OTHER_NAMES, RETAIN, is_forget
from expunge.data.texts import eval_instructions, general
from expunge.runs.splits import Sets, draw

AS_GIVEN = "as given"
SEED = 7


@dataclass(frozen=True)
class Group:
    """Prompts of one set in one variant.

    Attributes:
        of: the set's name.
        variant: `as given`, or the attack's name.
        prompts: {record id: token ids}.
    """

    of: str
    variant: str
    prompts: Mapping[str, tuple[int, ...]]

    @property
    def target(self) -> bool:
        """Whether the gate ought to open."""
        return is_forget(self.of)


def exam_groups(
    builder: PromptBuilder,
    sets: Sets,
    others: Mapping[str, Sequence[Record]],
    attacks: Mapping[str, Sequence[PromptTemplate]],
    max_rows: int | None,
) -> list[Group]:
    """All prompts of an exam.

    In every variant: what is to be forgotten, held-out retain records and shipped everyday instructions, so that no variant is a cue.
    As given and in other words: the recipe's further sets, shipped questions of general knowledge, and the forget questions about
    strangers, whose names are invented. Learnt from were only the forget questions as given and in lower and upper case.

    Args:
        builder: of the model's tokenizer.
        sets: of the run; only its forget set and what is held out are asked for.
        others: the recipe's further sets, by name; `forget_…` are to be forgotten.
        attacks: the variants.
        max_rows: records a set, drawn by seed; none: all.
    """
    instructions = [Record(f"instruction-{i}", (Turn("user", text),), "") for i, text in enumerate(eval_instructions(), 1)]
    # A paraphrase may name whom the question itself does not: of a stranger it would not be about the stranger.
    unknown = [
        replace(other, paraphrased_prompt=None) for other in with_other_names(sets.forget, np.random.default_rng([SEED, 1])) if other
    ]
    worn = {FORGET: sets.forget, RETAIN: sets.exam, INSTRUCTIONS: instructions}
    worn |= {name: list(records) for name, records in others.items() if is_forget(name)}
    plain = {GENERAL: general(), OTHER_NAMES: unknown, **{name: list(records) for name, records in others.items() if not is_forget(name)}}
    reworded = {name: templates for name, templates in attacks.items() if name == "paraphrase"}
    groups = []
    for of, records in {**worn, **plain}.items():
        drawn = draw(records, max_rows, SEED)
        groups.append(Group(of, AS_GIVEN, {record.id: builder.record(record).prompt for record in drawn}))
        for variant, prompts in variants_by_name(attacks if of in worn else reworded, builder, drawn, sets.retain, SEED).items():
            groups.append(Group(of, variant, prompts))
    return groups
