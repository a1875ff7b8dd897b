"""What every attack is: who could try it, and for each record how much of what was to be forgotten it brings back."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field
from torch import nn

from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record
from expunge.data.threats import Threat

# Checked where a suite is read.
Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(gt=0, lt=1)]
Row = dict[str, Any]


@dataclass(frozen=True)
class Target:
    """A model under attack.

    Attributes:
        model: in evaluation mode, with its edit on where it has one; an attack leaves it as it was.
        builder: of its tokenizer.
        forget: records whose answers are wanted.
        retain: records that an attacker may ask, show or train on freely; nothing of what is measured.
        seed: of everything that is drawn.
        batch_size: records asked at once.
        max_new_tokens: longest answer.
    """

    model: nn.Module
    builder: PromptBuilder
    forget: list[Record]
    retain: list[Record]
    seed: int
    batch_size: int
    max_new_tokens: int


@dataclass(frozen=True, kw_only=True)
class Attack(ABC):
    """An attack; the fields are its settings in a suite.

    Every model of an audit is attacked alike, and what counts is by how much the unlearned one tells more than the control.

    Attributes:
        records: the most forget records that are attacked, drawn by seed.
        name: that it has in a suite.
        threat: who can try it.
        value: what the number of a row is, in [0, 1]: 1 when everything is told.
        apart: whether a record's rows do not depend on which other records are attacked.
    """

    records: Count = 32

    name: ClassVar[str]
    threat: ClassVar[Threat]
    value: ClassVar[str]
    apart: ClassVar[bool] = True

    @property
    def title(self) -> str:
        """Which attack of a suite it is: its name, and settings that set two of that name apart."""
        return self.name

    @property
    def files(self) -> list[Path]:
        """Files of the user's that it reads: what they say may change under their names."""
        return []

    @abstractmethod
    def tried(self, row: Row) -> str | None:
        """What was tried, as a verdict calls it; rows called alike are judged together, those of no name are points of a curve."""

    @abstractmethod
    def steps(self, target: Target) -> int:
        """How far `advance` counts in one `run`; 0 where the attack has no hold on this model or its records, and gives no rows."""

    @abstractmethod
    def run(self, target: Target, advance: Callable[[int], None]) -> Iterator[Row]:
        """Attack, and give a row for each record as soon as it is known: `id`, `value`, and what else sets rows of one record apart.

        Whenever a row is out the model is as it was. No row holds text.

        Args:
            target: whose `forget` records are at most `records`.
            advance: called with the number of steps done since the last call.
        """
