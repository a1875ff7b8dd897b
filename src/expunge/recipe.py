"""The recipe: one YAML file that says everything a run does; the one home of every setting and its default."""

import re
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator, model_validator

from expunge.audit.names import is_reserved
from expunge.errors import InputError
from expunge.objectives import OBJECTIVES, Objective

POSITIONS = ("last_prompt", "onward", "fired", "all_prompt", "every_token", "prompt_suffix:K")
POSITIONS_PATTERN = "|".join(POSITIONS).replace("K", "[1-9][0-9]*")
Gate = Literal["linear", "mlp"]
GatePool = Literal["last", "max", "top2", "top3", "attention"]
Lesson = Literal["lower_case", "upper_case", "mistyped", "wrappers", "notes", "neutral", "strangers", "near_strangers"]
DEFAULT_OBJECTIVE = "alternatives"


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
    gate_block: int | None = Field(
        None, description="grun with a pooled gate; none: with gate_first the best of three, else 11/30 of the depth"
    )
    gate_first: bool | None = Field(None, description="grun: train the gate alone, calibrate it, then suppress; none: if it is pooled")
    gate_lessons: tuple[Lesson, ...] = Field(
        get_args(Lesson), description="grun with gate_first: what it learns from beside the prompts as they are"
    )
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


class Recipe(Section):
    """One run."""

    model: str = Field("smollm2-135m", description="hub id, folder, GGUF file; or a run, to add a request to those it carries")
    data: DataSection
    objective: Any = Field(default_factory=OBJECTIVES[DEFAULT_OBJECTIVE])
    edit: EditSection = Field(default_factory=EditSection)
    training: TrainingSection = Field(default_factory=TrainingSection)
    audit: AuditSection = Field(default_factory=AuditSection)
    out: str | None = Field(None, description="run folder; none: runs/<forget file>-<edit>-<objective>")

    @field_validator("edit", mode="before")
    @classmethod
    def _edit_by_name(cls, given: Any) -> Any:
        return {"name": given} if isinstance(given, str) else given

    @field_validator("objective", mode="before")
    @classmethod
    def _objective(cls, given: Any) -> Objective:
        if isinstance(given, Objective):
            return given
        settings: Any = {"name": given} if isinstance(given, str) else given
        if not isinstance(settings, dict):
            raise ValueError("give its name, or a mapping with its name and settings")
        settings = dict(settings)
        name = settings.pop("name", DEFAULT_OBJECTIVE)
        if not isinstance(name, str) or name not in OBJECTIVES:
            raise ValueError(f"no objective {name!r}; there are {', '.join(OBJECTIVES)}")
        known = {field.name for field in fields(OBJECTIVES[name])}
        if unknown := set(settings) - known:
            raise ValueError(f"{name} has no setting {', '.join(sorted(unknown))}; it has {', '.join(sorted(known))}")
        try:
            return TypeAdapter(OBJECTIVES[name]).validate_python(settings)
        except ValidationError as error:
            first = error.errors()[0]
            raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error

    def as_dict(self) -> dict[str, Any]:
        """Plain values that `read_recipe` would read back as the same recipe."""
        plain = self.model_dump(exclude={"objective"})
        named = {name for name, cls in OBJECTIVES.items() if cls is type(self.objective)}
        settings = {field.name: getattr(self.objective, field.name) for field in fields(self.objective)}
        return {**plain, "objective": {"name": named.pop(), **settings}}

    def as_yaml(self) -> str:
        """The text of a file that `read_recipe` reads back as the same recipe."""
        text = yaml.safe_dump(self.as_dict(), sort_keys=False, allow_unicode=True)
        # PyYAML writes U+0085 as it is and reads it as a line break.
        return yaml.safe_dump(self.as_dict(), sort_keys=False) if "\x85" in text else text


def read_recipe(path: str | Path | None, named: dict[str, Any] | None = None, overrides: list[str] | None = None) -> Recipe:
    """Read a recipe file, or start from the defaults, and apply settings given otherwise.

    Args:
        path: a YAML file.
        named: dotted settings with their values, from options.
        overrides: dotted settings as text, such as `training.lr=1e-3`; they come last.

    Raises:
        InputError: the file cannot be read, an override cannot be, or a setting is unknown or of the wrong kind.
    """
    given = {} if path is None else read_yaml(path)
    for name, value in (named or {}).items():
        _set_dotted(given, name, value)
    for override in overrides or []:
        name, sign, value = override.partition("=")
        if not sign:
            raise InputError(f"{override}: an override is written section.setting=value")
        try:
            _set_dotted(given, name, _scalar(value))
        except yaml.YAMLError as error:
            raise InputError(f"{override}: the value is not valid YAML") from error
    return make_recipe(given, str(path or "recipe"))


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The plain values of a recipe file.

    Raises:
        InputError: it cannot be read, or is not a mapping.
    """
    try:
        given = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not valid YAML: {' '.join(str(error).replace('<unicode string>', str(path)).split())}") from error
    if not isinstance(given, dict):
        raise InputError(f"{path}: must be a mapping, this is a {type(given).__name__}")
    return given


def make_recipe(given: dict[str, Any], where: str = "recipe") -> Recipe:
    """Check plain values against the schema.

    Raises:
        InputError: naming the setting that is wrong.
    """
    try:
        return Recipe.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"]) or "recipe"
        said = first["msg"].removeprefix("Value error, ")
        said = SAID_INSTEAD.get(first["type"], said)
        raise InputError(f"{where}: {name}: {said}") from error


SAID_INSTEAD = {
    "extra_forbidden": "there is no such setting; see `expunge ls settings`",
    "missing": "is not given",
    "model_type": "must be a mapping of settings",
    "finite_number": "must be a finite number",
}


def _set_dotted(values: dict[str, Any], name: str, value: Any) -> None:
    *sections, last = name.split(".")
    for section in sections:
        inner = values.get(section)
        if not isinstance(inner, dict):
            inner = {} if inner is None else {"name": inner}
            values[section] = inner
        values = inner
    values[last] = value


def _scalar(text: str) -> Any:
    value = yaml.safe_load(text)
    if isinstance(value, str):
        # YAML reads 1e-3 as a string, people read it as a number.
        try:
            return float(value)
        except ValueError:
            return value
    return value
