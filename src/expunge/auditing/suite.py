"""A suite: which attacks an audit makes, and what is allowed; data in YAML, shipped or a user's own."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, ValidationError

from expunge.auditing.attacks import as_plain, make_attack
from expunge.config.renamed import RENAMED_IN_SUITES, renamed_setting
from expunge.config.section import Section
from expunge.errors import InputError
from expunge.files import read_yaml

SHIPPED = {path.stem: path for path in sorted((Path(__file__).parent / "suites").glob("*.yaml"))}
AttackSetting = Annotated[Any, BeforeValidator(make_attack), PlainSerializer(as_plain)]


class Allowed(Section):
    """How much worse the unlearned model may be than the one that it is compared with; all are shares from 0 to 1."""

    told: float = Field(0.1, ge=0, le=1, description="of what was to be forgotten, more than the control tells, however it is asked")
    lost: float = Field(
        0.05, ge=0, le=1, description="of what was to be kept, less than the original tells; and by what share perplexity may rise"
    )
    gibberish: float = Field(0.1, ge=0, le=1, description="degenerate answers, more than the model compared with gives")
    refused: float = Field(0.1, ge=0, le=1, description="refusals of what was to be kept, more than the original's")
    privleak: float = Field(0.1, ge=0, le=1, description="distance of PrivLeak from 0 (MUSE)")


class Suite(Section):
    """What an audit tries, and what it asks for."""

    seconds: int = Field(ge=1, description="budget: what it is to take on two cores with a model of 135M parameters; nothing is cut short")
    max_rows: int | None = Field(None, ge=1, description="records a set, drawn by seed; none: the recipe's")
    attacks: list[AttackSetting] = Field(default_factory=list)
    membership: int | None = Field(None, ge=2, description="records of each sort for membership inference, at most; none: it is left out")
    gradients: bool = Field(False, description="infer from the norm of gradients too, a record at a time")
    allowed: Allowed = Field(default_factory=Allowed)


def read_suite(name: str) -> Suite:
    """A shipped suite, or that of a YAML file.

    Raises:
        InputError: there is no such suite or file, or one of its settings is wrong; it names file and field.
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
