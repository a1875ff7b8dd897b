"""The recipe: one YAML file with all settings of a run; load it, check it, write it."""

from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, ValidationError, field_validator, model_validator

from expunge.config import AuditSection, DataSection, EditSection, ReleaseSection, Revealed, Section, TrainingSection
from expunge.config.renamed import RENAMED, renamed_setting
from expunge.documents import parse_yaml, read_yaml, yaml_text
from expunge.errors import InputError
from expunge.objectives import OBJECTIVES, Objective
from expunge.registry import make_named
from expunge.tasks import as_plain, make_task

DEFAULT_OBJECTIVE = "alternatives"
TaskSetting = Annotated[Any, BeforeValidator(make_task), PlainSerializer(as_plain)]


class Recipe(Section):
    """All settings of a run."""

    model: str = Field(
        "smollm2-135m",
        description="a hub id (or ID@REVISION), a folder, a GGUF file, or a run folder (adds a request to it)",
    )
    quantise: Literal["nf4", "int8"] | None = Field(
        None, description="load the model's linear layers in 4 bits (nf4) or 8 bits (int8); none: as the model stores them"
    )
    data: DataSection
    objective: Any = Field(
        default_factory=OBJECTIVES[DEFAULT_OBJECTIVE],
        description="the loss: a name from `expunge ls objectives`, or a mapping with its settings",
    )
    edit: EditSection = Field(default_factory=EditSection)
    training: TrainingSection = Field(default_factory=TrainingSection)
    release: ReleaseSection | None = Field(
        None, description="instead of objective, edit and training: subtract LoRA modules from the weights in rounds"
    )
    task: TaskSetting | None = Field(
        None, description="with release: what is measured after each round, and the retain set if data.retain is none"
    )
    audit: AuditSection = Field(default_factory=AuditSection)
    out: str | None = Field(None, description="the run folder; none: runs/<forget file>-<edit>-<objective>")

    @field_validator("edit", mode="before")
    @classmethod
    def _edit_by_name(cls, given: Any) -> Any:
        return {"name": given} if isinstance(given, str) else given

    @field_validator("objective", mode="before")
    @classmethod
    def _objective(cls, given: Any) -> Objective:
        if isinstance(given, Objective):
            return given
        # A mapping without a name has settings of the default objective.
        return make_named("objective", OBJECTIVES, {"name": DEFAULT_OBJECTIVE, **given} if isinstance(given, dict) else given)

    @model_validator(mode="after")
    def _resample_needs_instructions(self) -> "Recipe":
        revealed = isinstance(self.data.forget, Revealed) and self.data.forget.reveal.mode == "direct"
        if revealed and self.release is not None and self.release.refresh == "resample":
            raise ValueError(
                "release.refresh: resample samples again from instructions, and reveal.mode direct has none; use reuse or research"
            )
        return self

    @model_validator(mode="after")
    def _release_changes_weights(self) -> "Recipe":
        if self.quantise is not None and self.release is not None:
            raise ValueError("quantise: a release changes the weights themselves, which must not be quantised; leave quantise out")
        return self

    @property
    def method(self) -> str:
        """The method's name: `release`, or edit and objective such as `grun x npo`."""
        return "release" if self.release else f"{self.edit.name} x {self.as_dict()['objective']['name']}"

    @property
    def forget_source(self) -> str:
        """Return where the forget set comes from, for errors and reports."""
        return "responses that the model revealed" if isinstance(self.data.forget, Revealed) else self.data.forget

    @property
    def retain_source(self) -> str:
        """Return where the retain set comes from, for errors and reports."""
        if self.data.retain is None:
            return "the model's own answers to neutral instructions" if self.task is None else "the task's own records"
        return self.data.retain

    def as_dict(self) -> dict[str, Any]:
        """Return plain values from which `make_recipe` makes the same recipe."""
        plain = self.model_dump(exclude={"objective"})
        named = {name for name, cls in OBJECTIVES.items() if cls is type(self.objective)}
        settings = {field.name: getattr(self.objective, field.name) for field in fields(self.objective)}
        return {**plain, "objective": {"name": named.pop(), **settings}}

    def as_yaml(self) -> str:
        """Return YAML text from which `read_recipe` reads the same recipe."""
        return yaml_text(self.as_dict())


def read_recipe(path: str | Path | None, named: dict[str, Any] | None = None, overrides: list[str] | None = None) -> Recipe:
    """Read a recipe file, or start from the defaults, and apply further settings.

    Args:
        path: a YAML file.
        named: {dotted setting: value}, from options.
        overrides: text such as `training.lr=1e-3`; they are applied last.

    Raises:
        InputError: the file or an override cannot be read, or a setting is unknown or has a wrong value.
    """
    given = {} if path is None else read_yaml(path)
    for name, value in (named or {}).items():
        _set_dotted(given, name, value)
    for override in overrides or []:
        name, sign, value = override.partition("=")
        if not sign:
            raise InputError(f"{override}: an override is written section.setting=value")
        _set_dotted(given, name, _scalar(name, value))
    return make_recipe(given, str(path or "recipe"))


def make_recipe(given: dict[str, Any], where: str = "recipe") -> Recipe:
    """Make a recipe from plain values, checked against the schema.

    Raises:
        InputError: a setting is unknown or has a wrong value; the message names it.
    """
    try:
        return Recipe.model_validate(given)
    except ValidationError as error:
        errors = error.errors()
        if renamed := renamed_setting(errors, RENAMED):
            raise InputError(f"{where}: {renamed}") from error
        # data.forget may be a file name or a mapping. Pydantic first reports why a mapping is no file name.
        first = next((entry for entry in errors if entry["loc"][-1:] != ("str",)), errors[0])
        name = ".".join(str(part) for part in first["loc"] if part not in ("str", Revealed.__name__)) or "recipe"
        message = MESSAGES.get(first["type"]) or first["msg"].removeprefix("Value error, ")
        raise InputError(f"{where}: {name}: {message}") from error


MESSAGES = {
    "extra_forbidden": "there is no such setting; see `expunge ls settings`",
    "missing": "is not given",
    "model_type": "must be a mapping of settings",
    "finite_number": "must be a finite number",
    "too_short": "must not be empty",
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


def _scalar(name: str, text: str) -> Any:
    value = parse_yaml(text, name)
    if isinstance(value, str):
        # YAML reads 1e-3 as a string, but users mean a number.
        try:
            return float(value)
        except ValueError:
            return value
    return value
