"""The recipe: one YAML file that says everything a run does."""

from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BeforeValidator, Field, PlainSerializer, ValidationError, field_validator, model_validator

from expunge.config import AuditSection, DataSection, EditSection, ReleaseSection, Revealed, Section, TrainingSection
from expunge.config.renamed import RENAMED, renamed_setting
from expunge.errors import InputError
from expunge.files import read_yaml
from expunge.objectives import OBJECTIVES, Objective
from expunge.registry import make_named
from expunge.tasks import as_plain, make_task

DEFAULT_OBJECTIVE = "alternatives"
TaskSetting = Annotated[Any, BeforeValidator(make_task), PlainSerializer(as_plain)]


class Recipe(Section):
    """One run."""

    model: str = Field("smollm2-135m", description="hub id, folder, GGUF file; or a run, to add a request to those it carries")
    data: DataSection
    objective: Any = Field(default_factory=OBJECTIVES[DEFAULT_OBJECTIVE])
    edit: EditSection = Field(default_factory=EditSection)
    training: TrainingSection = Field(default_factory=TrainingSection)
    release: ReleaseSection | None = Field(None, description="in place of objective, edit and training: rounds of negation in weight space")
    task: TaskSetting | None = Field(None, description="what is measured around each round, and what is kept if data.retain is none")
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
        # A setting alone is one of the default's.
        return make_named("objective", OBJECTIVES, {"name": DEFAULT_OBJECTIVE, **given} if isinstance(given, dict) else given)

    @model_validator(mode="after")
    def _resample_needs_instructions(self) -> "Recipe":
        revealed = isinstance(self.data.forget, Revealed) and self.data.forget.reveal.mode == "direct"
        if revealed and self.release is not None and self.release.refresh == "resample":
            raise ValueError("release.refresh: resample asks instructions again, and reveal.mode direct finds none; take reuse or research")
        return self

    @property
    def method(self) -> str:
        """The method's name: `release`, or edit and objective such as `grun x npo`."""
        return "release" if self.release else f"{self.edit.name} x {self.as_dict()['objective']['name']}"

    @property
    def forget_source(self) -> str:
        """Where the forget set comes from, for errors and reports."""
        return "what the model reveals" if isinstance(self.data.forget, Revealed) else self.data.forget

    @property
    def retain_source(self) -> str:
        """Where the retain set comes from, for errors and reports."""
        if self.data.retain is None:
            return "the model's own answers to neutral instructions" if self.task is None else "the task's own records"
        return self.data.retain

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


def make_recipe(given: dict[str, Any], where: str = "recipe") -> Recipe:
    """Check plain values against the schema.

    Raises:
        InputError: naming the setting that is wrong.
    """
    try:
        return Recipe.model_validate(given)
    except ValidationError as error:
        errors = error.errors()
        if renamed := renamed_setting(errors, RENAMED):
            raise InputError(f"{where}: {renamed}") from error
        # data.forget may be a file name or a mapping. Pydantic first reports why a mapping is no file name.
        first = next((one for one in errors if one["loc"][-1:] != ("str",)), errors[0])
        name = ".".join(str(part) for part in first["loc"] if part not in ("str", Revealed.__name__)) or "recipe"
        said = first["msg"].removeprefix("Value error, ")
        said = SAID_INSTEAD.get(first["type"], said)
        raise InputError(f"{where}: {name}: {said}") from error


SAID_INSTEAD = {
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


def _scalar(text: str) -> Any:
    value = yaml.safe_load(text)
    if isinstance(value, str):
        # YAML reads 1e-3 as a string, people read it as a number.
        try:
            return float(value)
        except ValueError:
            return value
    return value
