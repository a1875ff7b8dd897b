"""Suites: the attacks of an audit and the tolerances of its verdict, in YAML files that expunge ships or a user writes."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, ValidationError

from expunge.auditing.attacks import as_plain, make_attack
from expunge.config.renamed import RENAMED_IN_SUITES, renamed_setting
from expunge.config.section import Section
from expunge.documents import read_yaml
from expunge.errors import InputError

SHIPPED = {path.stem: path for path in sorted((Path(__file__).parent / "suites").glob("*.yaml"))}
AttackSetting = Annotated[Any, BeforeValidator(make_attack), PlainSerializer(as_plain)]


class Tolerance(Section):
    """How much worse the unlearned model may be than the model it is compared with; all values are from 0 to 1."""

    leak: float = Field(0.1, ge=0, le=1, description="how much more of the forget set than the control it may leak, by any attack")
    utility_drop: float = Field(
        0.05, ge=0, le=1, description="how much ROUGE-L may fall below the original's elsewhere; by what share perplexity may rise"
    )
    degenerate: float = Field(0.1, ge=0, le=1, description="how many more of its answers may be degenerate, as a share")
    refusals: float = Field(0.1, ge=0, le=1, description="how many more prompts than the original it may refuse elsewhere, as a share")
    privleak: float = Field(0.1, ge=0, le=1, description="how far PrivLeak (MUSE) may be from 0")


class Suite(Section):
    """The attacks of an audit, how many records they use, and the tolerances of the verdict."""

    budget_seconds: int = Field(
        ge=1, description="intended duration on two cores with a model of 135M parameters; nothing is stopped when it is over"
    )
    max_records: int | None = Field(None, ge=1, description="the most records of a set, drawn by seed; none: the recipe's")
    attacks: list[AttackSetting] = Field(default_factory=list)
    membership_records: int | None = Field(
        None, ge=2, description="the most members and the most non-members for membership inference; none: no inference"
    )
    membership_gradients: bool = Field(False, description="also infer membership from gradient norms, which takes one record at a time")
    tolerance: Tolerance = Field(default_factory=Tolerance)


def read_suite(name: str) -> Suite:
    """Read a shipped suite, or one from a YAML file.

    Raises:
        InputError: there is no such suite or file, or a setting is wrong; the message names file and field.
    """
    path = SHIPPED.get(name, Path(name))
    if not path.exists():
        raise InputError(f"--suite: {name!r} is neither a file nor one of {', '.join(SHIPPED)}")
    try:
        return Suite.model_validate(read_yaml(path))
    except ValidationError as error:
        if renamed := renamed_setting(error.errors(), RENAMED_IN_SUITES):
            raise InputError(f"{path}: {renamed}") from error
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(f"{path}: {where}: {first['msg'].removeprefix('Value error, ')}") from error
