"""The gates that ablation.py examines, from the paper's place up."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from expunge.config import DEFAULT_AUGMENTATIONS, Augmentation, GatePool

EVERY = DEFAULT_AUGMENTATIONS


@dataclass(frozen=True)
class Variant:
    """A gate to examine.

    Attributes:
        says: what is new in it.
        pool: see `EditSection.gate_pool`.
        lessons: what it learns from beside the prompts as they are.
        last: it sees the last prompt token alone.
        soft: it opens at 0.5 instead of at a calibrated threshold.
        plain: it is calibrated on prompts as they are, in no other variant.
        more: settings of the edit.
    """

    says: str
    pool: GatePool
    lessons: tuple[Augmentation, ...]
    last: bool = False
    soft: bool = False
    plain: bool = False
    more: Mapping[str, Any] = field(default_factory=dict)


SPELT: tuple[Augmentation, ...] = ("lower_case", "upper_case", "typos")
VARIANTS = (
    Variant("last prompt token, prompts as given, open at 0.5", "max", (), last=True, soft=True),
    Variant("+ calibrated threshold", "max", (), last=True),
    Variant("last prompt token, all lessons", "max", EVERY, last=True),
    Variant("maximum over the prompt, prompts as given", "max", ()),
    Variant("mean of the two largest", "top2", ()),
    Variant("+ other spellings", "top2", SPELT),
    Variant("+ wrappers", "top2", (*SPELT, "wrappers")),
    Variant("+ notes", "top2", (*SPELT, "wrappers", "retain_notes")),
    Variant("+ examples", "top2", (*SPELT, "wrappers", "retain_notes", "few_shot")),
    Variant("+ asides", "top2", (*SPELT, "wrappers", "retain_notes", "few_shot", "unrelated_text")),
    Variant("+ neutral instructions", "top2", (*SPELT, "wrappers", "retain_notes", "few_shot", "unrelated_text", "neutral_prompts")),
    Variant("+ strangers", "top2", (*SPELT, "wrappers", "retain_notes", "few_shot", "unrelated_text", "neutral_prompts", "other_names")),
    Variant("+ near strangers: **the default**", "top2", EVERY),
    Variant("default calibrated on prompts as they are", "top2", EVERY, plain=True),
    Variant("default + mined hard negatives", "top2", (*EVERY, "mined_negatives")),
    Variant("default + the model's own paraphrases", "top2", (*EVERY, "paraphrases")),
    Variant("default with the maximum", "max", EVERY),
    Variant("default with the three largest", "top3", EVERY),
    Variant("default with attention", "attention", EVERY),
    Variant("default with an mlp head", "top2", EVERY, more={"gate": "mlp"}),
    Variant("default at block 8 alone", "top2", EVERY, more={"gate_blocks": [8]}),
    Variant("default at block 11 alone", "top2", EVERY, more={"gate_blocks": [11]}),
    Variant("default at block 14 alone", "top2", EVERY, more={"gate_blocks": [14]}),
    Variant("default at block 11 alone, states not layer-normed", "top2", EVERY, more={"gate_blocks": [11], "gate_layer_norm": False}),
    Variant("default, states not layer-normed", "top2", EVERY, more={"gate_layer_norm": False}),
    Variant("default, classes not balanced", "top2", EVERY, more={"gate_class_balance": False}),
    Variant("default without weight decay", "top2", EVERY, more={"gate_weight_decay": 0.0}),
)
DEFAULT = next(i for i, variant in enumerate(VARIANTS) if variant.lessons == EVERY and variant.pool == "top2")
