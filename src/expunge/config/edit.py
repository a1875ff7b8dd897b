"""The `edit` section of a recipe: where the change of the model is stored, and the settings of the gate."""

import re
from typing import Any, Literal, NamedTuple, get_args

from pydantic import Field, field_validator, model_validator

from expunge.config.section import Section, pattern

POSITIONS = ("last_prompt", "onward", "fired", "all_prompt", "every_token", "prompt_suffix:K")
POSITIONS_PATTERN = "|".join(POSITIONS).replace("K", "[1-9][0-9]{0,8}")
Gate = Literal["linear", "mlp"]
GatePool = Literal["last", "max", "top2", "top3", "attention"]
Augmentation = Literal[
    "lower_case",
    "upper_case",
    "typos",
    "wrappers",
    "retain_notes",
    "few_shot",
    "unrelated_text",
    "neutral_prompts",
    "other_names",
    "similar_names",
    "mined_negatives",
    "paraphrases",
    "partial_names",
    "obfuscated",
    "deferred",
]
OPTIONAL_AUGMENTATIONS: tuple[Augmentation, ...] = ("mined_negatives", "paraphrases", "partial_names", "obfuscated", "deferred")
"""Augmentations that are off by default."""
DEFAULT_AUGMENTATIONS: tuple[Augmentation, ...] = tuple(name for name in get_args(Augmentation) if name not in OPTIONAL_AUGMENTATIONS)


class EditPreset(NamedTuple):
    """A name for an edit with some settings."""

    description: str
    settings: dict[str, Any]


EDIT_PRESETS = {
    "grun-paper": EditPreset(
        "grun as published: rank 4, a gate at the last prompt token of every edited block, trained along with the edit",
        {"name": "grun", "rank": 4, "gate": "linear", "gate_pool": "last", "positions": "last_prompt"},
    )
}
"""Values of `edit.name` that stand for an edit with settings; settings that are given beside the name win."""


class EditSection(Section):
    """Where the change of the model is stored. Each edit reads only its own settings."""

    name: str = Field("grun", description="an edit or preset of `expunge ls edits`")
    modules: str | None = Field(
        None, description="full: regular expression of the weights to train; lora: of the linear layers; none: all of them"
    )
    rank: int | None = Field(None, ge=1, description="lora, reft, grun; none: 8 for grun with a pooled gate, else 4")
    alpha: int | None = Field(None, ge=1, description="lora; none: 2 x rank")
    blocks: list[int] | None = Field(None, description="reft, grun: 0-based blocks; none: L-12, L-7, L-1")
    positions: str | None = Field(
        None, description=f"reft, grun: where the edit acts: {', '.join(POSITIONS)}; none: onward with a pooled gate, else last_prompt"
    )
    gate: Gate | None = Field(
        None,
        description="grun: a linear map, or an MLP with layers of 256 and 64 units; none: linear, or mlp where gate_pool chooses it",
    )
    gate_pool: GatePool | None = Field(
        None,
        description="grun: last: a gate at the last prompt token in each edited block (paper); else one pooled gate over the whole prompt. "
        "None: top2, or attention with an mlp for texts and topics without names if top2 misses records that it was not trained on",
    )
    gate_blocks: list[int] | None = Field(
        None,
        min_length=1,
        description="grun with a pooled gate: 0-based blocks that it reads; none: 8/30, 11/30 and 14/30 of the depth with gate_first "
        "(2/30 and 6/30 for texts), 11/30 without",
    )
    gate_first: bool | None = Field(
        None, description="grun: train and calibrate the gate before the edit; none: only if the gate is pooled"
    )
    gate_augmentations: tuple[Augmentation, ...] = Field(
        DEFAULT_AUGMENTATIONS,
        description=f"grun with gate_first: what the gate trains on besides the prompts themselves: {', '.join(get_args(Augmentation))}",
    )
    gate_states_gib: float = Field(
        4.0, gt=0, description="grun with gate_first: main memory for the hidden states that the gate trains on; the others go to the disk"
    )
    gate_layer_norm: bool = Field(True, description="grun with a pooled gate: layer-normalise the hidden states that it reads")
    answer_gate: bool = Field(
        False, description="grun with gate_first: the gate also reads the answer, and opens when what must go begins to come out"
    )
    gate_weight_decay: float = Field(0.1, ge=0, description="grun with gate_first: weight decay of AdamW in the training of the gate")
    gate_class_balance: bool = Field(
        True, description="grun with gate_first: give forget prompts and all other prompts the same total weight"
    )
    false_positive_rate: float = Field(
        0.03, gt=0, lt=1, description="grun with gate_first: the rate, alpha, that the threshold is calibrated for"
    )

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, given: Any) -> Any:
        preset = EDIT_PRESETS.get(str(given.get("name"))) if isinstance(given, dict) else None
        return given if preset is None else {**preset.settings, **given, "name": preset.settings["name"]}

    @field_validator("modules")
    @classmethod
    def _modules_is_a_pattern(cls, given: str | None) -> str | None:
        return pattern(given)

    @field_validator("positions")
    @classmethod
    def _positions_are_known(cls, given: str | None) -> str | None:
        if given is not None and not re.fullmatch(POSITIONS_PATTERN, given):
            raise ValueError(f"must be one of {', '.join(POSITIONS)}, got {given!r}")
        return given
