"""The gates that ablation.py evaluates, from the gate of the paper to the default and beyond."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from expunge.config import DEFAULT_AUGMENTATIONS, Augmentation, GatePool

EVERY = DEFAULT_AUGMENTATIONS


@dataclass(frozen=True)
class Variant:
    """A gate to evaluate.

    Attributes:
        label: what is new in it; the first column of the table.
        pool: see `EditSection.gate_pool`.
        augmentations: what it trains on besides the prompts themselves.
        last: whether it reads the last prompt token only.
        soft: whether it opens at 0.5 instead of at a calibrated threshold.
        plain: whether it is calibrated on unaugmented prompts only.
        settings: further settings of the edit.
    """

    label: str
    pool: GatePool
    augmentations: tuple[Augmentation, ...]
    last: bool = False
    soft: bool = False
    plain: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)


SPELLINGS: tuple[Augmentation, ...] = ("lower_case", "upper_case", "typos")
VARIANTS = (
    Variant("last prompt token, prompts as given, open at 0.5", "max", (), last=True, soft=True),
    Variant("+ calibrated threshold", "max", (), last=True),
    Variant("last prompt token, all augmentations", "max", EVERY, last=True),
    Variant("maximum over the prompt, prompts as given", "max", ()),
    Variant("mean of the two largest", "top2", ()),
    Variant("+ other spellings", "top2", SPELLINGS),
    Variant("+ wrappers", "top2", (*SPELLINGS, "wrappers")),
    Variant("+ notes", "top2", (*SPELLINGS, "wrappers", "retain_notes")),
    Variant("+ few-shot examples", "top2", (*SPELLINGS, "wrappers", "retain_notes", "few_shot")),
    Variant("+ unrelated text", "top2", (*SPELLINGS, "wrappers", "retain_notes", "few_shot", "unrelated_text")),
    Variant("+ neutral instructions", "top2", (*SPELLINGS, "wrappers", "retain_notes", "few_shot", "unrelated_text", "neutral_prompts")),
    Variant(
        "+ other names", "top2", (*SPELLINGS, "wrappers", "retain_notes", "few_shot", "unrelated_text", "neutral_prompts", "other_names")
    ),
    Variant("+ similar names: **the default**", "top2", EVERY),
    Variant("default calibrated on prompts as given", "top2", EVERY, plain=True),
    Variant("default + mined hard negatives", "top2", (*EVERY, "mined_negatives")),
    Variant("default + the model's own paraphrases", "top2", (*EVERY, "paraphrases")),
    Variant("default with the maximum", "max", EVERY),
    Variant("default with the three largest", "top3", EVERY),
    Variant("default with attention", "attention", EVERY),
    Variant("default with an mlp head", "top2", EVERY, settings={"gate": "mlp"}),
    Variant("default at block 8 alone", "top2", EVERY, settings={"gate_blocks": [8]}),
    Variant("default at block 11 alone", "top2", EVERY, settings={"gate_blocks": [11]}),
    Variant("default at block 14 alone", "top2", EVERY, settings={"gate_blocks": [14]}),
    Variant("default at block 11 alone, states not layer-normed", "top2", EVERY, settings={"gate_blocks": [11], "gate_layer_norm": False}),
    Variant("default, states not layer-normed", "top2", EVERY, settings={"gate_layer_norm": False}),
    Variant("default, classes not balanced", "top2", EVERY, settings={"gate_class_balance": False}),
    Variant("default without weight decay", "top2", EVERY, settings={"gate_weight_decay": 0.0}),
)
DEFAULT = next(i for i, variant in enumerate(VARIANTS) if variant.augmentations == EVERY and variant.pool == "top2")
