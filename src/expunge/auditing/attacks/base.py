"""What every attack is: settings, threat model, how it runs, which verdict row judges it, and how a report describes and draws it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field
from torch import nn

from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record
from expunge.data.threats import Threat
from expunge.metrics.statistics import Summary

# Checked where a suite is read.
Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(gt=0, lt=1)]
Row = dict[str, Any]


@dataclass(frozen=True)
class Target:
    """A model under attack.

    Attributes:
        model: in evaluation mode, with its edit on if it has one; an attack leaves it unchanged.
        builder: of its tokenizer.
        forget: the records whose answers the attack tries to recover.
        retain: records that an attacker may prompt with, show or train on; none of them is measured.
        seed: of everything that is drawn.
        batch_size: prompts at once.
        max_new_tokens: longest answer.
    """

    model: nn.Module
    builder: PromptBuilder
    forget: list[Record]
    retain: list[Record]
    seed: int
    batch_size: int
    max_new_tokens: int


@dataclass(frozen=True)
class AttackFigure:
    """How a report draws the rows of an attack: curves over a column of its rows, or bars if there is no such column.

    Attributes:
        heading: of the figure's section.
        caption: one or two sentences below it.
        alt: text for readers who do not see the figure.
        y_label: of the vertical axis.
        x_label: of the horizontal axis of curves.
        x_column: the column of a row that is the horizontal value of curves; empty for bars.
        up_to_one: whether the vertical axis ends at 1; otherwise at the highest value.
        baseline: name of a further bar with the answers of the same records before the attack; empty: there is none.
    """

    heading: str
    caption: str
    alt: str
    y_label: str
    x_label: str = ""
    x_column: str = ""
    up_to_one: bool = True
    baseline: str = ""


@dataclass(frozen=True, kw_only=True)
class Attack(ABC):
    """An attack; the fields are its settings in a suite.

    An audit attacks all its models in the same way. What counts is how much more the unlearned model gives away than the control.

    Attributes:
        max_records: the most forget records that are attacked, drawn by seed.
        name: in a suite.
        threat: the weakest attacker who can try it.
        description: what it tries, in words that continue "Not tested: …".
        measures: what the `value` of a row is, in [0, 1]: 1 when the attack recovers everything.
        independent_records: whether a record's rows are the same whichever other records are attacked with it.
        removes_edit: whether it takes the edit off: then it recovers the original, and cannot be tried where the weights were changed.
        needs_original: whether its rows pass only if the original answers: an unusual question may tell nothing even about a model that
            forgot nothing.
        changes_weights: whether it changes weights; then its verdict rows say so if it reaches only a part of them.
        figure: how a report draws its rows; None: it does not.
    """

    max_records: Count = 32

    name: ClassVar[str]
    threat: ClassVar[Threat]
    description: ClassVar[str]
    measures: ClassVar[str]
    independent_records: ClassVar[bool] = True
    removes_edit: ClassVar[bool] = False
    needs_original: ClassVar[bool] = False
    changes_weights: ClassVar[bool] = False
    figure: ClassVar[AttackFigure | None] = None

    @property
    def label(self) -> str:
        """The name, and the settings by which two attacks of that name in one suite differ."""
        return self.name

    @property
    def series(self) -> str:
        """The panel or bar of the figure that shows the rows of this attack."""
        return ""

    @property
    def files(self) -> list[Path]:
        """The user's files that the attack reads. The cache key covers their content, which may change under the same name."""
        return []

    @abstractmethod
    def verdict_row(self, row: Row) -> str | None:
        """Return the name of the verdict row that judges a row. None: no verdict row does; the row is a point of a curve only."""

    @abstractmethod
    def steps(self, target: Target) -> int:
        """Return the number of steps that `run` reports to `advance`; 0 if the attack does not apply to this model or its records."""

    def left_out(self, target: Target) -> Mapping[str, str]:
        """Return the verdict rows that the attack cannot measure on this model, and why: {name: reason}; most attacks have none."""
        return {}

    @abstractmethod
    def run(self, target: Target, advance: Callable[[int], None]) -> Iterator[Row]:
        """Attack, and yield each record's rows as soon as they are known.

        A row has `id`, `value`, `reach` and `blind` (whether the value can tell a true answer from another, see
        `expunge.auditing.blindness`; no verdict row passes on rows without them), and the columns by which rows of one record differ. It
        holds no text. The model is unchanged whenever a row is yielded.

        Args:
            target: its `forget` records are at most `max_records`.
            advance: called with the number of steps done since the last call.
        """

    def summary(self, rows: Sequence[Row]) -> Mapping[str, Summary]:
        """Return metrics of one model's rows, at least one, for the audit's table: {metric: number}; most attacks have none."""
        return {}

    @classmethod
    def untested(cls, rows: Sequence[Row]) -> list[str]:
        """Return the parts of this kind of attack that an audit left out, given the rows of all attacks of this name."""
        return [] if rows else [cls.description]
