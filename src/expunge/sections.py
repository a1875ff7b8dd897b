"""The sections of a recipe: the one home of every setting and its default."""

import re
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from expunge.audit.names import is_reserved

POSITIONS = ("last_prompt", "onward", "fired", "all_prompt", "every_token", "prompt_suffix:K")
POSITIONS_PATTERN = "|".join(POSITIONS).replace("K", "[1-9][0-9]*")
Gate = Literal["linear", "mlp"]
GatePool = Literal["last", "max", "top2", "top3", "attention"]
Lesson = Literal[
    "lower_case",
    "upper_case",
    "mistyped",
    "wrappers",
    "notes",
    "examples",
    "asides",
    "neutral",
    "strangers",
    "near_strangers",
    "mined",
    "paraphrases",
]
DEFAULT_LESSONS: tuple[Lesson, ...] = tuple(lesson for lesson in get_args(Lesson) if lesson not in ("mined", "paraphrases"))


class Section(BaseModel):
    """A part of the recipe: unknown names are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataSection(Section):
    """What to forget and what to keep: files (JSONL, CSV, Parquet) or hub ids."""

    forget: str
    retain: str | None = Field(None, description="none: the model's own answers to shipped neutral instructions")
    map: dict[str, str] = Field(default_factory=dict, description="our field name -> the file's")
    split: str = "train"
    system: str | None = Field(None, description="system message of every prompt; none: the chat template's own")
    allow_overlap: bool = False
    held_out: float = Field(0.25, gt=0, lt=1, description="share of the retain set kept for calibration and audit, never trained on")


EDIT_PRESETS = {"grun-paper": {"name": "grun", "rank": 4, "gate": "linear", "gate_pool": "last", "positions": "last_prompt"}}
"""Names of edits that stand for an edit with settings; settings given beside the name win."""


class EditSection(Section):
    """Where the change lives. Each edit reads only its own settings."""

    name: Literal["full", "lora", "reft", "grun"] = "grun"
    modules: str | None = Field(None, description="full, lora: regular expression of the module names to change; none: all linear ones")
    rank: int | None = Field(None, ge=1, description="lora, reft, grun; none: 8 for grun with a pooled gate, else 4")
    alpha: int | None = Field(None, ge=1, description="lora; none: 2 x rank")
    blocks: list[int] | None = Field(None, description="reft, grun: 0-based blocks; none: L-12, L-7, L-1")
    positions: str | None = Field(
        None, description=f"reft, grun: where the edit acts: {', '.join(POSITIONS)}; none: onward with a pooled gate, else last_prompt"
    )
    gate: Gate = Field("linear", description="grun")
    gate_pool: GatePool = Field(
        "top2", description="grun: a gate at the last prompt token (paper), or one over the whole prompt, by this kind of pooling"
    )
    gate_blocks: list[int] | None = Field(
        None,
        min_length=1,
        description="grun with a pooled gate: 0-based blocks that it reads; none: with gate_first 8/30, 11/30 and 14/30 of the depth, "
        "else 11/30",
    )
    gate_first: bool | None = Field(None, description="grun: train the gate alone, calibrate it, then suppress; none: if it is pooled")
    gate_lessons: tuple[Lesson, ...] = Field(
        DEFAULT_LESSONS,
        description=f"grun with gate_first: what it learns from beside the prompts as they are: {', '.join(get_args(Lesson))}",
    )
    gate_normed: bool = Field(True, description="grun with a pooled gate: it reads layer-normed states, not states as they are")
    gate_weight_decay: float = Field(0.1, ge=0, description="grun with gate_first: of AdamW, which trains the gate")
    gate_balanced: bool = Field(True, description="grun with gate_first: what opens it and what does not weigh alike in its training")
    false_positives: float = Field(0.03, gt=0, lt=1, description="grun with gate_first: alpha of the calibrated threshold")

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, given: Any) -> Any:
        preset = EDIT_PRESETS.get(str(given.get("name"))) if isinstance(given, dict) else None
        return given if preset is None else {**given, "name": preset["name"], **{k: v for k, v in preset.items() if k not in given}}

    @field_validator("modules")
    @classmethod
    def _modules_is_a_pattern(cls, given: str | None) -> str | None:
        try:
            re.compile(given or "")
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
        return given

    @field_validator("positions")
    @classmethod
    def _positions_are_known(cls, given: str | None) -> str | None:
        if given is not None and not re.fullmatch(POSITIONS_PATTERN, given):
            raise ValueError(f"must be one of {', '.join(POSITIONS)}, got {given!r}")
        return given

    @model_validator(mode="after")
    def _gate_first_needs_a_pooled_gate(self) -> "EditSection":
        if self.gate_first and (self.name != "grun" or self.gate_pool == "last"):
            raise ValueError("gate_first needs name grun and a pooled gate: only such a gate reads frozen states")
        return self

    @property
    def pooled(self) -> bool:
        """Whether it has one gate that reads the whole prompt."""
        return self.name == "grun" and self.gate_pool != "last"

    @property
    def chosen_rank(self) -> int:
        """The rank, or its default."""
        return self.rank or (8 if self.pooled else 4)

    @property
    def chosen_positions(self) -> str:
        """The positions, or their default."""
        return self.positions or ("onward" if self.pooled else "last_prompt")

    @property
    def trains_gate_first(self) -> bool:
        """Whether the gate is trained before suppression, on frozen states, which only a pooled gate reads."""
        return self.pooled if self.gate_first is None else self.pooled and self.gate_first


class TrainingSection(Section):
    """How the edit is trained."""

    epochs: float | None = Field(None, gt=0, description="none: 5 for full, 10 for lora, 20 for reft and grun")
    lr: float | None = Field(None, gt=0, description="none: 1e-5 for full, 2e-4 for lora, 4e-3 for reft and grun")
    batch_size: int = Field(16, ge=1, description="rows of each set an optimiser step sees, over all ranks")
    micro_batch_size: int | None = Field(None, ge=1, description="rows a rank holds at once; none: no accumulation")
    schedule: Literal["linear", "constant", "cosine"] = "linear"
    warmup: float = Field(0.0, ge=0, lt=1, description="share of the steps")
    weight_decay: float = Field(0.0, ge=0)
    clip: float = Field(1.0, gt=0)
    gate_weight: float = Field(10.0, ge=0, description="lambda_g of the gate's cross-entropy")
    gate_warmup: float = Field(0.0, ge=0, lt=1, description="share of the steps over which w(t) of the other terms rises to 1")
    dtype: Literal["auto", "fp32", "bf16"] = Field("auto", description="to compute in; the edit and the losses stay in fp32")
    gradient_checkpointing: bool = False
    frozen_prefix: Literal["auto", "off"] = Field("auto", description="compute once what training an edit leaves as it is; exact")
    frozen_prefix_gib: float = Field(4.0, gt=0, description="memory for that; the prefixes of further rows are computed anew each time")
    save_steps: int = Field(50, ge=0, description="optimiser steps between checkpoints; 0: none")
    seed: int = Field(42, ge=0, lt=2**32)

    @field_validator("frozen_prefix", mode="before")
    @classmethod
    def _off_is_a_word(cls, given: object) -> object:
        # YAML reads a bare `off` as false.
        return "off" if given is False else given


class AuditSection(Section):
    """What is measured after training."""

    sets: dict[str, str] = Field(default_factory=dict, description="further sets: name -> file")
    questions: dict[str, str] = Field(
        default_factory=dict,
        description="multiple-choice sets (schema of WMDP and MMLU): name -> source; forget_… are to be forgotten",
    )
    control: str | None = Field(None, description="model that never saw the forget set")
    max_rows: int | None = Field(None, ge=1, description="rows a set, drawn by seed; none: all")
    max_new_tokens: int = Field(64, ge=1)
    batch_size: int = Field(16, ge=1)
    show_text: bool = Field(False, description="keep the answers in audit.parquet and show them, with the questions, in the report")

    @model_validator(mode="after")
    def _names_are_free(self) -> "AuditSection":
        for name in (*self.sets, *self.questions):
            if is_reserved(name) or (name in self.sets and name in self.questions):
                raise ValueError(f"a set cannot be called {name!r}: the audit has one of that name")
        return self
